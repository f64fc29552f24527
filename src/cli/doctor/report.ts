import type { CheckReport, Finding } from './examination.js';

const LABELS: Readonly<Record<Finding['state'], string>> = {
  ok: ' ok ',
  warning: 'WARN',
  failed: 'FAIL',
  skipped: 'skip',
};

/** True when nothing failed: warnings and skipped checks are no failure. */
export function isHealthy(reports: readonly CheckReport[]): boolean {
  return reports.every(({ state }) => state !== 'failed');
}

/** The report for programs. */
export function reportJson(reports: readonly CheckReport[]): object {
  return { ok: isHealthy(reports), checks: reports };
}

/** The report for people: a line for each check, with its details below it, and one for all of them. */
export function reportLines(reports: readonly CheckReport[]): readonly string[] {
  const width = Math.max(0, ...reports.map(({ check }) => check.length));
  return [...reports.flatMap((report) => lines(report, width)), '', summary(reports)];
}

function lines(report: CheckReport, width: number): readonly string[] {
  const { state, check, message, details = [], action, code } = report;
  const parts = [message, action, code === undefined ? undefined : `(${code})`];
  const margin = ' '.repeat(LABELS[state].length + width + 4);
  return [
    `${LABELS[state]}  ${check.padEnd(width)}  ${parts.filter(Boolean).join(' ')}`,
    ...details.map((detail) => `${margin}- ${detail}`),
  ];
}

function summary(reports: readonly CheckReport[]): string {
  const count = (state: Finding['state']): number =>
    reports.filter((report) => report.state === state).length;
  const verdict = isHealthy(reports) ? 'Nothing failed' : `${count('failed')} failed`;
  return `${verdict}. Warnings: ${count('warning')}, ok: ${count('ok')}, skipped: ${count('skipped')}.`;
}
