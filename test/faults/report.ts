import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { format, resolveConfig } from 'prettier';
import { endsLate, type PartResult } from './beside.js';
import { FAULTS } from './fault-proxy.js';
import type { CellResult, Seen, Span } from './matrix.js';
import { PLACES, type Place } from './scene.js';

/** All that a run has found. */
export interface Findings {
  readonly outages: readonly CellResult[];
  readonly coldStarts: readonly CellResult[];
  readonly parts: readonly PartResult[];
}

/** A figure that must be reached. */
export interface Target {
  readonly figure: string;
  readonly right: string;
  readonly reached: string;
  /** Where it was missed, and by what. */
  readonly missed: readonly string[];
}

/**
 * Compares what was found with what must be reached.
 *
 * @param slack milliseconds that a busy machine may add to whatever was measured.
 * @param exitSlack the same, of the time from SIGTERM to exit.
 */
export function targetsOf(
  { outages, coldStarts, parts }: Findings,
  slack = 500,
  exitSlack = 0,
): readonly Target[] {
  const cells = [...outages, ...coldStarts];
  const all = [...cells, ...parts];
  const nameOf = (one: CellResult | PartResult): string =>
    'part' in one
      ? one.part
      : `${one.place}, ${one.fault}${outages.includes(one) ? '' : ', cold start'}`;

  const firstAsks = outages.filter(({ place }) => place === 'store');
  const ready = firstAsks.map((cell) => ({
    cell,
    lies: cell.untold.filter((text) => text.startsWith('readiness was')),
  }));
  const recoveries = [
    ...cells.filter(({ wasDead }) => wasDead).map((cell) => [nameOf(cell), cell.recovery] as const),
    ...parts.flatMap((one) => (one.recoveries ?? []).map((span) => [one.part, span] as const)),
  ];
  const rotations = outages.filter(({ place }) => place === 'token endpoint' || place === 'keys');
  const exits = [
    ...cells.map((cell) => [nameOf(cell), cell.exit] as const),
    ...parts.flatMap((one) => (one.exits ?? []).map((span) => [one.part, span] as const)),
  ];
  const others = [
    ...cells.map((cell) => [nameOf(cell), otherFailures(cell)] as const),
    ...parts.map((one) => [one.part, one.otherFailures ?? 0] as const),
  ];
  const failedRequests = parts.flatMap((one) => one.failedRequests ?? []);
  const typical = median(recoveries.map(([, span]) => span));

  const targets: (Target | undefined)[] = [
    firstAsks.length === 0
      ? undefined
      : {
          figure: 'first ask of a quiet broker, store failing, token alive',
          right: '1 s at most',
          reached: show(longest(firstAsks.map(({ firstAsk = 0 }) => firstAsk))),
          missed: firstAsks
            .filter(({ firstAsk = 0 }) => firstAsk > 1_000 + slack)
            .map((cell) => `${nameOf(cell)}: ${show(cell.firstAsk ?? 0)}`),
        },
    {
      figure: 'peers that were not served while the token lived',
      right: '0',
      reached: String(total(outages.map(refusedWhileAlive))),
      missed: outages
        .filter((cell) => refusedWhileAlive(cell) > 0)
        .map((cell) => `${nameOf(cell)}: ${refusedWhileAlive(cell)}`),
    },
    firstAsks.length === 0
      ? undefined
      : {
          figure: 'readiness during an outage of the store, token alive',
          right: '200',
          reached: ready.every(({ lies }) => lies.length === 0) ? '200' : 'not always 200',
          missed: ready.flatMap(({ cell, lies }) => lies.map((text) => `${nameOf(cell)}: ${text}`)),
        },
    {
      figure: 'recovery after the cause ended, token dead',
      right: '15 s at most, median under 5 s',
      reached: `${show(longest(recoveries.map(([, span]) => span)))}, median ${show(typical)}`,
      missed: [
        ...recoveries
          .filter(([, span]) => isLonger(span, 15_000 + slack))
          .map(([name, span]) => `${name}: ${show(span)}`),
        ...(isLonger(typical, 5_000 + slack) ? [`median ${show(typical)}`] : []),
      ],
    },
    {
      figure: 'recovery of rotation after a fault of the provider',
      right: '20 s at most',
      reached: show(longest(rotations.map(({ rotationRecovery }) => rotationRecovery))),
      missed: rotations
        .filter(({ rotationRecovery }) => isLonger(rotationRecovery, 20_000 + slack))
        .map((cell) => `${nameOf(cell)}: ${show(cell.rotationRecovery)}`),
    },
    {
      figure: '5xx other than 503 with `Retry-After`',
      right: '0',
      reached: String(total(others.map(([, count]) => count))),
      missed: others.filter(([, count]) => count > 0).map(([name, count]) => `${name}: ${count}`),
    },
    failedRequests.length === 0
      ? undefined
      : {
          figure: 'failed requests during a rolling restart behind a load balancer',
          right: '0',
          reached: String(total(failedRequests)),
          missed: failedRequests.filter((count) => count > 0).map((count) => `${count} failed`),
        },
    {
      figure: 'SIGTERM to exit, any state',
      right: '10 s at most, and the delay asked for',
      reached: show(longest(exits.map(([, span]) => span))),
      missed: exits
        .filter(([, span]) => endsLate(span, exitSlack))
        .map(([name, span]) => `${name}: ${show(span)}`),
    },
    {
      figure: 'expired, wrong, or too short tokens',
      right: '0',
      reached: String(total(all.map(({ wrongTokens = [] }) => wrongTokens.length))),
      missed: all.flatMap((one) => (one.wrongTokens ?? []).map((why) => `${nameOf(one)}: ${why}`)),
    },
    {
      figure: 'untruths of health, metrics and `status`',
      right: '0',
      reached: String(total(cells.map(({ untold }) => untold.length))),
      missed: cells.flatMap((cell) => cell.untold.map((text) => `${nameOf(cell)}: ${text}`)),
    },
    ...parts
      .filter(({ missed }) => missed.length > 0)
      .map(({ part, missed }) => ({
        figure: part,
        right: 'as below',
        reached: 'not',
        missed: missed.map((text) => `${part}: ${text}`),
      })),
  ];
  return targets.filter((target) => target !== undefined);
}

const START = '<!-- faults:start -->';
const END = '<!-- faults:end -->';
const PAGE = fileURLToPath(new URL('../../docs/reliability.md', import.meta.url));

/** Writes the tables of a run into docs/reliability.md. */
export async function writePage(findings: Findings): Promise<void> {
  const page = await readFile(PAGE, 'utf8');
  const [before = '', , after = ''] = page.split(new RegExp(`${START}|${END}`));
  const text = `${before}${START}\n\n${tables(findings)}\n\n${END}${after}`;
  const options = await resolveConfig(PAGE);
  await writeFile(PAGE, await format(text, { ...options, parser: 'markdown' }));
}

function tables(findings: Findings): string {
  const { parts } = findings;
  const targets = table(
    ['figure', 'must be', 'was'],
    targetsOf(findings).map(({ figure, right, reached, missed }) => [
      figure,
      right,
      missed.length === 0 ? reached : `**${reached}**`,
    ]),
  );
  const beside = table(
    ['part', 'what was seen', 'missed'],
    parts.map(({ part, figures, missed, skipped }) => [
      part,
      skipped === undefined ? figures : `skipped: ${skipped}`,
      missed.join('; '),
    ]),
  );
  const places = PLACES.map((place) => `### ${TITLES[place]}\n\n${placeTable(place, findings)}`);
  return [
    `## What a run must reach\n\n${targets}`,
    `## Beside the matrix\n\n${beside}`,
    `## The matrix`,
    ...places,
  ].join('\n\n');
}

const TITLES: Readonly<Record<Place, string>> = {
  store: 'Between the broker and the store',
  'token endpoint': "Between the broker and the provider's token endpoint",
  keys: "Between the broker and the provider's keys",
  client: 'Between the client and the broker',
};

function placeTable(place: Place, { outages, coldStarts }: Findings): string {
  const head = [
    'fault',
    'warm',
    'slot',
    'no token left',
    'served again',
    'rotates again',
    'cold start',
    'served',
    'SIGTERM',
    'not told',
  ];
  const rows = FAULTS.flatMap((fault) => {
    const fits = (cell: CellResult): boolean => cell.place === place && cell.fault === fault;
    const [outage, cold] = [outages.find(fits), coldStarts.find(fits)];
    if (outage === undefined && cold === undefined) return [];
    return [
      [
        fault,
        saw(outage?.phases['warm']),
        saw(outage?.phases['slot']),
        outage?.wasDead === false ? 'never so' : saw(outage?.phases['dead']),
        outage?.wasDead === true ? show(outage.recovery) : '',
        outage === undefined ? '' : show(outage.rotationRecovery),
        saw(cold?.phases['cold start']),
        cold?.wasDead === true ? show(cold.recovery) : 'all along',
        show(longest([outage?.exit ?? 0, cold?.exit ?? 0])),
        [...new Set([...(outage?.untold ?? []), ...(cold?.untold ?? [])])].join('; '),
      ],
    ];
  });
  return table(head, rows);
}

function saw(seen: Seen | undefined): string {
  if (seen === undefined) return '';
  const asked = total(Object.values(seen.counts));
  if (asked === 0) return '';
  const counts = Object.entries(seen.counts).toSorted(([one], [other]) => (one < other ? -1 : 1));
  const share = counts.map(([status, count]) => {
    const percent = Math.round((100 * count) / asked);
    return counts.length === 1 ? status : `${percent} % ${status}`;
  });
  return `${share.join(', ')}; ${show(seen.longestWait)}`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

/** Answers other than a token in the phases in which the broker, or the client, had one to serve. */
function refusedWhileAlive({ phases }: CellResult): number {
  return total(
    ['warm', 'slot'].map((phase) => {
      const { counts = {} } = phases[phase] ?? {};
      return total(Object.values(counts)) - (counts['200'] ?? 0);
    }),
  );
}

function otherFailures({ phases }: CellResult): number {
  const counts = Object.values(phases).flatMap((seen) => Object.entries(seen.counts));
  return total(counts.map(([status, count]) => (/^5(?!03$)/.test(status) ? count : 0)));
}

const total = (numbers: readonly number[]): number => numbers.reduce((sum, one) => sum + one, 0);

const asNumber = (span: Span): number => (span === 'never' ? Number.POSITIVE_INFINITY : span);
const asSpan = (span: number): Span => (Number.isFinite(span) ? span : 'never');
const isLonger = (span: Span, limit: number): boolean => asNumber(span) > limit;
const longest = (spans: readonly Span[]): Span => asSpan(Math.max(0, ...spans.map(asNumber)));

function median(spans: readonly Span[]): Span {
  const sorted = spans.map(asNumber).toSorted((one, other) => one - other);
  return asSpan(sorted[Math.floor(sorted.length / 2)] ?? 0);
}

/** A span for people, to a tenth of a second. */
export function show(span: Span): string {
  return span === 'never' ? 'never' : `${(span / 1_000).toFixed(1)} s`;
}
