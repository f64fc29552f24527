import { spawnSync } from 'node:child_process';
import { chmod, chown, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Database } from '../../src/secrets/embedded/database.js';
import { addPeer, listPeers } from '../../src/peers/peer-admin.js';
import { systemClock } from '../../src/tokens/time.js';
import { BrokerError } from '../../src/tokens/errors.js';
import { fixedPort } from '../support/fixed-port.js';
import { ordinaryUser } from '../support/ordinary-user.js';
import { currentVersions, withCoreOf } from '../support/rotation-scene.js';
import { exitOf, readMetrics, seen, wrongTokens, type Span } from './matrix.js';
import {
  askOnce,
  AUTHORIZATION,
  httpAsker,
  Scene,
  spawnBroker,
  World,
  type Lives,
  type Sample,
  type SpawnedBroker,
} from './scene.js';
import { TEMPORARY } from '../support/temporary-folder.js';

/** How a part beside the matrix went. */
export interface PartResult {
  readonly part: string;
  /** What was seen, in words. */
  readonly figures: string;
  /** What should have been otherwise. */
  readonly missed: readonly string[];
  /** Why it could not run here. */
  readonly skipped?: string;
  /** Each time it took a broker to end after SIGTERM. */
  readonly exits?: readonly Span[];
  /** Each time it took to serve again after the cause had ended. */
  readonly recoveries?: readonly Span[];
  /** Requests that failed while brokers were restarted behind a load balancer. */
  readonly failedRequests?: number;
  /** Answers of the server's own failure other than 503. */
  readonly otherFailures?: number;
  readonly wrongTokens?: readonly string[];
}

/** A token lives for half a minute here, so that one can end while a test looks on. */
const SHORT: Lives = { token: 30, slot: 10, ttl: 2, skew: 2, minRemaining: 5 };
/** A day's token, as most have. */
const LONG: Lives = { token: 7_200, slot: 60, ttl: 5, skew: 5, minRemaining: 60 };

const RECOVERS_WITHIN = 15_000;
const ENDS_WITHIN = 10_000;

const seconds = (span: Span): string =>
  span === 'never' ? 'never' : `${(span / 1_000).toFixed(1)} s`;
const isLate = (span: Span, limit: number): boolean => span === 'never' || span > limit;

/** Runs a part in a world of its own. */
async function inWorld(
  part: string,
  lives: Lives,
  act: (world: World, folder: string) => Promise<Omit<PartResult, 'part'>>,
): Promise<PartResult> {
  const world = await World.open(lives);
  const folder = await mkdtemp(join(TEMPORARY, 'faults-part-'));
  // Some brokers run as another user.
  await chmod(folder, 0o755);
  try {
    return { part, ...(await act(world, folder)) };
  } finally {
    await world.close();
    await rm(folder, { recursive: true, force: true });
  }
}

const skipped = (part: string, why: string): PartResult => ({
  part,
  figures: '',
  missed: [],
  skipped: why,
});

/** Waits until something holds; the milliseconds it took, or `never`. */
async function until(holds: () => boolean | Promise<boolean>, patience = 75_000): Promise<Span> {
  const from = Date.now();
  while (Date.now() - from < patience) {
    if (await holds()) return Date.now() - from;
    await sleep(50);
  }
  return 'never';
}

/** A repeatable row of numbers from 0 to below 1. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

function otherFailures(samples: readonly Sample[]): number {
  return samples.filter(({ status }) => /^5(?!03$)/.test(String(status))).length;
}

/**
 * Brokers on one embedded store that rotates every five seconds, killed at random, also while they start. Peers are added
 * all the while.
 */
export function killAtRandom(kills: number): Promise<PartResult> {
  const lives = { ...SHORT, token: 60, slot: 5, ttl: 1, skew: 1, minRemaining: 3 };
  return inWorld(`kill -9 at random, ${kills} times`, lives, async (world, folder) => {
    const dataDir = join(folder, 'data');
    const env = await world.secretsInFolder(dataDir);
    const random = seeded(20_260_301);
    const ports = Array.from({ length: 6 }, () => fixedPort());
    let left = kills;
    const samples: Sample[] = [];
    const added: string[] = [];
    const done = new AbortController();
    const adding = (async () => {
      while (!done.signal.aborted) {
        const id = `peer-${added.length}`;
        // Only what is acknowledged must be kept: in a store that everybody writes to, an edit may have to give up.
        await withCoreOf(env, async ({ store, config, clock }) => {
          const secretId = config.secrets.peersSecretId;
          await addPeer({ store, secretId, clock }, id, ['token']);
          added.push(id);
        }).catch((error: unknown) => {
          if (!(error instanceof BrokerError) || error.kind !== 'retry') throw error;
        });
        await sleep(2_000);
      }
    })();
    await Promise.all(
      ports.map(async (port) => {
        while (left > 0) {
          left -= 1;
          const broker = spawnBroker(env, { port });
          // Half of them while they start, half while they serve.
          const doesServe = random() < 0.5 && (await broker.answers());
          const killedAt = Date.now() + random() * 1_500;
          while (Date.now() < killedAt) {
            if (doesServe) samples.push(await askOnce(world, broker.url));
            await sleep(100);
          }
          await broker.stop('SIGKILL');
        }
      }),
    );
    done.abort();
    await adding;

    const missed: string[] = [];
    const database = new Database(join(dataDir, 'secrets.db'), systemClock);
    const integrity = database.rows('PRAGMA integrity_check')[0]?.['integrity_check'];
    database.close();
    if (integrity !== 'ok') missed.push(`the store is damaged: ${String(integrity)}`);
    const last = spawnBroker(env);
    await last.answers();
    const recovery = await until(async () => (await askOnce(world, last.url)).status === 200);
    const after = await askOnce(world, last.url);
    await last.stop('SIGKILL');
    await withCoreOf(env, async ({ store, config, rotator }) => {
      const [{ secretId: tokenSecretId }] = config.tokens;
      const { peersSecretId } = config.secrets;
      const current = await currentVersions(store, tokenSecretId);
      if (current.length !== 1) missed.push(`${current.length} versions are current`);
      const newest = Math.max(0, ...samples.map(({ mintedAt = 0 }) => mintedAt));
      if (((await rotator.current())?.generatedAt ?? 0) < newest)
        missed.push('a token that was served is lost');
      const { peers } = await listPeers({ store, secretId: peersSecretId });
      const lost = added.filter((id) => !peers.some((peer) => peer.id === id));
      if (lost.length > 0) missed.push(`peers are lost: ${lost.join(', ')}`);
    });
    const served = samples.filter(({ status }) => status === 200).length;
    if (served === 0 || added.length === 0) missed.push('no token was served, or no peer added');
    if (isLate(recovery, RECOVERS_WITHIN)) missed.push(`serves again after ${seconds(recovery)}`);
    return {
      figures: `${served} tokens served, ${added.length} peers added meanwhile, nothing lost`,
      missed,
      recoveries: [recovery],
      otherFailures: otherFailures(samples),
      wrongTokens: wrongTokens([...samples, after]),
    };
  });
}

/** Many replicas find the same slot due. */
export function replicasAtSlot(count: number): Promise<PartResult> {
  const lives = { ...SHORT, token: 150, slot: 60, ttl: 3, skew: 3, minRemaining: 10 };
  return inWorld(`${count} replicas at one slot`, lives, async (world) => {
    const env = { ...world.settings, ...(await world.secretsIn('replicas')) };
    const brokers = Array.from({ length: count }, () => spawnBroker(env));
    await Promise.all(brokers.map((broker) => broker.answers()));
    await until(async () =>
      (await Promise.all(brokers.map(({ url }) => askOnce(world, url)))).every(
        ({ status }) => status === 200,
      ),
    );
    // A slot that nobody is still busy before.
    const slotAt = Math.ceil((Date.now() + 3_000) / 60_000) * 60_000;
    await sleep(slotAt - 1_000 - Date.now());
    const mintsBefore = world.provider.received('token').length;
    await sleep(1_000);
    const samples: Sample[] = [];
    const taken = await until(async () => {
      const round = await Promise.all(brokers.map(({ url }) => askOnce(world, url)));
      samples.push(...round);
      await sleep(500);
      return round.every(({ mintedAt = 0 }) => mintedAt >= slotAt);
    });
    const mints = world.provider.received('token').length - mintsBefore;
    const exits = await Promise.all(brokers.map((broker) => exitOf(broker)));
    const missed = [
      ...(mints > 2 ? [`${mints} tokens were minted for one slot`] : []),
      // A check of the schedule, and a time to live.
      ...(isLate(taken, 15_000 + 3_000 + 5_000)
        ? [`all serve the new token after ${seconds(taken)}`]
        : []),
      ...(samples.some(({ status }) => status !== 200) ? ['peers were not served'] : []),
    ];
    return {
      figures: `${mints} minted; all serve the new token ${seconds(taken)} after the slot`,
      missed,
      exits,
      otherFailures: otherFailures(samples),
      wrongTokens: wrongTokens(samples),
    };
  });
}

/** A process with mounts of its own, which nobody else sees and which end with it; where the kernel allows it. */
const UNSHARE =
  process.geteuid?.() === 0
    ? ['unshare', '--mount']
    : ['unshare', '--user', '--map-root-user', '--mount'];

function canMount(): boolean {
  const [program = '', ...args] = UNSHARE;
  return spawnSync(program, [...args, 'mount', '-t', 'tmpfs', 'none', '/mnt']).status === 0;
}

/** The embedded store's disk fills up while a broker runs, until no token is left, and is freed again. */
export function fullDisk(): Promise<PartResult> {
  const part = 'full disk';
  if (!canMount()) return Promise.resolve(skipped(part, 'this user may not mount a small disk'));
  return inWorld(part, { ...SHORT, token: 45, slot: 15 }, async (world, folder) => {
    const prepared = join(folder, 'prepared');
    const env = await world.secretsInFolder(prepared);
    const disk = join(folder, 'disk');
    await mkdir(disk);
    const mount = `mount -t tmpfs -o size=1m,mode=700 none ${disk} && cp -a ${prepared}/. ${disk}/ && exec "$@"`;
    const broker = spawnBroker(
      { ...env, BROKER_DATA_DIR: disk },
      { command: [...UNSHARE, 'sh', '-c', mount, 'sh'] },
    );
    await broker.answers();
    const asker = httpAsker(world, broker.url);
    asker.ask();
    await until(() => asker.samples.some(({ status }) => status === 200));
    const filler = `/proc/${broker.pid}/root${disk}/filler`;
    // Until nothing more fits: what the store frees in between is taken as well.
    const freed = new AbortController();
    const filling = (async () => {
      while (!freed.signal.aborted) {
        await writeFile(filler, Buffer.alloc(4_096), { flag: 'a' }).catch(() => sleep(100));
      }
    })();
    const isDead = (): boolean =>
      asker.samples.slice(-20).length === 20 &&
      asker.samples.slice(-20).every(({ status }) => status === 503);
    const died = await until(isDead, 90_000);
    freed.abort();
    await filling;
    const freedAt = Date.now();
    await rm(filler);
    const recovery =
      died === 'never'
        ? 0
        : await until(() =>
            asker.samples.some(({ at, status }) => at >= freedAt && status === 200),
          );
    const exit = await exitOf(broker);
    await asker.stop();
    const log = broker.output();
    const missed = [
      ...(died === 'never' ? [] : log.includes('STORE_FULL') ? [] : ['no line says STORE_FULL']),
      ...(isLate(recovery, RECOVERS_WITHIN)
        ? [`serves again ${seconds(recovery)} after the disk was freed`]
        : []),
    ];
    return {
      figures:
        died === 'never'
          ? 'the store needed no more room, and rotated on'
          : `serves again ${seconds(recovery)} after it was freed`,
      missed,
      exits: [exit],
      recoveries: died === 'never' ? [] : [recovery],
      otherFailures: otherFailures(asker.samples),
      wrongTokens: wrongTokens(asker.samples),
    };
  });
}

/** The data folder becomes read-only while a broker runs; one that starts on it says so and ends. */
export function readOnlyDisk(): Promise<PartResult> {
  const part = 'read-only disk';
  const uid = ordinaryUser();
  const canRun = spawnSync(process.execPath, ['--version'], { uid }).status === 0;
  if (!canRun) return Promise.resolve(skipped(part, 'no other user can run Node.js here'));
  return inWorld(part, SHORT, async (world, folder) => {
    const dataDir = join(folder, 'data');
    const env = await world.secretsInFolder(dataDir);
    const own = async (): Promise<readonly string[]> => {
      const files = spawnSync('ls', ['-A', dataDir])
        .stdout.toString()
        .split('\n')
        .filter((name) => name !== '');
      return [dataDir, ...files.map((name) => join(dataDir, name))];
    };
    for (const path of await own()) await chown(path, uid, uid);
    const modes = async (folderMode: number, fileMode: number): Promise<void> => {
      for (const path of await own()) await chmod(path, path === dataDir ? folderMode : fileMode);
    };
    const running = spawnBroker(env, { uid });
    await running.answers();
    const asker = httpAsker(world, running.url);
    asker.ask();
    await until(() => asker.samples.some(({ status }) => status === 200));
    await modes(0o500, 0o400);
    const startedAt = Date.now();
    const second = spawnBroker(env, { uid });
    const ended = await Promise.race([second.exit, sleep(30_000, undefined, { ref: false })]);
    const took = Date.now() - startedAt;
    await second.stop('SIGKILL');
    await sleep(25_000);
    await modes(0o700, 0o600);
    const writableAt = Date.now();
    const recovery = await until(() =>
      asker.samples.some(({ mintedAt = 0 }) => mintedAt >= writableAt),
    );
    const exit = await exitOf(running);
    await asker.stop();
    const missed = [
      ...(ended === undefined || ended.code === 0
        ? ['a broker that starts on it does not end']
        : []),
      ...(second.output().includes('STORE_READ_ONLY') ||
      second.output().includes('read-only') ||
      second.output().includes('chmod')
        ? []
        : ['a broker that starts on it does not say why it ends']),
      ...(isLate(recovery, 20_000)
        ? [`a new token is served ${seconds(recovery)} after it was writable again`]
        : []),
    ];
    const { counts } = seen(asker.samples, 0, Number.POSITIVE_INFINITY);
    return {
      figures: `a broker that starts on it says so and ends after ${seconds(took)}; one that runs serves on (${Object.keys(counts).join(', ')}), and a new token ${seconds(recovery)} after it was writable again`,
      missed,
      exits: [exit],
      otherFailures: otherFailures(asker.samples),
      wrongTokens: wrongTokens(asker.samples),
    };
  });
}

/** Nobody reads the log, while thousands of requests are answered. */
export function blockedOutput(requests: number): Promise<PartResult> {
  return inWorld('blocked stdout', LONG, async (world) => {
    const env = { ...world.settings, ...(await world.secretsIn('blocked')) };
    const broker = spawnBroker(env, { isRead: false });
    await broker.answers();
    const samples: Sample[] = [];
    await until(async () => (await askOnce(world, broker.url)).status === 200);
    for (let sent = 0; sent < requests; sent += 50) {
      samples.push(
        ...(await Promise.all(Array.from({ length: 50 }, () => askOnce(world, broker.url)))),
      );
    }
    const metrics = await readMetrics(broker.url);
    const dropped = [...metrics]
      .filter(([name]) => /dropped/.test(name))
      .reduce((all, [, value]) => all + value, 0);
    const exit = await exitOf(broker);
    const failed = samples.filter(({ status }) => status !== 200).length;
    const missed = [
      ...(failed > 0 ? [`${failed} requests failed`] : []),
      ...(dropped === 0 ? ['no metric counts the lines that are dropped'] : []),
    ];
    return {
      figures: `${requests} requests answered; ends ${seconds(exit)} after SIGTERM`,
      missed,
      exits: [exit],
      otherFailures: otherFailures(samples),
      wrongTokens: wrongTokens(samples),
    };
  });
}

/**
 * The process stands still past the end of its token, as a paused virtual machine does.
 *
 * @param slack milliseconds that a busy machine may add.
 */
export function frozen(slack = 0): Promise<PartResult> {
  return inWorld('SIGSTOP past the end of the token', SHORT, async (world) => {
    const env = { ...world.settings, ...(await world.secretsIn('frozen')) };
    const broker = spawnBroker(env);
    await broker.answers();
    await until(async () => (await askOnce(world, broker.url)).status === 200);
    const { expiresAt = 0 } = await askOnce(world, broker.url);
    process.kill(broker.pid, 'SIGSTOP');
    await sleep(expiresAt + 3_000 - Date.now());
    process.kill(broker.pid, 'SIGCONT');
    const from = Date.now();
    const samples: Sample[] = [];
    const recovery = await until(async () => {
      samples.push(
        ...(await Promise.all(Array.from({ length: 10 }, () => askOnce(world, broker.url)))),
      );
      return samples.some(({ status }) => status === 200);
    });
    const exit = await exitOf(broker);
    const { counts } = seen(samples, from, Number.POSITIVE_INFINITY);
    return {
      figures: `serves ${seconds(recovery)} after SIGCONT (${Object.entries(counts)
        .map(([status, count]) => `${count} × ${status}`)
        .join(', ')})`,
      missed: isLate(recovery, RECOVERS_WITHIN + slack)
        ? [`serves again after ${seconds(recovery)}`]
        : [],
      exits: [exit],
      recoveries: [recovery],
      otherFailures: otherFailures(samples),
      wrongTokens: wrongTokens(samples),
    };
  });
}

const MACHINE = new URL('faulty-machine.mjs', import.meta.url).href;

/** A broker whose clock is wrong by so many seconds, among servers whose clocks are right. */
export function wrongClock(ahead: number): Promise<PartResult> {
  const minutes = Math.abs(ahead) / 60;
  const by = minutes < 60 ? `${minutes} minutes` : `${minutes / 60} hour`;
  return inWorld(`clock ${by} ${ahead < 0 ? 'behind' : 'ahead'}`, LONG, async (world) => {
    const env = {
      ...world.settings,
      ...(await world.secretsIn('other-time')),
      NODE_OPTIONS: `--import ${MACHINE}`,
      FAULTS_CLOCK_AHEAD: String(ahead * 1_000),
    };
    const broker = spawnBroker(env);
    await broker.answers();
    const served = await until(async () => (await askOnce(world, broker.url)).status === 200);
    // Two reads, so that two servers have told the time.
    await sleep(12_000);
    const at = Date.now();
    const response = await fetch(`${broker.url}/v1/token`, {
      headers: { authorization: AUTHORIZATION },
    });
    const body = (await response.json()) as { access_token?: string; expires_in?: number };
    const judged =
      body.access_token === undefined ? {} : await world.judge(body.access_token, at, Date.now());
    const off =
      body.expires_in === undefined || judged.expiresAt === undefined
        ? undefined
        : Math.round(body.expires_in - (judged.expiresAt - at) / 1_000);
    const metrics = await (await fetch(`${broker.url}/metrics`)).text();
    const counted = [
      ...metrics.matchAll(/^service_token_broker_[a-z_]*clock[a-z_]*(?:\{[^}]*\})? (\S+)$/gm),
    ].some(([, value]) => Number(value) !== 0);
    const exit = await exitOf(broker);
    const isLogged = broker
      .output()
      .split('\n')
      .some((line) => /clock/i.test(line) && /"level":"?(?:warn|error|40|50)/.test(line));
    const missed = [
      ...(counted ? [] : ['no metric tells']),
      ...(isLogged ? [] : ['no warning tells']),
    ];
    return {
      figures:
        served === 'never'
          ? `503 with the reason`
          : `expires_in is ${off === undefined ? 'not known' : `${off} s off`}`,
      missed,
      exits: [exit],
      ...(judged.wrong !== undefined && { wrongTokens: [judged.wrong] }),
    };
  });
}

/** So many connections that are opened and never used. */
export function idleConnections(count: number): Promise<PartResult> {
  const part = `${count} idle connections`;
  const limit = Number(spawnSync('sh', ['-c', 'ulimit -n']).stdout.toString());
  if (limit < count * 2 + 500)
    return Promise.resolve(skipped(part, `a process may open ${limit} files`));
  return inWorld(part, LONG, async (world) => {
    const env = { ...world.settings, ...(await world.secretsIn('idle')) };
    const broker = spawnBroker(env);
    await broker.answers();
    await until(async () => (await askOnce(world, broker.url)).status === 200);
    const { port } = new URL(broker.url);
    const sockets: Socket[] = [];
    for (let opened = 0; opened < count; opened += 1) {
      const socket = connect(Number(port), '127.0.0.1').on('error', () => undefined);
      sockets.push(socket);
      if (opened % 100 === 99)
        await new Promise((resolve) => socket.once('connect', resolve).once('close', resolve));
    }
    const samples = await Promise.all(Array.from({ length: 50 }, () => askOnce(world, broker.url)));
    const ready = await fetch(`${broker.url}/health/ready`);
    const exit = await exitOf(broker);
    for (const socket of sockets) socket.destroy();
    const { counts, longestWait } = seen(samples, 0, Number.POSITIVE_INFINITY);
    const failed = samples.length - (counts['200'] ?? 0);
    return {
      figures: `50 peers are served within ${seconds(longestWait)}; ends ${seconds(exit)} after SIGTERM`,
      missed: [
        ...(failed > 0 ? [`${failed} of 50 peers are not served`] : []),
        ...(ready.status === 200 ? [] : [`readiness is ${ready.status}`]),
      ],
      exits: [exit],
      otherFailures: otherFailures(samples),
      wrongTokens: wrongTokens(samples),
    };
  });
}

/** How long a balancer goes on to send requests to a broker that is told to stop. */
const SHUTDOWN_DELAY = 2;

/** Two brokers behind a load balancer that looks at readiness, restarted one after the other under load. */
export function rollingRestart(): Promise<PartResult> {
  return inWorld('rolling restart behind a load balancer', LONG, async (world) => {
    const env = {
      ...world.settings,
      ...(await world.secretsIn('rolling')),
      BROKER_SHUTDOWN_DELAY_SECONDS: String(SHUTDOWN_DELAY),
    };
    const ports = [fixedPort(), fixedPort()];
    const start = (port: number): SpawnedBroker => spawnBroker(env, { port });
    const brokers = ports.map(start);
    const isIn = new Set<string>();
    const look = async (url: string): Promise<void> => {
      try {
        const { status } = await fetch(`${url}/health/ready`, {
          signal: AbortSignal.timeout(5_000),
        });
        if (status === 200) isIn.add(url);
        else isIn.delete(url);
      } catch (error) {
        // An answer that is late says nothing; a connection that is refused does.
        if ((error as Error).name !== 'TimeoutError') isIn.delete(url);
      }
    };
    let turn = 0;
    const balanced = (): string => {
      const urls = isIn.size > 0 ? [...isIn] : brokers.map(({ url }) => url);
      return urls[(turn += 1) % urls.length] ?? '';
    };
    const looking = setInterval(() => {
      for (const { url } of brokers) void look(url);
    }, 250);
    try {
      await until(() => isIn.size === 2);
      const askers = Array.from({ length: 10 }, () => httpAsker(world, balanced));
      for (const one of askers) one.ask();
      const exits: Span[] = [];
      for (const [index, port] of ports.entries()) {
        await sleep(1_000);
        const broker = brokers[index];
        if (broker === undefined) continue;
        exits.push(await exitOf(broker));
        isIn.delete(broker.url);
        brokers[index] = start(port);
        await brokers[index].answers();
        await until(() => isIn.size === 2);
      }
      for (const one of askers) {
        one.rest();
        await one.stop();
      }
      const samples = askers.flatMap((one) => one.samples);
      const failedRequests = samples.filter(({ status }) => status !== 200).length;
      for (const broker of brokers) await broker.stop('SIGKILL');
      return {
        figures: Object.entries(seen(samples, 0, Number.POSITIVE_INFINITY).counts)
          .map(([status, count]) => `${count} × ${status}`)
          .join(', '),
        missed: [],
        exits: exits.map((span) =>
          span === 'never' ? span : Math.max(0, span - SHUTDOWN_DELAY * 1_000),
        ),
        failedRequests,
        otherFailures: otherFailures(samples),
        wrongTokens: wrongTokens(samples),
      };
    } finally {
      clearInterval(looking);
    }
  });
}

/** Two replicas are told to stop while one of them mints, at a provider that hangs, and the other waits for it. */
export function stopWhileRotating(): Promise<PartResult> {
  return inWorld('SIGTERM while one replica mints and one waits for it', SHORT, async (world) => {
    const scene = await Scene.open(world, 'rotating', 'token endpoint', 'hang');
    await scene.proxy.fail('hang');
    const brokers = [spawnBroker(scene.env), spawnBroker(scene.env)];
    await Promise.all(brokers.map((broker) => broker.answers()));
    await sleep(4_000);
    const exits = await Promise.all(brokers.map((broker) => exitOf(broker)));
    await scene.proxy.close();
    return { figures: `they end after ${exits.map(seconds).join(' and ')}`, missed: [], exits };
  });
}

/** Whether an end after SIGTERM took too long, with so many milliseconds that a busy machine may add. */
export const endsLate = (exit: Span, slack: number): boolean => isLate(exit, ENDS_WITHIN + slack);
