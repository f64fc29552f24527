import { expect, test } from '@jest/globals';
import { whereRulesStand } from '../../src/cli/verify.js';

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
  expect(whereRulesStand(provider, storeIsMissing)).toBe(where);
});
