import { describe, expect, test } from '@jest/globals';
import { BrokerError } from '../../src/tokens/errors.js';
import { ProxyError, proxyErrorOf } from '../../src/tokens/proxy-error.js';

const WHY = 'the proxy proxy.example.com:3128 does not answer';
const ADVICE = 'Is it running? Ask its owner.';

describe('a proxy that does not let a request through', () => {
  test.each([
    ['PROXY_REFUSED', 'misconfigured'],
    ['PROXY_UNAVAILABLE', 'retry'],
  ] as const)('%s: %s', (code, kind) => {
    const error = new ProxyError(code, { why: WHY, advice: ADVICE });
    expect(error).toMatchObject({ name: 'ProxyError', code, kind, why: WHY, advice: ADVICE });
    expect(error.message).toBe(
      'The proxy proxy.example.com:3128 does not answer. Is it running? Ask its owner.',
    );
    expect(error.retryAfterSeconds).toBeUndefined();
    expect(error.$retryable).toBeUndefined();
    expect(error).toBeInstanceOf(BrokerError);
  });

  test('may say when to ask again, and that the AWS SDK may try at once', () => {
    const parts = { why: WHY, advice: ADVICE, retryAfterSeconds: 30, isBrief: true };
    const error = new ProxyError('PROXY_UNAVAILABLE', parts);
    expect(error.retryAfterSeconds).toBe(30);
    expect(error.$retryable).toEqual({});
  });
});

describe('the error of a proxy', () => {
  const error = new ProxyError('PROXY_REFUSED', { why: WHY, advice: ADVICE });
  const wrapped = (times: number): unknown =>
    times === 0 ? error : new Error('fetch failed', { cause: wrapped(times - 1) });

  test.each([0, 1, 2, 3])('is found under %d others', (times) => {
    expect(proxyErrorOf(wrapped(times))).toBe(error);
  });

  test.each<[string, unknown]>([
    ['four others', wrapped(4)],
    ['what is no error', { cause: error }],
    ['an error without a cause', new Error('fetch failed')],
    ['an error of another kind', new BrokerError('STORE_DOWN', 'retry', 'It is down.')],
    ['nothing', undefined],
  ])('is not found under %s', (_what, thrown) => {
    expect(proxyErrorOf(thrown)).toBeUndefined();
  });
});
