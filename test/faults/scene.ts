import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll } from '@jest/globals';
import { CreateSecretCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { createLocalJWKSet, decodeJwt, jwtVerify, type JSONWebKeySet } from 'jose';
import { selfSignedCertificate } from '../support/certificates.js';
import {
  BASE_ENVIRONMENT,
  CLI,
  startBroker,
  type BrokerProcess,
  type Exit,
} from '../support/broker-process.js';
import { fixedPort } from '../support/fixed-port.js';
import { withCoreOf } from '../support/rotation-scene.js';
import { writeSecret } from '../../src/composition/secret-file.js';
import { startProviderServer, type ProviderServer } from '../support/provider-server.js';
import { FaultProxy, type Fault } from './fault-proxy.js';
import { startSecretsManager } from './secrets-manager.js';
import { TEMPORARY } from '../support/temporary-folder.js';

/** The ways that can break. */
export const PLACES = ['store', 'token endpoint', 'keys', 'client'] as const;
export type Place = (typeof PLACES)[number];

/** The lives of a run, in seconds; all else follows from them. */
export interface Lives {
  readonly token: number;
  /** Seconds between two slots; a divisor of 60. */
  readonly slot: number;
  readonly ttl: number;
  readonly skew: number;
  readonly minRemaining: number;
}

/** The peer that every broker knows. */
export const PEER = { id: 'orders', secret: randomBytes(32).toString('base64url') };
const CLIENT_ID = 'broker';
const AUDIENCE = 'https://services.example.test';
const MACHINE = new URL('faulty-machine.mjs', import.meta.url).href;

/** What one question brought. Instants in milliseconds since the Unix epoch. */
export interface Sample {
  readonly at: number;
  /** How long the answer took. */
  readonly ms: number;
  /** The status, the client's error code, or `no answer`. */
  readonly status: number | string;
  /** When the token that came was minted, when it expires, and what is wrong with it. */
  readonly mintedAt?: number;
  readonly expiresAt?: number;
  readonly wrong?: string;
  /** What the client says of itself. */
  readonly usable?: boolean;
}

/** Servers that all scenes share, and what can be known of their tokens. */
export class World {
  readonly #verified = new Map<string, string>();
  #keys: JSONWebKeySet = { keys: [] };

  private constructor(
    readonly lives: Lives,
    readonly provider: ProviderServer,
    /** Where Secrets Manager is. */
    readonly storeUrl: string,
    readonly folder: string,
    readonly certificates: {
      trusted: ReturnType<typeof selfSignedCertificate>;
      other: ReturnType<typeof selfSignedCertificate>;
    },
    /** Milliseconds that a busy machine may add to an answer: within them nothing is held against the broker. */
    readonly slack: number,
    private readonly end: () => Promise<void>,
  ) {}

  /** @param storeUrl where Secrets Manager is, instead of one in this process. */
  static async open(lives: Lives, storeUrl?: string, slack = 0): Promise<World> {
    process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] = 'true';
    const folder = await mkdtemp(join(TEMPORARY, 'faults-'));
    const certificates = { trusted: selfSignedCertificate(), other: selfSignedCertificate() };
    await writeFile(join(folder, 'ca.pem'), certificates.trusted.cert);
    const provider = await startProviderServer({ tokenLifeSeconds: lives.token });
    const store = storeUrl === undefined ? await startSecretsManager() : undefined;
    const end = async (): Promise<void> => {
      await provider.close();
      await store?.close();
      await rm(folder, { recursive: true, force: true });
    };
    const world = new World(
      lives,
      provider,
      storeUrl ?? store?.url ?? '',
      folder,
      certificates,
      slack,
      end,
    );
    world.#keys = (await (await fetch(provider.jwksUri)).json()) as JSONWebKeySet;
    return world;
  }

  close(): Promise<void> {
    return this.end();
  }

  /** The settings of a broker whose provider and times are this world's. Its store is to be named yet. */
  get settings(): NodeJS.ProcessEnv {
    const { token: _, slot, ttl, skew, minRemaining } = this.lives;
    return {
      BROKER_ISSUER: this.provider.issuer,
      BROKER_AUDIENCE: AUDIENCE,
      BROKER_ROTATION_CRON: `*/${slot} * * * * *`,
      BROKER_CACHE_TTL_SECONDS: String(ttl),
      BROKER_CLOCK_SKEW_SECONDS: String(skew),
      BROKER_MIN_REMAINING_SECONDS: String(minRemaining),
    };
  }

  /** The settings of AWS's SDK, and of a broker whose secrets are in Secrets Manager: made now, with credentials and a peer. */
  async secretsIn(name: string, endpoint = this.storeUrl): Promise<NodeJS.ProcessEnv> {
    const aws = new SecretsManagerClient({
      endpoint: this.storeUrl,
      region: 'eu-central-1',
      credentials: { accessKeyId: 'faults', secretAccessKey: 'faults' },
    });
    const create = (secret: string, SecretString?: string): Promise<unknown> =>
      aws.send(
        new CreateSecretCommand({
          Name: `${name}/${secret}`,
          ...(SecretString !== undefined && { SecretString }),
        }),
      );
    await create('credentials', CREDENTIALS);
    await create('token');
    await create('peers', PEERS);
    aws.destroy();
    return {
      ...Object.fromEntries(
        Object.keys(process.env)
          .filter((key) => key.startsWith('AWS_'))
          .map((key) => [key, undefined]),
      ),
      AWS_ENDPOINT_URL_SECRETS_MANAGER: endpoint,
      AWS_REGION: 'eu-central-1',
      AWS_ACCESS_KEY_ID: 'faults',
      AWS_SECRET_ACCESS_KEY: 'faults',
      AWS_EC2_METADATA_DISABLED: 'true',
      AWS_CONFIG_FILE: join(this.folder, 'none'),
      AWS_SHARED_CREDENTIALS_FILE: join(this.folder, 'none'),
      AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true',
      BROKER_SECRET_STORE: 'aws',
      BROKER_CREDENTIALS_SECRET_ID: `${name}/credentials`,
      BROKER_TOKEN_SECRET_ID: `${name}/token`,
      BROKER_PEERS_SECRET_ID: `${name}/peers`,
    };
  }

  /** The settings of a broker whose secrets are in an embedded store: made now, with credentials and a peer. */
  async secretsInFolder(dataDir: string): Promise<NodeJS.ProcessEnv> {
    const env = { ...this.settings, BROKER_DATA_DIR: dataDir };
    await withCoreOf(env, async ({ store, config }) => {
      await writeSecret(store, config.tokens[0].credentialsSecretId, CREDENTIALS);
      await writeSecret(store, config.secrets.peersSecretId, PEERS);
    });
    return env;
  }

  /** Judges a token as a receiver does, and with the promise that the broker gives about its life. */
  async judge(
    token: string,
    askedAt: number,
    cameAt: number,
  ): Promise<Pick<Sample, 'mintedAt' | 'expiresAt' | 'wrong'>> {
    let wrong = this.#verified.get(token);
    if (wrong === undefined) {
      wrong = await jwtVerify(token, createLocalJWKSet(this.#keys), {
        issuer: this.provider.issuer,
        audience: AUDIENCE,
        currentDate: new Date(0),
      }).then(
        ({ payload }) => (payload['client_id'] === CLIENT_ID ? '' : "it is not the broker's"),
        (error: Error) => error.message,
      );
      this.#verified.set(token, wrong);
    }
    if (wrong !== '') return { wrong };
    const { exp = 0, iat = 0 } = decodeJwt(token);
    const times = { mintedAt: iat * 1_000, expiresAt: exp * 1_000 };
    if (times.expiresAt <= cameAt - this.slack) return { ...times, wrong: 'it has expired' };
    // Whoever answered decided after it was asked.
    if (times.expiresAt - askedAt <= this.lives.skew * 1_000)
      return { ...times, wrong: 'its life is under the skew' };
    return times;
  }
}

const CREDENTIALS = JSON.stringify({ client_id: CLIENT_ID, client_secret: 'right-secret' });

/** The peers secret with {@link PEER}. */
const PEERS = JSON.stringify({
  peers: {
    [PEER.id]: {
      secret_sha256: createHash('sha256').update(PEER.secret).digest('base64url'),
      roles: ['token', 'admin'],
      enabled: true,
      created_at: '2026-01-01T00:00:00Z',
    },
  },
});

/** The `Authorization` header of {@link PEER}. */
export const AUTHORIZATION = `Basic ${Buffer.from(`${PEER.id}:${PEER.secret}`).toString('base64')}`;

/** Somebody who asks for the token every quarter of a second, whether the answers come or not. */
export interface Asker {
  readonly samples: readonly Sample[];
  ask(): void;
  rest(): void;
  stop(): Promise<void>;
}

export const ASK_EVERY = 250;
/** Questions that wait at once. */
const MOST_WAITING = 64;

/** One question to a broker over HTTP. */
export async function askOnce(world: World, url: string): Promise<Sample> {
  const at = Date.now();
  try {
    const response = await fetch(`${url}/v1/token`, {
      headers: { authorization: AUTHORIZATION },
      signal: AbortSignal.timeout(60_000),
    });
    const text = await response.text();
    const cameAt = Date.now();
    const sample = { at, ms: cameAt - at, status: response.status };
    if (response.status === 503 && !response.headers.has('retry-after')) {
      return { ...sample, status: '503 without Retry-After' };
    }
    if (response.status !== 200) return sample;
    const { access_token: token, expires_in: life } = JSON.parse(text) as {
      access_token: string;
      expires_in: number;
    };
    const judged = await world.judge(token, at, cameAt);
    const left = ((judged.expiresAt ?? 0) - at) / 1_000;
    return {
      ...sample,
      ...judged,
      ...(judged.wrong === undefined &&
        life > left + 1 && { wrong: `expires_in is ${life}, and ${left} are left` }),
    };
  } catch {
    return { at, ms: Date.now() - at, status: 'no answer' };
  }
}

/** @param url the broker's, or a function that gives it anew for each question. */
export function httpAsker(world: World, url: string | (() => string)): Asker {
  const samples: Sample[] = [];
  const pending = new Set<Promise<unknown>>();
  let timer: NodeJS.Timeout | undefined;
  const once = (): void => {
    if (pending.size >= MOST_WAITING) return;
    const asked = askOnce(world, typeof url === 'string' ? url : url()).then((sample) =>
      samples.push(sample),
    );
    pending.add(asked);
    void asked.finally(() => pending.delete(asked));
  };
  return {
    samples,
    ask: () => {
      timer ??= setInterval(once, ASK_EVERY);
      once();
    },
    rest: () => {
      clearInterval(timer);
      timer = undefined;
    },
    stop: async () => {
      clearInterval(timer);
      await Promise.race([
        Promise.allSettled(pending),
        new Promise((resolve) => setTimeout(resolve, 1_000)),
      ]);
    },
  };
}

const children = new Set<ChildProcessWithoutNullStreams>();
const CLIENT_PEER = fileURLToPath(new URL('client-peer.mjs', import.meta.url));
const CLIENT = new URL('../../dist/client/service-token-client.js', import.meta.url).href;

/** A service in a process of its own, which asks by the client. */
export async function clientAsker(
  world: World,
  url: string,
  env: NodeJS.ProcessEnv,
): Promise<Asker> {
  const samples: Sample[] = [];
  const { ttl, skew } = world.lives;
  const options = {
    module: CLIENT,
    everyMs: ASK_EVERY,
    brokers: url,
    peer: PEER,
    allowInsecureHttp: true,
    ttlSeconds: ttl,
    skewSeconds: skew,
  };
  const child = spawn(process.execPath, [CLIENT_PEER, JSON.stringify(options)], {
    env: { ...BASE_ENVIRONMENT, ...env },
  });
  children.add(child);
  child.once('close', () => children.delete(child));
  let complaints = '';
  child.stderr.on('data', (text: Buffer) => (complaints += text.toString()));
  child.stdin.on('error', () => undefined);
  await new Promise<void>((resolve, reject) => {
    child.once('close', () => reject(new Error(`The client's process ended: ${complaints}`)));
    createInterface({ input: child.stdout }).on('line', (line) => {
      const said = JSON.parse(line) as Sample & { ready?: true; token?: string };
      if (said.ready === true) resolve();
      else void note(said);
    });
  });
  async function note({ token, ...sample }: Sample & { token?: string }): Promise<void> {
    const judged =
      token === undefined ? {} : await world.judge(token, sample.at, sample.at + sample.ms);
    // The client knows of whole seconds, counted from before it asked: it gives a token up a little earlier.
    const { expiresAt: jwtExpiresAt } = judged;
    const expiresAt = Math.min(sample.expiresAt ?? Infinity, jwtExpiresAt ?? Infinity);
    samples.push({ ...sample, ...judged, ...(jwtExpiresAt !== undefined && { expiresAt }) });
  }
  return {
    samples,
    ask: () => child.stdin.write('ask\n'),
    rest: () => child.stdin.write('rest\n'),
    stop: () =>
      new Promise((resolve) => {
        child.once('close', () => resolve());
        child.kill('SIGKILL');
      }),
  };
}

let lastStart: Promise<unknown> = Promise.resolve();

/** A start of a process keeps a core busy for a second: many at once would slow down what is measured beside them. */
export function oneAtATime<R>(run: () => Promise<R>): Promise<R> {
  const result = lastStart.then(run, run);
  lastStart = result;
  return result;
}

/** One broker with a breakable way to one place, and somebody who asks it. */
export class Scene {
  #brokerUrl = '';

  private constructor(
    readonly world: World,
    readonly place: Place,
    readonly fault: Fault,
    readonly proxy: FaultProxy,
    /** The broker's settings. */
    readonly env: NodeJS.ProcessEnv,
  ) {}

  /** @param name tells it from all other scenes of the world. */
  static async open(world: World, name: string, place: Place, fault: Fault): Promise<Scene> {
    const dnsFile = join(world.folder, `${name}.unresolved`);
    let scene: Scene;
    const targets: Record<Place, () => string> = {
      store: () => world.storeUrl,
      'token endpoint': () => world.provider.origin,
      keys: () => world.provider.origin,
      client: () => scene.#brokerUrl,
    };
    const proxy = await FaultProxy.listen({
      target: targets[place],
      ...(fault === 'TLS failure' && { tls: world.certificates }),
      ...(fault === 'DNS failure' && { dnsFile }),
    });
    const through = (of: Place, url: string): string => (of === place ? proxy.url : url);
    const env = {
      ...world.settings,
      ...(await world.secretsIn(name, through('store', world.storeUrl))),
      BROKER_TOKEN_ENDPOINT: `${through('token endpoint', world.provider.origin)}/token`,
      BROKER_JWKS_URI: `${through('keys', world.provider.origin)}/jwks`,
      ...(fault === 'TLS failure' && { NODE_EXTRA_CA_CERTS: join(world.folder, 'ca.pem') }),
      ...(fault === 'DNS failure' && {
        NODE_OPTIONS: `--import ${MACHINE}`,
        FAULTS_DNS_FILE: dnsFile,
        BROKER_ALLOW_INSECURE_HTTP: 'true',
      }),
    };
    scene = new Scene(world, place, fault, proxy, env);
    return scene;
  }

  /** Starts the broker, and somebody who asks it: for the place `client` by the client, through the proxy. */
  async start(): Promise<{ broker: BrokerProcess; asker: Asker }> {
    const broker = await startBroker(['serve'], this.env);
    this.#brokerUrl = broker.url;
    const asker =
      this.place === 'client'
        ? await clientAsker(this.world, this.proxy.url, this.env)
        : httpAsker(this.world, broker.url);
    return { broker, asker };
  }
}

/** A broker that is started by a command of its own, or is not waited for. */
export interface SpawnedBroker {
  readonly url: string;
  readonly pid: number;
  /** All it has written, if anybody reads it. */
  output(): string;
  /** Resolves once it answers; false when it ended before, or did not in time. */
  answers(patience?: number): Promise<boolean>;
  /** Sends a signal and waits for the end. */
  stop(signal?: NodeJS.Signals): Promise<Exit>;
  readonly exit: Promise<Exit>;
}

/** How to run a {@link SpawnedBroker}. */
export interface SpawnOptions {
  /** What runs node: a command that takes a command. Default: none. */
  readonly command?: readonly string[];
  /** Whether anybody reads what it writes. Default: true. */
  readonly isRead?: boolean;
  readonly uid?: number;
  readonly port?: number;
}

/** Starts `serve` on a port of its own, and waits for nothing. */
export function spawnBroker(env: NodeJS.ProcessEnv, options: SpawnOptions = {}): SpawnedBroker {
  const { command = [], isRead = true, uid, port = fixedPort() } = options;
  const url = `http://127.0.0.1:${port}`;
  const [program = '', ...args]: string[] = [...command, process.execPath, CLI, 'serve'];
  const child = spawn(program, args, {
    cwd: tmpdir(),
    env: { ...BASE_ENVIRONMENT, ...env, PORT: String(port) },
    ...(uid !== undefined && { uid, gid: uid }),
  });
  children.add(child);
  let output = '';
  const ended = new AbortController();
  const exit = new Promise<Exit>((resolve) => {
    // Not `close`: output that nobody reads never closes.
    child.once('exit', (code, signal) => {
      children.delete(child);
      ended.abort();
      resolve({ code, signal });
    });
  });
  if (isRead) {
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => (output += text));
    }
  }
  return {
    url,
    pid: child.pid ?? 0,
    output: () => output,
    answers: async (patience = 60_000) => {
      const deadline = Date.now() + patience;
      while (Date.now() < deadline && !ended.signal.aborted) {
        const answered = await fetch(`${url}/health/live`).then(
          ({ status }) => status === 200,
          () => false,
        );
        if (answered) return true;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      return false;
    },
    stop: (signal = 'SIGTERM') => {
      child.kill(signal);
      return exit;
    },
    exit,
  };
}

// Whatever a test does, its processes end with it.
afterAll(() => {
  for (const child of children) child.kill('SIGKILL');
});
