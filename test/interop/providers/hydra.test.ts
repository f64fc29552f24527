import { randomUUID } from 'node:crypto';
import { expect } from '@jest/globals';
import {
  Browser,
  codeRequest,
  post,
  redeem,
  request,
  REDIRECT_URI,
  type TokenAnswer,
} from './oauth.js';
import {
  API,
  clientKey,
  describeWith,
  providerContract,
  type Credentials,
  type RunningProvider,
} from './provider.contract.js';
import { freePort, startServer } from './server-process.js';

// Ory Hydra with a store in memory. This file is its login and consent application, by its admin API.

const withSecret = (id: string): Credentials => ({ client_id: id, client_secret: `${id}-secret` });
const ACCESS_TOKEN_KEYS = 'hydra.jwt.access-token';

/** A client for machines. */
function client(id: string, change: object = {}): object {
  return {
    client_id: id,
    client_secret: `${id}-secret`,
    grant_types: ['client_credentials'],
    token_endpoint_auth_method: 'client_secret_basic',
    scope: 'orders:read',
    audience: [API],
    client_credentials_grant_access_token_lifespan: '25h',
    ...change,
  };
}

async function startHydra(program: string): Promise<RunningProvider> {
  const [port, adminPort] = [await freePort(), await freePort()];
  const issuer = `http://127.0.0.1:${port}`;
  const endpoint = `${issuer}/oauth2/token`;
  await startServer([program, 'serve', 'all', '--dev', '--sqa-opt-out'], `${issuer}/health/ready`, {
    DSN: 'memory',
    SERVE_PUBLIC_HOST: '127.0.0.1',
    SERVE_PUBLIC_PORT: `${port}`,
    SERVE_ADMIN_HOST: '127.0.0.1',
    SERVE_ADMIN_PORT: `${adminPort}`,
    URLS_SELF_ISSUER: issuer,
    // Nobody follows these: only the challenge in them is read.
    URLS_LOGIN: 'http://127.0.0.1/login',
    URLS_CONSENT: 'http://127.0.0.1/consent',
    STRATEGIES_ACCESS_TOKEN: 'jwt',
    SECRETS_SYSTEM: 'the-system-secret-of-this-test',
    LOG_LEVEL: 'warn',
  });
  const administer = async (method: string, path: string, body?: object): Promise<unknown> => {
    const response = await request(`http://127.0.0.1:${adminPort}/admin/${path}`, {
      method,
      headers: { 'content-type': 'application/json' },
      ...(body && { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    expect({ method, path, ok: response.ok, ...(!response.ok && { text }) }).toEqual({
      method,
      path,
      ok: true,
    });
    return text === '' ? undefined : JSON.parse(text);
  };
  const key = clientKey();
  const forPeople = {
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    redirect_uris: [REDIRECT_URI],
    scope: 'openid offline_access orders:read',
  };
  for (const one of [
    client('billing'),
    client('billing-key', {
      client_secret: undefined,
      token_endpoint_auth_method: 'private_key_jwt',
      token_endpoint_auth_signing_alg: 'RS256',
      jwks: key.publicJwks,
    }),
    client('no-grant', { ...forPeople }),
    client('opaque', { access_token_strategy: 'opaque' }),
    client('web', forPeople),
  ]) {
    await administer('POST', 'clients', one);
  }
  const keyClient = { client_id: 'billing-key', private_key: key.privateJwk };

  /** Says yes to a login or a consent. @returns where the browser goes then. */
  const accept = async (kind: 'login' | 'consent', at: string, body: object): Promise<string> => {
    const challenge = new URL(at).searchParams.get(`${kind}_challenge`) ?? '';
    const path = `oauth2/auth/requests/${kind}/accept?${kind}_challenge=${challenge}`;
    const { redirect_to } = (await administer('PUT', path, body)) as { redirect_to: string };
    return redirect_to;
  };
  const login = async (scope: string, subject = 'ann'): Promise<TokenAnswer> => {
    const browser = new Browser();
    const asked = codeRequest(`${issuer}/oauth2/auth`, scope, { audience: API });
    const loggedIn = await accept('login', await browser.redirect(asked), { subject });
    const agreed = await accept('consent', await browser.redirect(loggedIn), {
      grant_scope: scope.split(' '),
      grant_access_token_audience: [API],
    });
    return redeem(endpoint, await browser.redirect(agreed));
  };
  let newest = '';
  const signWith = async (alg: string): Promise<void> => {
    newest = `${alg}-${randomUUID()}`;
    await administer('POST', `keys/${ACCESS_TOKEN_KEYS}`, { alg, kid: newest, use: 'sig' });
  };
  const algorithm = (name: string) => async (): Promise<Credentials> => {
    await signWith(name);
    return withSecret('billing');
  };

  return {
    issuer,
    jwksUri: `${issuer}/.well-known/jwks.json`,
    settings: {
      BROKER_PROFILE: 'hydra',
      BROKER_SERVICE_CLIENT_IDS: 'billing,billing-key',
      BROKER_CLIENT_ASSERTION_AUDIENCE: 'token_endpoint',
    },
    receivers: {
      profile: 'hydra',
      serviceClientIds: ['billing', 'billing-key'],
      customerClientIds: ['web'],
    },
    withSecret: withSecret('billing'),
    withKey: keyClient,
    algorithms: {
      ES256: algorithm('ES256'),
      PS256: algorithm('PS256'),
      EdDSA: algorithm('EdDSA'),
      RS512: algorithm('RS512'),
    },
    customer: () => login('openid offline_access orders:read'),
    customers: {
      'a token without the scope openid': async () => (await login('orders:read')).access_token,
      'a refreshed token': async () => {
        const { refresh_token = '' } = await login('openid offline_access');
        const grant = { grant_type: 'refresh_token', refresh_token };
        return (await post(endpoint, grant, ['web', 'web-secret'])).access_token;
      },
    },
    refused: {
      'a customer whose name is that of the client': async () =>
        (await login('orders:read', 'web')).access_token,
      'a token for nobody': async () => {
        const grant = { grant_type: 'client_credentials' };
        return (await post(endpoint, grant, ['billing', 'billing-secret'])).access_token;
      },
    },
    mistakes: {
      'a wrong secret': {
        credentials: { client_id: 'billing', client_secret: 'not-the-secret-of-it' },
        code: 'PROVIDER_INVALID_CLIENT',
        says: /secret/,
      },
      'an unknown client': {
        credentials: withSecret('nobody'),
        code: 'PROVIDER_INVALID_CLIENT',
        says: /client id|client_id/,
      },
      'a client without the grant': {
        credentials: withSecret('no-grant'),
        code: 'PROVIDER_REFUSED',
        says: /client_credentials/,
      },
      'a scope that is not there': {
        credentials: withSecret('billing'),
        settings: { BROKER_SCOPE: 'orders:write' },
        code: 'PROVIDER_REFUSED',
        says: /The scope asked for is/,
      },
      'an audience that the client may not have': {
        credentials: withSecret('billing'),
        settings: { BROKER_AUDIENCE: 'https://other.example.test' },
        code: 'PROVIDER_REFUSED',
        says: /whitelisted by the OAuth 2\.0 Client/,
      },
      'opaque tokens': {
        credentials: withSecret('opaque'),
        code: 'PROVIDER_TOKEN_NOT_JWT',
        says: /JWT/,
      },
      'another way to authenticate': {
        credentials: withSecret('billing'),
        settings: { BROKER_CLIENT_AUTHENTICATION: 'client_secret_post' },
        code: 'PROVIDER_INVALID_CLIENT',
        says: /BROKER_CLIENT_AUTHENTICATION/,
      },
      'an assertion for the issuer': {
        credentials: keyClient,
        settings: { BROKER_CLIENT_ASSERTION_AUDIENCE: 'issuer' },
        code: 'PROVIDER_INVALID_CLIENT',
        says: /BROKER_CLIENT_ASSERTION_AUDIENCE/,
      },
    },
    otherSetUps: {},
    changeKey: () => signWith('RS256'),
    withdrawOldKeys: async () => {
      const { keys } = (await administer('GET', `keys/${ACCESS_TOKEN_KEYS}`)) as {
        keys: readonly { kid: string }[];
      };
      for (const { kid } of keys.filter((one) => one.kid !== newest)) {
        await administer('DELETE', `keys/${ACCESS_TOKEN_KEYS}/${kid}`);
      }
    },
  };
}

describeWith('INTEROP_HYDRA_PROGRAM', 'Ory Hydra', (program) => {
  providerContract(() => startHydra(program));
});
