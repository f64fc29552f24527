import { describe, expect, test } from '@jest/globals';
import { ClientConfigError } from '../../src/client/client-errors.js';
import {
  readClientOptions,
  type ServiceTokenClientOptions,
} from '../../src/client/client-options.js';
import { createServiceTokenClient } from '../../src/client/service-token-client.js';
import { redactText } from '../../src/tokens/redaction.js';
import { fc } from '../support/properties.js';

const good: ServiceTokenClientOptions = {
  brokers: 'https://broker.internal',
  peer: { id: 'orders', secret: 'canary-secret' },
};

function messageOf(make: () => unknown): string {
  try {
    make();
  } catch (error) {
    return error instanceof ClientConfigError ? error.message : '';
  }
  return '';
}

describe('what is refused', () => {
  test.each([
    ['nothing', undefined, 'needs options'],
    ['a list', [], 'needs options'],
    ['an unknown name', { ...good, timeout: 5 }, 'no option "timeout"'],
    ['brokers missing', { peer: good.peer }, '"brokers" must be an absolute https: URL'],
    ['no brokers', { ...good, brokers: [] }, '"brokers" must name at least one broker'],
    ['a broker that is no URL', { ...good, brokers: ['broker:443'] }, '"brokers[0]"'],
    ['a broker that is no text', { ...good, brokers: [good.brokers, 7] }, '"brokers[1]"'],
    ['another scheme', { ...good, brokers: 'ftp://broker.internal' }, 'absolute https: URL'],
    ['a password', { ...good, brokers: 'https://orders:canary-secret@broker.internal' }, '"peer"'],
    ['a query', { ...good, brokers: 'https://broker.internal/?token=canary-secret' }, 'no query'],
    ['a fragment', { ...good, brokers: 'https://broker.internal/#canary-secret' }, 'fragment'],
    ['the endpoint', { ...good, brokers: 'https://b.internal/x/oauth2/token/' }, '/oauth2/token'],
    ['plain HTTP', { ...good, brokers: 'http://broker.internal' }, 'allowInsecureHttp'],
    ['a host that looks local', { ...good, brokers: 'http://127.0.0.1.evil.test' }, 'plain HTTP'],
    [
      'a broker twice',
      { ...good, brokers: ['https://broker.internal', 'https://BROKER.internal:443/'] },
      'names https://broker.internal twice',
    ],
    ['peer missing', { brokers: good.brokers }, '"peer"'],
    ['no id', { ...good, peer: { id: ' ', secret: 'x' } }, '"peer.id"'],
    ['no secret', { ...good, peer: { id: 'orders', secret: '\n' } }, '"peer.secret"'],
    ['a secret that is a number', { ...good, peer: { id: 'orders', secret: 7 } }, '"peer.secret"'],
    ['plain HTTP in words', { ...good, allowInsecureHttp: 'yes' }, '"allowInsecureHttp"'],
    ['a ttl of nothing', { ...good, ttlSeconds: 0 }, '"ttlSeconds"'],
    ['a ttl in words', { ...good, ttlSeconds: '5m' }, '"ttlSeconds"'],
    ['a negative skew', { ...good, skewSeconds: -1 }, '"skewSeconds"'],
    ['a skew that is no number', { ...good, skewSeconds: Number.NaN }, '"skewSeconds"'],
    ['no time', { ...good, timeoutSeconds: 0 }, '"timeoutSeconds"'],
    ['no end', { ...good, timeoutSeconds: Infinity }, '"timeoutSeconds"'],
    ['less in all than for one', { ...good, timeoutSeconds: 9, deadlineSeconds: 8.999 }, 'from 9 '],
    ['milliseconds', { ...good, deadlineSeconds: 15_000 }, 'seconds from 5 to 600'],
    ['ttlMs', { ...good, ttlMs: 300_000 }, '"ttlMs" is now "ttlSeconds", in seconds.'],
    ['skewMs', { ...good, skewMs: 0 }, '"skewMs" is now "skewSeconds", in seconds.'],
    ['timeoutMs', { ...good, timeoutMs: 5 }, '"timeoutMs" is now "timeoutSeconds", in seconds.'],
    [
      'deadlineMs',
      { ...good, deadlineMs: 9 },
      '"deadlineMs" is now "deadlineSeconds", in seconds.',
    ],
    ['no round', { ...good, rounds: 0 }, '"rounds"'],
    ['half a round', { ...good, rounds: 1.5 }, '"rounds"'],
    ['a fetch that is an object', { ...good, fetch: {} }, '"fetch"'],
    ['a clock that does not sleep', { ...good, clock: { now: Date.now } }, '"clock"'],
    ['an observer that is a function', { ...good, observer: () => undefined }, '"observer"'],
    ['a random that is a number', { ...good, random: 0.5 }, '"random"'],
  ])('%s', (_what, options, words) => {
    const make = (): unknown => createServiceTokenClient(options as ServiceTokenClientOptions);
    expect(make).toThrow(ClientConfigError);
    expect(make).toThrow(words);
    const message = messageOf(make);
    expect(message).not.toContain('canary');
    // What our own log would hide must not be in a message, nor may it hide what helps.
    expect(redactText(message)).toBe(message);
  });
});

test('every mistake is reported, in one error', () => {
  const options = {
    brokers: ['https://a.internal', 'http://b.internal', 'https://A.internal/', 7],
    peer: { id: '', secret: 5 },
    allowInsecureHttp: 'no',
    timeoutSeconds: 'soon',
    deadlineSeconds: 0,
    timout: 1,
    round: 2,
  };
  let caught: unknown;
  try {
    createServiceTokenClient(options as never);
  } catch (error) {
    caught = error;
  }
  expect(
    (caught as ClientConfigError).mistakes.map((text) => text.split(' ', 5).join(' ')),
  ).toEqual([
    'There is no option "timout".',
    'There is no option "round".',
    '"allowInsecureHttp" must be true or',
    '"brokers[3]" must be an absolute',
    '"peer.id" must be the id',
    '"peer.secret" must be the peer\'s',
    '"timeoutSeconds" must be a number',
    '"deadlineSeconds" must be a number',
  ]);
  expect((caught as Error).message).toMatch(
    /^The options have 8 mistakes:\n {2}- There is no option/,
  );
});

test('as many mistakes are listed as are counted', () => {
  const text = fc.oneof(
    fc.constantFrom('a\n  - b', 'https://a.test', 'http://b.test', ''),
    fc.string(),
  );
  const value = fc.oneof(text, fc.array(text), fc.integer(), fc.constant(undefined));
  const name = fc.oneof(
    fc.constantFrom('brokers', 'ttlSeconds', 'ttlMs', 'rounds', 'clock', 'peer'),
    text,
  );
  fc.assert(
    fc.property(fc.dictionary(name, value, { noNullPrototype: true }), (options) => {
      const message = messageOf(() => createServiceTokenClient(options as never));
      fc.pre(message !== '');
      const lines = message.split(/[\n\u2028\u2029]/);
      const counted = /^The options have (\d+) mistakes:$/.exec(lines[0] ?? '')?.[1];
      expect(lines).toHaveLength(counted === undefined ? 1 : 1 + Number(counted));
      expect(lines.slice(1).filter((line) => !line.startsWith('  - '))).toEqual([]);
    }),
    { numRuns: 500 },
  );
});

describe('what is taken', () => {
  test.each([
    ['https://broker.internal', 'https://broker.internal'],
    ['https://broker.internal:8443/', 'https://broker.internal:8443'],
    ['https://gateway.internal/tokens//', 'https://gateway.internal/tokens'],
    ['http://127.0.0.1:3000', 'http://127.0.0.1:3000'],
    ['http://localhost:3000/', 'http://localhost:3000'],
    ['http://[::1]:3000', 'http://[::1]:3000'],
  ])('%s', (brokers, url) => {
    expect(readClientOptions({ ...good, brokers }).brokers).toEqual([url]);
  });

  test('plain HTTP to another machine, when it is said', () => {
    const options = { ...good, brokers: ['http://broker:3000'], allowInsecureHttp: true };
    expect(readClientOptions(options).brokers).toEqual(['http://broker:3000']);
  });

  test('an id with the newline that a pasted one ends with', () => {
    const peer = { id: '\uFEFForders\r\n', secret: 'canary-secret' };
    expect(readClientOptions({ ...good, peer }).peer.id).toBe('orders');
  });

  test('the defaults', () => {
    expect(readClientOptions(good)).toMatchObject({
      ttlMs: 300_000,
      skewMs: 60_000,
      timeoutMs: 5_000,
      deadlineMs: 15_000,
      rounds: 3,
      fetch: globalThis.fetch,
      random: Math.random,
    });
    expect(readClientOptions({ ...good, timeoutSeconds: 20 }).deadlineMs).toBe(20_000);
  });

  test('a peer as its file has it', () => {
    const file = '{"id":"orders","secret":"canary-secret","more":true}';
    const peer = JSON.parse(file) as { id: string; secret: string };
    const identity = readClientOptions({ ...good, peer }).peer;
    expect([identity.kind, identity.id]).toEqual(['secret', 'orders']);
    expect(identity.kind === 'secret' && identity.read()).toBe('canary-secret');
  });
});
