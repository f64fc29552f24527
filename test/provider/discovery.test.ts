import { describe, expect, test } from '@jest/globals';
import { METADATA_TTL } from '../../src/provider/discovery.js';
import { createOAuthProvider } from '../../src/provider/oauth-provider.js';
import { systemClock } from '../../src/tokens/time.js';
import type { BrokerError } from '../../src/tokens/errors.js';
import { fc } from '../support/properties.js';
import { answers } from '../support/provider-server.js';
import { credentials, failureOf, rig, TIMEOUT } from './provider-fixture.js';

describe('where metadata is found', () => {
  test.each(['', '/tenant', '/tenant/'])(
    'OpenID first, and nothing else is asked (issuer path %j)',
    async (path) => {
      const { server, provider } = await rig({ path: path.replace(/\/$/, '') });
      server.always(
        'openid',
        answers.json(200, { ...server.metadata, issuer: `${server.origin}${path}` }),
      );
      await expect(provider.metadata({ issuer: `${server.origin}${path}` })).resolves.toEqual({
        issuer: `${server.origin}${path}`,
        tokenEndpoint: server.tokenEndpoint,
        jwksUri: server.jwksUri,
      });
      expect(server.requests.map((request) => request.method)).toEqual(['GET']);
    },
  );

  test.each([
    ['404', answers.text(404, 'canary-in-body')],
    ['a login page', answers.html(200)],
    ['a redirect', answers.redirect(302, 'https://login.example.test/')],
    ['JSON of another kind', answers.json(200, { hello: 'canary-in-body' })],
    ['an answer without end', answers.huge(300_000)],
  ])('RFC 8414 next, when OpenID answers with %s', async (_what, answer) => {
    const { server, provider } = await rig({ path: '/tenant' });
    server.always('openid', answer);
    await expect(provider.metadata({ issuer: server.issuer })).resolves.toMatchObject({
      jwksUri: server.jwksUri,
    });
    expect(server.received('oauth')).toHaveLength(1);
  });

  test('nowhere: says what came from both places', async () => {
    const { server, provider } = await rig();
    server.always('openid', answers.html(403));
    server.always('oauth', answers.html(200));
    const failure = await failureOf(provider.metadata({ issuer: server.issuer }));
    expect(failure).toMatchObject({ code: 'PROVIDER_DISCOVERY_FAILED', kind: 'misconfigured' });
    expect(failure.message).toContain(server.issuer);
    expect(failure.message).toContain('status 403');
    expect(failure.message).toContain('text/html');
    expect(failure.message).toContain('BROKER_ISSUER');
  });

  test.each([
    ['is another server', 'https://evil.example.test'],
    ['has a slash more', (issuer: string) => `${issuer}/`],
    ['differs by case', (issuer: string) => issuer.replace('http', 'HTTP')],
  ])('metadata whose issuer %s is refused', async (_what, issuer) => {
    const { server, provider } = await rig();
    const described = typeof issuer === 'string' ? issuer : issuer(server.issuer);
    for (const route of ['openid', 'oauth'] as const) {
      server.always(route, answers.json(200, { ...server.metadata, issuer: described }));
    }
    const failure = await failureOf(provider.metadata({ issuer: server.issuer }));
    expect(failure).toMatchObject({ code: 'PROVIDER_ISSUER_MISMATCH', kind: 'misconfigured' });
    expect(failure.message).toContain(described);
  });

  test.each([
    ['not a URL'],
    [7],
    [null],
    [undefined],
    [['https://a.test']],
    [`eyJ${'x'.repeat(40)}`],
  ])('metadata whose issuer is %j is refused', async (issuer) => {
    const { server, provider } = await rig();
    for (const route of ['openid', 'oauth'] as const) {
      server.always(route, answers.json(200, { ...server.metadata, issuer }));
    }
    await expect(failureOf(provider.metadata({ issuer: server.issuer }))).resolves.toMatchObject({
      code: 'PROVIDER_DISCOVERY_FAILED',
    });
  });

  test.each([
    ['token_endpoint', undefined, 'PROVIDER_DISCOVERY_FAILED'],
    ['jwks_uri', undefined, 'PROVIDER_DISCOVERY_FAILED'],
    ['token_endpoint', 'http://provider.internal/token', 'PROVIDER_INSECURE'],
    ['jwks_uri', 'http://provider.internal/keys', 'PROVIDER_INSECURE'],
    ['jwks_uri', 'file:///etc/passwd', 'PROVIDER_SETTINGS_INVALID'],
    ['token_endpoint', 'https://user:pass@a.test/token', 'PROVIDER_SETTINGS_INVALID'],
  ])('metadata with %s %j is refused: %s', async (member, value, code) => {
    const { server, provider } = await rig({ metadata: { [member]: value } });
    await expect(failureOf(provider.metadata({ issuer: server.issuer }))).resolves.toMatchObject({
      code,
    });
  });

  test.each([
    ['token_endpoint', 'Set BROKER_TOKEN_ENDPOINT.'],
    ['jwks_uri', 'Set BROKER_JWKS_URI.'],
  ])('the setting for a missing %s is named', async (member, advice) => {
    const { server, provider } = await rig({ metadata: { [member]: undefined } });
    const { message } = await failureOf(provider.metadata({ issuer: server.issuer }));
    expect(message).toContain(advice);
  });

  test('no metadata at all: the settings that stand in for it are named', async () => {
    const { server, provider } = await rig();
    for (const route of ['openid', 'oauth'] as const) server.always(route, answers.text(404, ''));
    const { message } = await failureOf(provider.metadata({ issuer: server.issuer }));
    expect(message).toContain('set BROKER_TOKEN_ENDPOINT and BROKER_JWKS_URI');
  });

  test('not asked at all over plain HTTP to another machine, or with a query', async () => {
    const { provider } = await rig();
    await expect(
      failureOf(provider.metadata({ issuer: 'http://provider.internal' })),
    ).resolves.toMatchObject({ code: 'PROVIDER_INSECURE' });
    await expect(
      failureOf(provider.metadata({ issuer: 'https://provider.example.test/?a=1' })),
    ).resolves.toMatchObject({ code: 'PROVIDER_SETTINGS_INVALID' });
  });
});

describe('members of the metadata that have the wrong type', () => {
  test.each([null, '', [], {}, 7, true, ['private_key_jwt', 7], 'client_secret_post'])(
    'are as if they were absent: token_endpoint_auth_methods_supported %j',
    async (methods) => {
      const { server, provider } = await rig({
        metadata: { token_endpoint_auth_methods_supported: methods },
      });
      const minted = provider.mint({ issuer: server.issuer }, credentials);
      if (Array.isArray(methods) && methods.length > 0) {
        expect((await failureOf(minted)).message).toContain('but private_key_jwt');
        return;
      }
      await expect(minted).resolves.toMatchObject({ accessToken: expect.any(String) });
      expect(server.received('token')[0]?.headers.authorization).toMatch(/^Basic /);
    },
  );

  test('one good name in a list of others counts', async () => {
    const { server, provider } = await rig({
      metadata: { token_endpoint_auth_methods_supported: [null, 7, 'client_secret_post', {}] },
    });
    await provider.mint({ issuer: server.issuer }, credentials);
    expect(server.received('token')[0]?.form.get('client_secret')).toBe('right-secret');
  });

  test.each(['token_endpoint', 'jwks_uri'])('a %s that is needed is named', async (member) => {
    for (const value of [null, '', 7, [], ['https://a.test'], {}, true]) {
      const { server, provider } = await rig({ metadata: { [member]: value } });
      const failure = await failureOf(provider.metadata({ issuer: server.issuer }));
      expect(failure.code).toBe('PROVIDER_DISCOVERY_FAILED');
      expect(failure.message).toContain(`"${member}" is missing, or not a text`);
    }
  });

  test('a token_endpoint that a setting stands in for is not looked at', async () => {
    const { server, provider } = await rig({ metadata: { token_endpoint: 7 } });
    const { issuer, tokenEndpoint, jwksUri } = server;
    await expect(provider.metadata({ issuer, tokenEndpoint })).resolves.toMatchObject({ jwksUri });
  });

  test('whatever stands in whichever member, the answer is metadata or one of our errors', async () => {
    const { server, provider } = await rig({}, { attempts: 1 });
    const { issuer } = server;
    const names = [
      'issuer',
      'token_endpoint',
      'jwks_uri',
      'token_endpoint_auth_methods_supported',
      'response_types_supported',
      'mtls_endpoint_aliases',
      'scopes_supported',
      '__proto__',
      'authorization_response_iss_parameter_supported',
      'dpop_signing_alg_values_supported',
    ];
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...names), fc.jsonValue(), async (name, value) => {
        // As text: an object literal would take "__proto__" for something else.
        const text = JSON.stringify({ ...server.metadata, [name]: undefined });
        const body = `${text.slice(0, -1)},${JSON.stringify(name)}:${JSON.stringify(value)}}`;
        const answer = answers.text(200, body, { 'content-type': 'application/json' });
        for (const route of ['openid', 'oauth'] as const) server.always(route, answer);
        const failure = await outcomeOf(
          createOAuthProvider({ clock: systemClock, attempts: 1 }).mint({ issuer }, credentials),
        );
        expect(failure?.code ?? 'PROVIDER_').toMatch(/^PROVIDER_/);
        expect(failure?.code).not.toBe('PROVIDER_UNEXPECTED');
      }),
      { numRuns: 150 },
    );
    for (const route of ['openid', 'oauth'] as const) server.always(route, undefined);
    await expect(provider.mint({ issuer }, credentials)).resolves.toBeDefined();
  });
});

describe('metadata as it is really sent', () => {
  test.each([
    ['a byte-order mark', '\uFEFF', 'application/json'],
    ['another charset', '', 'application/json; charset=utf-16'],
    ['no JSON type', '', 'text/plain'],
    ['white space around it', ' \r\n', 'application/json'],
  ])('with %s', async (_what, before, type) => {
    const { server, provider } = await rig();
    const body = `${before}${JSON.stringify(server.metadata)}\n`;
    server.always('openid', answers.text(200, body, { 'content-type': type }));
    await expect(provider.metadata({ issuer: server.issuer })).resolves.toMatchObject({
      jwksUri: server.jwksUri,
    });
    expect(server.received('oauth')).toHaveLength(0);
  });

  test.each([
    ['Keycloak', 404, { error: 'Realm does not exist' }, 'status 404, Realm does not exist'],
    [
      'Entra ID',
      400,
      { error: 'invalid_tenant', error_description: "AADSTS90002: Tenant 'x' not found." },
      "status 400, invalid_tenant: AADSTS90002: Tenant 'x' not found.",
    ],
    [
      'Cognito',
      400,
      { message: 'User pool us-east-1_x does not exist.' },
      'status 400, User pool us-east-1_x does not exist.',
    ],
  ])('what %s says in place of it is shown', async (_who, status, body, said) => {
    const { server, provider } = await rig();
    server.always('openid', answers.json(status, body));
    server.always('oauth', answers.text(404, ''));
    const { message } = await failureOf(provider.metadata({ issuer: server.issuer }));
    expect(message).toContain(said);
  });

  test('the issuer of any tenant is no issuer to set', async () => {
    const { server, provider } = await rig();
    const issuer = 'https://login.microsoftonline.com/{tenantid}/v2.0';
    const described = answers.json(200, { ...server.metadata, issuer });
    for (const route of ['openid', 'oauth'] as const) server.always(route, described);
    const { message } = await failureOf(provider.metadata({ issuer: server.issuer }));
    expect(message).toContain('BROKER_ISSUER must name one tenant');
    expect(message).not.toContain('to the former');
  });
});

/** What a call rejects with, if it does. */
async function outcomeOf(call: Promise<unknown>): Promise<BrokerError | undefined> {
  try {
    await call;
    return undefined;
  } catch (error) {
    return failureOf(Promise.reject(error));
  }
}

describe('explicit endpoints', () => {
  test('need no discovery', async () => {
    const { server, provider } = await rig();
    const settings = {
      issuer: 'https://provider.example.test',
      tokenEndpoint: server.tokenEndpoint,
      jwksUri: server.jwksUri,
    };
    await expect(provider.metadata(settings)).resolves.toEqual(settings);
    await provider.mint(settings, credentials);
    expect(server.requests.map((request) => request.path)).toEqual(['/token']);
  });

  test('a token endpoint alone mints without discovery; the keys are discovered', async () => {
    const { server, provider } = await rig({
      metadata: { token_endpoint: 'https://other.test/t' },
    });
    const settings = { issuer: server.issuer, tokenEndpoint: server.tokenEndpoint };
    await provider.mint(settings, credentials);
    expect(server.received('openid')).toHaveLength(0);
    await expect(provider.metadata(settings)).resolves.toEqual({
      ...settings,
      jwksUri: server.jwksUri,
    });
  });

  test('a JWKS URI alone replaces the discovered one', async () => {
    const { server, provider } = await rig();
    const settings = { issuer: server.issuer, jwksUri: 'https://keys.example.test/' };
    await expect(provider.metadata(settings)).resolves.toEqual({
      ...settings,
      tokenEndpoint: server.tokenEndpoint,
    });
  });
});

describe('the metadata cache', () => {
  test('asks once for callers that come together, and again after an hour', async () => {
    const { server, clock, provider } = await rig();
    const { issuer } = server;
    await Promise.all([provider.metadata({ issuer }), provider.mint({ issuer }, credentials)]);
    clock.advance(METADATA_TTL - 1);
    await provider.metadata({ issuer });
    expect(server.received('openid')).toHaveLength(1);
    clock.advance(1);
    await provider.metadata({ issuer });
    expect(server.received('openid')).toHaveLength(2);
  });

  test('is not trusted after the clock was set back', async () => {
    const { server, clock, provider } = await rig();
    await provider.metadata({ issuer: server.issuer });
    clock.advance(-60_000);
    await provider.metadata({ issuer: server.issuer });
    expect(server.received('openid')).toHaveLength(2);
  });

  test('does not keep a failure', async () => {
    const { server, provider } = await rig({}, { attempts: 1 });
    server.next('openid', answers.text(503, ''));
    await expect(failureOf(provider.metadata({ issuer: server.issuer }))).resolves.toMatchObject({
      code: 'PROVIDER_UNAVAILABLE',
      kind: 'retry',
    });
    await expect(provider.metadata({ issuer: server.issuer })).resolves.toBeDefined();
  });

  test('is dropped when the token endpoint no longer is one', async () => {
    const { server, provider } = await rig();
    const { issuer } = server;
    server.next(
      'openid',
      answers.json(200, { ...server.metadata, token_endpoint: `${server.origin}/old` }),
    );
    await expect(failureOf(provider.mint({ issuer }, credentials))).resolves.toMatchObject({
      code: 'PROVIDER_NOT_JSON',
    });
    await expect(provider.mint({ issuer }, credentials)).resolves.toMatchObject({
      accessToken: expect.any(String),
    });
  });

  test('one caller that gives up does not end the discovery of another', async () => {
    const { server, provider } = await rig();
    let answer: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => {
      answer = resolve;
    });
    server.next('openid', answers.after(gate, answers.json(200, server.metadata)));
    const caller = new AbortController();
    const first = provider.metadata({ issuer: server.issuer }, caller.signal);
    const second = provider.metadata({ issuer: server.issuer });
    await server.reached('openid', 1);
    caller.abort(new Error('no longer needed'));
    await expect(first).rejects.toThrow('no longer needed');
    answer();
    await expect(second).resolves.toBeDefined();
    expect(server.received('openid')).toHaveLength(1);
  });
});

describe('a provider in trouble', () => {
  test.each([
    ['500', answers.html(500), 'PROVIDER_UNAVAILABLE'],
    ['429', answers.throttled(), 'PROVIDER_THROTTLED'],
    ['a reset', answers.reset(), 'PROVIDER_UNAVAILABLE'],
    ['something else than HTTP', answers.garbage(), 'PROVIDER_UNAVAILABLE'],
  ])(
    '%s: tried three times at the first place, and not at the other',
    async (_what, answer, code) => {
      const { server, provider } = await rig();
      server.always('openid', answer);
      await expect(failureOf(provider.metadata({ issuer: server.issuer }))).resolves.toMatchObject({
        code,
        kind: 'retry',
      });
      expect([server.received('openid').length, server.received('oauth').length]).toEqual([3, 0]);
    },
  );

  test('a hanging one costs a time-out for each attempt', async () => {
    const { server, clock, provider } = await rig({}, { attempts: 2 });
    server.always('openid', answers.hang());
    const started = clock.now();
    const failure = failureOf(provider.metadata({ issuer: server.issuer }));
    for (const count of [1, 2]) {
      await server.reached('openid', count);
      clock.release();
    }
    await expect(failure).resolves.toMatchObject({ code: 'PROVIDER_TIMEOUT', kind: 'retry' });
    expect(clock.now() - started).toBe(2 * TIMEOUT + (clock.pauses[0] ?? Number.NaN));
  });
});
