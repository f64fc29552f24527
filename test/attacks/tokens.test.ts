import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { fc } from '../support/properties.js';
import { createTokenVerifier, type TokenVerifier } from '../../src/verification/verifier.js';
import { createStaticKeySet } from '../../src/verification/keys/key-set.js';
import { TokenRejectedError } from '../../src/verification/verification-errors.js';
import { ManualClock } from '../verification/support/manual-clock.js';
import {
  AUDIENCE,
  forge,
  ISSUER,
  ISSUER_KEYS,
  OTHER_ISSUER,
  OTHER_ISSUER_KEYS,
  type Attack,
} from './forge.js';

const attacks = readFileSync(new URL('./tokens.jsonl', import.meta.url), 'utf8')
  .split('\n')
  .filter((line) => line !== '')
  .map((line) => JSON.parse(line) as Attack);

let verifier: TokenVerifier;
const clock = new ManualClock();

beforeAll(() => {
  const rules = { audiences: AUDIENCE, profile: 'auth0', maxTokenLifetimeSeconds: 86_400 } as const;
  verifier = createTokenVerifier({
    clock,
    issuers: [
      { ...rules, issuer: ISSUER, keys: createStaticKeySet(ISSUER_KEYS) },
      { ...rules, issuer: OTHER_ISSUER, keys: createStaticKeySet(OTHER_ISSUER_KEYS) },
    ],
  });
});

const good = (): string => forge({ name: 'good', code: '' }, clock.seconds);

test('the token that the attacks start from is accepted', async () => {
  const { principal } = await verifier.verify(good());
  expect(principal).toMatchObject({ kind: 'service', clientId: 'job' });
});

test('names are unique, so that a failure names its line', () => {
  expect(new Set(attacks.map(({ name }) => name)).size).toBe(attacks.length);
});

describe('refused', () => {
  test.each(attacks.map((attack) => [attack.name, attack] as const))('%s', async (_, attack) => {
    const token = forge(attack, clock.seconds);
    const before = process.cpuUsage();
    const error: unknown = await verifier.verify(token).then(
      () => 'accepted',
      (thrown: unknown) => thrown,
    );
    const { user, system } = process.cpuUsage(before);
    // Microseconds of processor time. Work that grows faster than the token would take minutes.
    expect(user + system).toBeLessThan(2_000_000);
    expect(error).toBeInstanceOf(TokenRejectedError);
    const { code, message, cause, stack } = error as TokenRejectedError;
    expect({ code, message }).toEqual({ code: attack.code, message });
    const shown = `${message}\n${stack ?? ''}\n${String(cause)}`;
    for (const part of token.split('.')) {
      if (part.length > 10) expect(shown).not.toContain(part);
    }
    expect(shown).not.toContain('attacker.example');
  });
});

describe('mangled', () => {
  test('a good token with anything changed is never accepted', async () => {
    const token = good();
    const mangled = fc.oneof(
      fc
        .tuple(fc.nat(token.length - 1), fc.string({ minLength: 1, maxLength: 3 }))
        .map(([at, text]) => token.slice(0, at) + text + token.slice(at + 1)),
      fc
        .tuple(fc.nat(token.length), fc.string({ minLength: 1 }))
        .map(([at, text]) => token.slice(0, at) + text + token.slice(at)),
      fc
        .tuple(fc.nat(token.length - 1), fc.integer({ min: 1, max: 20 }))
        .map(([at, count]) => token.slice(0, at) + token.slice(at + count)),
      fc.nat(token.length * 6 - 1).map((bit) => {
        const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
        const at = Math.floor(bit / 6);
        const index = letters.indexOf(token[at] ?? '') ^ (1 << (bit % 6));
        return token.slice(0, at) + (letters[index] ?? '') + token.slice(at + 1);
      }),
      fc.shuffledSubarray(token.split('.')).map((parts) => parts.join('.')),
      fc.string().map((text) => `${token}${text}`),
    );
    await fc.assert(
      fc.asyncProperty(mangled, async (text) => {
        fc.pre(text !== token);
        await expect(verifier.verify(text)).rejects.toBeInstanceOf(TokenRejectedError);
        expect(verifier.peek?.(text)).toBeUndefined();
      }),
      { numRuns: 2000 },
    );
  });

  test('parts of two good tokens do not make a third', async () => {
    const other = forge({ name: '', code: '', claims: { jti: 'other' } }, clock.seconds);
    const [first, second] = [good().split('.'), other.split('.')];
    const mixed = [first[0], second[1], first[2]].join('.');
    await expect(verifier.verify(mixed)).rejects.toMatchObject({ code: 'TOKEN_SIGNATURE_INVALID' });
  });

  test.each([undefined, null, 7, {}, [], Buffer.from('a.b.c'), Symbol('token')])(
    'not a string: %p',
    async (value) => {
      await expect(verifier.verify(value)).rejects.toMatchObject({ code: 'TOKEN_MALFORMED' });
    },
  );
});
