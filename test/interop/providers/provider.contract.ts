import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import type { INestApplication } from '@nestjs/common';
import { createRemoteKeySet, type IssuerOptions } from '../../../src/guard/index.js';
import { writeSecret } from '../../../src/composition/secret-file.js';
import type { BrokerError } from '../../../src/tokens/errors.js';
import { parseServiceToken } from '../../../src/tokens/service-token.js';
import { createApp, listen } from '../../guard/support/nest-app.js';
import { OrdersModule } from '../../guard/support/orders.js';
import {
  runCommand,
  startBroker,
  type BrokerProcess,
  type CommandResult,
} from '../../support/broker-process.js';
import { withCoreOf } from '../../support/rotation-scene.js';
import type { TokenAnswer } from './oauth.js';

/** Who the receivers are, and what the broker asks for. */
export const API = 'https://api.example.test';

/** What the credentials secret holds. */
export type Credentials = Readonly<Record<string, unknown>> & { readonly client_id: string };

/** A client, and the settings that go with it. */
export interface SetUp {
  readonly credentials: Credentials;
  readonly settings?: NodeJS.ProcessEnv;
}

/** A mistake that people make at a provider, and what the broker must say about it. */
export interface Mistake extends SetUp {
  readonly code: string;
  /** What the message must name, for whoever has to act. */
  readonly says: RegExp;
}

/** A provider that runs, with clients for each test, and how it is used. */
export interface RunningProvider {
  readonly issuer: string;
  readonly jwksUri: string;
  /** Settings of every broker, besides issuer and audience. */
  readonly settings: NodeJS.ProcessEnv;
  /** How receivers trust it, besides issuer, audience and keys. */
  readonly receivers: Pick<IssuerOptions, 'profile'> & Partial<IssuerOptions>;
  readonly withSecret: Credentials;
  readonly withKey: Credentials;
  /** A client with this signing algorithm, which the provider may use for all from now on. */
  readonly algorithms: Readonly<Record<string, () => Promise<Credentials>>>;
  /** Tokens of `ann`, who logged in with her browser at the client `web`. */
  customer(): Promise<TokenAnswer>;
  /** Tokens that are refused although the provider signed them, by what they are. */
  readonly refused: Readonly<Record<string, () => Promise<string>>>;
  /** Other tokens that speak for `ann`, by what they are. */
  readonly customers: Readonly<Record<string, () => Promise<string>>>;
  readonly mistakes: Readonly<Record<string, Mistake>>;
  /** Other ways to set a broker up that docs/guard.md shows. */
  readonly otherSetUps: Readonly<Record<string, SetUp>>;
  /** Signs with a new key from now on; the old one stays published. */
  changeKey(): Promise<void>;
  /** No longer publishes the keys that were there before the last {@link changeKey}. */
  withdrawOldKeys(): Promise<void>;
}

/** A key pair that a client of the provider signs with, as JWKs. */
export function clientKey(): { readonly privateJwk: object; readonly publicJwks: object } {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const also = { kid: randomUUID(), alg: 'RS256', use: 'sig' };
  return {
    privateJwk: { ...privateKey.export({ format: 'jwk' }), ...also },
    publicJwks: { keys: [{ ...publicKey.export({ format: 'jwk' }), ...also }] },
  };
}

/** The value of an environment variable that `run.sh` sets, or a suite that is skipped. */
export function describeWith(variable: string, name: string, suite: (value: string) => void): void {
  const value = process.env[variable];
  (value === undefined ? describe.skip : describe)(name, () => suite(value ?? ''));
}

/** A broker's commands, on a data folder of its own. */
class Broker {
  readonly #env: NodeJS.ProcessEnv;
  readonly #folder: string;

  private constructor(env: NodeJS.ProcessEnv, folder: string) {
    this.#env = env;
    this.#folder = folder;
  }

  static async with(
    provider: RunningProvider,
    credentials: Credentials,
    settings: NodeJS.ProcessEnv = {},
  ): Promise<Broker> {
    const folder = await newFolder();
    const broker = new Broker({ ...environment(provider, folder), ...settings }, folder);
    await broker.succeed(['credentials', 'set'], JSON.stringify(credentials));
    return broker;
  }

  run(args: readonly string[], input?: string): Promise<CommandResult> {
    return runCommand(['--json', ...args], this.#env, input === undefined ? {} : { input });
  }

  /** Runs a command that must succeed. @returns what it wrote. */
  async succeed<T extends object>(args: readonly string[], input?: string): Promise<T> {
    const { code, stdout, stderr } = await this.run(args, input);
    expect({ args, code, ...(code !== 0 && { stdout, stderr }) }).toEqual({ args, code: 0 });
    return JSON.parse(stdout) as T;
  }

  async rotate(): Promise<string> {
    const { result, version_id } = await this.succeed<{ result: string; version_id: string }>([
      'rotate',
    ]);
    expect(result).toBe('rotated');
    return version_id;
  }

  /** The current service token. */
  async token(): Promise<string> {
    const shown = await this.succeed<{ access_token: string }>(['status', '--show-token']);
    return shown.access_token;
  }

  serve(): Promise<BrokerProcess> {
    return startBroker(['serve'], this.#env);
  }

  /** Adds a peer who may do everything. @returns the value of its Authorization header. */
  async addPeer(): Promise<string> {
    const file = join(this.#folder, 'peer.json');
    const roles = ['--role', 'token', 'admin'];
    await this.succeed(['peers', 'add', 'orders', ...roles, '--secret-file', file]);
    const { id, secret } = JSON.parse(await readFile(file, 'utf8')) as Record<string, string>;
    return `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}`;
  }

  async doctor(): Promise<Examined> {
    const { code, stdout } = await this.run(['doctor', '--mint']);
    const { checks } = JSON.parse(stdout) as { checks: readonly Check[] };
    return { code, complaints: checks.filter(({ state }) => /warning|failed/.test(state)) };
  }
}

interface Check {
  readonly check: string;
  readonly state: string;
  readonly message: string;
  readonly code?: string;
}
interface Examined {
  readonly code: number | null;
  readonly complaints: readonly Check[];
}

const folders: string[] = [];

async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'provider-broker-'));
  folders.push(folder);
  return folder;
}

function environment({ issuer, settings }: RunningProvider, folder: string): NodeJS.ProcessEnv {
  return {
    BROKER_DATA_DIR: join(folder, 'data'),
    BROKER_ISSUER: issuer,
    BROKER_AUDIENCE: API,
    ...settings,
  };
}

/** Rotates in this process, with an empty store. @returns the token. @throws {BrokerError} */
async function mint(
  provider: RunningProvider,
  credentials: Credentials,
  settings: NodeJS.ProcessEnv = {},
): Promise<string> {
  const env = { ...environment(provider, await newFolder()), ...settings };
  return withCoreOf(env, async ({ store, config, rotator }) => {
    const [{ credentialsSecretId, secretId: tokenSecretId }] = config.tokens;
    await writeSecret(store, credentialsSecretId, JSON.stringify(credentials));
    await rotator.rotate({ trigger: 'cli' });
    return parseServiceToken((await store.read(tokenSecretId)).value).accessToken;
  });
}

const applications: INestApplication[] = [];

/** A service with the guard, which has seen none of the provider's keys yet. */
async function startReceiver({ issuer, jwksUri, receivers }: RunningProvider): Promise<Receiver> {
  const keys = createRemoteKeySet({ jwksUri });
  const module = OrdersModule.with({ issuers: [{ issuer, audiences: API, keys, ...receivers }] });
  const application = await createApp(module, 'fastify');
  applications.push(application);
  const url = await listen(application);
  return {
    ask: async (path, token, scheme = 'Bearer') => {
      const headers = { authorization: `${scheme} ${token}` };
      let response = await fetch(`${url}/${path}`, { headers });
      // A fetch of the keys may fail on a busy machine. The receiver says when to come back, as it does to any caller.
      if (response.status === 503) {
        console.log(await response.text(), keys.state());
        await setTimeout(Number(response.headers.get('retry-after')) * 1000);
        response = await fetch(`${url}/${path}`, { headers });
      }
      return { status: response.status, body: await response.json() };
    },
  };
}
interface Receiver {
  /** Calls a handler, `service` or `customer`, with a token. */
  ask(
    path: 'service' | 'customer',
    token: string,
    scheme?: string,
  ): Promise<{ readonly status: number; readonly body: unknown }>;
}

function accepted(kind: 'service' | 'customer'): object {
  return { status: 200, body: expect.objectContaining({ kind }) };
}

/** A part of a token that nobody verified. */
function part(token: string, index: 0 | 1): Readonly<Record<string, unknown>> {
  const text = Buffer.from(token.split('.')[index] ?? '', 'base64url').toString();
  return JSON.parse(text) as Record<string, unknown>;
}

/** The same list for each provider: a broker and receivers that are set up as the documentation says. */
export function providerContract(start: () => Promise<RunningProvider>): void {
  let provider: RunningProvider;
  let receiver: Receiver;

  beforeAll(async () => {
    provider = await start();
    receiver = await startReceiver(provider);
  });
  afterAll(async () => {
    for (const application of applications.splice(0)) await application.close();
    for (const folder of folders.splice(0)) await rm(folder, { recursive: true, force: true });
  });

  describe.each(['withSecret', 'withKey'] as const)('a broker %s', (which) => {
    let broker: Broker;
    beforeAll(async () => {
      broker = await Broker.with(provider, provider[which]);
      await broker.rotate();
    });

    test('has a token that receivers take for a service, and not for a customer', async () => {
      const token = await broker.token();
      expect(await receiver.ask('service', token)).toEqual(accepted('service'));
      expect(await receiver.ask('customer', token)).toMatchObject({ status: 403 });
    });

    test('is healthy by its doctor, who mints on trial', async () => {
      expect(await broker.doctor()).toEqual({
        code: 0,
        complaints: [expect.objectContaining({ check: 'peers secret' })],
      });
    });

    test('has its token explained', async () => {
      const { code, stdout } = await broker.run(['verify'], await broker.token());
      expect({ code, ...(code !== 0 && { stdout }) }).toEqual({ code: 0 });
    });
  });

  test('a broker serves the token to its peers, and the next one after a rotation', async () => {
    const broker = await Broker.with(provider, provider.withSecret);
    const authorization = await broker.addPeer();
    const first = await broker.rotate();
    const served = await broker.serve();
    const { url } = served;
    const get = async (): Promise<readonly [etag: string | null, token: string]> => {
      const headers = { authorization, 'cache-control': 'no-cache' };
      const response = await fetch(`${url}/v1/token`, { headers });
      expect(response.status).toBe(200);
      const { access_token } = (await response.json()) as TokenAnswer;
      return [response.headers.get('etag'), access_token];
    };
    const [etag, token] = await get();
    expect(etag).toContain(first);
    expect(await receiver.ask('service', token)).toEqual(accepted('service'));

    const claims = part(token, 1);
    const said = (claims['scope'] ?? claims['scp'] ?? []) as string | readonly string[];
    const scope = [said].flat().join(' ');
    const asked = await fetch(`${url}/oauth2/token`, {
      method: 'POST',
      body: new URLSearchParams({ grant_type: 'client_credentials', ...(scope && { scope }) }),
      headers: { authorization },
    });
    const { access_token, error_description } = (await asked.json()) as TokenAnswer;
    expect({ scope, status: asked.status, error_description }).toEqual({ scope, status: 200 });
    expect(access_token === token).toBe(true);

    const rotated = await fetch(`${url}/v1/rotate`, { method: 'POST', headers: { authorization } });
    expect(rotated.status).toBe(200);
    const [nextEtag, nextToken] = await get();
    expect(nextEtag).not.toBe(etag);
    expect(nextToken).not.toBe(token);
    expect(await receiver.ask('service', nextToken)).toEqual(accepted('service'));
    expect(await served.stop()).toMatchObject({ code: 0 });
  });

  test('customers are customers, and their other tokens open nothing', async () => {
    const { access_token, id_token = '', refresh_token = '' } = await provider.customer();
    expect(await receiver.ask('customer', access_token)).toEqual(accepted('customer'));
    expect(await receiver.ask('service', access_token)).toMatchObject({ status: 403 });
    for (const other of [id_token, refresh_token]) {
      expect(other).not.toBe('');
      for (const path of ['customer', 'service'] as const) {
        expect(await receiver.ask(path, other)).toMatchObject({ status: 401 });
      }
    }
  });

  test('so are those whom other tokens speak for', async () => {
    for (const [what, token] of Object.entries(provider.customers)) {
      const answer = await receiver.ask('customer', await token());
      expect({ what, ...answer }).toEqual({ what, ...accepted('customer') });
    }
  });

  test('tokens that prove nothing about who sends them open nothing', async () => {
    for (const [what, token] of Object.entries(provider.refused)) {
      for (const path of ['customer', 'service'] as const) {
        const { status } = await receiver.ask(path, await token());
        expect({ what, path, status }).toEqual({ what, path, status: 401 });
      }
    }
  });

  test('other ways to set a broker up are healthy too', async () => {
    for (const [what, { credentials, settings }] of Object.entries(provider.otherSetUps)) {
      const broker = await Broker.with(provider, credentials, settings);
      await broker.addPeer();
      await broker.rotate();
      expect({ what, ...(await broker.doctor()) }).toEqual({ what, code: 0, complaints: [] });
    }
  });

  test('mistakes are named, with who has to act', async () => {
    for (const [what, { credentials, settings, code, says }] of Object.entries(provider.mistakes)) {
      const minted = mint(provider, credentials, settings);
      const seen = await minted.then(
        () => ({ what, code: undefined, message: 'A token came.' }),
        ({ code, message }: BrokerError) => ({ what, code, message }),
      );
      expect(seen).toEqual({ what, code, message: expect.stringMatching(says) });
      expect(seen.message).not.toContain(credentials['client_secret'] ?? 'eyJ');
    }
  });

  test('a new key is taken at once, by receivers and by a broker that runs', async () => {
    const broker = await Broker.with(provider, provider.withSecret);
    const authorization = await broker.addPeer();
    await broker.rotate();
    const served = await broker.serve();
    const { url } = served;
    const rotate = (): Promise<Response> =>
      fetch(`${url}/v1/rotate`, { method: 'POST', headers: { authorization } });
    expect((await rotate()).status).toBe(200);
    const old = await broker.token();
    expect(await receiver.ask('service', old)).toEqual(accepted('service'));

    await provider.changeKey();
    const rotated = await rotate();
    expect({ status: rotated.status, body: await rotated.json() }).toEqual({
      status: 200,
      body: expect.objectContaining({ version_id: expect.any(String) }),
    });
    const token = await broker.token();
    expect(part(token, 0)['kid']).not.toBe(part(old, 0)['kid']);
    expect(await receiver.ask('service', token)).toEqual(accepted('service'));
    expect(await receiver.ask('service', old)).toEqual(accepted('service'));
    const { access_token } = await provider.customer();
    expect(await receiver.ask('customer', access_token)).toEqual(accepted('customer'));
    expect(await served.stop()).toMatchObject({ code: 0 });
  });

  test('a key that was withdrawn: doctor says who refuses the token, and a rotation is the way out', async () => {
    const broker = await Broker.with(provider, provider.withSecret);
    await broker.addPeer();
    await broker.rotate();
    const old = await broker.token();
    await provider.changeKey();
    await provider.withdrawOldKeys();
    expect(await broker.doctor()).toEqual({
      code: 1,
      complaints: [expect.objectContaining({ check: 'classification', code: 'TOKEN_KEY_UNKNOWN' })],
    });
    const fresh = await startReceiver(provider);
    expect(await fresh.ask('service', old)).toMatchObject({ status: 401 });
    await broker.rotate();
    expect(await broker.doctor()).toEqual({ code: 0, complaints: [] });
    expect(await fresh.ask('service', await broker.token())).toEqual(accepted('service'));
  });

  test('each signature algorithm that it has', async () => {
    for (const [algorithm, client] of Object.entries(provider.algorithms)) {
      const token = await mint(provider, await client());
      expect(part(token, 0)['alg']).toBe(algorithm);
      const fresh = await startReceiver(provider);
      expect({ algorithm, ...(await fresh.ask('service', token)) }).toEqual({
        algorithm,
        ...accepted('service'),
      });
    }
  });
}
