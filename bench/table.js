import { availableParallelism, cpus } from 'node:os';

export const number = (value) => Math.round(value).toLocaleString('en-US');
export const milliseconds = (value) => `${value.toFixed(value < 100 ? 2 : 0)} ms`;
export const microseconds = (value) => `${value.toFixed(1)} µs`;
export const megabytes = (bytes) => `${(bytes / 1024 / 1024).toFixed(0)} MiB`;
export const ratio = (value) => value.toFixed(2);

/** Median, and in parentheses the least and the greatest. */
export function withSpread({ median, least, greatest }, format) {
  return `${format(median)} (${format(least)} to ${format(greatest)})`;
}

const COLUMNS = ['name', 'measured', 'reference', 'ratio', 'target', 'verdict'];

/** On what the figures were measured, in a line. */
export function machine() {
  const model = cpus()[0]?.model.trim() ?? 'unknown';
  return `Node ${process.version}, ${process.platform} ${process.arch}, ${availableParallelism()} cores (${model})`;
}

/** The rows as text, a column under the other. */
export function table(rows) {
  return aligned([
    ['', 'measured', 'reference', 'ratio', 'target', ''],
    ...rows.map((row) =>
      COLUMNS.map((column) => (column === 'verdict' ? verdict(row) : (row[column] ?? ''))),
    ),
  ]);
}

/** Lines of cells as text, each column as wide as its widest cell. */
export function aligned(cells) {
  const widths = cells[0].map((_, column) => Math.max(...cells.map((line) => line[column].length)));
  return cells
    .map((line) =>
      line
        .map((cell, column) => cell.padEnd(widths[column]))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** Lines of cells as a table of a Markdown page; the first is the head. */
export function markdown([head, ...lines]) {
  return [head, head.map(() => '---'), ...lines]
    .map((line) => `| ${line.join(' | ')} |`)
    .join('\n');
}

function verdict({ target, met }) {
  if (target === undefined) return '';
  if (met === undefined) return 'SKIPPED';
  return met ? 'met' : 'MISSED';
}
