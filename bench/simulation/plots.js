import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { linePlot } from '../plot.js';
import { foundCompany } from './company.js';
import { simulate, WAYS } from './simulate.js';

/** How many services of four replicas. */
const SIZES = [5, 25, 125, 625, 2_500];
const SHOWN = ['broker', 'mint', 'library', 'agent'];
/** A way without any is drawn here: a logarithmic scale has no zero. */
const LEAST = 0.01;

const FIGURES = [
  {
    file: 'economy-dollars',
    title: 'What a month costs',
    label: 'US dollars',
    of: ({ bill }) => bill.total,
  },
  { file: 'economy-mints', title: 'Mints in a month', label: 'mints', of: ({ mints }) => mints },
  {
    file: 'economy-refused',
    title: 'Calls that were refused in a month',
    label: 'of a million calls',
    of: ({ refused }, { replicaCount, days }) => (refused / (replicaCount * days * 86_400)) * 1e6,
  },
];

/** Draws what companies of many sizes pay, and how their calls fare, into a folder. @returns the files. */
export async function drawPlots({ code, folder, seed, tell }) {
  const points = Object.fromEntries(SHOWN.map((way) => [way, []]));
  for (const services of SIZES) {
    const company = foundCompany({ services, seed });
    for (const result of await simulate({ company, code, ways: SHOWN })) {
      points[result.name].push({ company, result });
    }
    tell(`${company.replicaCount} replicas`);
  }
  await mkdir(folder, { recursive: true });
  const files = [];
  for (const { file, title, label, of } of FIGURES) {
    const path = join(folder, `${file}.svg`);
    const svg = linePlot({
      title,
      subtitle: `services of 4 replicas, 3 brokers, one token of 25 hours, 30 days with failures, seed ${seed}`,
      x: { label: 'replicas', scale: 'log' },
      y: { label, scale: 'log' },
      series: SHOWN.map((way) => ({
        name: WAYS[way].title,
        points: points[way].map(({ company, result }) => [
          company.replicaCount,
          Math.max(LEAST, of(result, company)),
        ]),
      })),
    });
    await writeFile(path, svg);
    files.push(path);
  }
  return files;
}
