import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import * as client from 'openid-client';
import { startDevBroker, type DevBroker } from '../support/dev-broker.js';
import { TEMPORARY } from '../support/temporary-folder.js';

let folder = '';
let broker: DevBroker;

beforeAll(async () => {
  folder = await mkdtemp(join(TEMPORARY, 'oauth-client-'));
  broker = await startDevBroker(folder);
});
afterAll(async () => {
  await broker?.stop();
  await rm(folder, { recursive: true, force: true });
});

/** What the client knows is the broker's URL, an id and a secret; the rest it discovers (RFC 8414). */
function discover(
  authentication: (secret: string) => client.ClientAuth,
  secret = broker.peer.secret,
): Promise<client.Configuration> {
  return client.discovery(
    new URL(broker.url),
    broker.peer.id,
    undefined,
    authentication(secret),
    // Plain HTTP, on this machine.
    { algorithm: 'oauth2', execute: [client.allowInsecureRequests] },
  );
}

describe('openid-client, against a running broker', () => {
  test.each([
    ['client_secret_basic', client.ClientSecretBasic],
    ['client_secret_post', client.ClientSecretPost],
  ])('discovers the token endpoint and gets the service token by %s', async (name, method) => {
    const configuration = await discover(method);
    const metadata = configuration.serverMetadata();
    expect(metadata.issuer).toBe(broker.url);
    expect(metadata.token_endpoint_auth_methods_supported).toContain(name);

    const tokens = await client.clientCredentialsGrant(configuration);
    // The library writes the type in lower case: RFC 6749 §5.1 has it case-insensitive.
    expect(tokens.token_type).toBe('bearer');
    const { principal, claims } = await broker.verify(tokens.access_token);
    expect(principal.kind).toBe('service');
    const remaining = Number(claims.exp) - Date.now() / 1000;
    expect(Math.abs(Number(tokens.expires_in) - remaining)).toBeLessThan(30);
  });

  test('both ways give the same token: it was minted once', async () => {
    const [basic, post] = await Promise.all(
      [client.ClientSecretBasic, client.ClientSecretPost].map(async (method) =>
        client.clientCredentialsGrant(await discover(method)),
      ),
    );
    expect(basic?.access_token).toBe(post?.access_token);
  });

  test.each([
    ['client_secret_basic', client.ClientSecretBasic],
    ['client_secret_post', client.ClientSecretPost],
  ])('understands the refusal of a wrong secret by %s', async (_name, method) => {
    const configuration = await discover(method, 'wrong'.repeat(8));
    const error = await client.clientCredentialsGrant(configuration).then(
      () => 'it was served',
      (reason: unknown) => reason,
    );
    // What the library makes of a 401 with a challenge, which RFC 9110 §15.5.2 requires.
    expect(error).toBeInstanceOf(client.WWWAuthenticateChallengeError);
    const { status, cause, response } = error as client.WWWAuthenticateChallengeError;
    expect(status).toBe(401);
    expect(cause.map(({ scheme }) => scheme)).toEqual(['basic']);
    expect(await response.json()).toMatchObject({ error: 'invalid_client' });
  });
});
