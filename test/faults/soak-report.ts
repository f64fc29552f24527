import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { format, resolveConfig } from 'prettier';
import { linePlot } from '../../bench/plot.js';

/** What a process used at one instant. */
export interface SoakSample {
  /** Resident memory in bytes. */
  readonly rss: number;
  /** V8's heap in use, in bytes. */
  readonly heap: number;
  /** Open descriptors. */
  readonly descriptors: number;
  /** What keeps Node.js alive: timers, sockets, requests. */
  readonly resources: number;
  /** The 99th percentile of the event loop's delay since the last look, in milliseconds. */
  readonly delay: number;
}

/** All processes at one instant, in milliseconds since the start. */
export interface SoakLine {
  readonly at: number;
  readonly usage: Readonly<Record<string, SoakSample>>;
}

/** What a soak was, and what those that asked were answered. */
export interface SoakResult {
  readonly minutes: number;
  readonly seed: number;
  readonly perSecond: number;
  readonly node: string;
  readonly happened: readonly {
    readonly at: number;
    readonly place: string;
    readonly fault: string;
  }[];
  readonly counts: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly wrong: readonly string[];
}

type Figure = keyof SoakSample;

/**
 * How much more of something the last third of a soak may have than the second. The heap swings between collections, so its
 * lows are compared: a leak raises them.
 */
const LIMITS: readonly {
  readonly figure: Figure;
  readonly name: string;
  readonly quantile: number;
  readonly times: number;
  readonly plus: number;
}[] = [
  { figure: 'rss', name: 'resident memory', quantile: 0.5, times: 1.05, plus: 4 * 2 ** 20 },
  { figure: 'heap', name: 'heap in use, its lows', quantile: 0.1, times: 1.05, plus: 2 * 2 ** 20 },
  { figure: 'descriptors', name: 'open descriptors', quantile: 0.5, times: 1, plus: 10 },
  { figure: 'resources', name: 'timers, sockets, requests', quantile: 0.5, times: 1, plus: 10 },
  { figure: 'delay', name: 'event loop delay, p99', quantile: 0.5, times: 1.5, plus: 10 },
];

/** One figure of one process, in the second and the last third. */
export interface Flatness {
  readonly process: string;
  readonly figure: string;
  readonly second: number;
  readonly last: number;
  readonly isFlat: boolean;
}

/** Whether each figure of each process is in the last third what it was in the second. The first third warms up. */
export function flatness(lines: readonly SoakLine[]): readonly Flatness[] {
  const third = Math.floor(lines.length / 3);
  const processes = Object.keys(lines.at(-1)?.usage ?? {});
  return processes.flatMap((process) =>
    LIMITS.map(({ figure, name, quantile, times, plus }) => {
      const of = (part: readonly SoakLine[]): number =>
        at(
          part.flatMap(({ usage }) => usage[process]?.[figure] ?? []),
          quantile,
        );
      const second = of(lines.slice(third, 2 * third));
      const last = of(lines.slice(-third));
      return { process, figure: name, second, last, isFlat: last <= second * times + plus };
    }),
  );
}

function at(values: readonly number[], quantile: number): number {
  if (values.length === 0) throw new Error('The soak was too short to be judged.');
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(quantile * (sorted.length - 1))] as number;
}

const PLOTS: readonly {
  readonly figure: Figure;
  readonly label: string;
  readonly unit: number;
  readonly file: string;
}[] = [
  { figure: 'rss', label: 'resident memory, MiB', unit: 2 ** 20, file: 'soak-memory' },
  { figure: 'heap', label: 'heap in use, MiB', unit: 2 ** 20, file: 'soak-heap' },
  { figure: 'descriptors', label: 'open descriptors', unit: 1, file: 'soak-descriptors' },
  { figure: 'resources', label: 'timers, sockets, requests', unit: 1, file: 'soak-resources' },
  { figure: 'delay', label: 'event loop delay (p99), ms', unit: 1, file: 'soak-delay' },
];
const MINUTE = 60_000;
const DOCS = new URL('../../docs/', import.meta.url);
const PAGE = new URL('reliability.md', DOCS);
const START = '<!-- soak:start -->';
const END = '<!-- soak:end -->';

/** Writes the plots under docs/plots, and the tables into docs/reliability.md. */
export async function writeSoak(lines: readonly SoakLine[], result: SoakResult): Promise<void> {
  await mkdir(new URL('plots/', DOCS), { recursive: true });
  const processes = Object.keys(lines.at(-1)?.usage ?? {});
  for (const { figure, label, unit, file } of PLOTS) {
    const svg = linePlot({
      title: `Soak of ${result.minutes} minutes: ${label}`,
      subtitle: `a rotation each minute, a fault of 90 s every ten; ${result.perSecond} requests a second to each; ${result.node}`,
      x: { label: 'minutes', scale: 'linear' },
      y: { label, scale: 'linear' },
      series: processes.map((name) => ({
        name,
        points: lines.map(({ at: when, usage }) => [
          when / MINUTE,
          usage[name] === undefined ? NaN : usage[name][figure] / unit,
        ]),
      })),
    });
    await writeFile(new URL(`plots/${file}.svg`, DOCS), svg);
  }
  const page = await readFile(PAGE, 'utf8');
  const [before, rest] = page.split(START);
  const after = rest?.split(END)[1];
  if (before === undefined || after === undefined) {
    throw new Error(`docs/reliability.md has no part between ${START} and ${END}.`);
  }
  const text = `${before}${START}\n\n${soakTables(lines, result)}\n\n${END}${after}`;
  const path = PAGE.pathname;
  await writeFile(PAGE, await format(text, { ...(await resolveConfig(path)), filepath: path }));
}

/** The tables in Markdown. */
export function soakTables(lines: readonly SoakLine[], result: SoakResult): string {
  const total = Object.values(result.counts).flatMap((of) => Object.values(of));
  const asked = Object.entries(result.counts).map(([name, of]) => {
    const { 200: served = 0, ...others } = of;
    const rest = Object.entries(others).map(([status, times]) => `${times} × ${status}`);
    return `| ${name} | ${served.toLocaleString('en-US')} | ${rest.join(', ') || 'none'} |`;
  });
  const flat = flatness(lines).map(
    ({ process, figure, second, last, isFlat }) =>
      `| ${process} | ${figure} | ${shown(figure, second)} | ${shown(figure, last)} | ${isFlat ? 'yes' : '**no**'} |`,
  );
  const faults = result.happened.map(
    ({ at: when, place, fault }) => `${Math.round(when / MINUTE)} ${place}, \`${fault}\``,
  );
  return `${result.minutes} minutes, seed ${result.seed}, Node.js ${result.node.slice(1)}; ${total.reduce((sum, one) => sum + one, 0).toLocaleString('en-US')} requests,
${result.wrong.length} wrong tokens. Faults, by the minute in which they began: ${faults.join('; ')}.

| asked | served | not served |
| --- | --- | --- |
${asked.join('\n')}

| process | figure | second third | last third | flat |
| --- | --- | --- | --- | --- |
${flat.join('\n')}`;
}

function shown(figure: string, value: number): string {
  if (/memory|heap/.test(figure)) return `${(value / 2 ** 20).toFixed(1)} MiB`;
  return /delay/.test(figure) ? `${value.toFixed(1)} ms` : String(Math.round(value));
}
