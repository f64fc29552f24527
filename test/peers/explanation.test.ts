import { expect, test } from '@jest/globals';
import { certificateIdentity } from '../../src/peers/certificate-names.js';
import { explainPeer, type KnownPeers } from '../../src/peers/explanation.js';
import { IAM, type WorkloadIdentity } from '../../src/peers/identities.js';
import { hashPeerSecret, parsePeers } from '../../src/peers/peers.js';
import { decideAccess } from '../../src/peers/policy.js';
import { peerEntry, START } from '../serving/broker.js';

const known: KnownPeers = {
  secrets: parsePeers(
    JSON.stringify({
      peers: {
        orders: { ...peerEntry('canary', ['token']), tokens: ['default'] },
        operations: peerEntry('canary', ['admin']),
        retired: peerEntry('canary', ['token'], false),
        renewed: {
          ...peerEntry('canary', ['token', 'admin', 'introspect']),
          tokens: ['default', 'ledger'],
          previous_secret_sha256: hashPeerSecret('old').toString('base64url'),
          previous_secret_not_after: '2026-12-01T00:00:00.000Z',
        },
        bare: { ...peerEntry('canary', ['token']), tokens: [] },
        slip: { ...peerEntry('canary', ['token']), enabled: 1 },
      },
    }),
  ),
  configured: [
    {
      id: 'orders',
      roles: ['token', 'introspect'],
      tokens: ['ledger'],
      enabled: true,
      identities: [{ issuer: 'cluster', subject: 'system:serviceaccount:shop:orders' }],
    },
    {
      id: 'settle',
      roles: ['token'],
      tokens: ['ledger'],
      enabled: true,
      identities: [{ issuer: IAM, subject: 'arn:aws:iam::123456789012:role/settle' }],
    },
    {
      id: 'ledger',
      roles: ['token'],
      tokens: ['ledger'],
      enabled: true,
      identities: [
        { certificate: 'uri', name: 'spiffe://prod.example.com/*' },
        { certificate: 'dns', name: '*.shop.svc' },
      ].map(
        ({ certificate, name }) =>
          certificateIdentity(certificate as 'uri', name) as WorkloadIdentity,
      ),
    },
  ],
  issuers: [
    {
      name: 'github',
      kind: 'github',
      issuer: 'https://token.actions.githubusercontent.com',
      jwksUri: 'https://token.actions.githubusercontent.com/.well-known/jwks',
      audience: 'https://broker.example.com',
      algorithms: ['RS256'],
      maxLifetimeSeconds: 3_600,
      singleUse: true,
      caFile: undefined,
      tokenFile: undefined,
    },
    {
      name: 'cluster',
      kind: 'kubernetes',
      issuer: 'https://kubernetes.default.svc',
      jwksUri: 'https://kubernetes.default.svc/openid/v1/jwks',
      audience: 'https://broker.example.com',
      algorithms: ['ES256'],
      maxLifetimeSeconds: 3_600,
      singleUse: false,
      caFile: undefined,
      tokenFile: undefined,
    },
  ],
  tokenNames: ['default', 'ledger'],
};
const explain = (id: string, token?: string) => explainPeer(known, id, START, token);

test('every identity with its own grants: those of one do not count for the other', () => {
  const { lines, allowed, identities } = explain('orders', 'ledger');
  expect(lines).toEqual([
    'orders proves who it is by its secret, in the peers secret: it has the tokens default.',
    'orders proves who it is by a token of "cluster" (kubernetes, https://kubernetes.default.svc) for https://broker.example.com, with the subject system:serviceaccount:shop:orders: it has the tokens ledger and the roles introspect.',
    'By its secret: refused, no grant names it (token "ledger").',
    'By its workload token: allowed, a grant names it (token "ledger").',
  ]);
  expect(allowed).toBe(true);
  expect(identities.map(({ access }) => access)).toEqual(['token_not_granted', 'granted']);
});

test('AWS IAM, which counts at the function alone', () => {
  expect(explain('settle', 'ledger').lines).toEqual([
    'settle proves who it is by AWS IAM, as arn:aws:iam::123456789012:role/settle, at the HTTP function on Lambda: it has the tokens ledger.',
    'By AWS IAM: allowed, a grant names it (token "ledger").',
  ]);
});

test('a client certificate by the name that it must have', () => {
  expect(explain('ledger', 'ledger')).toMatchObject({
    allowed: true,
    identities: [{ kind: 'certificate' }, { kind: 'certificate' }],
    lines: [
      'ledger proves who it is by a client certificate with the URI spiffe://prod.example.com/*: it has the tokens ledger.',
      'ledger proves who it is by a client certificate with the DNS name *.shop.svc: it has the tokens ledger.',
      'By its client certificate: allowed, a grant names it (token "ledger").',
      'By its client certificate: allowed, a grant names it (token "ledger").',
    ],
  });
});

test.each([
  ['operations', 'default', 'refused, the role "token" is missing'],
  ['retired', 'default', 'refused, the peer is disabled'],
  ['slip', 'default', 'is malformed, and opens nothing: "enabled" must be true or false'],
  ['nobody', 'default', 'There is no peer "nobody".'],
  ['orders', 'other', 'No token "other" is configured'],
])('%s and the token %s: %s', (id, token, words) => {
  const { lines, allowed } = explain(id, token);
  expect(lines.join('\n')).toContain(words);
  expect(lines.join('\n')).not.toContain('sha256');
  expect(allowed).toBe(false);
});

test('the secret before is named as long as it works', () => {
  const end = Date.UTC(2026, 11, 1);
  const linesAt = (now: number) => explainPeer(known, 'renewed', now).lines;
  const grants = 'it has the tokens default, ledger and the roles admin, introspect.';
  expect(linesAt(end - 1)).toEqual([
    `renewed proves who it is by its secret, in the peers secret; the one before works until 2026-12-01T00:00:00.000Z: ${grants}`,
  ]);
  expect(linesAt(end)).toEqual([
    `renewed proves who it is by its secret, in the peers secret: ${grants}`,
  ]);
});

test.each([
  ['retired', 'it is disabled, and opens nothing.'],
  ['bare', 'nothing is granted to it.'],
])('%s proves who it is in vain: %s', (id, words) => {
  expect(explain(id).lines).toEqual([
    `${id} proves who it is by its secret, in the peers secret: ${words}`,
  ]);
});

test('without a token it tells the grants alone', () => {
  expect(explain('operations')).toStrictEqual({
    id: 'operations',
    identities: [
      {
        kind: 'secret',
        proof: 'its secret, in the peers secret',
        enabled: true,
        roles: ['admin'],
        tokens: ['default'],
      },
    ],
    lines: [
      'operations proves who it is by its secret, in the peers secret: it has the roles admin.',
    ],
  });
});

test('it says of each identity what is decided while serving', () => {
  for (const id of ['orders', 'operations', 'retired']) {
    for (const token of ['default', 'ledger', 'other']) {
      for (const { access, enabled, ...grants } of explain(id, token).identities) {
        expect(access).toBe(enabled ? decideAccess(grants, { token }) : 'disabled');
      }
    }
  }
});
