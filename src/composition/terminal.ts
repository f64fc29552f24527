import { styleText } from 'node:util';
import { withSnakeNames } from '../tokens/json.js';

const FORMATS = {
  good: ['green'],
  bad: ['red', 'bold'],
  warning: ['yellow'],
  faint: ['dim'],
  strong: ['bold'],
} as const;

/** Adds colour or weight to a text; the text alone has to say it all. */
export type Paint = (tone: keyof typeof FORMATS, text: string) => string;

/** For pipes, files and programs: the text as it is. */
export const plain: Paint = (_tone, text) => text;

/** Paints for a stream that shows colours: a terminal, unless `NO_COLOR` is set, and anything with `FORCE_COLOR`. */
export function painter(stream: NodeJS.WritableStream): Paint {
  // One format at a time: given several, Node.js 20 does not look at the stream.
  return (tone, text) =>
    FORMATS[tone].reduce((styled, format) => styleText(format, styled, { stream }), text);
}

/** Where a command writes to, and how. */
export interface Output {
  /** True for programs: one JSON value on standard output, and nothing else. */
  readonly json: boolean;
  /** Standard output: results. */
  readonly out: (text: string) => void;
  /** For texts on standard output. */
  readonly paint: Paint;
  /** How wide the terminal is that standard output is; `undefined` for pipes and files, whose lines are not broken. */
  readonly columns?: number;
  /** Standard error: errors and hints. */
  readonly err: (text: string) => void;
  /** For texts on standard error. */
  readonly paintError: Paint;
}

/** Writes to the process's own streams. */
export function processOutput(json: boolean): Output {
  const { stdout, stderr } = process;
  return {
    json,
    out: (text) => void stdout.write(text),
    paint: json ? plain : painter(stdout),
    ...(stdout.isTTY && { columns: stdout.columns }),
    err: (text) => void stderr.write(text),
    paintError: painter(stderr),
  };
}

/** Shows a result: its JSON for programs, with names in snake_case; its lines for people. */
export function show(output: Output, value: object, lines: readonly string[]): void {
  output.out(
    output.json ? `${JSON.stringify(withSnakeNames(value), null, 2)}\n` : `${lines.join('\n')}\n`,
  );
}

/** Writes a warning to standard error. @param text one or more sentences. */
export function warn({ err, paintError }: Output, text: string): void {
  err(`${paintError('warning', 'Warning:')} ${text}\n`);
}

/** Rows under their headings, as wide as their longest text. */
export function table(
  headings: readonly string[],
  rows: readonly (readonly string[])[],
  paint: Paint = plain,
): readonly string[] {
  const widths = headings.map((heading, column) =>
    Math.max(heading.length, ...rows.map((row) => row[column]?.length ?? 0)),
  );
  const lineOf = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd();
  return [paint('strong', lineOf(headings)), ...rows.map(lineOf)];
}

/** A label and its text; without a label it continues the text above. */
export type Entry = readonly [label: string, text: string];

/** Texts beside their labels, aligned. Entries that are `undefined` are left out. */
export function entryLines(
  entries: readonly (Entry | undefined)[],
  paint: Paint = plain,
): readonly string[] {
  const given = entries.filter((entry) => entry !== undefined);
  const width = Math.max(...given.map(([label]) => label.length));
  return given.map(([label, text]) => `${paint('strong', label.padEnd(width))}  ${text}`);
}

/** Below this a column of text would be harder to read than lines that the terminal breaks. */
const NARROWEST = 40;

/** The lines of a text that stands `indent` columns from the left; only the terminal breaks a word. Pure. */
export function wrapped(text: string, indent: number, columns?: number): string {
  if (columns === undefined || columns - indent < NARROWEST) return text;
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > columns - indent) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line].join(`\n${' '.repeat(indent)}`);
}

/** A span for people: `23 h 59 min`, `4 min 10 s`, or `expired 3 min ago`. */
export function span(milliseconds: number): string {
  if (milliseconds < 0) return `expired ${span(-milliseconds)} ago`;
  const seconds = Math.floor(milliseconds / 1000);
  const parts: readonly (readonly [number, string])[] = [
    [Math.floor(seconds / 86_400), 'd'],
    [Math.floor((seconds % 86_400) / 3_600), 'h'],
    [Math.floor((seconds % 3_600) / 60), 'min'],
    [seconds % 60, 's'],
  ];
  const shown = parts.filter(([amount]) => amount > 0).slice(0, 2);
  return shown.length === 0 ? '0 s' : shown.map(([amount, unit]) => `${amount} ${unit}`).join(' ');
}

/** An instant in ISO 8601. */
export function instant(milliseconds: number): string {
  return new Date(milliseconds).toISOString();
}

/** An instant as tables show it, in UTC and to the minute: `2026-11-22 12:00`. */
export function minute(milliseconds: number): string {
  return instant(milliseconds).slice(0, 16).replace('T', ' ');
}
