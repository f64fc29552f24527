import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { createAwsStore } from '../../../src/secrets/aws/aws-store.js';
import {
  createFallbackStore,
  idInRegion,
  maySucceedElsewhere,
} from '../../../src/secrets/aws/fallback-store.js';
import {
  SecretStoreError,
  type SecretStore,
  type SecretStoreErrorCode,
} from '../../../src/secrets/secret-store.js';
import { systemClock, type Clock } from '../../../src/tokens/time.js';
import { VERSION } from './harness.js';
import { failureOf } from './leaks.js';
import {
  answer,
  isolateAwsSettings,
  refuse,
  startScriptedEndpoint,
  type Script,
  type ScriptedEndpoint,
} from './scripted-endpoint.js';

const ARN = 'arn:aws:secretsmanager:eu-central-1:123456789012:secret:token-AbCdEf';
const MISSING = "Secrets Manager can't find the specified secret.";

const value =
  (text: string): Script =>
  (_received, response) =>
    answer(response, { VersionId: VERSION, CreatedDate: 1_790_000_000, SecretString: text });
const refuses =
  (type: string, message: string, status = 400): Script =>
  (_received, response) =>
    refuse(response, type, message, status);
const resets: Script = (_received, response) => void response.destroy();
const hangs: Script = () => undefined;

/** The endpoints of three Regions, real servers all, and a store over them. */
const regions = ['local', 'eu-west-1', 'us-east-1'] as const;
const endpoints = new Map<string, ScriptedEndpoint>();
let told: string[] = [];
let store: SecretStore;
let restore: () => void;

beforeAll(async () => {
  for (const region of regions) endpoints.set(region, await startScriptedEndpoint());
});
afterAll(async () => {
  for (const endpoint of endpoints.values()) await endpoint.close();
});
beforeEach(() => {
  // One attempt: what the SDK repeats is not the matter here.
  restore = isolateAwsSettings(1);
  told = [];
  const open = (region: string): SecretStore =>
    createAwsStore({
      endpoint: at(region).url,
      ...(region === 'local' ? {} : { region }),
    });
  store = createFallbackStore(
    open('local'),
    regions.slice(1).map((region) => ({ region, store: open(region) })),
    {
      clock: { ...systemClock, sleep: (milliseconds) => sleep(milliseconds) },
      observer: {
        answeredElsewhere: (region, secretId, code) => told.push(`${region} ${secretId} ${code}`),
      },
    },
  );
});
afterEach(async () => {
  restore();
  await store.close();
});

/** Real servers take real time: the patience ends only where a test says so. */
const NEVER: Clock['sleep'] = () => new Promise(() => undefined);
let sleep = NEVER;
afterEach(() => {
  sleep = NEVER;
});

function at(region: string): ScriptedEndpoint {
  const endpoint = endpoints.get(region);
  if (endpoint === undefined) throw new Error(`no endpoint for ${region}`);
  return endpoint;
}

function play(local: Script, west: Script = resets, east: Script = resets): void {
  at('local').play(local);
  at('eu-west-1').play(west);
  at('us-east-1').play(east);
}

const asked = (): number[] => regions.map((region) => at(region).received.length);

describe('a plain read', () => {
  test('asks the own Region, and no other while it answers', async () => {
    play(value('local'), value('west'));
    expect(await store.read('token')).toMatchObject({ value: 'local' });
    expect(await store.read('token', { label: 'AWSCURRENT' })).toMatchObject({ value: 'local' });
    expect(asked()).toEqual([2, 0, 0]);
    expect(told).toEqual([]);
  });

  test.each([
    ['resets the connection', resets, 'STORE_UNAVAILABLE'],
    ['fails inside', refuses('InternalServiceError', 'oops', 500), 'STORE_UNAVAILABLE'],
    ['has too many requests', refuses('ThrottlingException', 'slow down'), 'STORE_THROTTLED'],
  ])('is answered by the first Region that can, when the own one %s', async (_, local, code) => {
    play(local, resets, value('east'));
    expect(await store.read('token')).toMatchObject({ value: 'east', versionId: VERSION });
    expect(asked()).toEqual([1, 1, 1]);
    expect(told).toEqual([`us-east-1 token ${code}`]);
  });

  test('is answered by another Region when the own one has used up its share of the time', async () => {
    play(hangs, value('west'));
    const shares: number[] = [];
    // The own Region's share passes at once, the others' never.
    sleep = (milliseconds) => {
      shares.push(milliseconds);
      return shares.length === 1 ? Promise.resolve() : NEVER(milliseconds);
    };
    expect(await store.read('token')).toMatchObject({ value: 'west' });
    expect(shares).toEqual([3_000, 3_000]);
    expect(told).toEqual(['eu-west-1 token STORE_TIMEOUT']);
  });

  test('asks each Region for the ARN that the secret has there', async () => {
    play(resets, value('west'));
    await store.read(ARN);
    expect(at('eu-west-1').received[0]?.body['SecretId']).toBe(
      ARN.replace('eu-central-1', 'eu-west-1'),
    );
  });

  test.each([
    ['there is no such secret', refuses('ResourceNotFoundException', MISSING), 'SECRET_NOT_FOUND'],
    ['it is forbidden', refuses('AccessDeniedException', 'no'), 'STORE_ACCESS_DENIED'],
    ['the key is disabled', refuses('KMSDisabledException', 'no'), 'STORE_KEY_WRONG'],
    ['the credentials are wrong', refuses('UnrecognizedClientException', 'x'), 'STORE_CREDENTIALS'],
    [
      'something else stands there',
      ((_received, response) => {
        response.writeHead(404, { 'content-type': 'text/html' });
        response.end('<html>');
      }) satisfies Script,
      'STORE_UNAVAILABLE',
    ],
  ])('is not asked elsewhere when %s', async (_, local, code) => {
    play(local, value('west'));
    expect((await failureOf(store.read('token'))).code).toBe(code);
    expect(asked().slice(1)).toEqual([0, 0]);
  });

  test('fails as the own Region did when no other can answer, and names them', async () => {
    play(
      refuses('ThrottlingException', 'slow down'),
      refuses('ResourceNotFoundException', MISSING),
      refuses('AccessDeniedException', 'no'),
    );
    const error = await failureOf(store.read('token'));
    expect(error).toMatchObject({ code: 'STORE_THROTTLED', kind: 'retry' });
    expect(error.message).toContain(
      'eu-west-1 (SECRET_NOT_FOUND), us-east-1 (STORE_ACCESS_DENIED)',
    );
    expect(told).toEqual([]);
  });
});

describe('everything else stays in the own Region', () => {
  test.each<readonly [string, (store: SecretStore) => Promise<unknown>]>([
    ['read of a pending version', (one) => one.read('token', { label: 'AWSPENDING' })],
    ['read by version id', (one) => one.read('token', { versionId: VERSION })],
    [
      'read by id and label',
      (one) => one.read('token', { versionId: VERSION, label: 'AWSCURRENT' }),
    ],
    ['describe', (one) => one.describe('token')],
    ['create', (one) => one.create('token', '')],
    ['putPending', (one) => one.putPending('token', VERSION, 'value')],
    ['putClaim', (one) => one.putClaim('token', VERSION, 'value')],
    ['promote', (one) => one.promote('token', VERSION, undefined)],
    ['releaseClaim', (one) => one.releaseClaim('token', VERSION)],
    ['clearPending', (one) => one.clearPending('token', VERSION)],
    ['requestRotation', (one) => one.requestRotation('token', VERSION)],
  ])('%s', async (_name, call) => {
    play(resets, value('west'), value('east'));
    expect(await failureOf(call(store))).toMatchObject({
      code: 'STORE_UNAVAILABLE',
      kind: 'retry',
    });
    expect(asked()).toEqual([1, 0, 0]);
  });
});

test('only what may pass by itself is worth another Region', () => {
  const error = (code: SecretStoreErrorCode): SecretStoreError => new SecretStoreError(code, '');
  const codes: readonly SecretStoreErrorCode[] = [
    'STORE_UNAVAILABLE',
    'STORE_TIMEOUT',
    'STORE_THROTTLED',
    'VERSION_NOT_FOUND',
    'SECRET_NOT_FOUND',
    'PROMOTE_CONFLICT',
    'STORE_ACCESS_DENIED',
    'STORE_CREDENTIALS',
    'STORE_KEY_WRONG',
    'STORE_REQUEST_INVALID',
  ];
  expect(codes.filter((code) => maySucceedElsewhere(error(code)))).toEqual(codes.slice(0, 3));
  const mistake = new SecretStoreError('STORE_UNAVAILABLE', '', { kind: 'misconfigured' });
  expect(maySucceedElsewhere(mistake)).toBe(false);
  expect(maySucceedElsewhere(new Error('STORE_TIMEOUT'))).toBe(false);
});

test.each([
  ['service-token-broker/token', 'service-token-broker/token'],
  [ARN, 'arn:aws:secretsmanager:us-east-1:123456789012:secret:token-AbCdEf'],
  [
    'arn:aws-cn:secretsmanager:cn-north-1:1:secret:a:b',
    'arn:aws-cn:secretsmanager:us-east-1:1:secret:a:b',
  ],
])('%s in another Region', (id, there) => {
  expect(idInRegion(id, 'us-east-1')).toBe(there);
});
