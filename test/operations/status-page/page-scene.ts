import type {
  PageSource,
  PeerFacts,
  PrivateFacts,
  ProcessFacts,
  TokenDetails,
  TokenStanding,
} from '../../../src/operations/status-page/page-facts.js';

export const NOW = Date.parse('2026-11-22T12:00:00.000Z');
export const HOUR = 3_600_000;

/** A token that is well: minted 9 hours ago, for 25 hours. */
export function standingOf(change: Partial<TokenStanding> = {}): TokenStanding {
  return {
    name: 'default',
    token: { ok: true, remainingSeconds: 57_600 },
    rotation: { ok: true, next: new Date(NOW + 15 * HOUR).toISOString() },
    coverage: { ok: true },
    generatedAt: NOW - 9 * HOUR,
    expiresAt: NOW + 16 * HOUR,
    ...change,
  };
}

/** A process that is well. */
export function factsOf(change: Partial<ProcessFacts> = {}): ProcessFacts {
  return {
    now: NOW,
    startedAt: NOW - 50 * HOUR,
    isStopping: false,
    isDevelopment: false,
    store: { name: 'aws', failure: undefined },
    tokens: [standingOf()],
    providers: [
      { name: 'default', tokens: 1, keys: 'fresh', lastMint: { at: NOW - 9 * HOUR, code: 'OK' } },
    ],
    peers: { ok: true },
    clock: { ok: true },
    certificate: undefined,
    configFile: undefined,
    audit: { isOn: true, dropped: 0 },
    droppedLogLines: 0,
    ...change,
  };
}

export function detailsOf(change: Partial<TokenDetails> = {}): TokenDetails {
  return {
    provider: 'default',
    issuer: 'https://issuer.example.com/',
    audience: ['https://services.example.com'],
    versionId: 'version-1',
    rotatedBy: 'broker',
    isScheduled: true,
    slots: [NOW + 15 * HOUR],
    nextSlot: NOW + 15 * HOUR,
    minimumLife: HOUR,
    outcomes: [],
    versions: [],
    reads: 14,
    mints: 1,
    plannedMints: 1,
    ...change,
  };
}

export function peerOf(change: Partial<PeerFacts> = {}): PeerFacts {
  return {
    id: 'orders',
    roles: ['token'],
    tokens: ['default'],
    enabled: true,
    source: 'list',
    identities: [],
    ...change,
  };
}

export function insiderOf(change: Partial<PrivateFacts> = {}): PrivateFacts {
  return {
    peers: [peerOf()],
    malformed: 0,
    activity: new Map(),
    events: [],
    listReads: 1,
    ...change,
  };
}

export function sourceOf(
  facts: ProcessFacts,
  insider: PrivateFacts = insiderOf(),
  details: Partial<TokenDetails> = {},
): PageSource {
  return {
    configFile: undefined,
    facts: () => Promise.resolve(facts),
    details: () => detailsOf(details),
    privateFacts: () => insider,
  };
}
