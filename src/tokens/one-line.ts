/** A text on one line: line ends and control characters, with the white space behind them, become a space. Pure. */
export function oneLine(text: string): string {
  return text.replaceAll(/[\p{Cc}\u2028\u2029][\p{Cc}\s]*/gu, ' ');
}
