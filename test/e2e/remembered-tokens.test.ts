import { beforeEach, describe, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runNode } from '../support/broker-process.js';
import { temporaryFolders } from '../support/temporary-folder.js';
import { createSigner } from '../verification/support/signer.js';
import { AUDIENCE, ISSUER } from '../verification/support/token-bench.js';

const PROGRAM = fileURLToPath(new URL('../support/remembering-process.mjs', import.meta.url));
const COUNT = 50;
/** Characters of a token that are kept, to look it up by. */
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
async function stringsInMemory(...options: readonly string[]): Promise<readonly string[]> {
  const { code, stdout, stderr } = await runNode([PROGRAM, folder, ISSUER, AUDIENCE, ...options]);
  expect([code, stderr]).toEqual([0, '']);
  expect(JSON.parse(stdout)).toMatchObject({ remembered: COUNT });
  const snapshot = await readFile(join(folder, 'memory.heapsnapshot'), 'utf8');
  return (JSON.parse(snapshot) as { strings: readonly string[] }).strings;
}

/** The signature, and the end of the payload, which no other token has. */
function ownPart(token: string): string {
  const [, payload = '', signature = ''] = token.split('.');
  return `${payload.slice(-32)}.${signature}`;
}

/** Everything in a text that is one character longer than what is kept. */
function* pieces(text: string): Generator<string> {
  for (let at = 0; at + TAIL < text.length; at += 1) yield text.slice(at, at + TAIL + 1);
}

describe('what a process remembers of tokens, in a snapshot of its memory', () => {
  test('has no part of them longer than what they are looked up by', async () => {
    const strings = await stringsInMemory();
    const forbidden = new Set(tokens.flatMap((token) => [...pieces(ownPart(token))]));
    const found = strings.filter((text) => [...pieces(text)].some((piece) => forbidden.has(piece)));
    expect(found).toEqual([]);
    // It is the memory of a process that remembers them.
    const all = new Set(strings);
    expect(tokens.filter((token) => all.has(token.slice(-TAIL)))).toHaveLength(COUNT);
  });

  test('and would show them, if anything held on to them', async () => {
    const all = new Set(await stringsInMemory('keep'));
    expect(tokens.filter((token) => all.has(token))).toHaveLength(COUNT);
  });
});
