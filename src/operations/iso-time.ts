let millisecond = Number.NaN;
let text = '';

/** ISO 8601 in UTC. Many lines fall into one millisecond, and the text of it is made once. */
export function isoTime(now: number): string {
  if (now !== millisecond) {
    text = new Date(now).toISOString();
    millisecond = now;
  }
  return text;
}
