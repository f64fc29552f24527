import { afterEach } from '@jest/globals';
import type { FunctionOptions } from '../../../src/lambda/function-start.js';
import { createRotationFunction } from '../../../src/lambda/rotation-function.js';
import type { RotationStep } from '../../../src/rotation/rotation.js';
import { serializeServiceToken, type ServiceToken } from '../../../src/tokens/service-token.js';
import { systemClock, type Clock } from '../../../src/tokens/time.js';
import { MemorySecretStore, type MemoryStoreOptions } from '../../support/memory-store.js';
import {
  startProviderServer,
  type ProviderServer,
  type ProviderServerOptions,
} from '../../support/provider-server.js';

export const AUDIENCE = 'https://services.example.test';
export const HOUR = 3_600_000;
export const CREDENTIALS_SECRET = 'broker/credentials';
export const TOKEN_SECRET = 'broker/token';
export const TOKEN_SECRET_ARN =
  'arn:aws:secretsmanager:eu-central-1:123456789012:secret:broker/token-AbCdEf';
export const VERSION = 'b1d0b3a2-0000-4000-8000-000000000001';
export const STEPS: readonly RotationStep[] = [
  'createSecret',
  'setSecret',
  'testSecret',
  'finishSecret',
];

/** The machine's clock, whose pauses end at once; time-outs of five seconds and more are kept. */
export const hurriedClock: Clock = {
  now: () => Date.now(),
  sleep: (milliseconds, signal) =>
    systemClock.sleep(milliseconds < 5_000 ? 0 : milliseconds, signal),
};

/** One line of the log. */
export type LogLine = Readonly<Record<string, unknown>> & { readonly message: string };

/** What a test may choose. */
export interface SceneOptions extends MemoryStoreOptions {
  readonly provider?: ProviderServerOptions;
  /** Settings besides those that every function here has; `undefined` takes one away. */
  readonly env?: NodeJS.ProcessEnv;
  /** False for a token secret that has never had a value. Default: true. */
  readonly hasCurrent?: boolean;
  readonly function?: FunctionOptions;
}

const providers: ProviderServer[] = [];

afterEach(async () => {
  await Promise.all(providers.splice(0).map((server) => server.close()));
});

/** A rotation function in this process: over a store in memory that Secrets Manager rotates, and a real provider. */
export async function rotationScene(options: SceneOptions = {}) {
  const provider = await startProviderServer(options.provider);
  providers.push(provider);
  const store = new MemorySecretStore(options);
  store.seed(
    CREDENTIALS_SECRET,
    JSON.stringify({ client_id: 'broker', client_secret: 'right-secret' }),
  );
  store.seed(TOKEN_SECRET);
  store.configure(TOKEN_SECRET, { rotationEnabled: true });
  const old = options.hasCurrent === false ? undefined : store.edit(TOKEN_SECRET, oldToken());
  store.registerPending(TOKEN_SECRET, VERSION);

  const env: NodeJS.ProcessEnv = {
    BROKER_CREDENTIALS_SECRET_ID: CREDENTIALS_SECRET,
    BROKER_TOKEN_SECRET_ID: TOKEN_SECRET,
    BROKER_ISSUER: provider.issuer,
    BROKER_AUDIENCE: AUDIENCE,
    ...options.env,
  };
  const written: string[] = [];
  const handler = createRotationFunction({
    env,
    store,
    clock: hurriedClock,
    write: (line) => written.push(line),
    ...options.function,
  });
  /** Invokes the function as Secrets Manager does. @param remaining milliseconds until the time-out. */
  const invoke = (
    step: RotationStep,
    event: Readonly<Record<string, unknown>> = {},
    remaining = 60_000,
  ): Promise<void> =>
    handler(
      { Step: step, SecretId: TOKEN_SECRET_ARN, ClientRequestToken: VERSION, ...event },
      { awsRequestId: 'request-1', getRemainingTimeInMillis: () => remaining },
    );
  return {
    provider,
    store,
    env,
    handler,
    invoke,
    /** The version that was current before; `undefined` when there was none. */
    old,
    /** All four steps, in their order. */
    rotate: async (event: Readonly<Record<string, unknown>> = {}): Promise<void> => {
      for (const step of STEPS) await invoke(step, event);
    },
    /** The id of the version that is current. */
    current: async (): Promise<string> => (await store.read(TOKEN_SECRET)).versionId,
    /** The labels of a version, none when it has none. */
    labels: async (versionId = VERSION): Promise<readonly string[]> =>
      (await store.describe(TOKEN_SECRET)).labels.get(versionId) ?? [],
    /** How often the provider was asked for a token. */
    mints: (): number => provider.received('token').length,
    /** Everything that was logged, as text. */
    output: (): string => written.join(''),
    lines: (): readonly LogLine[] => written.map((line) => JSON.parse(line) as LogLine),
  };
}

/** A token secret's value from the rotation before, with a name instead of a JWT. */
export function oldToken(change: Partial<ServiceToken> = {}): string {
  const now = Date.now();
  return serializeServiceToken({
    accessToken: 'the-token-before',
    tokenType: 'Bearer',
    generatedAt: now - HOUR,
    expiresAt: now + 24 * HOUR,
    issuer: 'https://provider.example',
    audience: [AUDIENCE],
    ...change,
  });
}
