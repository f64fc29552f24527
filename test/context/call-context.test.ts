import 'reflect-metadata';
import { AsyncLocalStorage, AsyncResource } from 'node:async_hooks';
import { Readable } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import { inspect } from 'node:util';
import { describe, expect, jest, test } from '@jest/globals';
import { SetMetadata } from '@nestjs/common';
import { defer, firstValueFrom, map, type Observable } from 'rxjs';
import {
  CallContext,
  CallLife,
  currentBehalf,
  currentCallContext,
  currentCorrelation,
  runAsService,
  runInCallContext,
  runInFrame,
  runWithPrincipal,
  readCorrelation,
} from '../../src/context/call-context.js';
import { RunAsService } from '../../src/context/run-as-service.js';
import { FakeClock } from '../../src/testing/fake-clock.js';
import type { Principal } from '../../src/verification/principal.js';
import { character, fc } from '../support/properties.js';

const TOKEN = 'header.canary-payload.signature';

function contextOf(subject: string, life?: CallLife): CallContext {
  const principal: Principal = {
    kind: 'customer',
    issuer: 'https://issuer.example/',
    subject,
    clientId: undefined,
    scopes: [],
    actor: undefined,
    claims: {},
  };
  return new CallContext(principal, TOKEN, life);
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

  test('leaves what others keep for a call as it is', async () => {
    const theirs = new AsyncLocalStorage<string>();
    await theirs.run('outer', async () => {
      const pending = runInCallContext(contextOf('ann'), async () => {
        expect(theirs.getStore()).toBe('outer');
        theirs.enterWith('inner');
        await setImmediate();
        return [theirs.getStore(), currentCallContext()?.principal.subject];
      });
      expect(currentCallContext()).toBeUndefined();
      expect(await pending).toEqual(['inner', 'ann']);
    });
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
  test('as this service, for nobody, and back', async () => {
    const seen = await runInCallContext(contextOf('ann'), async () => [
      await runAsService(async () => {
        await setImmediate();
        return [currentBehalf(), currentCallContext()];
      }),
      runInCallContext(undefined, currentBehalf),
      currentCallContext()?.principal.subject,
    ]);
    expect(seen).toEqual([['service', undefined], 'nobody', 'ann']);
    expect(currentBehalf()).toBe('outside');
  });

  test('for a principal, with the token to pass on', () => {
    const { principal } = contextOf('ann');
    const context = runWithPrincipal(principal, TOKEN, currentCallContext);
    expect(context?.principal).toBe(principal);
    expect(context?.token).toBe(TOKEN);
  });

  test('belongs to the same request all the while', () => {
    const correlation = { requestId: 'r-1' };
    const seen = runInFrame({ behalf: contextOf('ann'), correlation }, () =>
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

describe('the end of a call context', () => {
  test('comes a grace period after its call, and also when the clock is set back', () => {
    const clock = new FakeClock();
    const life = new CallLife({ clock, graceMs: 60_000 });
    runInCallContext(contextOf('ann', life), () => {
      clock.advance(3_600_000);
      expect(currentCallContext()?.principal.subject).toBe('ann');
      life.end();
      clock.advance(59_999);
      life.end();
      expect(currentCallContext()?.principal.subject).toBe('ann');
      clock.advance(1);
      expect([currentBehalf(), currentCallContext()]).toEqual(['ended', undefined]);
      clock.advance(-60_001);
      expect(currentBehalf()).toBe('ended');
    });
  });

  test('reaches what was taken from it', () => {
    const clock = new FakeClock();
    const life = new CallLife({ clock, graceMs: 0 });
    const taken = contextOf('ann', life);
    life.end();
    expect(runInCallContext(taken, currentBehalf)).toBe('ended');
    expect(runWithPrincipal(taken.principal, taken.token, currentCallContext)?.token).toBe(TOKEN);
  });

  test.each<[string, (run: () => void) => unknown]>([
    ['returns', (run) => run()],
    [
      'throws',
      (run) => {
        run();
        throw new Error('failed');
      },
    ],
    [
      'resolves',
      async (run) => {
        await setImmediate();
        run();
      },
    ],
    [
      'rejects',
      async (run) => {
        await setImmediate();
        run();
        throw new Error('failed');
      },
    ],
  ])('of runWithPrincipal comes when its function %s', async (_, work) => {
    const { principal } = contextOf('ann');
    const seen: unknown[] = [];
    const note = (): number =>
      seen.push(currentCallContext()?.principal.subject ?? currentBehalf());
    let later: (() => void) | undefined;
    const run = (): void => {
      note();
      later = AsyncResource.bind(note);
    };
    await (async () => runWithPrincipal(principal, TOKEN, () => work(run)))().catch(() => 'failed');
    later?.();
    expect(seen).toEqual(['ann', 'ended']);
  });
});

describe('RunAsService', () => {
  class Jobs {
    readonly name = 'jobs';

    @RunAsService()
    async once(...args: number[]): Promise<unknown> {
      await setImmediate();
      return [this.name, args, currentBehalf()];
    }

    @RunAsService()
    async *pulled(): AsyncGenerator {
      yield currentBehalf();
      await setImmediate();
      yield currentBehalf();
    }

    @RunAsService()
    observed(): Observable<unknown> {
      return defer(async () => currentBehalf());
    }

    @RunAsService()
    streamed(): Readable {
      return Readable.from(this.pulled());
    }
  }

  test('runs a method as this service, whoever calls it', async () => {
    const jobs = new Jobs();
    await expect(jobs.once(1, 2)).resolves.toEqual(['jobs', [1, 2], 'service']);
    const asAnn = runInCallContext(contextOf('ann'), () => jobs.once());
    await expect(asAnn).resolves.toEqual(['jobs', [], 'service']);
    expect(currentBehalf()).toBe('outside');
    await expect(firstValueFrom(jobs.observed().pipe(map((one) => [one])))).resolves.toEqual([
      'service',
    ]);
    const seen: unknown[] = [];
    for await (const one of jobs.pulled()) seen.push(one);
    for await (const one of jobs.streamed()) seen.push(one);
    expect(seen).toEqual(Array(4).fill('service'));
  });

  test('keeps what other decorators have stored, above and below', () => {
    const mark = (name: string) => SetMetadata(name, true);
    class Marked {
      @mark('above')
      @RunAsService()
      @mark('below')
      work(_a: number, _b: number): void {}
    }
    const work = Reflect.get(Marked.prototype, 'work') as (...args: unknown[]) => void;
    expect([work.name, work.length]).toEqual(['work', 2]);
    expect(Reflect.getMetadataKeys(work)).toEqual(expect.arrayContaining(['above', 'below']));
  });

  test('stands on methods alone', () => {
    expect(() => RunAsService()(class {}, 'work', undefined as never)).toThrow(
      /work is not a method/,
    );
  });
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

const PARENT = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';

type Headers = Readonly<Record<string, string | readonly unknown[]>>;

const read = (headers: Headers) =>
  readCorrelation((name) => [headers[name] ?? []].flat() as readonly unknown[]);

describe('what is carried along', () => {
  test.each<[string, Headers, object | undefined]>([
    ['nothing', {}, undefined],
    ['a trace', { traceparent: PARENT }, { traceparent: PARENT }],
    [
      'a trace with its state',
      { traceparent: PARENT, tracestate: 'a=1,b=2' },
      { traceparent: PARENT, tracestate: 'a=1,b=2' },
    ],
    ['a state without a trace', { tracestate: 'a=1' }, undefined],
    ['a request id', { 'x-request-id': 'r-1' }, { requestId: 'r-1' }],
    [
      'a later version with further fields',
      { traceparent: `01${PARENT.slice(2)}-more` },
      { traceparent: `01${PARENT.slice(2)}-more` },
    ],
    ['version 00 with further fields', { traceparent: `${PARENT}-more` }, undefined],
    ['the forbidden version', { traceparent: `ff${PARENT.slice(2)}` }, undefined],
    ['a trace id of zeros', { traceparent: `00-${'0'.repeat(32)}-b7ad6b7169203331-01` }, undefined],
    [
      'a parent id of zeros',
      { traceparent: `00-0af7651916cd43dd8448eb211c80319c-${'0'.repeat(16)}-01` },
      undefined,
    ],
    ['capital letters', { traceparent: PARENT.toUpperCase() }, undefined],
    ['two traces', { traceparent: [PARENT, PARENT] }, undefined],
    ['an empty request id', { 'x-request-id': '' }, undefined],
    ['a request id that is too long', { 'x-request-id': 'r'.repeat(129) }, undefined],
    [
      'a state that is too long',
      { traceparent: PARENT, tracestate: 'a'.repeat(513) },
      { traceparent: PARENT },
    ],
    ['a request id that is no text', { 'x-request-id': [7] }, undefined],
    ['a request id with a space', { 'x-request-id': 'r 1' }, undefined],
  ])('%s', (_, headers, expected) => {
    expect(read(headers)).toEqual(expected);
  });

  test('never splits a header, whatever comes', () => {
    const value = fc.oneof(
      fc.string({ unit: character }),
      fc
        .constantFrom(PARENT, 'r-1')
        .chain((good) => fc.string({ unit: character }).map((bad) => good + bad)),
    );
    fc.assert(
      fc.property(value, value, value, (traceparent, tracestate, requestId) => {
        const found = read({ traceparent, tracestate, 'x-request-id': requestId }) ?? {};
        for (const text of Object.values(found)) expect(text).toMatch(/^[\x20-\x7e]+$/);
      }),
    );
  });
});
