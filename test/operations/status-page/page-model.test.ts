import { describe, expect, test } from '@jest/globals';
import { rotationMarks } from '../../../src/operations/status-page/page-charts.js';
import type {
  ProcessFacts,
  TokenStanding,
} from '../../../src/operations/status-page/page-facts.js';
import {
  createStatusModel,
  lengthOf,
  RUNBOOK,
  shareOf,
  type StatusModel,
  type StatusView,
} from '../../../src/operations/status-page/page-model.js';
import { runbookPage } from '../../../src/operations/status-page/runbook-page.js';
import type { PeerActivity } from '../../../src/operations/status-page/recent-activity.js';
import { fc } from '../../support/properties.js';
import { detailsOf, factsOf, HOUR, insiderOf, NOW, peerOf, standingOf } from './page-scene.js';

const VIEW: StatusView = { token: undefined, tokensPage: 1, peersPage: 1, peer: '' };

function modelOf(facts: Partial<ProcessFacts>, view: Partial<StatusView> = {}): StatusModel {
  return createStatusModel(factsOf(facts), () => detailsOf(), undefined, { ...VIEW, ...view });
}

const of = (standing: Partial<TokenStanding>): Partial<ProcessFacts> => ({
  tokens: [standingOf(standing)],
});
const DOWN = { ok: false, code: 'TOKEN_SECRET_EMPTY', reason: 'There is none yet.' };

describe('what is wrong', () => {
  test.each<[string, Partial<ProcessFacts>, string, string, readonly string[]]>([
    ['nothing', {}, 'good', 'Everything is well', []],
    [
      'no token',
      of({ token: DOWN, expiresAt: undefined }),
      'bad',
      'No token can be served',
      ['bad tokens_unavailable_total TOKEN_SECRET_EMPTY'],
    ],
    [
      'one of two tokens',
      { tokens: [standingOf(), standingOf({ name: 'ledger', token: DOWN })] },
      'bad',
      '1 of 2 tokens cannot be served',
      ['bad tokens_unavailable_total TOKEN_SECRET_EMPTY'],
    ],
    [
      'a token that receivers refuse',
      of({ token: { ok: true, refused: true, code: 'TOKEN_EXPIRED', reason: 'It is.' } }),
      'bad',
      'Receivers refuse a token that is served',
      ['bad token_accepted TOKEN_EXPIRED'],
    ],
    [
      'a store that cannot be read',
      of({ token: { ok: true, stale: true, code: 'STORE_UNAVAILABLE', reason: 'It is down.' } }),
      'warning',
      'Serving, and one thing needs a look',
      ['warning store_reads_total STORE_UNAVAILABLE'],
    ],
    [
      'a rotation that fails, and a life that is too short',
      of({ rotation: { ok: false, code: 'X', reason: 'No.' }, coverage: { ok: false } }),
      'warning',
      'Serving, and 2 things need a look',
      ['warning rotations_total X', 'warning token_remaining_seconds -'],
    ],
    [
      'logins',
      { peers: { ok: false, code: 'PEERS_INVALID', reason: 'Nobody.' } },
      'bad',
      'Serving, and one thing needs a look',
      ['bad store_reads_total PEERS_INVALID'],
    ],
    [
      'an old list of peers',
      { peers: { ok: false, stale: true, code: 'STORE_DENIED', reason: 'Old.' } },
      'warning',
      'Serving, and one thing needs a look',
      ['warning store_reads_total STORE_DENIED'],
    ],
    [
      'the clock',
      { clock: { ok: false, code: 'CLOCK_OFF', reason: 'It is off.' } },
      'warning',
      'Serving, and one thing needs a look',
      ['warning clock_offset_seconds CLOCK_OFF'],
    ],
    [
      'everything about the process: the worst first',
      {
        certificate: { ok: false, expiresAt: '2026-01-01T00:00:00.000Z', code: 'TLS_EXPIRED' },
        configFile: { path: 'broker.yaml', isValid: false },
        audit: { isOn: true, dropped: 3 },
        droppedLogLines: 4,
      },
      'bad',
      'Serving, and 4 things need a look',
      [
        'bad tls_certificate_expires_timestamp_seconds TLS_EXPIRED',
        'warning config_file_valid -',
        'warning audit_dropped_total -',
        'warning log_lines_dropped_total -',
      ],
    ],
    ['a stop', { isStopping: true }, 'warning', 'The broker is stopping', []],
  ])('%s', (_what, facts, tone, headline, problems) => {
    const model = modelOf(facts);
    expect([model.tone, model.headline]).toEqual([tone, headline]);
    expect(model.problems.map((one) => `${one.tone} ${one.runbook} ${one.code ?? '-'}`)).toEqual(
      problems,
    );
  });

  test('is said with the reason, without the name of the document that the page links to', () => {
    const reason = 'It is late. What to do: docs/runbook.md#rotations_total';
    const [problem] = modelOf(of({ rotation: { ok: false, reason } })).problems;
    expect(problem?.reason).toBe('It is late.');
  });

  test('with the configuration file does not say where that is', () => {
    const path = '/etc/hidden/broker.yaml';
    const model = modelOf({ configFile: { path, isValid: false } });
    expect(model.problems).toMatchObject([{ title: 'The configuration file has mistakes' }]);
    expect(JSON.stringify(model)).not.toContain('hidden');
  });

  test('hides what looks like a token', () => {
    const secret = 'client_secret=s3cr3t-canary-0123456789';
    const { problems, health } = modelOf({
      ...of({ rotation: { ok: false, code: 'X', reason: `It says ${secret}` } }),
      store: { name: 'aws', failure: { code: 'Y', reason: secret, secrets: 1 } },
    });
    expect(JSON.stringify([problems, health])).not.toContain('canary');
  });

  test('that is wrong with many tokens alike is one problem', () => {
    const tokens = Array.from({ length: 100 }, (_, index) =>
      standingOf({ name: `token-${index}`, token: index % 2 === 0 ? DOWN : { ok: true } }),
    );
    const { problems, headline } = modelOf({ tokens });
    expect(headline).toBe('50 of 100 tokens cannot be served');
    expect(problems).toHaveLength(1);
    expect(problems[0]?.tokens).toHaveLength(50);
  });

  test('beyond four things is counted', () => {
    const tokens = Array.from({ length: 7 }, (_, index) =>
      standingOf({ name: `t${index}`, token: { ...DOWN, code: `CODE_${index}` } }),
    );
    const { problems, moreProblems } = modelOf({ tokens });
    expect([problems.length, moreProblems]).toEqual([4, 3]);
  });

  test('leads to a section of the runbook that exists', () => {
    const shown = String(runbookPage());
    for (const section of Object.values(RUNBOOK)) {
      expect(shown).toContain(`<h3 id="${section}">`);
    }
  });
});

describe('many tokens', () => {
  const tokens = Array.from({ length: 1_000 }, (_, index) =>
    standingOf({ name: `token-${index}`, ...(index === 777 && { token: DOWN }) }),
  );

  test('are a list in pages, those that need a look first, and one of them in full', () => {
    const asked: string[] = [];
    const details = (name: string): ReturnType<typeof detailsOf> => {
      asked.push(name);
      return detailsOf();
    };
    const model = createStatusModel(factsOf({ tokens }), details, undefined, VIEW);
    expect(model.rows).toMatchObject({ page: 1, pages: 67, total: 1_000 });
    expect(model.rows?.items.slice(0, 2).map(({ name }) => name)).toEqual(['token-777', 'token-0']);
    expect(asked).toEqual(['token-777']);
    const chosen = createStatusModel(factsOf({ tokens }), details, undefined, {
      ...VIEW,
      token: 'token-5',
      tokensPage: 999,
    });
    expect(chosen.cards.map(({ name }) => name)).toEqual(['token-5']);
    expect(chosen.rows).toMatchObject({ page: 67 });
    expect(chosen.rows?.items.at(-1)?.name).toBe('token-999');
  });

  test('up to two are all in full, in the order of the configuration', () => {
    const two = [standingOf(), standingOf({ name: 'b', token: DOWN })];
    const { cards, rows } = modelOf({ tokens: two });
    expect([cards.map(({ name }) => name), rows]).toEqual([['default', 'b'], undefined]);
  });
});

describe('peers', () => {
  const peers = ['billing', 'Orders', 'mail', 'ledger'].map((id) => peerOf({ id }));
  const seen = {
    asked: 1,
    lastAt: NOW - HOUR,
    lastMethod: 'bearer',
    lastToken: 'default',
    refused: 0,
    refusedAt: undefined,
    refusedReason: undefined,
  };
  const activity = new Map<string, PeerActivity>([
    ['mail', seen],
    ['ledger', { ...seen, refused: 1, refusedAt: NOW, refusedReason: 'wrong_secret' }],
  ]);
  const idsOf = (view: Partial<StatusView>): readonly string[] =>
    createStatusModel(factsOf(), () => detailsOf(), insiderOf({ peers, activity }), {
      ...VIEW,
      ...view,
    }).insider?.peers.items.map(({ peer }) => peer.id) ?? [];

  test('are those that asked or were refused last, then all others by id', () => {
    expect(idsOf({})).toEqual(['ledger', 'mail', 'Orders', 'billing']);
    expect(idsOf({ peer: 'orD' })).toEqual(['Orders']);
    expect(idsOf({ peer: 'nobody' })).toEqual([]);
  });

  test('are not there for who has not signed in', () => {
    expect(modelOf({}).insider).toBeUndefined();
  });
});

test('the time line has the rotations of this process and those of others, the oldest first', () => {
  const outcome = { durationMilliseconds: 443, key: 'slot', trigger: 'schedule' } as const;
  const marks = rotationMarks(
    {
      outcomes: [
        { ...outcome, at: NOW, result: 'failed', code: 'PROVIDER_UNREACHABLE' },
        { ...outcome, at: NOW - HOUR, result: 'rotated', versionId: 'mine' },
      ],
      versions: [
        { versionId: 'theirs', mintedAt: NOW - 3 * HOUR },
        { versionId: 'mine', mintedAt: NOW - HOUR },
      ],
    },
    8,
  );
  expect(marks.map(({ kind, words }) => `${kind}: ${words}`)).toEqual([
    'elsewhere: by another process, or before this one',
    'done: rotated, by the schedule, in 0.44 s',
    'failed: failed (PROVIDER_UNREACHABLE), by the schedule, in 0.44 s',
  ]);
});

test.each([
  [-5, '0 s'],
  [0, '0 s'],
  [45_999, '45 s'],
  [60_000, '1 min'],
  [61_000, '1 min 1 s'],
  [HOUR, '1 h'],
  [23 * HOUR + 720_000, '23 h 12 min'],
  [25 * HOUR, '25 h'],
  [48 * HOUR, '2 d'],
  [51 * HOUR, '2 d 3 h'],
])('%d ms are %s', (span, words) => {
  expect(lengthOf(span)).toBe(words);
});

test('a share is between 0 and 1, whatever the clocks say', () => {
  const instant = fc.double({ noNaN: true, min: -1e15, max: 1e15 });
  fc.assert(
    fc.property(instant, instant, instant, (at, from, to) => {
      const share = shareOf(at, { from, to });
      expect(share).toBeGreaterThanOrEqual(0);
      expect(share).toBeLessThanOrEqual(1);
    }),
  );
  expect(shareOf(5, { from: 0, to: 10 })).toBe(0.5);
});
