import { inspect } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import { startOnce } from '../../src/lambda/function-start.js';
import {
  currentInvocation,
  FunctionError,
  providerTime,
  runInvocation,
} from '../../src/lambda/invocation.js';
import { FakeClock } from '../../src/testing/fake-clock.js';
import { BrokerError } from '../../src/tokens/errors.js';
import { assertNoCanary, CANARIES } from '../support/canaries.js';
import { fc } from '../support/properties.js';
import { answers } from '../support/provider-answers.js';
import {
  CREDENTIALS_SECRET,
  rotationScene,
  STEPS,
  TOKEN_SECRET,
  VERSION,
} from './support/rotation-function.js';

async function failureOf(call: Promise<unknown>): Promise<BrokerError> {
  const error = await call.then(
    () => 'it succeeded',
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(BrokerError);
  return error as BrokerError;
}

describe('a start that fails', () => {
  test('is tried again by the next invocation', async () => {
    const { invoke, rotate, env, current, lines } = await rotationScene({
      env: { BROKER_PROFILE: 'nonsense' },
    });
    expect(await failureOf(invoke('createSecret'))).toMatchObject({ code: 'CONFIG_INVALID' });
    expect(await failureOf(invoke('createSecret'))).toMatchObject({ code: 'CONFIG_INVALID' });
    expect(lines()).toMatchObject([
      { level: 'error', message: 'rotation step failed', err: { code: 'CONFIG_INVALID' } },
      { level: 'error', message: 'rotation step failed' },
    ]);
    delete env['BROKER_PROFILE'];
    await rotate();
    expect(await current()).toBe(VERSION);
  });

  test.each([
    ['BROKER_SECRET_STORE', 'embedded'],
    ['BROKER_CONFIG', '/var/task/broker.yaml'],
  ])('%s=%s is a mistake', async (name, value) => {
    const { invoke } = await rotationScene({ env: { [name]: value } });
    const error = await failureOf(invoke('createSecret'));
    expect(error).toMatchObject({ code: 'CONFIG_INVALID', kind: 'misconfigured' });
    expect(error.message).toContain(name);
  });

  test('comes after the event was read: nobody starts a function with nonsense', async () => {
    const { handler } = await rotationScene({ env: { BROKER_PROFILE: 'nonsense' } });
    const context = { awsRequestId: 'request-1', getRemainingTimeInMillis: () => 60_000 };
    expect(await failureOf(handler({ Records: [] }, context))).toMatchObject({
      code: 'FUNCTION_EVENT_INVALID',
    });
  });

  test('a start that succeeds is kept, also for those who came while it went on', async () => {
    let starts = 0;
    const started = startOnce(async () => {
      starts += 1;
      if (starts === 1) throw new Error('the first one fails');
      return starts;
    });
    await expect(Promise.all([started(), started()])).rejects.toThrow('the first one fails');
    expect(await Promise.all([started(), started(), started()])).toEqual([2, 2, 2]);
    expect(await started()).toBe(2);
  });
});

describe("the function's time", () => {
  test('what the provider may take: all but five seconds, at least the half, and never less than nothing', () => {
    expect([60_000, 10_000, 3_000, 0, -50].map(providerTime)).toEqual([55_000, 5_000, 1_500, 0, 0]);
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 900_000 }), (remaining) => {
        const time = providerTime(remaining);
        expect(time).toBeLessThanOrEqual(remaining);
        expect(time).toBeGreaterThanOrEqual(remaining / 2);
      }),
    );
  });

  test('a provider that hangs is given up while there is time to answer; the retry starts clean', async () => {
    const { invoke, rotate, provider, store, current, lines, mints } = await rotationScene();
    provider.next('token', answers.hang());
    const error = await failureOf(invoke('createSecret', {}, 200));
    expect(error).toMatchObject({ code: 'FUNCTION_OUT_OF_TIME', kind: 'retry' });
    expect(error.message).toContain("raise the function's timeout");
    expect(store.calls.putPending).toBe(0);
    expect(lines().at(-1)).toMatchObject({ err: { code: 'FUNCTION_OUT_OF_TIME' } });
    await rotate();
    expect(await current()).toBe(VERSION);
    expect(mints()).toBe(2);
  });

  test('a discovery that hangs is given up, too', async () => {
    const { invoke, provider, store } = await rotationScene();
    for (const route of ['openid', 'oauth'] as const) provider.always(route, answers.hang());
    const error = await failureOf(invoke('createSecret', {}, 200));
    expect(error).toMatchObject({ code: 'FUNCTION_OUT_OF_TIME' });
    expect(store.calls.putPending).toBe(0);
  });

  test('without time left, what needs no provider is done all the same', async () => {
    const { invoke, lines } = await rotationScene();
    const hopeless = await failureOf(invoke('createSecret', {}, 0));
    expect(hopeless).toMatchObject({ code: 'FUNCTION_OUT_OF_TIME' });
    await invoke('createSecret');
    await invoke('setSecret', {}, 0);
    expect(lines().at(-1)).toMatchObject({ step: 'setSecret', ended: 'done' });
  });

  test('an invocation leaves no timer behind, and its signal is its own', async () => {
    const clock = new FakeClock();
    const context = { awsRequestId: 'one', getRemainingTimeInMillis: () => 60_000 };
    const signals: AbortSignal[] = [];
    const run = (requestId: string): Promise<void> =>
      runInvocation(clock, { ...context, awsRequestId: requestId }, async () => {
        const invocation = currentInvocation();
        expect(invocation?.requestId).toBe(requestId);
        if (invocation) signals.push(invocation.providerSignal);
        if (requestId === 'two') clock.advance(55_000);
        await Promise.resolve();
      });
    await run('one');
    await run('two');
    expect(clock.sleepers).toBe(0);
    expect(currentInvocation()).toBeUndefined();
    expect(signals.map(({ aborted }) => aborted)).toEqual([false, true]);
  });
});

describe('the log', () => {
  test('has one line of JSON for each step and each mint', async () => {
    const { rotate, lines, output } = await rotationScene();
    await rotate();
    expect(lines().map(({ message, step }) => step ?? message)).toEqual([
      'a service token was asked of the provider',
      ...STEPS,
    ]);
    for (const line of lines()) {
      expect(line).toMatchObject({
        level: 'info',
        service: 'service-token-broker',
        requestId: 'request-1',
      });
      expect(new Date(String(line['timestamp'])).toISOString()).toBe(line['timestamp']);
    }
    expect(lines().at(-1)).toMatchObject({
      step: 'finishSecret',
      versionId: VERSION,
      ended: 'done',
      durationMilliseconds: expect.any(Number),
    });
    expect(output().split('\n')).toHaveLength(STEPS.length + 2);
  });

  test('keeps to its level', async () => {
    const { rotate, invoke, output } = await rotationScene({ env: { BROKER_LOG_LEVEL: 'error' } });
    await rotate();
    expect(output()).toBe('');
    await failureOf(invoke('createSecret', { ClientRequestToken: 'x'.repeat(36) }));
    expect(output()).toContain('ROTATION_VERSION_UNKNOWN');
  });

  test('tells at start what has no effect', async () => {
    const { invoke, lines } = await rotationScene({ env: { BROKER_AUDIENC: 'x' } });
    await invoke('createSecret');
    await invoke('createSecret');
    const warnings = lines().filter(({ level }) => level === 'warn');
    expect(warnings).toMatchObject([{ message: expect.stringContaining('BROKER_AUDIENC ') }]);
  });

  test('has no secret in it, and the errors have none, whatever goes wrong', async () => {
    const { invoke, rotate, provider, store, output } = await rotationScene({
      provider: { clientSecrets: [CANARIES.clientSecret] },
    });
    const seen: unknown[] = [];
    const attempt = async (...call: Parameters<typeof invoke>): Promise<void> => {
      await invoke(...call).catch((error: unknown) => seen.push(error));
    };
    const sensitive = { RotationToken: CANARIES.peerSecret };
    store.edit(
      CREDENTIALS_SECRET,
      JSON.stringify({ client_id: 'broker', client_secret: CANARIES.clientSecret }),
    );
    await attempt('createSecret', { ...sensitive, Step: CANARIES.jwt });
    await attempt('createSecret', { ...sensitive, SecretId: `${CANARIES.jwt}\n` });
    await attempt('createSecret', { RotationToken: { nested: CANARIES.peerSecret } });
    provider.next('token', answers.oauthError(400, 'invalid_grant', CANARIES.clientSecret));
    await attempt('createSecret', sensitive);
    provider.next('token', answers.text(200, CANARIES.jwt));
    await attempt('createSecret', sensitive);
    provider.next('token', answers.token({ access_token: CANARIES.jwt }));
    await attempt('createSecret', sensitive);
    store.before = ({ method }) => {
      if (method === 'putPending') throw new TypeError(`cannot write ${CANARIES.jwt}`);
    };
    await attempt('createSecret', sensitive);
    store.before = () => undefined;
    expect(seen).toHaveLength(7);
    await rotate(sensitive);
    const { access_token: token } = JSON.parse((await store.read(TOKEN_SECRET)).value) as {
      access_token: string;
    };
    const everything = output() + seen.map((error) => inspect(error, { depth: 20 })).join('\n');
    assertNoCanary(everything);
    expect(everything).not.toContain(token.split('.')[2]);
  });

  test('an error that is not ours is not shown to Lambda, which logs what it is shown', async () => {
    const { invoke, store, lines } = await rotationScene();
    store.before = () => {
      throw new TypeError('client_secret=sensitive-text');
    };
    const error = await failureOf(invoke('createSecret'));
    expect(error).toBeInstanceOf(FunctionError);
    expect(error).toMatchObject({ code: 'FUNCTION_FAILED', kind: 'bug' });
    expect(error.cause).toBeUndefined();
    expect(lines()).toMatchObject([
      {
        level: 'error',
        step: 'createSecret',
        versionId: VERSION,
        err: { name: 'TypeError', message: 'client_secret=[redacted]' },
      },
    ]);
  });
});
