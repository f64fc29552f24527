import { beforeEach, describe, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runNode } from '../support/broker-process.js';
import { temporaryFolders } from '../support/temporary-folder.js';
import { createSigner } from '../verification/support/signer.js';

const PROGRAM = fileURLToPath(new URL('../support/remembering-process.mjs', import.meta.url));
const ISSUER = 'https://issuer.example/';
const AUDIENCE = 'https://orders.example';
const COUNT = 50;
/** Characters of a token that would say something of the rest; what tokens are looked up by is shorter. */
const PIECE = 16;
const TAIL = 12;

const newFolder = temporaryFolders('remembered-tokens');
let folder = '';
let tokens: readonly string[] = [];

beforeEach(async () => {
  folder = await newFolder();
  const signer = await createSigner('k1');
  const now = Math.floor(Date.now() / 1000);
  const claims = { iss: ISSUER, aud: AUDIENCE, client_id: 'job', sub: 'job', iat: now };
  tokens = await Promise.all(
    Array.from({ length: COUNT }, (_, index) =>
      signer.sign({ ...claims, exp: now + 3600, jti: `${index} ${randomUUID()}` }),
    ),
  );
  await writeFile(join(folder, 'tokens.txt'), tokens.join('\n'));
  await writeFile(join(folder, 'jwks.json'), JSON.stringify({ keys: [signer.jwk] }));
});

/** The strings of a process that has verified the tokens, after a full garbage collection. */
async function stringsInMemory(...options: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await runNode([PROGRAM, folder, ISSUER, AUDIENCE, ...options]);
  expect([code, stderr]).toEqual([0, '']);
  expect(JSON.parse(stdout)).toMatchObject({ remembered: COUNT });
  const snapshot = await readFile(join(folder, 'memory.heapsnapshot'), 'utf8');
  return (JSON.parse(snapshot) as { strings: readonly string[] }).strings.join('\n');
}

/** The signature and what of the payload no other token has, in pieces. */
function piecesOf(token: string): readonly string[] {
  const [, payload = '', signature = ''] = token.split('.');
  const secret = `${payload.slice(-2 * PIECE)}.${signature}`;
  const count = Math.floor(secret.length / PIECE);
  return Array.from({ length: count }, (_, index) =>
    secret.slice(index * PIECE, (index + 1) * PIECE),
  );
}

describe('what a process remembers of tokens, in a snapshot of its memory', () => {
  test('has no part of them longer than what they are looked up by', async () => {
    const strings = await stringsInMemory();
    const found = tokens.flatMap(piecesOf).filter((piece) => strings.includes(piece));
    expect(found).toEqual([]);
    // It is the memory of a process that remembers them.
    expect(tokens.filter((token) => strings.includes(token.slice(-TAIL)))).toHaveLength(COUNT);
  });

  test('and would show them, if anything held on to them', async () => {
    const strings = await stringsInMemory('keep');
    expect(tokens.filter((token) => strings.includes(token))).toHaveLength(COUNT);
  });
});
