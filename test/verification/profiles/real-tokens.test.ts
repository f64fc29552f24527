import { describe, expect, test } from '@jest/globals';
import { classify, type ClassifyOptions } from '../../../src/verification/profiles/classify.js';
import type { ClassificationProfile } from '../../../src/verification/profiles/profile.js';
import { PROFILE_NAMES, PROFILES } from '../../../src/verification/profiles/providers.js';
import { REAL_TOKENS, type RealToken } from './real-tokens.js';

const clientsOf = (kind: RealToken['kind']): readonly string[] => [
  ...new Set(REAL_TOKENS.filter((each) => each.kind === kind).map(({ client }) => client)),
];
/** As the pages say: every client on the list of its kind. Exchanging clients are people's. */
const CUSTOMER_CLIENTS = clientsOf('customer');
const SERVICE_CLIENTS = clientsOf('service').filter((id) => !CUSTOMER_CLIENTS.includes(id));
const ALL_CLIENTS = [...SERVICE_CLIENTS, ...CUSTOMER_CLIENTS];

const LISTED = { serviceClientIds: SERVICE_CLIENTS, customerClientIds: CUSTOMER_CLIENTS };
const UNLISTED = {};
/** Lists that are wrong, or say nothing: then a token's own marks have to do. */
const MISTAKEN: readonly ClassifyOptions[] = [
  { serviceClientIds: ALL_CLIENTS, customerClientIds: [] },
  { serviceClientIds: [], customerClientIds: ALL_CLIENTS },
  { serviceClientIds: ALL_CLIENTS, customerClientIds: ALL_CLIENTS },
];

const kindOf = (
  { claims, typ }: Pick<RealToken, 'claims' | 'typ'>,
  profile: ClassificationProfile,
  options: ClassifyOptions,
): string => classify(claims, profile, { ...options, headerType: typ }).kind;

function optionsFor(
  { listsTell }: RealToken,
  { decidedBy }: ClassificationProfile,
): readonly ClassifyOptions[] {
  if (listsTell === 'name') return [LISTED];
  const isLeftToLists = listsTell === 'kind' && decidedBy === 'client-ids';
  return isLeftToLists ? [LISTED, UNLISTED] : [LISTED, UNLISTED, ...MISTAKEN];
}

test('names are unique, so that a failure names its line', () => {
  expect(new Set(REAL_TOKENS.map(({ name }) => name)).size).toBe(REAL_TOKENS.length);
});

describe.each(REAL_TOKENS.map((each) => [each.name, each] as const))('%s', (_, real) => {
  test('no profile takes it for another kind', () => {
    for (const profile of PROFILE_NAMES) {
      for (const options of optionsFor(real, PROFILES[profile])) {
        const kind = kindOf(real, PROFILES[profile], options);
        if (kind !== 'rejected')
          expect([profile, options, kind]).toEqual([profile, options, real.kind]);
      }
    }
  });

  test('the profiles that know it take it for what it is', () => {
    for (const profile of PROFILE_NAMES) {
      const kind = kindOf(real, PROFILES[profile], LISTED);
      const isKnown = real.knownBy.includes(profile);
      if (isKnown) expect([profile, kind]).toEqual([profile, real.kind]);
    }
  });
});
