import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { startDevBroker, type DevBroker } from '../support/dev-broker.js';

const METHODS = ['client_secret_basic', 'client_secret_post'] as const;
const PROGRAMS = [
  ['Authlib', 'authlib_client.py'],
  ['Requests-OAuthlib', 'requests_oauthlib_client.py'],
] as const;

let folder = '';
let broker: DevBroker;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'oauth-clients-'));
  broker = await startDevBroker(folder);
});
afterAll(async () => {
  await broker?.stop();
  await rm(folder, { recursive: true, force: true });
});

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Runs a client in the interop virtual environment. Its secret goes over standard input, as nobody else can read that. */
async function runClient(program: string, given: Readonly<Record<string, string>>): Promise<Ended> {
  const python = process.env['INTEROP_PYTHON'] ?? '';
  expect(python).not.toBe('');
  const child = spawn(python, [fileURLToPath(new URL(`clients/${program}`, import.meta.url))], {
    // Both libraries insist on https unless they are told that the connection does not leave this machine.
    env: { ...process.env, AUTHLIB_INSECURE_TRANSPORT: '1', OAUTHLIB_INSECURE_TRANSPORT: '1' },
  });
  const code = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  child.stdin.end(JSON.stringify(given));
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)]);
  return { code: await code, out, err };
}

describe.each(PROGRAMS)('%s, against a running broker', (_library, program) => {
  const grant = (method: string, secret: string): Promise<Ended> =>
    runClient(program, {
      method,
      token_endpoint: `${broker.url}/oauth2/token`,
      client_id: broker.peer.id,
      client_secret: secret,
    });

  test.each(METHODS)('gets the service token by %s', async (method) => {
    const { code, out, err } = await grant(method, broker.peer.secret);
    expect({ code, err }).toEqual({ code: 0, err: '' });
    const token = JSON.parse(out) as Record<string, unknown>;
    expect(token['token_type']).toBe('Bearer');
    const { principal, expiresAt } = await broker.verify(String(token['access_token']));
    expect(principal.kind).toBe('service');
    const remaining = (expiresAt - Date.now()) / 1000;
    expect(Math.abs(Number(token['expires_in']) - remaining)).toBeLessThan(30);
  });

  test.each(METHODS)('understands the refusal of a wrong secret by %s', async (method) => {
    const { code, out, err } = await grant(method, 'wrong'.repeat(8));
    expect({ code, out }).toEqual({ code: 1, out: '' });
    expect(err).toContain('invalid_client');
  });
});
