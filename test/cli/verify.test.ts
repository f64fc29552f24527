import { describe, expect, test } from '@jest/globals';
import { explanationLines, sourceOfRules, tokenHint } from '../../src/cli/verify.js';
import type { TokenExplanation } from '../../src/verification/index.js';

test.each([
  ['eyJ.eyJ.sig', undefined],
  ['Bearer eyJ.eyJ.sig', 'Leave out the word Bearer.'],
  ['bearer eyJ.eyJ.sig', 'Leave out the word Bearer.'],
  ['Authorization: Bearer eyJ.eyJ.sig', 'Leave out the word Bearer.'],
  ['"eyJ.eyJ.sig"', 'Leave out the quotes.'],
  ["'eyJ.eyJ.sig'", 'Leave out the quotes.'],
  ['eyJ.eyJ.sig"', 'Leave out the quotes.'],
  ['bearers.eyJ.sig', undefined],
])('what was given as %s: %s', (text, hint) => {
  expect(tokenHint(text)).toBe(hint);
});

describe('an explanation', () => {
  const nothing = {
    alg: undefined,
    typ: undefined,
    kid: undefined,
    iss: undefined,
    aud: undefined,
    expiresAt: undefined,
    remainingSeconds: undefined,
  };
  const refused: TokenExplanation = {
    accepted: false,
    kind: undefined,
    code: 'TOKEN_MALFORMED',
    isRetryable: false,
    steps: [{ step: 'parse', outcome: 'failed', words: 'It has no dots.' }],
    rules: [],
    seen: nothing,
  };

  test('of which nothing could be seen has no heading over nothing', () => {
    expect(explanationLines(refused, 'Leave out the quotes.')).toEqual([
      'Refused (TOKEN_MALFORMED).',
      'Leave out the quotes.',
      '',
      'FAIL  parse: It has no dots.',
    ]);
  });

  test('lists the rules and what was seen', () => {
    const seen = { ...nothing, iss: 'https://a.test', aud: ['orders'], remainingSeconds: 61 };
    const lines = explanationLines(
      { ...refused, code: 'KEYS_UNAVAILABLE', isRetryable: true, rules: ['service: no'], seen },
      undefined,
    );
    expect(lines).toEqual([
      'Cannot be judged now (KEYS_UNAVAILABLE).',
      '',
      'FAIL  parse: It has no dots.',
      '',
      'Rules that were asked:',
      '  service: no',
      '',
      'The token claims (nothing of it is proven):',
      '  iss: https://a.test',
      '  aud: ["orders"]',
      '  remainingSeconds: 61',
      '  remaining life: 1 min 1 s',
    ]);
  });
});

const ISSUER = 'https://issuer.example.test';
const WITH_RESOURCE = { issuer: ISSUER, resource: ['urn:orders'] };

test.each([
  ['issuer and audience', { issuer: ISSUER, audience: 'orders' }, false, 'configuration'],
  ['issuer and resource, beside a store', WITH_RESOURCE, false, 'credentials secret'],
  ['issuer and resource, and no store', WITH_RESOURCE, true, 'configuration'],
  [
    'issuer, audience and resource',
    { ...WITH_RESOURCE, audience: 'orders' },
    false,
    'configuration',
  ],
  ['an issuer, beside a store', { issuer: ISSUER }, false, 'credentials secret'],
  ['an issuer, and no store', { issuer: ISSUER }, true, 'configuration'],
  ['an audience alone', { audience: 'orders' }, true, 'credentials secret'],
  ['nothing', {}, false, 'credentials secret'],
] as const)('with %s', (_what, given, storeIsMissing, where) => {
  const provider = { issuer: undefined, audience: undefined, resource: [], ...given };
  expect(sourceOfRules(provider, storeIsMissing)).toBe(where);
});
