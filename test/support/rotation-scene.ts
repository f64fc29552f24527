import { afterAll, expect } from '@jest/globals';
import { coreOf, createCore, type TokenCore } from '../../src/composition/core.js';
import { writeSecret } from '../../src/composition/secret-file.js';
import { loadConfig } from '../../src/config/load-config.js';
import { startEmbeddedProvider, type EmbeddedProvider } from '../../src/dev/embedded-provider.js';
import type { SecretStore } from '../../src/secrets/secret-store.js';
import { systemClock } from '../../src/tokens/time.js';
import { parseServiceToken } from '../../src/tokens/service-token.js';
import { createRemoteKeySet, createTokenVerifier } from '../../src/verification/index.js';
import type { Rotation } from './rotating-process.js';

const AUDIENCE = 'https://services.example.test';
const CLIENT = {
  clientId: 'broker-under-test',
  clientSecret: 'the-secret-of-the-broker-under-test',
};

/** What the credentials secret holds, for whoever creates it. */
export const CREDENTIALS = JSON.stringify({
  client_id: CLIENT.clientId,
  client_secret: CLIENT.clientSecret,
});

/** A provider in this process, and everything that processes with a broker need to know of it. */
export interface RotationScene {
  readonly provider: EmbeddedProvider;
  /** Settings for any broker, besides its secret store. */
  readonly env: NodeJS.ProcessEnv;
  /** Verifies the token in a token secret's value as a receiver does, by the provider's JWKS, at this time. */
  expectGenuine(value: string): Promise<void>;
}

const providers: EmbeddedProvider[] = [];

afterAll(async () => {
  for (const provider of providers) await provider.close();
});

/** @param folder where the provider's key is kept. The provider is closed after the file's last test. */
export async function rotationScene(folder: string): Promise<RotationScene> {
  const provider = await startEmbeddedProvider({
    ...CLIENT,
    port: 0,
    dataDir: folder,
    audience: AUDIENCE,
    accessTokenTtlSeconds: 90_000,
  });
  providers.push(provider);
  const keys = createRemoteKeySet({ jwksUri: `${provider.issuer}/jwks` });
  const verifier = createTokenVerifier({
    issuers: [{ issuer: provider.issuer, audiences: AUDIENCE, profile: 'rfc9068', keys }],
  });
  return {
    provider,
    env: { BROKER_ISSUER: provider.issuer, BROKER_AUDIENCE: AUDIENCE },
    expectGenuine: async (value) => {
      const { principal } = await verifier.verify(parseServiceToken(value).accessToken);
      expect(principal).toMatchObject({ kind: 'service', clientId: CLIENT.clientId });
    },
  };
}

/** Runs something with the core of a broker's only token in this process, whose clock may be ahead of the machine's by milliseconds. */
export async function withCoreOf<R>(
  env: NodeJS.ProcessEnv,
  use: (core: TokenCore) => Promise<R>,
  clockAhead = 0,
): Promise<R> {
  const clock = { ...systemClock, now: () => Date.now() + clockAhead };
  const core = await createCore(loadConfig({ env }), { clock });
  try {
    return await use(coreOf(core));
  } finally {
    await core.close();
  }
}

/** Makes an embedded store with the client credentials, and with a service token when `withToken`. */
export async function prepareEmbeddedStore(
  env: NodeJS.ProcessEnv,
  withToken: boolean,
): Promise<void> {
  await withCoreOf(env, async ({ store, config, rotator }) => {
    await writeSecret(store, config.tokens[0].credentialsSecretId, CREDENTIALS);
    if (withToken) await rotator.rotate({ trigger: 'cli' });
  });
}

/** The ids of all versions that are AWSCURRENT. More than one would be a broken store. */
export async function currentVersions(store: SecretStore, secretId: string): Promise<string[]> {
  const { labels } = await store.describe(secretId);
  return [...labels].filter(([, names]) => names.includes('AWSCURRENT')).map(([id]) => id);
}

/**
 * All rotations succeeded with one and the same version, which exactly one of them minted.
 *
 * @returns that version's id.
 */
export function expectOneRotation(rotations: readonly Rotation[]): string {
  const results = rotations.map((rotation) =>
    'result' in rotation ? rotation.result : rotation.failed,
  );
  expect(results.filter((result) => result === 'rotated')).toHaveLength(1);
  expect(['rotated', 'adopted', 'already-rotated']).toEqual(expect.arrayContaining(results));
  const [versionId = '', ...others] = new Set(
    rotations.map((rotation) => ('versionId' in rotation ? rotation.versionId : '')),
  );
  expect(others).toEqual([]);
  return versionId;
}
