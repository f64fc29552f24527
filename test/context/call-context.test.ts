import { AsyncLocalStorage, createHook } from 'node:async_hooks';
import { setImmediate } from 'node:timers/promises';
import { inspect } from 'node:util';
import { describe, expect, jest, test } from '@jest/globals';
import {
  CallContext,
  currentCallContext,
  currentCorrelation,
  runAsService,
  runInCallContext,
  runInFrame,
  runWithPrincipal,
} from '../../src/context/call-context.js';
import type { Principal } from '../../src/verification/principal.js';
import { collectGarbageUntil } from '../support/collect-garbage.js';

const TOKEN = 'header.canary-payload.signature';

function contextOf(subject: string): CallContext {
  const principal: Principal = {
    kind: 'customer',
    issuer: 'https://issuer.example/',
    subject,
    clientId: undefined,
    scopes: [],
    actor: undefined,
    claims: {},
  };
  return new CallContext(principal, TOKEN);
}

describe('the current call context', () => {
  test('is undefined outside a call', () => {
    expect(currentCallContext()).toBeUndefined();
  });

  test('reaches what the call starts, and nobody else', async () => {
    const ann = contextOf('ann');
    const pending = runInCallContext(ann, async () => {
      await setImmediate();
      return currentCallContext();
    });
    expect(currentCallContext()).toBeUndefined();
    await expect(pending).resolves.toBe(ann);
    expect(currentCallContext()).toBeUndefined();
  });

  test('is each one’s own when calls run interleaved', async () => {
    const subjects = Array.from({ length: 50 }, (_, index) => `customer-${index}`);
    const seen = await Promise.all(
      subjects.map((subject) =>
        runInCallContext(contextOf(subject), async () => {
          const rounds: (string | undefined)[] = [];
          for (let round = 0; round < 5; round += 1) {
            await setImmediate();
            rounds.push(currentCallContext()?.principal.subject);
          }
          return new Set(rounds);
        }),
      ),
    );
    expect(seen).toEqual(subjects.map((subject) => new Set([subject])));
  });

  test('can be left, for work on nobody’s behalf', () => {
    const inner = runInCallContext(contextOf('ann'), () => [
      runInCallContext(undefined, currentCallContext),
      currentCallContext()?.principal.subject,
    ]);
    expect(inner).toEqual([undefined, 'ann']);
  });

  test('leaves what others keep for a call as it is, inside and afterwards', async () => {
    const theirs = new AsyncLocalStorage<string>();
    await theirs.run('outer', async () => {
      const pending = runInCallContext(contextOf('ann'), async () => {
        expect(theirs.getStore()).toBe('outer');
        theirs.enterWith('inner');
        await setImmediate();
        return [theirs.getStore(), currentCallContext()?.principal.subject];
      });
      expect([theirs.getStore(), currentCallContext()]).toEqual(['outer', undefined]);
      expect(await pending).toEqual(['inner', 'ann']);
    });
  });

  test('has its end seen by those who watch the resources of the process', async () => {
    const open = new Set<number>();
    const hook = createHook({
      init: (id, type) => type === 'CallFrame' && open.add(id),
      destroy: (id) => open.delete(id),
    }).enable();
    try {
      for (let count = 0; count < 10; count += 1) runInCallContext(contextOf('ann'), () => count);
      expect(open.size).toBe(10);
      await collectGarbageUntil(() => open.size === 0);
    } finally {
      hook.disable();
    }
  });

  test('is left again when the call throws', () => {
    expect(() =>
      runInCallContext(contextOf('ann'), () => {
        throw new Error('failed');
      }),
    ).toThrow('failed');
    expect(currentCallContext()).toBeUndefined();
  });
});

describe('work that chooses its own context', () => {
  test('as a service, for nobody, and back', async () => {
    const seen = await runInCallContext(contextOf('ann'), async () => [
      await runAsService(async () => {
        await setImmediate();
        return currentCallContext();
      }),
      currentCallContext()?.principal.subject,
    ]);
    expect(seen).toEqual([undefined, 'ann']);
  });

  test('for a principal, with the token to pass on', () => {
    const { principal } = contextOf('ann');
    const context = runWithPrincipal(principal, TOKEN, currentCallContext);
    expect(context?.principal).toBe(principal);
    expect(context?.token).toBe(TOKEN);
  });

  test('belongs to the same request all the while', () => {
    const correlation = { requestId: 'r-1' };
    const seen = runInFrame({ callContext: contextOf('ann'), correlation }, () =>
      runAsService(() => runInCallContext(contextOf('bob'), currentCorrelation)),
    );
    expect(seen).toBe(correlation);
    expect(currentCorrelation()).toBeUndefined();
  });
});

test('another copy of this package in the same process sees the same call', async () => {
  jest.resetModules();
  const copy = await import('../../src/context/call-context.js');
  expect(copy.currentCallContext).not.toBe(currentCallContext);
  const seen = runInCallContext(contextOf('ann'), () => copy.currentCallContext());
  expect(seen?.principal.subject).toBe('ann');
  expect(seen?.token).toBe(TOKEN);
});

describe('the token', () => {
  const context = contextOf('ann');

  test('is there to be passed on', () => {
    expect(context.token).toBe(TOKEN);
  });

  test.each<[string, (context: CallContext) => unknown]>([
    ['JSON', (value) => JSON.stringify({ value })],
    ['inspect', (value) => inspect(value, { depth: null, showHidden: true, getters: true })],
    // oxlint-disable-next-line typescript/no-base-to-string -- what careless code would do is what is tested.
    ['text', (value) => String(value)],
    // oxlint-disable-next-line typescript/no-misused-spread -- the same.
    ['a spread', (value) => JSON.stringify({ ...value })],
    ['entries', (value) => JSON.stringify(Object.entries(value))],
    ['a clone', (value) => JSON.stringify(structuredClone(value))],
    [
      'for in',
      (value) => {
        const found: unknown[] = [];
        // oxlint-disable-next-line eslint/guard-for-in -- inherited members are what the test looks for.
        for (const key in value) found.push(value[key as keyof CallContext]);
        return JSON.stringify(found);
      },
    ],
  ])('does not show in %s', (_, show) => {
    expect(show(context)).not.toContain('canary');
  });

  test('and the principal cannot be exchanged', () => {
    expect(() => Object.assign(context, { principal: contextOf('eve').principal })).toThrow(
      TypeError,
    );
    expect(context.principal.subject).toBe('ann');
  });
});
