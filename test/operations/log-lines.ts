import type { DestinationStream } from 'pino';

/** A destination that keeps what is logged. */
export class LogLines implements DestinationStream {
  text = '';

  write(line: string): void {
    this.text += line;
  }

  /** Every line as an object. */
  get lines(): Record<string, unknown>[] {
    return this.text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  /** The only line there is. */
  get line(): Record<string, unknown> {
    const [line, ...others] = this.lines;
    if (line === undefined || others.length > 0) throw new Error(`Not one line: ${this.text}`);
    return line;
  }
}
