import { fork, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, closeSync, openSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from '@jest/globals';
import { streamOf } from '../../bench/simulation/chance.js';
import { BASE_ENVIRONMENT } from '../support/broker-process.js';
import { FaultProxy, FAULTS, type Fault } from './fault-proxy.js';
import { AUTHORIZATION, PEER, PLACES, World, type Lives, type Place } from './scene.js';
import { flatness, writeSoak, type SoakSample } from './soak-report.js';

/** A slot each minute; a token outlives every fault. */
const LIVES: Lives = { token: 300, slot: 60, ttl: 15, skew: 5, minRemaining: 90 };
const MINUTE = 60_000;
const MINUTES = Number(process.env['SOAK_MINUTES'] ?? 120);
const SEED = Number(process.env['SOAK_SEED'] ?? Date.now() % 1_000_000);
/** Requests a second to each broker and to the guarded service. */
const PER_SECOND = Number(process.env['SOAK_PER_SECOND'] ?? 50);
const SAMPLE_EVERY = 10_000;
const FAULT_EVERY = 10 * MINUTE;
const FAULT_LASTS = 90_000;
/** Those that need neither another host name nor certificates of their own. */
const SOAKED = FAULTS.filter((fault) => fault !== 'DNS failure' && fault !== 'TLS failure');
const CLI = fileURLToPath(
  new URL('../../dist-packages/service-token-broker/dist/cli.js', import.meta.url),
);
const SERVICES = fileURLToPath(new URL('soak-services.mjs', import.meta.url));

const children: ChildProcess[] = [];
afterAll(async () => {
  for (const child of children) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
});

/** A published broker with its log in a file: in two hours it logs more than a test should hold. */
async function serve(name: string, folder: string, env: NodeJS.ProcessEnv) {
  const log = join(folder, `${name}.log`);
  const out = openSync(log, 'w');
  const child = spawn(process.execPath, [CLI, 'serve'], {
    env: { ...BASE_ENVIRONMENT, ...env },
    stdio: ['ignore', out, out],
  });
  closeSync(out);
  children.push(child);
  for (;;) {
    const written = await readFile(log, 'utf8');
    const url = /"url":"(http:[^"]+)"/.exec(written)?.[1];
    if (url !== undefined) return { name, url, pid: child.pid ?? 0, child };
    if (child.exitCode !== null) throw new Error(`${name} ended:\n${written}`);
    await sleep(50);
  }
}

interface Report {
  readonly port?: number;
  readonly usage?: SoakSample;
  readonly counts?: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly seen?: readonly { token: string; askedAt: number; cameAt: number }[];
}

function service(options: Readonly<Record<string, unknown>>): ChildProcess {
  const child = fork(SERVICES, [JSON.stringify(options)], { execArgv: [], env: BASE_ENVIRONMENT });
  children.push(child);
  return child;
}

/** What a broker says of itself, and what its operating system says of it. */
async function look(url: string): Promise<SoakSample> {
  const response = await fetch(`${url}/metrics`, { headers: { authorization: AUTHORIZATION } });
  const text = await response.text();
  const value = (name: string): number =>
    Number(new RegExp(`^\\w*${name}(?:\\{[^}]*\\})? (\\S+)$`, 'm').exec(text)?.[1]);
  return {
    rss: value('process_resident_memory_bytes'),
    heap: value('nodejs_heap_size_used_bytes'),
    descriptors: value('process_open_fds'),
    resources: value('nodejs_active_resources_total'),
    delay: value('nodejs_eventloop_lag_p99_seconds') * 1_000 - 10,
  };
}

/** A sequence of faults that a seed decides: every pair of place and fault before any comes twice. */
function faults(seed: number): readonly (readonly [Place, Fault])[] {
  const random = streamOf(seed, 'faults');
  const left = PLACES.flatMap((place) => SOAKED.map((fault) => [place, fault] as const));
  return left
    .map((pair) => ({ pair, order: random() }))
    .toSorted((a, b) => a.order - b.order)
    .map(({ pair }) => pair);
}

test(
  'brokers, a guarded service and its caller stay as they are',
  async () => {
    const world = await World.open(LIVES);
    const { provider } = world;
    const targets: Record<Place, () => string> = {
      store: () => world.storeUrl,
      'token endpoint': () => provider.origin,
      keys: () => provider.origin,
      client: () => brokers[0]?.url ?? '',
    };
    const proxies = Object.fromEntries(
      await Promise.all(
        PLACES.map(async (place) => [place, await FaultProxy.listen({ target: targets[place] })]),
      ),
    ) as Record<Place, FaultProxy>;
    const settings = {
      ...world.settings,
      BROKER_ROTATION_CRON: '0 * * * * *',
      BROKER_TOKEN_ENDPOINT: `${proxies['token endpoint'].url}/token`,
      BROKER_JWKS_URI: `${proxies.keys.url}/jwks`,
    };
    const aws = { ...settings, ...(await world.secretsIn('soak', proxies.store.url)) };
    const embedded = await world.secretsInFolder(join(world.folder, 'store'));
    const brokers = [
      await serve('broker 1, Secrets Manager', world.folder, aws),
      await serve('broker 2, Secrets Manager', world.folder, aws),
      await serve('broker 3, embedded store', world.folder, { ...embedded, ...settings }),
    ];
    const samples = new Map<string, SoakSample>();
    const counts: Record<string, Record<string, number>> = {};
    const wrong: string[] = [];
    const judge = async (token: string, askedAt: number, cameAt: number): Promise<void> => {
      const judged = await world.judge(token, askedAt, cameAt);
      if (judged.wrong !== undefined) wrong.push(judged.wrong);
    };
    const listen = (name: string, child: ChildProcess): void => {
      child.on('message', ({ usage, counts: counted = {}, seen = [] }: Report) => {
        if (usage !== undefined) samples.set(name, usage);
        for (const [target, statuses] of Object.entries(counted)) {
          const total = (counts[target] ??= {});
          for (const [status, times] of Object.entries(statuses)) {
            total[status] = (total[status] ?? 0) + times;
          }
        }
        for (const { token, askedAt, cameAt } of seen) {
          void judge(token, askedAt, cameAt);
        }
      });
    };
    const callee = service({
      role: 'callee',
      issuer: provider.issuer,
      audiences: world.settings['BROKER_AUDIENCE'],
      jwksUri: settings.BROKER_JWKS_URI,
    });
    const [{ port }] = (await once(callee, 'message')) as [Report];
    listen('guarded service', callee);
    const caller = service({
      role: 'caller',
      callee: `http://127.0.0.1:${port}`,
      perSecond: PER_SECOND,
      skewMs: LIVES.skew * 1_000,
      authorization: AUTHORIZATION,
      client: {
        brokers: proxies.client.url,
        peer: PEER,
        allowInsecureHttp: true,
        ttlSeconds: LIVES.ttl,
        skewSeconds: LIVES.skew,
      },
    });
    listen('caller', caller);
    // Every broker has its token before anybody asks.
    for (const { url } of brokers) {
      while ((await fetch(`${url}/health/ready`)).status !== 200) await sleep(200);
    }
    caller.send({ brokers: Object.fromEntries(brokers.map(({ name, url }) => [name, url])) });

    const file = process.env['SOAK_SAMPLES'] ?? join(world.folder, 'samples.jsonl');
    const startedAt = Date.now();
    const sequence = faults(SEED);
    const happened: { at: number; place: Place; fault: Fault }[] = [];
    let fault: readonly [Place, Fault] | undefined;
    process.stderr.write(`soak of ${MINUTES} minutes, seed ${SEED}, samples in ${file}\n`);
    for (let number = 1; number * SAMPLE_EVERY <= MINUTES * MINUTE; number += 1) {
      await sleep(Math.max(0, startedAt + number * SAMPLE_EVERY - Date.now()));
      const at = Date.now() - startedAt;
      for (const { name, url } of brokers) samples.set(name, await look(url));
      const line = { at, usage: Object.fromEntries(samples) };
      appendFileSync(file, `${JSON.stringify(line)}\n`);
      const isDue = at >= FAULT_EVERY && at % FAULT_EVERY < FAULT_LASTS;
      if (isDue && fault === undefined) {
        fault = sequence[happened.length % sequence.length] as readonly [Place, Fault];
        const [place, what] = fault;
        happened.push({ at, place, fault: what });
        await proxies[place].fail(what);
        process.stderr.write(`${new Date().toISOString()} ${place}: ${what}\n`);
      } else if (!isDue && fault !== undefined) {
        await proxies[fault[0]].heal();
        fault = undefined;
        process.stderr.write(`${JSON.stringify({ counts, wrong })}\n`);
      }
      // Only what the provider is asked from now on matters to it, and this process is not what is measured.
      provider.requests.length = 0;
    }
    const result = {
      minutes: MINUTES,
      seed: SEED,
      perSecond: PER_SECOND,
      node: process.version,
      happened,
      counts,
      wrong,
    };
    await writeFile(`${file}.result.json`, JSON.stringify(result));
    const ended = await Promise.all(
      brokers.map(async ({ child }) => {
        const exit = once(child, 'exit');
        child.kill('SIGTERM');
        return (await exit)[0] as number | null;
      }),
    );
    caller.kill();
    callee.kill();
    await Promise.all(Object.values(proxies).map((proxy) => proxy.close()));
    const lines = (await readFile(file, 'utf8')).trim().split('\n');
    // The samples are in its folder, unless they have a place of their own.
    await world.close();
    const series = lines.map(
      (text) => JSON.parse(text) as { at: number; usage: Record<string, SoakSample> },
    );
    if (process.env['SOAK_WRITE'] === '1') await writeSoak(series, result);
    expect({ wrong, ended }).toEqual({ wrong: [], ended: [0, 0, 0] });
    expect(
      Object.fromEntries(Object.entries(counts).map(([name, of]) => [name, Object.keys(of)])),
    ).toEqual(Object.fromEntries(Object.keys(counts).map((name) => [name, ['200']])));
    // A shorter one only shows that it runs.
    if (MINUTES < 30) return;
    expect(flatness(series).filter(({ isFlat }) => !isFlat)).toEqual([]);
  },
  (MINUTES + 10) * MINUTE,
);
