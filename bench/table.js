export const number = (value) => Math.round(value).toLocaleString('en-US');
export const milliseconds = (value) => `${value.toFixed(value < 100 ? 2 : 0)} ms`;
export const megabytes = (bytes) => `${(bytes / 1024 / 1024).toFixed(0)} MiB`;
export const ratio = (value) => value.toFixed(2);

/** Median, and in parentheses the least and the greatest. */
export function withSpread({ median, least, greatest }, format) {
  return `${format(median)} (${format(least)} to ${format(greatest)})`;
}

const COLUMNS = ['name', 'measured', 'reference', 'ratio', 'target', 'verdict'];

/** The rows as text, a column under the other. */
export function table(rows) {
  const cells = [
    ['', 'measured', 'reference', 'ratio', 'target', ''],
    ...rows.map((row) =>
      COLUMNS.map((column) => (column === 'verdict' ? verdict(row) : (row[column] ?? ''))),
    ),
  ];
  const widths = COLUMNS.map((_, column) => Math.max(...cells.map((line) => line[column].length)));
  return cells
    .map((line) =>
      line
        .map((cell, column) => cell.padEnd(widths[column]))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

function verdict({ target, met }) {
  if (target === undefined) return '';
  if (met === undefined) return 'SKIPPED';
  return met ? 'met' : 'MISSED';
}
