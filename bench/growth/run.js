import { openBuild } from '../build.js';
import { readPageFlags } from '../flags.js';
import { measuredOn, writeIntoPage, writePlot } from '../page.js';
import { linePlot } from '../plot.js';
import {
  aligned,
  machine,
  markdown,
  megabytes,
  microseconds,
  milliseconds,
  number,
  table,
} from '../table.js';
import { measurePeersGrowth, measureReplicasGrowth, measureTokensGrowth } from './brokers.js';
import { judge } from './expectations.js';
import { measureRememberedTokens } from './remembered-tokens.js';
import { simulatePeers, simulateReplicas, simulateTokens } from './simulated-hours.js';

const MIB = 1024 * 1024;
/** Some of what is added is no longer in the processor's caches. */
const PROCESSOR = {
  title: 'processor time a request',
  unit: 'µs',
  format: microseconds,
  kind: 'flat',
  most: 1.5,
};
const LOADED = { title: 'memory, loaded', unit: 'MiB', scale: MIB, format: megabytes };
const IDLE = { title: 'memory, idle', unit: 'MiB', scale: MIB, format: megabytes };
const START = { title: 'start to ready', unit: 'ms', format: milliseconds };
const CALLS = { title: 'store calls an hour', unit: 'calls an hour', format: number };
/** What a figure of a shared machine differs by. */
const FLAT = { kind: 'flat', most: 1.3 };

/**
 * What grows, how it is measured, and how each figure is expected to grow: `flat`, the largest has so many times the smallest's at most;
 * `linear`, at most so much more for each one more; `exact`. What one more costs is a promise, and so above what is measured.
 */
const DIMENSIONS = {
  peers: {
    title: 'peers of a broker',
    sizes: [1, 10, 100, 1_000, 10_000],
    measure: async (build, sizes, flags, tell) => ({
      ...(await measurePeersGrowth(build, sizes, flags, tell)),
      ...(await simulatePeers(build, sizes, tell)),
    }),
    figures: {
      processor: PROCESSOR,
      start: { ...START, kind: 'linear', most: 0.2 },
      idle: { ...IDLE, kind: 'linear', most: 8 * 1024 },
      resident: { ...LOADED, kind: 'linear', most: 16 * 1024 },
      // A secret holds four hundred, and is read fifteen times an hour at most.
      calls: { ...CALLS, kind: 'linear', most: 15 / 400 },
    },
  },
  tokens: {
    title: 'tokens of a broker',
    sizes: [1, 10, 100, 1_000],
    measure: async (build, sizes, flags, tell) => ({
      ...(await measureTokensGrowth(build, sizes, flags, tell)),
      ...(await simulateTokens(build, sizes, tell)),
    }),
    figures: {
      processor: PROCESSOR,
      start: { ...START, kind: 'linear', most: 5 },
      idle: { ...IDLE, kind: 'linear', most: 150 * 1024 },
      resident: { ...LOADED, kind: 'linear', most: 200 * 1024 },
      calls: { ...CALLS, kind: 'linear', most: 30 },
    },
  },
  replicas: {
    title: 'replicas over one store',
    sizes: [1, 2, 4, 8, 16],
    measure: async (build, sizes, flags, tell) => ({
      ...(await measureReplicasGrowth(build, sizes, flags, tell)),
      ...(await simulateReplicas(build, sizes, tell)),
    }),
    figures: {
      start: { ...START, title: 'all of them ready', kind: 'linear', most: 2_000 },
      idle: { ...IDLE, title: 'memory of each, idle', ...FLAT },
      startMints: {
        title: 'mints of a start on an empty store',
        unit: 'mints',
        format: number,
        kind: 'exact',
        most: 1,
      },
      calls: { ...CALLS, kind: 'linear', most: 30 },
      slotMints: { title: 'mints a slot', unit: 'mints', format: number, kind: 'exact', most: 1 },
    },
  },
  remembered: {
    title: 'tokens that the guard remembers',
    sizes: [1, 10, 100, 1_000, 10_000, 100_000],
    measure: measureRememberedTokens,
    figures: {
      again: {
        title: 'verify one of them again',
        unit: 'µs',
        format: microseconds,
        kind: 'flat',
        // A hundred thousand do not fit into the processor's caches.
        most: 8,
      },
      heap: {
        title: 'memory of all',
        unit: 'MiB',
        scale: MIB,
        format: mebibytes,
        kind: 'linear',
        most: 1_500,
      },
    },
  },
};

function mebibytes(bytes) {
  return `${(bytes / MIB).toFixed(2)} MiB`;
}

const tell = (text) => process.stderr.write(`${text}\n`);
const flags = readPageFlags('bench:growth', Object.keys(DIMENSIONS));
const build = openBuild(flags.dist);
const how = `${machine()}; ${flags.rounds} rounds of ${flags.seconds} s each, ${flags.starts} starts. Medians.`;

const rows = [];
const tables = {};
for (const name of flags.only) {
  const { title, sizes, figures, measure } = DIMENSIONS[name];
  const points = await measure(build, sizes, flags, tell);
  const shown = Object.entries(figures);
  tables[name] = [
    [title, ...shown.map(([, figure]) => figure.title)],
    ...sizes.map((size, at) =>
      [number(size)].concat(shown.map(([key, { format }]) => format(points[key][at][1]))),
    ),
    ['expected', ...shown.map(([, figure]) => expectationOf(figure))],
    ['found', ...shown.map(([key, figure]) => foundOf(figure, judge(figure, points[key]).found))],
  ];
  for (const [key, figure] of shown) {
    const { found, met } = judge(figure, points[key]);
    rows.push({
      name: `${title}: ${figure.title}`,
      measured: foundOf(figure, found),
      target: expectationOf(figure),
      met,
    });
    if (flags.write) await writePlot(`growth-${name}-${key}`, plotOf(title, figure, points[key]));
  }
  if (flags.write) {
    const said = `${measuredOn(flags)} Medians.\n\n${markdown(tables[name])}`;
    await writeIntoPage('performance.md', `growth-${name}`, said);
  }
}

function expectationOf({ kind, most, format }) {
  if (kind === 'flat') return `flat: at most ${most}×`;
  if (kind === 'exact') return `always ${most}`;
  return `at most ${eachOf(most, format)} each`;
}

function foundOf({ kind, format }, found) {
  if (kind === 'flat') return `${found.toFixed(2)}×`;
  return kind === 'exact' ? number(found) : `${eachOf(found, format)} each`;
}

/** What one more costs, which is too little for the unit of the whole. */
function eachOf(value, format) {
  if (format === megabytes || format === mebibytes) return `${(value / 1024).toFixed(1)} KiB`;
  if (format === milliseconds) return `${value.toFixed(value < 10 ? 3 : 0)} ms`;
  return Number.isInteger(value) ? String(value) : value.toFixed(3);
}

function plotOf(title, figure, points) {
  const { scale = 1, unit } = figure;
  return linePlot({
    title: `${figure.title}, by ${title}`,
    subtitle: `expected: ${expectationOf(figure)}`,
    x: { label: title, scale: 'log' },
    y: { label: unit, scale: 'linear' },
    series: [{ name: figure.title, points: points.map(([size, value]) => [size, value / scale]) }],
  });
}

const missed = rows.filter(({ met }) => !met);
console.log(`\n${how}\n\n${Object.values(tables).map(aligned).join('\n\n')}\n\n${table(rows)}

${missed.length === 0 ? 'Everything grows as expected.' : `${missed.length} missed: ${missed.map(({ name }) => name).join('; ')}.`}`);
process.exitCode = missed.length === 0 ? 0 : 1;
