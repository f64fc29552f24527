import { describe, expect, test } from '@jest/globals';
import { PAGE_SCRIPT, PAGE_STYLE } from '../../../src/operations/status-page/page-assets.js';
import {
  MOST_SLOTS_SHOWN,
  type PrivateFacts,
  type ProcessFacts,
} from '../../../src/operations/status-page/page-facts.js';
import { createStatusModel } from '../../../src/operations/status-page/page-model.js';
import { statusPage } from '../../../src/operations/status-page/page-view.js';
import { fc } from '../../support/properties.js';
import { detailsOf, factsOf, HOUR, insiderOf, NOW, peerOf, standingOf } from './page-scene.js';

const VIEW = { token: undefined, tokensPage: 1, peersPage: 1, peer: '' };
const ADMIN = { id: 'admin', isAutomatic: false };

function pageOf(facts: ProcessFacts, insider?: PrivateFacts, details = detailsOf()): string {
  const model = createStatusModel(facts, () => details, insider, VIEW);
  const viewer = insider && ADMIN;
  return String(
    statusPage(model, {
      viewer,
      view: VIEW,
      isOpenToEavesdroppers: false,
      configFile: '/etc/broker.yaml',
    }),
  );
}

/** A token, a peer and a fault in every part of the page, with texts from outside. */
function pageWith(text: string): string {
  const bad = { ok: false, code: 'CODE', reason: text };
  return pageOf(
    factsOf({
      tokens: [standingOf({ token: bad, rotation: bad, coverage: bad })],
      store: { name: text, failure: { code: 'CODE', reason: text, secrets: 1 } },
      clock: bad,
      peers: bad,
      configFile: { path: text, isValid: false },
    }),
    insiderOf({
      peers: [peerOf({ id: text, roles: [text, 'token'], tokens: [text], identities: [text] })],
      activity: new Map([
        [
          text,
          {
            asked: 1,
            lastAt: NOW,
            lastMethod: text,
            lastToken: text,
            refused: 1,
            refusedAt: NOW,
            refusedReason: text,
          },
        ],
      ]),
      events: [{ at: NOW, times: 2, outcome: 'denied', peer: text, subject: text, reason: text }],
    }),
    detailsOf({ issuer: text, audience: [text], provider: text }),
  );
}

describe('the page', () => {
  test('calls what comes next a rotation, since it may be another attempt before the next slot', () => {
    const failing = { ok: false, next: new Date(NOW + 2_000).toISOString(), code: 'CODE' };
    const page = pageOf(factsOf({ tokens: [standingOf({ rotation: failing })] }));
    expect(page).toMatch(/<dt>Next rotation<\/dt>\s*<dd>in 2 s\b/);
  });

  test('has the same elements and attributes, whatever texts come from outside', () => {
    const shapeOf = (page: string): readonly string[] =>
      [...page.matchAll(/<[^>]*>/g)].map(([tag]) =>
        tag.replaceAll(/="[^"]*"/g, '=""').replaceAll(/\s+/g, ' '),
      );
    const usual = shapeOf(pageWith('plain'));
    const odd = fc.stringMatching(/^[<>"'`&;=/a-z! -]{1,30}$/);
    fc.assert(
      fc.property(odd, (text) => {
        expect(shapeOf(pageWith(`x${text}`))).toEqual(usual);
      }),
    );
    expect(usual.length).toBeGreaterThan(150);
  });

  test('runs nothing of its own inside: no inline script, no inline style, no handler', () => {
    const page = pageWith('plain');
    expect(page).not.toMatch(
      /<script(?! src="page\.js" defer>)|<style|\sstyle=|\son\w+=|javascript:/i,
    );
  });

  test('shows peers, events, audience and actions to an admin alone', () => {
    const facts = factsOf();
    const insider = insiderOf({
      events: [{ at: NOW, times: 1, outcome: 'denied', peer: 'orders', reason: 'ROLE_MISSING' }],
    });
    const inside = pageOf(facts, insider);
    const outside = pageOf(facts);
    for (const text of ['orders', 'services.example.com', 'issuer.example.com', 'confirm?do=']) {
      expect([text, inside.includes(text), outside.includes(text)]).toEqual([text, true, false]);
    }
    expect(outside).toContain('<a href="sign-in">');
    expect(outside).toContain('16 h');
  });

  test('names the peers of the file as such: there is no link to disable them', () => {
    const file = peerOf({ id: 'shipping', source: 'file', identities: ['spiffe://a/b'] });
    const page = pageOf(factsOf(), insiderOf({ peers: [file, peerOf({ id: 'mail' })] }));
    expect(page).toContain('/etc/broker.yaml');
    expect(page).toContain('spiffe://a/b');
    expect(page).not.toContain('peer=shipping');
    expect(page).toContain('confirm?do=disable&amp;peer=mail');
  });

  test('does not offer an admin to disable itself, and offers to enable who is disabled', () => {
    const peers = [
      peerOf({ id: 'admin', roles: ['admin'] }),
      peerOf({ id: 'mail', enabled: false }),
    ];
    const page = pageOf(factsOf(), insiderOf({ peers }));
    expect(page).not.toContain('peer=admin');
    expect(page).toContain('confirm?do=enable&amp;peer=mail');
    expect(page).toContain('disabled');
  });

  test('has a name for every drawing, and every table a caption', () => {
    const page = pageWith('plain');
    for (const [svg] of page.matchAll(/<svg[^>]*>/g)) {
      expect(svg).toMatch(/aria-hidden="true"|role="img" aria-label="[^"]+"/);
    }
    expect(page.match(/<table/g)?.length).toBe(page.match(/<caption/g)?.length);
  });
});

describe('the size of everything', () => {
  const assets = Buffer.byteLength(PAGE_STYLE) + Buffer.byteLength(PAGE_SCRIPT);
  const outcome = { durationMilliseconds: 443, key: 'slot', trigger: 'schedule' } as const;
  const details = detailsOf({
    outcomes: Array.from({ length: 20 }, (_, index) => ({
      ...outcome,
      at: NOW - index * HOUR,
      result: 'failed' as const,
      code: 'PROVIDER_INVALID_CLIENT',
    })),
    slots: Array.from(
      { length: MOST_SLOTS_SHOWN },
      (_, index) => NOW - 9 * HOUR + index * HOUR * 0.8,
    ),
  });
  const insider = insiderOf({
    peers: Array.from({ length: 10_000 }, (_, index) =>
      peerOf({
        id: `service-with-a-usual-name-${index}`,
        tokens: ['default', 'ledger'],
        source: index < 20 ? 'file' : 'list',
        identities: index < 20 ? [`system:serviceaccount:namespace:service-account-${index}`] : [],
      }),
    ),
    activity: new Map(
      Array.from({ length: 10_000 }, (_, index) => [
        `service-with-a-usual-name-${index}`,
        {
          asked: 123_456,
          lastAt: NOW - index,
          lastMethod: 'client_secret_basic',
          lastToken: 'default',
          refused: 17,
          refusedAt: NOW - index,
          refusedReason: 'wrong_secret',
        },
      ]),
    ),
    events: Array.from({ length: 50 }, () => ({
      at: NOW,
      times: 5,
      outcome: 'login_failed' as const,
      reason: 'wrong_secret',
      peer: 'service-with-a-usual-name',
      remoteAddress: '10.0.3.17',
    })),
  });
  const reason =
    'The provider refuses the client (invalid_client): the secret in "service-token-broker/credentials" is wrong or has expired. Put the new one there; the next attempt reads it. doctor says more.';

  test.each([1, 2, 3, 1_000])('is under 50 kB with %d tokens and 10,000 peers', (count) => {
    const tokens = Array.from({ length: count }, (_, index) =>
      standingOf({
        name: `token-of-a-usual-name-${index}`,
        rotation: {
          ok: false,
          code: `CODE_${index % 9}`,
          reason,
          next: '2026-11-23T03:00:00.000Z',
        },
      }),
    );
    const page = pageOf(factsOf({ tokens }), insider, details);
    expect(assets + Buffer.byteLength(page)).toBeLessThan(50_000);
    expect(page.replaceAll(/\s+/g, ' ')).toContain('10000 peers');
  });
});
