import { inspect } from 'node:util';
import { mkdir, rename, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { sign } from 'node:crypto';
import { judgeWorkloadToken, readProofFile } from '../../src/provider/client-proofs.js';
import type { WorkloadCredentials } from '../../src/provider/client-credentials.js';
import { BrokerError } from '../../src/tokens/errors.js';
import { fc } from '../support/properties.js';
import { answers } from '../support/provider-server.js';
import { rsaKeyPair } from '../support/rsa-key.js';
import { temporaryFolders } from '../support/temporary-folder.js';
import { failureOf, rig } from './provider-fixture.js';

const NOW = Date.UTC(2026, 5, 1);
const KEY = rsaKeyPair().privateKey;

function jwt(claims: object, header: object = { alg: 'RS256', kid: 'k' }): string {
  const input = [header, claims]
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.');
  return `${input}.${sign('sha256', Buffer.from(input), KEY).toString('base64url')}`;
}

const CLAIMS = {
  iss: 'https://cluster.example.test',
  sub: 'system:serviceaccount:shop:broker',
  aud: ['https://idp.example.test'],
  exp: NOW / 1000 + 600,
};

function judge(text: string): unknown {
  try {
    return judgeWorkloadToken(text, '/var/run/token', NOW);
  } catch (error) {
    return error;
  }
}

describe('a workload token', () => {
  test('says who it is for', () => {
    const token = jwt(CLAIMS);
    expect(judge(token)).toEqual({
      token,
      issuer: CLAIMS.iss,
      subject: CLAIMS.sub,
      audience: CLAIMS.aud,
      expiresAt: CLAIMS.exp * 1000,
    });
    expect(judge(jwt({}))).toMatchObject({ audience: [], expiresAt: undefined });
  });

  test.each<[string, string, string, RegExp]>([
    ['an empty file', '', 'CLIENT_PROOF_UNAVAILABLE', /empty or cut short/],
    ['one part', jwt(CLAIMS).split('.')[0] ?? '', 'CLIENT_PROOF_UNAVAILABLE', /cut short/],
    ['half a signature', jwt(CLAIMS).slice(0, -200), 'CLIENT_PROOF_UNAVAILABLE', /cut short/],
    ['something else', 'a secret that was pasted', 'CLIENT_PROOF_INVALID', /not a signed JWT/],
    ['JSON', '{"token":"canary"}', 'CLIENT_PROOF_INVALID', /not a signed JWT/],
    ['two tokens', `${jwt(CLAIMS)}\n${jwt(CLAIMS)}`, 'CLIENT_PROOF_INVALID', /not a signed JWT/],
    ['an encrypted one', 'eyJh.b.c.d.e', 'CLIENT_PROOF_INVALID', /not a signed JWT/],
    ['no JSON in it', 'eyJh.bb.cc', 'CLIENT_PROOF_INVALID', /can be read/],
    ['no signature', jwt(CLAIMS, { alg: 'none' }), 'CLIENT_PROOF_INVALID', /private key/],
    ['a shared key', jwt(CLAIMS, { alg: 'HS256' }), 'CLIENT_PROOF_INVALID', /private key/],
    [
      'one that has expired',
      jwt({ ...CLAIMS, exp: NOW / 1000 }),
      'CLIENT_PROOF_INVALID',
      /has expired/,
    ],
  ])('%s is not sent', (_what, text, code, says) => {
    const error = judge(text);
    expect(error).toBeInstanceOf(BrokerError);
    expect(error).toMatchObject({ code, message: expect.stringMatching(says) });
    expect((error as Error).message).toContain('/var/run/token');
    expect(inspect(error)).not.toMatch(/eyJ|canary|pasted/);
  });

  test('cut off anywhere is never sent', () => {
    const whole = jwt(CLAIMS);
    fc.assert(
      fc.property(fc.integer({ min: 0, max: whole.length - 2 }), (length) => {
        expect(judge(whole.slice(0, length))).toBeInstanceOf(BrokerError);
      }),
    );
  });
});

describe('its file', () => {
  const makeFolder = temporaryFolders('workload-token');
  const credentials = (file: string): WorkloadCredentials => ({
    kind: 'workload-token',
    clientId: 'broker',
    source: { file },
  });
  // The clock of a rig begins at another time.
  const fresh = (sub: string): string => jwt({ ...CLAIMS, sub, exp: 99_999_999_999 });

  test('is read at every mint: a projected token is replaced while it lives', async () => {
    const data = join(await makeFolder(), 'data');
    await mkdir(join(data, 'first'), { recursive: true });
    await mkdir(join(data, 'second'));
    await writeFile(join(data, 'first/token'), `${fresh('first')}\n`);
    await writeFile(join(data, 'second/token'), fresh('second'));
    // As the kubelet does it: a link to a folder, replaced in one step.
    await symlink('first', join(data, 'current'));
    const path = join(data, 'current/token');
    const { server, provider } = await rig();
    server.always('token', answers.token());
    await provider.mint({ issuer: server.issuer }, credentials(path));
    await symlink('second', join(data, 'next'));
    await rename(join(data, 'next'), join(data, 'current'));
    await provider.mint({ issuer: server.issuer }, credentials(path));
    expect(server.received('token').map(({ form }) => Object.fromEntries(form))).toEqual(
      ['first', 'second'].map((sub) => ({
        grant_type: 'client_credentials',
        client_id: 'broker',
        client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
        client_assertion: fresh(sub),
      })),
    );
  });

  test('that is half written is read again, within the same mint', async () => {
    const path = join(await makeFolder(), 'half');
    await writeFile(path, fresh('whole').slice(0, 40));
    const { server, provider, clock } = await rig();
    server.always('token', answers.token());
    const sleep = clock.sleep.bind(clock);
    clock.sleep = async (...call) => {
      await writeFile(path, fresh('whole'));
      return sleep(...call);
    };
    await provider.mint({ issuer: server.issuer }, credentials(path));
    expect(server.received('token')).toHaveLength(1);
  });

  test('that stays half written: nothing is sent, and another attempt may help', async () => {
    const path = join(await makeFolder(), 'stays-half');
    await writeFile(path, fresh('whole').slice(0, 40));
    const { server, provider } = await rig();
    const failure = await failureOf(provider.mint({ issuer: server.issuer }, credentials(path)));
    expect(failure).toMatchObject({ code: 'CLIENT_PROOF_UNAVAILABLE', kind: 'retry' });
    expect(server.received('token')).toEqual([]);
  });

  test('that is missing, too large, a folder or not text says so', async () => {
    const folder = await makeFolder();
    const large = join(folder, 'large');
    await writeFile(large, 'a'.repeat(70_000));
    const binary = join(folder, 'binary');
    await writeFile(binary, Buffer.from([0xff, 0xfe, 0xc3]));
    for (const [path, says] of [
      [join(folder, 'missing'), /does not exist/],
      [large, /larger than/],
      [binary, /not text/],
      [folder, /cannot be read/],
    ] as const) {
      await expect(readProofFile(path, 'workload token')).rejects.toMatchObject({
        code: 'CLIENT_PROOF_INVALID',
        kind: 'misconfigured',
        message: expect.stringMatching(says),
      });
    }
  });
});
