import { describe, expect, test } from '@jest/globals';
import { fc } from '../support/properties.js';
import { TokenRequestError } from '../../src/client/client-errors.js';
import { isRefusal } from '../../src/client/ask-brokers.js';
import { failureByStatus, readGrant } from '../../src/client/token-request.js';

const BROKER = 'https://broker.test';
const NOW = Date.parse('2026-11-22T12:00:00Z');
const GOOD = { access_token: 'header.payload.signature', token_type: 'Bearer', expires_in: 3_600 };

const bytes = (value: unknown): Buffer =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value));
const failure = (status: number, body: Buffer): TokenRequestError => {
  try {
    readGrant(status, body, BROKER);
  } catch (error) {
    if (error instanceof TokenRequestError) return error;
  }
  throw new Error('it was no refusal of ours');
};

describe('a token response', () => {
  test.each([
    ['as the broker sends it', GOOD, 3_600],
    ['with a scope and members of others', { ...GOOD, scope: 'a b', more: { deep: [1] } }, 3_600],
    ['with the type in another case', { ...GOOD, token_type: 'bEARER' }, 3_600],
    ['with a part of a second', { ...GOOD, expires_in: 0.5 }, 0.5],
    ['of an expired token', { ...GOOD, expires_in: 0 }, 0],
    ['of a token that expired long ago', { ...GOOD, expires_in: -1e6 }, -1e6],
    ['of an opaque token', { ...GOOD, access_token: 'a+b/c~d==' }, 3_600],
  ])('%s', (_what, body, lifeSeconds) => {
    expect(readGrant(200, bytes(body), BROKER)).toEqual({
      accessToken: body.access_token,
      lifeSeconds,
    });
  });

  test('may begin with a byte-order mark', () => {
    const marked = Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), bytes(GOOD)]);
    expect(readGrant(200, marked, BROKER).accessToken).toBe(GOOD.access_token);
    const error = Buffer.from('\uFEFF{"error":"invalid_client"}');
    expect(failure(401, error).code).toBe('BROKER_CREDENTIALS_REFUSED');
  });

  test.each([
    ['a web page', '<html>canary</html>', 'it is not JSON'],
    ['broken JSON', '{"access_token":canary}', 'it is not JSON'],
    ['other bytes than UTF-8', Buffer.from([0x22, 0xff, 0x22]), 'it is not UTF-8'],
    ['a list', '[{"access_token":"canary"}]', 'it is not a JSON object'],
    ['a text', '"canary"', 'it is not a JSON object'],
    [
      'two tokens in one',
      '{"access_token":"canary1","access_token":"canary2","token_type":"Bearer","expires_in":9}',
      'the same member twice',
    ],
    ['a very deep answer', `${'['.repeat(30_000)}${']'.repeat(30_000)}`, 'nested too deeply'],
    ['no token', { ...GOOD, access_token: undefined }, '"access_token"'],
    ['an empty token', { ...GOOD, access_token: '' }, '"access_token"'],
    ['a token that is a number', { ...GOOD, access_token: 7 }, '"access_token"'],
    ['a token that ends a header', { ...GOOD, access_token: 'canary\r\nx: y' }, '"access_token"'],
    ['a token with a space', { ...GOOD, access_token: 'canary two' }, '"access_token"'],
    ['a token beyond ASCII', { ...GOOD, access_token: 'canaryé' }, '"access_token"'],
    ['no type', { ...GOOD, token_type: undefined }, '"token_type"'],
    ['another type', { ...GOOD, token_type: 'DPoP' }, '"token_type"'],
    ['a type that is no text', { ...GOOD, token_type: ['Bearer'] }, '"token_type"'],
    ['no life', { ...GOOD, expires_in: undefined }, '"expires_in"'],
    ['a life in words', { ...GOOD, expires_in: '3600' }, '"expires_in"'],
    ['no number for a life', { ...GOOD, expires_in: null }, '"expires_in"'],
    [
      'an endless life',
      '{"access_token":"canary","token_type":"Bearer","expires_in":1e999}',
      '"expires_in"',
    ],
    ['a life of milliseconds since 1970', { ...GOOD, expires_in: NOW }, '"expires_in"'],
  ])('%s is refused', (_what, body, words) => {
    const error = failure(200, body instanceof Buffer ? body : bytes(body));
    expect(error).toMatchObject({ code: 'BROKER_ANSWER_INVALID', kind: 'misconfigured' });
    expect(error.message).toContain(`The broker ${BROKER} did not send a token response`);
    expect(error.message).toContain(words);
    expect(error.message).not.toContain('canary');
    expect(error.cause).toBeUndefined();
  });
});

describe('an OAuth error', () => {
  test.each([
    [401, 'invalid_client', 'BROKER_CREDENTIALS_REFUSED', /peers add/],
    [400, 'invalid_client', 'BROKER_CREDENTIALS_REFUSED', /status 400, invalid_client/],
    [403, 'unauthorized_client', 'BROKER_REQUEST_REFUSED', /Give the peer the role "token"/],
    [400, 'invalid_request', 'BROKER_REQUEST_REFUSED', /status 400, invalid_request\)\.$/],
    [400, 'temporarily_unavailable', 'BROKER_UNAVAILABLE', /\(temporarily_unavailable\)/],
    [404, 'invalid_target', 'BROKER_NOT_FOUND', /no broker at this URL/],
    [404, 'not_found', 'BROKER_NOT_FOUND', /no broker at this URL: .* status 404/],
    [404, 7, 'BROKER_NOT_FOUND', /no broker at this URL/],
    [403, 7, 'BROKER_ANSWER_INVALID', /no OAuth error code/],
  ])('%d with %p is %s', (status, error, code, words) => {
    const refusal = failure(status, bytes({ error, error_description: 'canary' }));
    expect(refusal.code).toBe(code);
    expect(refusal.message).toMatch(words);
    expect(refusal.message).not.toContain('canary');
  });

  const nest = (status: number, error: string): object => ({
    message: 'canary',
    error,
    statusCode: status,
  });
  test.each<[string, number, unknown, string]>([
    ['a page that was not found', 404, '<html>canary</html>', 'BROKER_NOT_FOUND'],
    ['nothing that was not found', 404, '', 'BROKER_NOT_FOUND'],
    ['an error of Nest', 404, nest(404, 'Not Found'), 'BROKER_NOT_FOUND'],
    [
      'an error of Spring',
      405,
      { timestamp: 'canary', status: 405, error: 'Method Not Allowed', path: '/oauth2/token' },
      'BROKER_NOT_FOUND',
    ],
    ['a page that was removed', 410, 'canary', 'BROKER_NOT_FOUND'],
    ['another method', 405, 'canary', 'BROKER_NOT_FOUND'],
    ['a list', 404, ['canary'], 'BROKER_NOT_FOUND'],
    ['a web page', 200, '<!doctype html>canary', 'BROKER_ANSWER_INVALID'],
    ['the JSON of another service', 200, { status: 'canary' }, 'BROKER_ANSWER_INVALID'],
    ['what another service created', 201, { id: 'canary' }, 'BROKER_ANSWER_INVALID'],
    ['a login of another service', 401, nest(401, 'Unauthorized'), 'BROKER_ANSWER_INVALID'],
    ['a gateway', 403, { message: 'canary' }, 'BROKER_ANSWER_INVALID'],
    ['a bad request elsewhere', 400, nest(400, 'Bad Request'), 'BROKER_ANSWER_INVALID'],
  ])('is not what stands where no broker is: %s', (_what, status, body, code) => {
    const error = failure(status, bytes(body));
    expect(error).toMatchObject({ code, kind: 'misconfigured' });
    expect(error.message).toContain('no broker at this URL');
    expect(error.message).not.toMatch(/canary|role|peers add/);
  });

  test('a web page with status 401 is not about the peer', () => {
    expect(failure(401, bytes('<html>Log in</html>')).code).toBe('BROKER_ANSWER_INVALID');
  });
});

/** What the client makes of an answer. */
type Decision =
  /** The error of every broker: the others are not asked. */
  | 'refusal'
  /** No broker answered: the next is asked, and this one rests. */
  | 'no broker'
  /** The next is asked, and this one again in the next round. */
  | 'transient';

describe('status × body × decision', () => {
  const oauth = (error: string): string => JSON.stringify({ error, error_description: 'canary' });
  const BODIES = {
    'a known OAuth error': oauth('invalid_client'),
    'a known one with members of its own': JSON.stringify({ error: 'invalid_client', trace: 'x' }),
    'an unknown code': oauth('unauthorized'),
    "a gateway's word": oauth('Forbidden'),
    'a temporary OAuth error': oauth('temporarily_unavailable'),
    'an error of Nest': JSON.stringify({ statusCode: 4, error: 'Not Found', message: 'canary' }),
    'problem details': JSON.stringify({ type: 'about:blank', title: 'canary', status: 4 }),
    'an error that is an object': JSON.stringify({ error: { code: 5, message: 'canary' } }),
    'a message alone': JSON.stringify({ message: 'canary' }),
    'no members': '{}',
    'a list': '[]',
    'a page': '<html>canary</html>',
    'a line': 'default backend - 404',
    nothing: '',
    null: 'null',
    'half of it': '{"error":"invalid_cl',
  } as const;
  type Body = keyof typeof BODIES;
  const all = Object.keys(BODIES) as readonly Body[];
  const REFUSED = new Set<Body>(['a known OAuth error', 'a known one with members of its own']);

  const decide = (status: number, body: Body): Decision => {
    const error =
      failureByStatus(status, new Headers(), BROKER, NOW) ?? failure(status, bytes(BODIES[body]));
    expect(error.message).not.toContain('canary');
    if (isRefusal(error)) return 'refusal';
    return error.kind === 'retry' ? 'transient' : 'no broker';
  };
  const expected = (status: number, body: Body): Decision => {
    if ([408, 425, 429, 500, 502, 503, 504].includes(status)) return 'transient';
    if (status >= 300 && status < 400) return 'no broker';
    // A broker has the route: a server without it is not a broker.
    if ([404, 405, 410].includes(status)) return 'no broker';
    if (body === 'half of it') return 'transient';
    if (status < 300) return body === 'nothing' || body === 'null' ? 'transient' : 'no broker';
    if (![400, 401, 403].includes(status)) return 'no broker';
    if (body === 'a temporary OAuth error') return 'transient';
    return REFUSED.has(body) ? 'refusal' : 'no broker';
  };
  const STATUSES = [
    200, 201, 202, 204, 206, 301, 302, 304, 307, 400, 401, 402, 403, 404, 405, 406, 407, 408, 409,
    410, 411, 413, 415, 418, 421, 422, 425, 426, 429, 431, 451, 500, 502, 503, 504,
  ];

  test.each(STATUSES)('%d', (status) => {
    expect(Object.fromEntries(all.map((body) => [body, decide(status, body)]))).toEqual(
      Object.fromEntries(all.map((body) => [body, expected(status, body)])),
    );
  });
});

describe('a status that says it all', () => {
  test.each([
    [429, 'BROKER_THROTTLED', 'retry'],
    [408, 'BROKER_UNAVAILABLE', 'retry'],
    [425, 'BROKER_UNAVAILABLE', 'retry'],
    [500, 'BROKER_UNAVAILABLE', 'retry'],
    [503, 'BROKER_UNAVAILABLE', 'retry'],
    [599, 'BROKER_UNAVAILABLE', 'retry'],
    [301, 'BROKER_REDIRECTED', 'misconfigured'],
    [307, 'BROKER_REDIRECTED', 'misconfigured'],
    [0, 'BROKER_REDIRECTED', 'misconfigured'],
  ])('%d is %s', (status, code, kind) => {
    const error = failureByStatus(status, new Headers(), BROKER, NOW);
    expect(error).toMatchObject({ code, kind, retryAfterSeconds: undefined });
    const isRedirect = code === 'BROKER_REDIRECTED';
    expect(error?.message.includes('there is no broker at this URL')).toBe(isRedirect);
  });

  test.each([200, 201, 204, 400, 401, 403, 404])('%d leaves it to the body', (status) => {
    expect(failureByStatus(status, new Headers(), BROKER, NOW)).toBeUndefined();
  });

  test.each([
    ['seconds', { 'retry-after': '7' }, 7],
    ['a date', { 'retry-after': 'Sun, 22 Nov 2026 12:00:07 GMT' }, 7],
    [
      "a date of a machine whose clock is ten minutes ahead, by that machine's clock",
      {
        'retry-after': 'Sun, 22 Nov 2026 12:10:07 GMT',
        date: 'Sun, 22 Nov 2026 12:10:00 GMT',
      },
      7,
    ],
    ['nonsense', { 'retry-after': 'soon' }, undefined],
  ])('Retry-After as %s', (_what, headers, seconds) => {
    const error = failureByStatus(503, new Headers(headers), BROKER, NOW);
    expect(error?.retryAfterSeconds).toBe(seconds);
  });
});

test('whatever is answered: a token fit for a header with a life that is a number, or a refusal that quotes nothing', () => {
  const member = fc.oneof(
    fc.constant('Bearer'),
    fc.constant('canary.token.text'),
    fc.double(),
    fc.string(),
    fc.jsonValue(),
  );
  const body = fc.oneof(
    fc.uint8Array({ maxLength: 300 }).map((raw) => Buffer.from(raw)),
    fc.json().map(bytes),
    fc
      .record(
        { access_token: member, token_type: member, expires_in: member, error: member },
        { requiredKeys: [] },
      )
      .map(bytes),
    fc.double().map((life) => bytes({ ...GOOD, expires_in: life })),
  );
  let granted = 0;
  let refused = 0;
  fc.assert(
    fc.property(fc.constantFrom(200, 200, 400, 401, 403, 418), body, (status, answer) => {
      try {
        const { accessToken, lifeSeconds } = readGrant(status, answer, BROKER);
        expect(status).toBe(200);
        expect(new Headers({ authorization: `Bearer ${accessToken}` }).get('authorization')).toBe(
          `Bearer ${accessToken}`,
        );
        expect(Number.isFinite(new Date(NOW + lifeSeconds * 1_000).getTime())).toBe(true);
        granted += 1;
      } catch (error) {
        if (!(error instanceof TokenRequestError)) throw error;
        expect(error.message).not.toContain('canary');
        refused += 1;
      }
    }),
    { numRuns: 2_000 },
  );
  expect(Math.min(granted, refused)).toBeGreaterThan(0);
});
