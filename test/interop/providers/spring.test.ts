import { expect } from '@jest/globals';
import {
  Browser,
  codeRequest,
  dpopProof,
  post,
  redeem,
  request,
  type TokenAnswer,
} from './oauth.js';
import {
  clientKey,
  describeWith,
  providerContract,
  type Credentials,
  type RunningProvider,
} from './provider.contract.js';
import { freePort, startServer } from './server-process.js';

// Spring Authorization Server, as the small application in spring/ sets it up.

const withSecret = (id: string): Credentials => ({ client_id: id, client_secret: `${id}-secret` });
const JWT = 'urn:ietf:params:oauth:token-type:jwt';

async function startSpring(jar: string): Promise<RunningProvider> {
  const port = await freePort();
  const issuer = `http://127.0.0.1:${port}`;
  const endpoint = `${issuer}/oauth2/token`;
  await startServer(
    [
      'java',
      '-Xmx256m',
      '-XX:TieredStopAtLevel=1',
      '-XX:+UseSerialGC',
      '-jar',
      jar,
      '--server.address=127.0.0.1',
      `--server.port=${port}`,
    ],
    `${issuer}/.well-known/openid-configuration`,
  );
  const administer = async (method: string, path: string, body?: object): Promise<void> => {
    const init = { method, ...(body && { body: JSON.stringify(body) }) };
    const { status } = await request(`${issuer}/test/${path}`, init);
    expect({ method, path, status }).toEqual({ method, path, status: 200 });
  };
  const key = clientKey();
  await administer('PUT', 'client-keys', key.publicJwks);
  const keyClient = { client_id: 'billing-key', private_key: key.privateJwk };

  const login = async (scope: string, headers = {}): Promise<TokenAnswer> => {
    const browser = new Browser();
    const page = await browser.redirect(codeRequest(`${issuer}/oauth2/authorize`, scope));
    const loggedIn = await browser.submit(page, { username: 'ann', password: 'password-of-ann' });
    return redeem(endpoint, await browser.redirect(loggedIn), headers);
  };
  const mint = async (id: string, headers = {}): Promise<string> => {
    const grant = { grant_type: 'client_credentials' };
    return (await post(endpoint, grant, [id, `${id}-secret`], headers)).access_token;
  };
  const exchange = async (more: Readonly<Record<string, string>> = {}): Promise<string> => {
    const grant = {
      grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
      subject_token: (await login('orders:read')).access_token,
      subject_token_type: JWT,
      ...more,
    };
    return (await post(endpoint, grant, ['exchanger', 'exchanger-secret'])).access_token;
  };
  const algorithm = (name: string) => async (): Promise<Credentials> => {
    await administer('POST', `keys/${name}`);
    return withSecret('billing');
  };

  return {
    issuer,
    jwksUri: `${issuer}/oauth2/jwks`,
    settings: { BROKER_PROFILE: 'spring' },
    receivers: { profile: 'spring' },
    withSecret: withSecret('billing'),
    withKey: keyClient,
    algorithms: {
      ES256: algorithm('ES256'),
      PS256: algorithm('PS256'),
      RS512: algorithm('RS512'),
    },
    customer: () => login('openid orders:read'),
    customers: {
      'a token without the scope openid': async () => (await login('orders:read')).access_token,
      'a refreshed token': async () => {
        const { refresh_token = '' } = await login('orders:read');
        const grant = { grant_type: 'refresh_token', refresh_token };
        return (await post(endpoint, grant, ['web', 'web-secret'])).access_token;
      },
      'an exchanged token': () => exchange(),
      'an exchanged token that names who acts': async () =>
        exchange({ actor_token: await mint('billing'), actor_token_type: JWT }),
    },
    refused: {
      'a token of a service, bound to a key': () => mint('billing', { dpop: dpopProof(endpoint) }),
      'a token of a customer, bound to a key': async () =>
        (await login('orders:read', { dpop: dpopProof(endpoint) })).access_token,
      // They name no client, and are for nobody but the client.
      'a token of a service by the defaults': () => mint('plain-billing'),
      'an opaque token': () => mint('opaque-billing'),
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
        credentials: withSecret('web'),
        code: 'PROVIDER_REFUSED',
        says: /client_credentials|grant/,
      },
      'a scope that is not there': {
        credentials: withSecret('billing'),
        settings: { BROKER_SCOPE: 'orders:write' },
        code: 'PROVIDER_REFUSED',
        says: /The scope asked for is/,
      },
      'opaque tokens': {
        credentials: withSecret('opaque-billing'),
        code: 'PROVIDER_TOKEN_NOT_JWT',
        says: /JWT/,
      },
      'the defaults, whose audience is the client': {
        credentials: withSecret('plain-billing'),
        code: 'ROTATION_TOKEN_REJECTED',
        says: /audience|aud/,
      },
      'a key that the provider does not know': {
        credentials: { client_id: 'billing-key', private_key: clientKey().privateJwk },
        code: 'PROVIDER_INVALID_CLIENT',
        says: /key/,
      },
    },
    otherSetUps: {
      'the defaults': {
        credentials: withSecret('plain-billing'),
        settings: { BROKER_AUDIENCE: 'plain-billing' },
      },
    },
    changeKey: () => administer('POST', 'keys/RS256'),
    withdrawOldKeys: () => administer('DELETE', 'keys'),
  };
}

describeWith('INTEROP_SPRING_JAR', 'Spring Authorization Server', (jar) => {
  providerContract(() => startSpring(jar));
});
