import { describe, expect, test } from '@jest/globals';
import { fc } from '../../support/properties.js';
import { classify } from '../../../src/verification/profiles/classify.js';
import { meets, type ClassificationProfile } from '../../../src/verification/profiles/profile.js';
import { PROFILE_NAMES, PROFILES } from '../../../src/verification/profiles/providers.js';
import { PROVIDER_TOKENS } from './provider-tokens.js';
import { REAL_TOKENS } from './real-tokens.js';

/** What foreign tokens look like; added to any good token, they make it refused. */
const FOREIGN: readonly (readonly [name: string, claims: object])[] = [
  ['nonce', { nonce: 'n' }],
  ['at_hash', { at_hash: 'h' }],
  ['c_hash', { c_hash: 'h' }],
  ['typ ID', { typ: 'ID' }],
  ['typ id in small letters', { typ: 'id' }],
  ['typ Refresh', { typ: 'Refresh' }],
  ['typ Offline', { typ: 'Offline' }],
  ['typ Logout', { typ: 'Logout' }],
  ['typ Serialized-ID', { typ: 'Serialized-ID' }],
  ['typ RegistrationAccessToken', { typ: 'RegistrationAccessToken' }],
  ['tokenName id_token', { tokenName: 'id_token' }],
  ['tokenName refresh_token', { tokenName: 'refresh_token' }],
  ['token_type refresh', { token_type: 'refresh' }],
  ['purpose id', { purpose: 'id' }],
  ['token_use id', { token_use: 'id' }],
  ['token_use refresh', { token_use: 'refresh' }],
  ['logout events', { events: { 'http://schemas.openid.net/event/backchannel-logout': {} } }],
];

/** Providers that copy the login's nonce into access tokens, and how their tokens say that they are access tokens. */
const COPIES_NONCE: Readonly<
  Record<string, (claims: Readonly<Record<string, unknown>>) => boolean>
> = {
  keycloak: ({ typ }) => /^bearer$/i.test(String(typ)),
  'ping-am': ({ tokenName }) => tokenName === 'access_token',
  authentik: ({ azp, uid }) => azp !== undefined && uid !== undefined,
};

test('every profile has a table', () => {
  expect(PROVIDER_TOKENS.map(({ profile }) => profile)).toEqual(PROFILE_NAMES);
});

describe.each(PROVIDER_TOKENS)('$profile', ({ profile: name, options, ...tokens }) => {
  const profile = PROFILES[name];
  const good = [
    ...tokens.service.map(([title, claims]) => ['service', title, claims] as const),
    ...tokens.customer.map(([title, claims]) => ['customer', title, claims] as const),
  ];

  test.each([...tokens.service])('service: %s', (_, claims, clientId) => {
    expect(classify(claims, profile, options)).toMatchObject({
      kind: 'service',
      clientId,
      subject: claims['sub'] ?? clientId,
    });
  });

  if (tokens.customer.length > 0) {
    test.each([...tokens.customer])('customer: %s', (_, claims) => {
      const classified = classify(claims, profile, options);
      expect(classified).toMatchObject({ kind: 'customer', subject: claims['sub'] });
    });
  }

  test.each([...tokens.refused])('refused: %s', (_, claims) => {
    expect(classify(claims, profile, options).kind).toBe('rejected');
  });

  test.each(good)('%s: %s: signs of another token refuse it', (_, __, claims) => {
    for (const [sign, more] of FOREIGN) {
      // Their own marks say more than a nonce, which they copy into access tokens.
      if (sign === 'nonce' && COPIES_NONCE[name]?.(claims) === true) continue;
      const classified = classify({ ...claims, ...more }, profile, options);
      expect([sign, classified.kind]).toEqual([sign, 'rejected']);
      expect(classified).toMatchObject({ reason: 'not-an-access-token' });
    }
  });

  test.each(good)(
    '%s: %s: a nonce of the login changes nothing where it is copied',
    (kind, _, claims) => {
      if (COPIES_NONCE[name]?.(claims) !== true) return;
      expect(classify({ ...claims, nonce: 'n' }, profile, options)).toMatchObject({ kind });
      // Hashes stand in ID tokens alone.
      for (const [sign, more] of FOREIGN) {
        if (sign === 'nonce') continue;
        const classified = classify({ ...claims, nonce: 'n', ...more }, profile, options);
        expect([sign, classified.kind]).toEqual([sign, 'rejected']);
      }
    },
  );

  test.each(good)('%s: %s: an actor does not change the kind', (kind, _, claims) => {
    const act = { sub: 'agent', iss: 'https://a.example', act: { sub: 'first' } };
    expect(classify({ ...claims, act }, profile, options)).toMatchObject({
      kind,
      actor: {
        subject: 'agent',
        issuer: 'https://a.example',
        actor: { subject: 'first', issuer: undefined, actor: undefined },
      },
    });
    for (const malformed of ['agent', [], {}, { sub: 1 }, { sub: 'a', act: 'b' }]) {
      expect(classify({ ...claims, act: malformed }, profile, options)).toMatchObject({
        kind: 'rejected',
        reason: 'claims-malformed',
      });
    }
  });

  test.each(good)('%s: %s: a list narrows the clients', (kind, _, claims) => {
    const option = kind === 'service' ? 'serviceClientIds' : 'customerClientIds';
    const classified = classify(claims, profile, { ...options, [option]: ['somebody-else'] });
    expect(classified.kind).toBe('rejected');
    const clientId = (classify(claims, profile, options) as { clientId?: string }).clientId;
    if (clientId !== undefined) {
      expect(classify(claims, profile, { ...options, [option]: [clientId] }).kind).toBe(kind);
    }
  });

  test.each(good)('%s: %s: inherited claims do not count', (_, __, claims) => {
    const inherited = Object.create(claims) as Record<string, unknown>;
    expect(classify(inherited, profile, options).kind).toBe('rejected');
  });

  test.each(good)('%s: %s: the explanation tells no values', (_, __, claims) => {
    const marked = { ...claims, jti: 'canary-value', email_verified: 'canary-value' };
    const explanation: string[] = [];
    const explained = classify(marked, profile, options, explanation);
    expect(explained).toEqual(classify(marked, profile, options));
    expect(explanation.length).toBeGreaterThan(1);
    expect(explanation.join('\n')).not.toContain('canary-value');
    for (const id of [claims['sub'], claims['azp'], claims['client_id']]) {
      if (typeof id === 'string' && id.length > 4) expect(explanation.join('\n')).not.toContain(id);
    }
  });
});

describe('rules for every issuer', () => {
  const anything: ClassificationProfile = {
    name: 'anything',
    clientId: ['client_id'],
    service: [{ claim: 'kind', equals: 'machine' }],
    customer: [{ claim: 'kind', oneOf: ['person', 'both'] }],
    scopes: { service: ['scope'], customer: ['permissions'] },
  };
  const both: ClassificationProfile = {
    ...anything,
    service: [{ claim: 'kind', oneOf: ['machine', 'both'] }],
  };

  test('both kinds are refused', () => {
    expect(classify({ kind: 'both', sub: 'a', client_id: 'b' }, both)).toMatchObject({
      kind: 'rejected',
      reason: 'both-kinds',
    });
  });

  test.each([
    ['the client', 'web'],
    ['an Auth0 machine', 'x@clients'],
    ['a PingAM machine', '(age!x)'],
    ['a Kubernetes machine', 'system:serviceaccount:a:b'],
    ['a Keycloak machine', 'service-account-x'],
  ])('a customer is never %s', (_, sub) => {
    const claims = { kind: 'person', client_id: 'web', sub };
    expect(classify(claims, anything).kind).toBe('rejected');
    expect(classify({ ...claims, sub: 'ann' }, anything).kind).toBe('customer');
  });

  test('a service token names its client', () => {
    expect(classify({ kind: 'machine', sub: 'a' }, anything).kind).toBe('rejected');
  });

  test('a client assertion is refused', () => {
    const claims = { kind: 'machine', client_id: 'a', sub: 'same', iss: 'same' };
    expect(classify(claims, anything)).toMatchObject({ reason: 'not-an-access-token' });
  });

  test.each<[unknown, readonly string[] | undefined]>([
    ['read write  read', ['read', 'write']],
    [
      ['read', 'write'],
      ['read', 'write'],
    ],
    ['', []],
    [undefined, []],
    [['read', 1], undefined],
    [{ read: true }, undefined],
    [null, []],
    [7, undefined],
  ])('scopes of %p', (scope, scopes) => {
    const claims = { kind: 'machine', client_id: 'a', ...(scope !== undefined && { scope }) };
    const expected =
      scopes === undefined
        ? { kind: 'rejected', reason: 'claims-malformed' }
        : { kind: 'service', scopes };
    expect(classify(claims, anything)).toMatchObject(expected);
  });

  test('only the claims of the kind count as scopes', () => {
    const claims = { sub: 'ann', client_id: 'web', scope: 'a', permissions: ['b'] };
    expect(classify({ ...claims, kind: 'person' }, anything)).toMatchObject({ scopes: ['b'] });
    expect(classify({ ...claims, kind: 'machine' }, anything)).toMatchObject({ scopes: ['a'] });
  });

  test('the explanation tells which rule decided', () => {
    const explanation: string[] = [];
    classify({ sub: 'j@clients', azp: 'j', gty: 'x' }, PROFILES.auth0, {}, explanation);
    expect(explanation).toEqual([
      'service: "sub" ends with "@clients": yes',
      'service: ("gty" is "client-credentials" or ("gty" is absent and "client_id" is present and "jti" is present)): no',
      'customer: "sub" contains "|": no',
      'refused: it has the marks of neither kind',
    ]);
  });
});

describe('properties', () => {
  const names = [
    ...new Set(
      PROVIDER_TOKENS.flatMap(({ service, customer, refused }) =>
        [...service, ...customer, ...refused].flatMap(([, claims]) => Object.keys(claims)),
      ),
    ),
  ];
  const values = [
    ...new Set(
      PROVIDER_TOKENS.flatMap(({ service, customer, refused }) =>
        [...service, ...customer, ...refused].flatMap(([, claims]) => Object.values(claims)),
      ),
    ),
  ];
  const value = fc.oneof(
    fc.constantFrom(...values),
    fc.constantFrom('job', 'web', 'job@clients', '', null, 0, true, [], {}),
  );
  const mix = fc.dictionary(fc.constantFrom(...names), value, { maxKeys: 8 });
  const rows = fc.constantFrom(...PROVIDER_TOKENS);
  /** A good or bad token of some provider with a few claims changed: near enough to be accepted now and then. */
  const nearly = rows.chain((row) =>
    fc
      .tuple(
        fc.constantFrom(...[...row.service, ...row.customer, ...row.refused].map(([, c]) => c)),
        mix,
        fc.subarray(names),
      )
      .map(([claims, changes, removed]) => {
        const kept = Object.entries({ ...claims, ...changes }).filter(
          ([name]) => !removed.includes(name) || name in claims,
        );
        return { row, claims: Object.fromEntries(kept) };
      }),
  );

  test('what is accepted meets exactly one of the two predicates', () => {
    const accepted = { service: 0, customer: 0 };
    fc.assert(
      fc.property(nearly, ({ row, claims }) => {
        const profile: ClassificationProfile = PROFILES[row.profile];
        const classified = classify(claims, profile, row.options);
        if (classified.kind === 'rejected') return;
        accepted[classified.kind] += 1;
        const isService = profile.service.every((condition) => meets(claims, condition));
        const isCustomer =
          profile.customer !== 'never' &&
          profile.customer.every((condition) => meets(claims, condition));
        if (profile.decidedBy === 'client-ids') {
          const list = row.options?.[`${classified.kind}ClientIds`];
          expect(list).toContain(classified.clientId);
        } else {
          expect([isService, isCustomer]).toEqual([
            classified.kind === 'service',
            classified.kind === 'customer',
          ]);
        }
        if (classified.kind === 'customer')
          expect(classified.subject).not.toBe(classified.clientId);
      }),
      { numRuns: 5000 },
    );
    // The property says something only if tokens of both kinds were among them.
    expect(accepted.service).toBeGreaterThan(50);
    expect(accepted.customer).toBeGreaterThan(50);
  });

  const careless: ClassificationProfile = {
    name: 'careless',
    clientId: ['client_id', 'azp', 'cid', 'appid'],
    service: [{ absent: 'never-there' }],
    customer: [{ absent: 'never-there' }],
    scopes: { service: [], customer: [] },
  };
  const persons: ClassificationProfile = { ...careless, service: [{ present: 'never-there' }] };
  const machines: ClassificationProfile = { ...careless, customer: 'never' };
  const profiles = [...Object.values<ClassificationProfile>(PROFILES), persons, machines];
  const real = fc.constantFrom(...REAL_TOKENS.map(({ claims }) => claims));
  const anyToken = fc.oneof(
    nearly.map(({ claims }) => claims),
    fc.tuple(real, mix).map(([claims, changes]) => Object.assign({}, claims, changes)),
  );
  const lists = fc.constantFrom(
    {},
    { serviceClientIds: ['job', 'web'], customerClientIds: ['job', 'web', 'billing'] },
    { serviceClientIds: [], customerClientIds: ['job', 'web', 'billing'] },
    { serviceClientIds: ['job', 'web', 'billing'], customerClientIds: [] },
  );
  const anywhere = fc.record({
    claims: anyToken,
    profile: fc.constantFrom(...profiles),
    options: lists,
    headerType: fc.constantFrom('at+jwt', 'jwt', undefined),
  });

  const MACHINE_MARKS: readonly object[] = [
    { sub: 'job@clients' },
    { sub: '(age!job)' },
    { sub: 'system:serviceaccount:shop:orders' },
    { sub: 'service-account-job' },
    { sub: 'spiffe://prod.example/settle' },
    { sub: 'client_01HXYZJ3Q0000000000000ABCD' },
    { preferred_username: 'service-account-job' },
    { preferred_username: 'Service-Account-job' },
    { preferred_username: 'ak-job-client_credentials' },
    { username: 'service-account-job' },
    { email: 'service-account-job@placeholder.org' },
    { email: 'job@project.iam.gserviceaccount.com' },
    { idtyp: 'app' },
    { idtyp: ['app'] },
    { aut: 'APPLICATION' },
    { gty: 'client-credentials' },
    { gty: 'client_credentials' },
    { gty: ['client_credentials'] },
    { gty: ['a', 'client-credentials', 1] },
    { grant_type: 'client_credentials' },
    { jti: 'trrtcc:1' },
    { jti: 'trltcc:1' },
    { jti: 'onrtcc:1' },
    { clientHost: '127.0.0.1' },
    { clientAddress: '127.0.0.1' },
    { sub: 'same', oid: 'same', scp: undefined },
    ...['client_id', 'azp', 'cid', 'appid', 'clientId'].map((name) => ({
      sub: 'same',
      [name]: 'same',
    })),
    { sub: 'same', aud: 'same' },
    { sub: 'same', aud: ['api', 'same'] },
    { ext: { idtyp: 'app' } },
    { ext: { preferred_username: 'service-account-job' } },
  ];

  test('a machine mark of any provider, on anything, in any profile: never a customer', () => {
    fc.assert(
      fc.property(
        anywhere,
        fc.constantFrom(...MACHINE_MARKS),
        ({ claims, profile, options, headerType }, mark) => {
          const marked = { ...claims, ...mark };
          expect(classify(marked, profile, { ...options, headerType }).kind).not.toBe('customer');
        },
      ),
      { numRuns: 5000 },
    );
    // The claims alone would be a customer's, so that it is the mark that speaks against them.
    const ann = { sub: 'ann', azp: 'web' };
    expect(classify(ann, persons).kind).toBe('customer');
    for (const mark of MACHINE_MARKS) {
      expect([mark, classify({ ...ann, ...mark }, persons).kind]).toEqual([mark, 'rejected']);
    }
  });

  const PERSON_MARKS: readonly object[] = [
    { scope: 'openid' },
    { scope: 'a offline_access' },
    { scope: ['openid', 'a'] },
    { scp: ['offline'] },
    { scp: 'openid' },
    { gty: 'password' },
    { gty: ['authorization_code'] },
    { grant_type: 'authorization_code' },
    { grant_type: 'refresh_token' },
    { idtyp: 'user' },
    { sub: '(usr!ann)' },
    { sub: 'auth0|5f7c' },
    { sub: 'kp_1' },
    { sub: 'user_01HXYZJ3Q0000000000000ABCD' },
    { jti: 'onrtac:1' },
    { jti: 'onltro:1' },
    { uid: '00u1' },
    { token_use: 'access', username: 'ann' },
    { oid: 'x', scp: 'user_impersonation' },
  ];

  test('a mark of a person, on anything, in any profile: never a service', () => {
    fc.assert(
      fc.property(
        anywhere,
        fc.constantFrom(...PERSON_MARKS),
        ({ claims, profile, options, headerType }, mark) => {
          const marked = { ...claims, ...mark };
          expect(classify(marked, profile, { ...options, headerType }).kind).not.toBe('service');
        },
      ),
      { numRuns: 5000 },
    );
    const job = { sub: 'machine', azp: 'job' };
    expect(classify(job, machines).kind).toBe('service');
    for (const mark of PERSON_MARKS) {
      expect([mark, classify({ ...job, ...mark }, machines).kind]).toEqual([mark, 'rejected']);
    }
  });

  test('signs of another token accept nothing, and a bound token is never taken as it is', () => {
    fc.assert(
      fc.property(
        anywhere,
        fc.constantFrom(...FOREIGN.map(([, more]) => more)),
        ({ claims, profile, options, headerType }, more) => {
          const all = { ...options, headerType };
          const before = classify(claims, profile, all);
          const signed = classify({ ...claims, ...more }, profile, all);
          if (!('nonce' in more)) expect(signed.kind).toBe('rejected');
          else if (signed.kind !== 'rejected') expect(signed).toEqual(before);
          const bound = { ...claims, cnf: { jkt: 'x' } };
          expect(classify(bound, profile, all).kind).toBe('rejected');
          const open = { ...all, senderConstraint: null };
          const unbound = { ...claims, cnf: undefined };
          expect(classify(bound, profile, open)).toEqual(classify(unbound, profile, open));
        },
      ),
      { numRuns: 3000 },
    );
  });

  test('what is null is as if it were not there', () => {
    fc.assert(
      fc.property(anywhere, fc.subarray(names), ({ claims, profile, options }, nulls) => {
        const without = Object.fromEntries(
          Object.entries(claims).filter(([name]) => !nulls.includes(name)),
        );
        const withNulls = { ...without, ...Object.fromEntries(nulls.map((name) => [name, null])) };
        expect(classify(withNulls, profile, options)).toEqual(classify(without, profile, options));
      }),
      { numRuns: 3000 },
    );
  });

  test('a list never makes anything of what would be refused without it, where claims decide', () => {
    fc.assert(
      fc.property(anywhere, ({ claims, profile, options, headerType }) => {
        if (profile.decidedBy === 'client-ids') return;
        const listed = classify(claims, profile, { ...options, headerType });
        if (listed.kind !== 'rejected') {
          expect(listed).toEqual(classify(claims, profile, { headerType }));
        }
      }),
      { numRuns: 3000 },
    );
  });

  test('any claims at all: a decision, never a throw', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.anything()), rows, (claims, row) => {
        const { kind } = classify(claims, PROFILES[row.profile], row.options);
        expect(['service', 'customer', 'rejected']).toContain(kind);
      }),
    );
  });
});
