import { parseArgs } from 'node:util';
import { openBuild } from '../build.js';
import { loadCode } from './brokers.js';
import { DEFAULTS, foundCompany } from './company.js';
import { drawPlots } from './plots.js';
import { checkReality } from './reality/check.js';
import { simulate, WAYS } from './simulate.js';

const NUMBERS = Object.entries(DEFAULTS).filter(([, value]) => typeof value === 'number');
const optionOf = (name) => name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

const HELP = `npm run simulation -- [flags]

A company for a month: what it asks of the provider and of the store, what that costs, and what callers notice.

${NUMBERS.map(([name, value]) => `  --${optionOf(name)}=${Number(value)}`).join('\n')}
  --cron="${DEFAULTS.cron}"
  --calm                 nothing fails
  --only=NAME,NAME       of ${Object.keys(WAYS).join(', ')}
  --json                 for programs
  --check                runs twenty real processes for a simulated day, and compares
  --plots                draws the plots of docs/economy.md
  --dist=dist            the build whose code is run
`;

const { values } = parseArgs({
  options: {
    ...Object.fromEntries(NUMBERS.map(([name]) => [optionOf(name), { type: 'string' }])),
    cron: { type: 'string' },
    calm: { type: 'boolean', default: false },
    only: { type: 'string', default: Object.keys(WAYS).join(',') },
    json: { type: 'boolean', default: false },
    check: { type: 'boolean', default: false },
    hours: { type: 'string', default: '24' },
    plots: { type: 'boolean', default: false },
    dist: { type: 'string', default: 'dist' },
    help: { type: 'boolean', default: false },
  },
});

const number = (text) => Math.round(text).toLocaleString('en');
const dollars = (amount) =>
  amount.toLocaleString('en', { maximumFractionDigits: 2, minimumFractionDigits: 2 });

async function main() {
  const given = Object.fromEntries(
    NUMBERS.filter(([name]) => values[optionOf(name)] !== undefined).map(([name]) => [
      name,
      Number(values[optionOf(name)]),
    ]),
  );
  const bad = Object.entries(given).find(([, value]) => !Number.isFinite(value));
  if (bad !== undefined) throw new Error(`--${optionOf(bad[0])} must be a number.`);
  const company = foundCompany({
    ...given,
    ...(values.cron !== undefined && { cron: values.cron }),
    failures: !values.calm,
  });
  const code = await loadCode(openBuild(values.dist).load);
  const results = await simulate({ company, code, ways: values.only.split(',') });
  console.log(values.json ? JSON.stringify(results, undefined, 2) : report(company, results));
}

function report(company, results) {
  const { services, replicas, brokers, regions, tokens, days, seed, leaks, keyChanges } = company;
  const rows = results.map((result) => [
    result.title,
    number(result.mints),
    number(result.calls),
    dollars(result.bill.total),
    number(result.secondsWithout),
    number(result.refused),
    `${result.processorSeconds.toFixed(1)} s`,
  ]);
  const head = ['way', 'mints', 'store calls', 'US$', 's without', 'refused calls', 'simulated in'];
  const lines = [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`);
  return `${services} services of ${replicas} replicas (${number(company.replicaCount)}), ${brokers} brokers in each of ${regions} Regions, ${tokens} tokens, ${days} days, seed ${seed}
${leaks.length} leaks, ${keyChanges.length} changes of the provider's key${company.failures ? '' : '; nothing fails'}

${lines.join('\n')}`;
}

async function check() {
  const build = openBuild(values.dist);
  const rows = await checkReality({
    code: await loadCode(build.load),
    build,
    dist: values.dist,
    seed: Number(values.seed ?? DEFAULTS.seed),
    hours: Number(values.hours),
    tell: (text) => process.stderr.write(`${text}\n`),
  });
  console.log('| | simulated | real | |\n| --- | --- | --- | --- |');
  for (const { name, expected, found, met } of rows) {
    console.log(
      `| ${name} | ${number(expected)} | ${number(found)} | ${met === undefined ? 'few' : met ? 'agrees' : 'MISSED'} |`,
    );
  }
  process.exitCode = rows.every(({ met }) => met !== false) ? 0 : 1;
}

async function draw() {
  const files = await drawPlots({
    code: await loadCode(openBuild(values.dist).load),
    folder: 'docs/plots',
    seed: Number(values.seed ?? DEFAULTS.seed),
    tell: (text) => process.stderr.write(`${text}\n`),
  });
  console.log(files.join('\n'));
}

if (values.help) console.log(HELP);
else if (values.check) await check();
else if (values.plots) await draw();
else await main();
