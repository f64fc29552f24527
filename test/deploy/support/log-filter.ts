/** Says whether a line of a log is counted. */
export type LogFilter = (line: Readonly<Record<string, unknown>>) => boolean;

const TOKEN = /\s*(\|\||&&|>=|[(){}=]|\$\.\w+|"[^"]*"|NOT EXISTS|\d+)/y;

/**
 * A CloudWatch Logs filter pattern for lines of JSON, as far as the stack's filters go: comparisons of a top-level
 * member with a text, `"*"` for any, `NOT EXISTS`, `>=` with a number, `&&` before `||`, and parentheses. Everything else is
 * an error.
 */
export function logFilter(pattern: string): LogFilter {
  const tokens = tokensOf(pattern);
  const take = (wanted: RegExp): string => {
    const token = tokens.shift() ?? 'its end';
    if (!wanted.test(token)) throw new Error(`"${pattern}" has ${token} where ${wanted} is due.`);
    return token;
  };

  const comparison = (): LogFilter => {
    if (tokens[0] === '(') {
      take(/^\($/);
      const inner = either();
      take(/^\)$/);
      return inner;
    }
    const member = take(/^\$\./).slice(2);
    const operator = take(/^(?:=|>=|NOT EXISTS)$/);
    if (operator === 'NOT EXISTS') return (line) => !(member in line);
    if (operator === '>=') {
      const least = Number(take(/^\d+$/));
      return (line) => typeof line[member] === 'number' && line[member] >= least;
    }
    const text = take(/^"/).slice(1, -1);
    if (text === '*') return (line) => typeof line[member] === 'string';
    return (line) => line[member] === text;
  };
  const both = (): LogFilter =>
    joined('&&', comparison, (filters) => (line) => filters.every((one) => one(line)));
  const either = (): LogFilter =>
    joined('||', both, (filters) => (line) => filters.some((one) => one(line)));
  const joined = (
    operator: string,
    operand: () => LogFilter,
    join: (filters: readonly LogFilter[]) => LogFilter,
  ): LogFilter => {
    const filters = [operand()];
    while (tokens[0] === operator) {
      tokens.shift();
      filters.push(operand());
    }
    return join(filters);
  };

  take(/^\{$/);
  const filter = either();
  take(/^\}$/);
  if (tokens.length > 0) throw new Error(`"${pattern}" goes on after its end.`);
  return filter;
}

function tokensOf(pattern: string): string[] {
  const tokens: string[] = [];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < pattern.length) {
    const at = TOKEN.lastIndex;
    const token = TOKEN.exec(pattern)?.[1];
    if (token === undefined)
      throw new Error(`"${pattern}" cannot be read from character ${at} on.`);
    tokens.push(token);
  }
  return tokens;
}
