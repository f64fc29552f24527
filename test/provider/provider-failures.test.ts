import { describe, expect, test } from '@jest/globals';
import { createOAuthProvider } from '../../src/provider/oauth-provider.js';
import { systemClock } from '../../src/tokens/time.js';
import { fc } from '../support/properties.js';
import { answers, LOST } from '../support/provider-server.js';
import { credentials, failureOf, rig, TIMEOUT } from './provider-fixture.js';

describe('what the token endpoint may answer', () => {
  test.each([
    ['a wrong scope', answers.oauthError(400, 'invalid_scope'), 'PROVIDER_REFUSED', /BROKER_SCOPE/],
    [
      'a wrong target',
      answers.oauthError(400, 'invalid_target'),
      'PROVIDER_REFUSED',
      /BROKER_AUDIENCE/,
    ],
    [
      'no grant',
      answers.oauthError(403, 'access_denied', 'Client is not authorized.'),
      'PROVIDER_REFUSED',
      /Client is not authorized\./,
    ],
    [
      'a client without this grant',
      answers.oauthError(400, 'unauthorized_client'),
      'PROVIDER_REFUSED',
      /client-credentials grant/,
    ],
    ['an unknown code', answers.oauthError(400, 'teapot'), 'PROVIDER_REFUSED', /teapot/],
    [
      'an unreadable code',
      answers.oauthError(400, `eyJ${'x'.repeat(50)}`),
      'PROVIDER_REFUSED',
      /unreadable/,
    ],
    [
      'a description with the secret',
      answers.oauthError(400, 'invalid_request', 'bad: right-secret'),
      'PROVIDER_REFUSED',
      /invalid_request\)/,
    ],
    [
      'a description with a token',
      answers.oauthError(400, 'invalid_request', 'bad eyJhbGciOiJub25lIn0.e30.'),
      'PROVIDER_REFUSED',
      /invalid_request\)/,
    ],
    [
      'a description that forges log lines',
      answers.oauthError(400, 'x', 'a\r\nb'),
      'PROVIDER_REFUSED',
      /x: a b\)/,
    ],
    [
      'a description that is no text',
      answers.json(400, { error: 'x', error_description: { a: 1 } }),
      'PROVIDER_REFUSED',
      /, x\)/,
    ],
    ['a web page', answers.html(200), 'PROVIDER_NOT_JSON', /status 200, text\/html/],
    ['a web page that forbids', answers.html(403), 'PROVIDER_NOT_JSON', /status 403, text\/html/],
    [
      'broken JSON',
      answers.text(200, '{"canary-in-body":}', { 'content-type': 'application/json' }),
      'PROVIDER_NOT_JSON',
      /status 200/,
    ],
    [
      'a refusal without a word',
      answers.empty(403),
      'PROVIDER_RESPONSE_INVALID',
      /status 403, no content type; an empty body/,
    ],
    ['a list', answers.json(200, ['canary-in-body']), 'PROVIDER_RESPONSE_INVALID', /status 200/],
    [
      'no token',
      answers.token({ access_token: undefined }),
      'PROVIDER_RESPONSE_INVALID',
      /access_token/,
    ],
    [
      'an empty token',
      answers.token({ access_token: '' }),
      'PROVIDER_RESPONSE_INVALID',
      /access_token/,
    ],
    [
      'no token type',
      answers.token({ token_type: undefined }),
      'PROVIDER_RESPONSE_INVALID',
      /token_type/,
    ],
    [
      'another token type',
      answers.token({ token_type: 'mac' }),
      'PROVIDER_RESPONSE_INVALID',
      /token_type/,
    ],
    ['a DPoP token', answers.token({ token_type: 'DPoP' }), 'PROVIDER_RESPONSE_INVALID', /bearer/],
    [
      'a negative life',
      answers.token({ expires_in: -1 }),
      'PROVIDER_RESPONSE_INVALID',
      /expires_in/,
    ],
    [
      'a life that is no number',
      answers.token({ expires_in: 'soon' }),
      'PROVIDER_RESPONSE_INVALID',
      // It is the URL of the token endpoint, since a token came.
      /"expires_in" is not a number of seconds\)\.$/,
    ],
    [
      'a 4xx without an error code',
      answers.json(418, { canary: 'canary-in-body' }),
      'PROVIDER_RESPONSE_INVALID',
      /status 418/,
    ],
    ['too much', answers.huge(300_000), 'PROVIDER_RESPONSE_INVALID', /262144 bytes/],
    [
      'a redirect',
      answers.redirect(307, 'https://login.example.test/?canary-in-body'),
      'PROVIDER_REDIRECTED',
      /to https:\/\/login\.example\.test \(status 307\)/,
    ],
    [
      'a redirect to nowhere',
      answers.redirect(302, 'data:canary-in-body'),
      'PROVIDER_REDIRECTED',
      /redirects \(status 302\)/,
    ],
    ['a redirect without a place', answers.empty(303), 'PROVIDER_REDIRECTED', /status 303/],
  ])('%s', async (_what, answer, code, message) => {
    const { server, provider, clock } = await rig();
    server.always('token', answer);
    const failure = await failureOf(provider.mint({ issuer: server.issuer }, credentials));
    expect(failure).toMatchObject({ code, kind: 'misconfigured' });
    expect(failure.message).toMatch(message);
    // What will not pass is not repeated.
    expect(server.received('token')).toHaveLength(1);
    expect(clock.pauses).toEqual([]);
  });

  test.each<[string, Readonly<Record<string, unknown>>, number | undefined]>([
    ['refresh_token null', { refresh_token: null }, 86_400],
    ['refresh_token empty', { refresh_token: '' }, 86_400],
    ['refresh_token of another type', { refresh_token: 7 }, 86_400],
    ['id_token null', { id_token: null }, 86_400],
    ['id_token empty', { id_token: '' }, 86_400],
    ['id_token malformed', { id_token: 'a.b' }, 86_400],
    ['id_token of another issuer', { id_token: 'e30.eyJpc3MiOiJ4IiwiYXVkIjoieSJ9.' }, 86_400],
    ['id_token of another type', { id_token: { a: 1 } }, 86_400],
    ['token_type in capitals', { token_type: 'BEARER' }, 86_400],
    ['token_type in small letters', { token_type: 'bearer' }, 86_400],
    ['token_type with white space', { token_type: 'Bearer ' }, 86_400],
    ['expires_in null', { expires_in: null }, undefined],
    ['expires_in absent', { expires_in: undefined }, undefined],
    ['expires_in empty', { expires_in: '' }, undefined],
    ['expires_in as a text', { expires_in: '3600' }, 3_600],
    ['expires_in with a fraction', { expires_in: 3_599.5 }, 3_599.5],
    ['expires_in as a text with a fraction', { expires_in: '3599.5' }, 3_599.5],
    ['expires_in 0, which is judged later', { expires_in: 0 }, 0],
    [
      'members that nobody knows',
      { error: null, ext_expires_in: 'x', 'not-before-policy': 0 },
      86_400,
    ],
    ['an error beside the token', { error: '', error_description: null, message: 'ok' }, 86_400],
  ])('%s refuses no token', async (_what, members, expiresInSeconds) => {
    const { server, provider } = await rig();
    server.always('token', answers.token(members));
    const minted = await provider.mint({ issuer: server.issuer }, credentials);
    expect(minted.expiresInSeconds).toBe(expiresInSeconds);
    expect(server.received('token')).toHaveLength(1);
  });

  test.each([
    [undefined, undefined],
    [null, undefined],
    ['orders:read orders:write', 'orders:read orders:write'],
    ['', ''],
    [['orders:read', 'orders:write'], 'orders:read orders:write'],
    [[], ''],
    [['orders:read', 7], undefined],
    [7, undefined],
    [{ a: 1 }, undefined],
  ])('scope %j is read as %j', async (scope, expected) => {
    const { server, provider } = await rig();
    server.always('token', answers.token({ scope }));
    expect((await provider.mint({ issuer: server.issuer }, credentials)).scope).toBe(expected);
  });

  test.each([
    ['status 201', 201, 'application/json', ''],
    ['status 203', 203, 'application/json', ''],
    ['a charset', 200, 'application/json;charset=UTF-8', ''],
    ['a type in capitals', 200, 'Application/JSON', ''],
    ['a type of its own', 200, 'application/vnd.example+json', ''],
    ['text/json', 200, 'text/json', ''],
    ['text/plain', 200, 'text/plain', ''],
    ['a byte-order mark', 200, 'application/json', '\uFEFF'],
  ])('%s refuses no token either', async (_what, status, type, before) => {
    const { server, provider } = await rig();
    const body = { access_token: await server.token(), token_type: 'Bearer', expires_in: 60 };
    server.always(
      'token',
      answers.text(status, `${before}${JSON.stringify(body)}`, { 'content-type': type }),
    );
    await expect(provider.mint({ issuer: server.issuer }, credentials)).resolves.toMatchObject({
      accessToken: body.access_token,
    });
  });

  test.each([
    'application/problem+json',
    'application/json; charset=utf-8',
    'text/json',
    'text/plain',
  ])('an error is read as %s, too', async (type) => {
    const { server, provider } = await rig();
    const body = JSON.stringify({ error: 'invalid_scope', error_description: 'no such scope' });
    server.always('token', answers.text(400, body, { 'content-type': type }));
    const failure = await failureOf(provider.mint({ issuer: server.issuer }, credentials));
    expect(failure).toMatchObject({ code: 'PROVIDER_REFUSED' });
    expect(failure.message).toContain('invalid_scope: no such scope');
  });

  test('whatever a token response has, the outcome is a token or an error of ours', async () => {
    const { server } = await rig();
    const { issuer, tokenEndpoint } = server;
    const access_token = await server.token();
    const member = fc.constantFrom(
      'access_token',
      'token_type',
      'expires_in',
      'scope',
      'refresh_token',
      'id_token',
      'error',
      'error_description',
      'errors',
      'error_codes',
      'errorCode',
      'title',
      'detail',
      'message',
      '__type',
      '__proto__',
      'constructor',
    );
    const members = fc.dictionary(member, fc.jsonValue(), { maxKeys: 4 });
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(200, 201, 400, 401, 403, 404),
        members,
        async (status, given) => {
          const body = { access_token, token_type: 'Bearer', expires_in: 60, ...given };
          server.always('token', answers.json(status, body));
          const provider = createOAuthProvider({ clock: systemClock, attempts: 1 });
          const error: unknown = await provider.mint({ issuer, tokenEndpoint }, credentials).then(
            () => undefined,
            (failure: unknown) => failure,
          );
          if (error === undefined) return;
          expect(error).toMatchObject({ code: expect.stringMatching(/^PROVIDER_(?!UNEXPECTED)/) });
          expect((error as Error).message).not.toContain('eyJ');
        },
      ),
      { numRuns: 200 },
    );
  });

  test.each([
    [
      'an opaque token',
      'opaque-token-value',
      undefined,
      /opaque.*audience is missing.*BROKER_AUDIENCE/,
    ],
    ['an encrypted token', 'e30.a.b.c.d', undefined, /encrypted \(JWE\).*BROKER_AUDIENCE/],
    ['three parts that are no JWT', 'a.b.c', undefined, /opaque/],
    [
      'an opaque token despite an audience',
      'opaque-token-value',
      'https://a.test',
      /token format JWT/,
    ],
  ])('%s', async (_what, access_token, audience, message) => {
    const { server, provider } = await rig();
    server.always('token', answers.token({ access_token }));
    const settings = { issuer: server.issuer, ...(audience === undefined ? {} : { audience }) };
    const failure = await failureOf(provider.mint(settings, credentials));
    expect(failure).toMatchObject({ code: 'PROVIDER_TOKEN_NOT_JWT', kind: 'misconfigured' });
    expect(failure.message).toMatch(message);
    expect(failure.message).not.toContain(access_token);
  });
});

describe('trouble that may pass', () => {
  test.each([
    ['500', answers.html(500), 'PROVIDER_UNAVAILABLE'],
    ['503', answers.oauthError(503, 'temporarily_unavailable'), 'PROVIDER_UNAVAILABLE'],
    ['408', answers.empty(408), 'PROVIDER_UNAVAILABLE'],
    [
      '400 temporarily_unavailable',
      answers.oauthError(400, 'temporarily_unavailable'),
      'PROVIDER_UNAVAILABLE',
    ],
    ['429', answers.throttled(), 'PROVIDER_THROTTLED'],
    ['a reset', answers.reset(), 'PROVIDER_UNAVAILABLE'],
    ['a body cut short', answers.cutShort(), 'PROVIDER_UNAVAILABLE'],
    ['something else than HTTP', answers.garbage(), 'PROVIDER_UNAVAILABLE'],
  ])('%s: once is survived, three times are reported', async (_what, answer, code) => {
    const { server, provider, clock } = await rig();
    const { issuer } = server;
    server.next('token', answer);
    await expect(provider.mint({ issuer }, credentials)).resolves.toMatchObject({
      accessToken: expect.any(String),
    });
    expect(clock.pauses).toEqual([375]);

    server.always('token', answer);
    const failure = await failureOf(provider.mint({ issuer }, credentials));
    expect(failure).toMatchObject({ code, kind: 'retry' });
    expect(server.received('token')).toHaveLength(2 + 3);
    expect(clock.pauses).toEqual([375, 375, 750]);
  });

  test.each([
    ['no answer', answers.hang()],
    ['half an answer', answers.stall()],
  ])('%s in time: each attempt is ended, and the last one reported', async (_what, answer) => {
    const { server, provider, clock } = await rig();
    server.always('token', answer);
    const started = clock.now();
    const failure = failureOf(provider.mint({ issuer: server.issuer }, credentials));
    for (const count of [1, 2, 3]) {
      await server.reached('token', count);
      clock.release();
    }
    await expect(failure).resolves.toMatchObject({
      code: 'PROVIDER_TIMEOUT',
      kind: 'retry',
      message: expect.stringContaining('within 5 s'),
    });
    expect(clock.now() - started).toBe(3 * TIMEOUT + 375 + 750);
    expect(clock.held).toBe(0);
  });

  test('a slow answer within the time is an answer', async () => {
    const { server, provider, clock } = await rig();
    let release: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    server.next('token', answers.after(gate, answers.token()));
    const call = provider.mint({ issuer: server.issuer }, credentials);
    await server.reached('token', 1);
    clock.advance(TIMEOUT - 1);
    release();
    await expect(call).resolves.toBeDefined();
  });
});

describe('Retry-After', () => {
  test.each([
    ['seconds', '7'],
    ['a date', 'Sun, 22 Nov 2026 12:00:07 GMT'],
  ])('as %s is kept to, and the call succeeds', async (_what, header) => {
    const { server, provider, clock } = await rig();
    server.next('token', answers.throttled(header));
    await expect(provider.mint({ issuer: server.issuer }, credentials)).resolves.toBeDefined();
    expect(clock.pauses).toEqual([7_250]);
  });

  test('of a 503 is kept to as well', async () => {
    const { server, provider, clock } = await rig();
    server.next('token', answers.empty(503, { 'retry-after': '2' }));
    await provider.mint({ issuer: server.issuer }, credentials);
    expect(clock.pauses).toEqual([2_250]);
  });

  test('past the deadline ends the call at once, and is passed on', async () => {
    const { server, provider, clock } = await rig();
    server.always('token', answers.throttled('3600'));
    const failure = await failureOf(provider.mint({ issuer: server.issuer }, credentials));
    expect(failure).toMatchObject({
      code: 'PROVIDER_THROTTLED',
      kind: 'retry',
      retryAfterSeconds: 3_600,
    });
    expect(server.received('token')).toHaveLength(1);
    expect(clock.pauses).toEqual([]);
  });
});

describe('an answer that was lost on the way', () => {
  test.each(LOST)('%s is asked for again: a token', async (_what, answer) => {
    const { server, provider, clock } = await rig();
    server.next('token', answer);
    await expect(provider.mint({ issuer: server.issuer }, credentials)).resolves.toBeDefined();
    expect(server.received('token')).toHaveLength(2);
    expect(clock.pauses).toHaveLength(1);
  });

  test.each(LOST)('%s is asked for again: metadata', async (_what, answer) => {
    const { server, provider } = await rig();
    server.next('openid', answer);
    await expect(provider.metadata({ issuer: server.issuer })).resolves.toBeDefined();
    expect(server.received('openid')).toHaveLength(2);
  });

  test.each([
    ['an empty 200', answers.empty(200), /sent an answer that is empty \(status 200\)/],
    ['a 204', answers.empty(204), /sent an answer that is empty \(status 204\)/],
    ['half of it', answers.text(200, '{"access_token":'), /that is cut short \(status 200\)/],
  ])('%s for good says so', async (_what, answer, words) => {
    const { server, provider } = await rig();
    server.always('token', answer);
    const failure = await failureOf(provider.mint({ issuer: server.issuer }, credentials));
    expect(failure).toMatchObject({ code: 'PROVIDER_UNAVAILABLE', kind: 'retry' });
    expect(failure.message).toMatch(words);
    expect(server.received('token')).toHaveLength(3);
  });

  test('a place that never has more than an empty answer does not hide the other one', async () => {
    const { server, provider } = await rig();
    server.always('openid', answers.empty(204));
    await expect(provider.metadata({ issuer: server.issuer })).resolves.toBeDefined();
    server.always('oauth', answers.empty(404));
    const { provider: another } = await rig();
    const failure = await failureOf(another.metadata({ issuer: server.issuer }));
    expect(failure).toMatchObject({ code: 'PROVIDER_UNAVAILABLE', kind: 'retry' });
    expect(failure.message).toContain('empty (status 204)');
  });
});

describe('a status that may pass', () => {
  test.each([408, 425, 429, 500, 502, 503, 504])(
    '%d is retried, whatever page comes',
    async (status) => {
      const { server, provider, clock } = await rig();
      server.next(
        'token',
        answers.html(status),
        answers.empty(status, { 'retry-after': '3' }),
        answers.token(),
      );
      await provider.mint({ issuer: server.issuer }, credentials);
      expect(clock.pauses).toEqual([375, 3_250]);
    },
  );

  test("a date in Retry-After counts by the sender's clock", async () => {
    const anHourAhead = (): number => clock.now() + 3_600_000;
    const { server, provider, clock } = await rig({ now: anHourAhead });
    const date = new Date(anHourAhead() + 4_000).toUTCString();
    server.next('token', answers.empty(503, { 'retry-after': date }), answers.token());
    await provider.mint({ issuer: server.issuer }, credentials);
    expect(clock.pauses).toEqual([4_250]);
  });
});
