import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { loadConfig } from '../../src/config/load-config.js';
import { nameOfIdentity } from '../../src/peers/certificate-names.js';
import { readPeerSections } from '../../src/config/peer-sections.js';

const context = { publicUrl: 'https://broker.example.com', tokenNames: ['default', 'ledger'] };
const cluster = {
  kind: 'kubernetes',
  issuer: 'https://kubernetes.default.svc',
  jwks_uri: 'https://kubernetes.default.svc/openid/v1/jwks',
  ca_file: '/ca.crt',
  token_file: '/token',
};
const ROLE = 'arn:aws:iam::123456789012:role/orders';
const SUBJECT = 'system:serviceaccount:shop:orders';
const orders = { identities: [{ issuer: 'cluster', subject: SUBJECT }], tokens: ['default'] };

const read = (trusted_issuers: unknown, peers: unknown) =>
  readPeerSections({ path: 'broker.yaml', trusted_issuers, peers }, context);
const pathsOf = (trusted_issuers: unknown, peers: unknown): readonly string[] =>
  read(trusted_issuers, peers).mistakes.map(
    ({ sentence = '' }) => sentence.split(' in broker.yaml')[0] ?? '',
  );

test('an issuer and a peer, with what is assumed', () => {
  const { identities, mistakes } = read({ cluster }, { orders });
  expect(mistakes).toEqual([]);
  expect(identities.issuers).toMatchObject([
    {
      name: 'cluster',
      kind: 'kubernetes',
      issuer: 'https://kubernetes.default.svc',
      audience: 'https://broker.example.com',
      maxLifetimeSeconds: 3600,
      singleUse: false,
      caFile: '/ca.crt',
      tokenFile: '/token',
    },
  ]);
  expect(identities.peers).toEqual([
    {
      id: 'orders',
      identities: [{ issuer: 'cluster', subject: SUBJECT }],
      tokens: ['default'],
      roles: ['token'],
      enabled: true,
    },
  ]);
});

test.each([
  [
    'github',
    {},
    'repo:acme/orders:ref:refs/heads/main',
    'https://token.actions.githubusercontent.com/.well-known/jwks',
  ],
  ['gcp', {}, '112233445566778899001', 'https://www.googleapis.com/oauth2/v3/certs'],
  [
    'aws',
    { issuer: 'https://abc.tokens.sts.global.api.aws' },
    'arn:aws:iam::123456789012:role/settle',
    'https://abc.tokens.sts.global.api.aws/.well-known/jwks.json',
  ],
  [
    'spiffe',
    {
      issuer: 'https://spire.example.com',
      trust_domain: 'prod.example.com',
      jwks_uri: 'https://spire.example.com/keys',
    },
    'spiffe://prod.example.com/settle',
    'https://spire.example.com/keys',
  ],
  [
    'oidc',
    { issuer: 'https://ci.example.com', jwks_uri: 'https://ci.example.com/jwks' },
    'job:42',
    'https://ci.example.com/jwks',
  ],
])('the preset %s', (kind, members, subject, jwksUri) => {
  const { identities, mistakes } = read(
    { one: { kind, ...members } },
    { orders: { identities: [{ issuer: 'one', subject }], tokens: ['ledger'], roles: ['admin'] } },
  );
  expect(mistakes).toEqual([]);
  expect(identities.issuers[0]?.jwksUri).toBe(jwksUri);
  expect(identities.peers[0]?.roles).toEqual(['token', 'admin']);
});

test('certificates of peers, without a trusted issuer', () => {
  const identities = [
    { certificate: { uri: 'spiffe://prod.example.com/ns/*/sa/settle' } },
    { certificate: { dns: '*.shop.svc' } },
  ];
  const { identities: found, mistakes } = read(undefined, {
    settle: { identities, tokens: ['default'] },
  });
  expect(mistakes).toEqual([]);
  expect(found.peers[0]?.identities.map(nameOfIdentity)).toEqual([
    { kind: 'uri', value: 'spiffe://prod.example.com/ns/*/sa/settle' },
    { kind: 'dns', value: '*.shop.svc' },
  ]);
});

describe('every mistake is named by its path', () => {
  test.each<[string, unknown, unknown, readonly string[]]>([
    ['a section that is a list', [], 'x', ['trusted_issuers', 'peers']],
    [
      'an unknown kind',
      { cluster: { ...cluster, kind: 'k8s' } },
      {},
      ['trusted_issuers.cluster.kind'],
    ],
    ['no kind', { cluster: {} }, {}, ['trusted_issuers.cluster.kind']],
    [
      'an unknown member',
      { cluster: { ...cluster, jwks: 1 } },
      {},
      ['trusted_issuers.cluster.jwks'],
    ],
    ['a name in capitals', { Cluster: cluster }, {}, ['trusted_issuers.Cluster']],
    [
      'no issuer',
      { cluster: { ...cluster, issuer: undefined } },
      {},
      ['trusted_issuers.cluster.issuer'],
    ],
    [
      'no keys',
      { cluster: { ...cluster, jwks_uri: undefined } },
      {},
      ['trusted_issuers.cluster.jwks_uri'],
    ],
    [
      'keys in clear text',
      { cluster: { ...cluster, jwks_uri: 'http://a.example/' } },
      {},
      ['trusted_issuers.cluster.jwks_uri'],
    ],
    [
      'HMAC',
      { cluster: { ...cluster, algorithms: ['HS256'] } },
      {},
      ['trusted_issuers.cluster.algorithms.0'],
    ],
    [
      'more than an hour',
      { cluster: { ...cluster, max_lifetime_seconds: 3601 } },
      {},
      ['trusted_issuers.cluster.max_lifetime_seconds'],
    ],
    [
      'a trust domain of a cluster',
      { cluster: { ...cluster, trust_domain: 'a' } },
      {},
      ['trusted_issuers.cluster.trust_domain'],
    ],
    ['one issuer twice', { cluster, again: cluster }, {}, ['trusted_issuers.again.issuer']],
    ['an unknown issuer', {}, { orders }, ['peers.orders.identities.0.issuer']],
    ['an id with a space', { cluster }, { 'or ders': orders }, ['peers']],
    [
      'no identities',
      { cluster },
      { orders: { ...orders, identities: [] } },
      ['peers.orders.identities'],
    ],
    ['nothing granted', { cluster }, { orders: { ...orders, tokens: [] } }, ['peers.orders']],
    [
      'an unknown token',
      { cluster },
      { orders: { ...orders, tokens: ['default', 'other'] } },
      ['peers.orders.tokens.1'],
    ],
    [
      '"*" as a token',
      { cluster },
      { orders: { ...orders, tokens: ['*'] } },
      ['peers.orders.tokens.0'],
    ],
    [
      'a role that tokens imply',
      { cluster },
      { orders: { ...orders, roles: ['token'] } },
      ['peers.orders.roles.0'],
    ],
    ['a secret', { cluster }, { orders: { ...orders, secret: 'canary' } }, ['peers.orders.secret']],
    ...(
      [
        ['a certificate without a form', { uri: 'x' }, ['certificate.uri']],
        [
          'a certificate with a star in the authority',
          { uri: 'spiffe://*/a' },
          ['certificate.uri'],
        ],
        ['a certificate with half a star', { dns: 'a*.b.c' }, ['certificate.dns']],
        ['a certificate with both names', { uri: 'spiffe://a/b', dns: 'a.b' }, ['certificate']],
        ['a certificate without a name', {}, ['certificate']],
        ['a common name', { dns: 'a.b', cn: 'canary' }, ['certificate.cn']],
      ] as const
    ).map(([what, certificate, paths]): [string, unknown, unknown, readonly string[]] => [
      what,
      { cluster },
      { orders: { ...orders, identities: [{ certificate }] } },
      paths.map((path) => `peers.orders.identities.0.${path}`),
    ]),
    [
      'an issuer and a certificate',
      { cluster },
      {
        orders: {
          ...orders,
          identities: [{ ...orders.identities[0], certificate: { dns: 'a.b' } }],
        },
      },
      ['peers.orders.identities.0.issuer', 'peers.orders.identities.0.subject'],
    ],
    [
      'the same certificate twice',
      {},
      {
        one: { identities: [{ certificate: { uri: 'spiffe://a/*' } }], tokens: ['default'] },
        two: {
          identities: [{ certificate: { dns: 'a.b' } }, { certificate: { uri: 'spiffe://a/b' } }],
          tokens: ['default'],
        },
      },
      ['peers.two.identities.1'],
    ],
    ['the same proof twice', { cluster }, { orders, other: orders }, ['peers.other.identities.0']],
    [
      'a pattern of IAM roles',
      {},
      { orders: { ...orders, identities: [{ iam: 'arn:aws:iam::123456789012:role/*' }] } },
      ['peers.orders.identities.0.iam'],
    ],
    [
      'IAM and a subject at once',
      { cluster },
      { orders: { ...orders, identities: [{ iam: ROLE, subject: SUBJECT }] } },
      ['peers.orders.identities.0.subject'],
    ],
    [
      'one role of two peers, with a path and without',
      {},
      {
        orders: { ...orders, identities: [{ iam: ROLE }] },
        other: { ...orders, identities: [{ iam: ROLE.replace('role/', 'role/path/') }] },
      },
      ['peers.other.identities.0'],
    ],
  ])('%s', (_what, issuers, peers, paths) => {
    const found = pathsOf(issuers, peers);
    expect(found.toSorted()).toEqual(paths.toSorted());
    expect(JSON.stringify(read(issuers, peers).mistakes)).not.toContain('canary');
  });

  const withSubject = (subject: string) => ({
    orders: { ...orders, identities: [{ issuer: 'cluster', subject }] },
  });
  test.each(['*', 'system:serviceaccount:shop:o*', 'system:serviceaccount:**:x', 'user:ann', ''])(
    'the subject %j',
    (subject) => {
      expect(pathsOf({ cluster }, withSubject(subject))).toEqual([
        'peers.orders.identities.0.subject',
      ]);
    },
  );

  test.each([
    'https://kubernetes.default.svc',
    'https://kubernetes.default.svc.cluster.local',
    'kubernetes.default.svc',
    'api',
  ])('%s is an audience of tokens for others, too', (audience) => {
    expect(pathsOf({ cluster: { ...cluster, audience } }, {})).toEqual([
      'trusted_issuers.cluster.audience',
    ]);
  });

  test('without a public URL the audience has to be named', () => {
    const { mistakes } = readPeerSections(
      { path: 'broker.yaml', trusted_issuers: { cluster } },
      { ...context, publicUrl: undefined },
    );
    expect(mistakes[0]?.sentence).toContain('trusted_issuers.cluster.audience');
  });

  test('a SPIFFE id of another trust domain, or that only resembles', () => {
    const prod = {
      kind: 'spiffe',
      issuer: 'https://spire.example.com',
      trust_domain: 'prod.example.com',
      jwks_uri: 'https://spire.example.com/keys',
    };
    for (const subject of [
      'spiffe://prod.example.com.evil/a',
      'spiffe://test.example.com/a',
      'spiffe://*/a',
      'spiffe://prod.example.com',
    ]) {
      expect(
        pathsOf({ prod }, { a: { identities: [{ issuer: 'prod', subject }], roles: ['admin'] } }),
      ).toEqual(['peers.a.identities.0.subject']);
    }
  });
});

test('they are read from the file, and a mistake in them refuses the whole configuration', () => {
  const load = (text: string) =>
    loadConfig({ env: { BROKER_CONFIG: 'broker.yaml' }, readFile: () => text });
  const text = `
public_url: https://broker.example.com
trusted_issuers:
  github: { kind: github }
peers:
  deploy:
    identities: [{ issuer: github, subject: 'repo:acme/orders:ref:refs/heads/main' }]
    tokens: [default]
`;
  expect(load(text).identities.peers.map(({ id }) => id)).toEqual(['deploy']);
  expect(load('').identities).toEqual({ issuers: [], peers: [] });
  expect(() => load(text.replace('[default]', '[ledger]'))).toThrow(
    'peers.deploy.tokens.0 in broker.yaml: no token of this name is configured.',
  );
});

describe('the configurations of docs/identities are right', () => {
  const folder = new URL('../../docs/identities/', import.meta.url);
  const blocks = readdirSync(folder).flatMap((name) =>
    [...readFileSync(new URL(name, folder), 'utf8').matchAll(/```yaml\n([\s\S]*?)```/g)]
      .map(([, text = '']): [string, string] => [name, text])
      .filter(([, text]) => text.includes('trusted_issuers:')),
  );

  test('of every platform', () => {
    expect(new Set(blocks.map(([name]) => name)).size).toBe(6);
  });

  test.each(blocks)('%s', (_name, text) => {
    const env = { BROKER_CONFIG: 'broker.yaml' };
    const { identities } = loadConfig({ env, readFile: () => text.replace('UNIQUE', 'abc') });
    expect(identities.peers).toHaveLength(1);
  });
});
