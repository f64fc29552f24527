import type { DestinationStream } from 'pino';

const SHOWN_APART: ReadonlySet<string> = new Set([
  'level',
  'time',
  'service',
  'pid',
  'message',
  'err',
]);

/** A destination that writes each JSON line as a line for people: time, level, message, fields, and an error below. */
export function asText(destination: DestinationStream): DestinationStream {
  return Object.assign(Object.create(destination) as DestinationStream, {
    write: (line: string) => destination.write(textLine(line)),
  });
}

/** One JSON line of the log as text for people. */
export function textLine(line: string): string {
  const entry = JSON.parse(line) as Record<string, unknown>;
  const time = textOf(entry['time']).slice(11, 23);
  const level = textOf(entry['level']).toUpperCase().padEnd(5);
  const fields = Object.entries(entry)
    .filter(([name]) => !SHOWN_APART.has(name))
    .map(([name, value]) => ` ${name}=${fieldText(value)}`)
    .join('');
  const head = `${time} ${level} ${textOf(entry['message'])}`.trimEnd();
  return `${head}${fields}\n${errorText(entry['err'])}`;
}

function fieldText(value: unknown): string {
  return typeof value === 'string' && /^[^\s"=]+$/.test(value) ? value : JSON.stringify(value);
}

function errorText(value: unknown): string {
  if (typeof value !== 'object' || value === null) return '';
  const error = value as Record<string, unknown>;
  const code = error['code'] === undefined ? '' : ` [${textOf(error['code'])}]`;
  const stack = textOf(error['stack']) || `${textOf(error['name'])}: ${textOf(error['message'])}`;
  const cause = errorText(error['cause']);
  const first = `${stack}${code === '' ? '' : `\n  code${code}`}`.replaceAll('\n', '\n    ');
  return `    ${first}\n${cause === '' ? '' : `    caused by:\n${cause}`}`;
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
