import type { HttpConfig } from '../config/broker-config.js';
import type { IdentitiesConfig } from '../config/peer-sections.js';
import type { AuditTrail } from '../operations/audit.js';
import { droppedLines, type BrokerLogger } from '../operations/log.js';
import type { PageActions } from '../operations/status-page/page-actions.js';
import {
  MOST_SLOTS_SHOWN,
  type PageSource,
  type PeerFacts,
  type ProviderFacts,
  type StoreFailure,
  type TokenDetails,
  type TokenStanding,
} from '../operations/status-page/page-facts.js';
import { PEERS_LIST, type RecentActivity } from '../operations/status-page/recent-activity.js';
import type { ReadinessSource, TokenReadinessSource } from '../operations/health.js';
import type { RotationMode } from '../rotation/rotation.js';
import type { TokenCache } from '../serving/token-cache.js';
import { setPeerEnabled } from '../peers/peer-admin.js';
import { summarizePeers } from '../peers/peers.js';
import { repairPending } from '../rotation/repair.js';
import { SecretStoreError } from '../secrets/secret-store.js';
import type { Serving } from '../serving/serving.js';
import { isLoopbackHost } from '../tokens/http.js';
import type { Core, TokenCore } from './core.js';
import type { ConfigWatch } from './config-watch.js';

/**
 * Whether only this machine reaches the broker, as in development: then its own port shows the details of health, and the
 * status page. With a public URL, a proxy on this machine passes requests on; with a management port, the details are there.
 */
export function isForThisMachine({ host, publicUrl, management }: HttpConfig): boolean {
  return publicUrl === undefined && management === undefined && isLoopbackHost(host.toLowerCase());
}

/** What runs for one token. */
interface PageToken {
  readonly core: TokenCore;
  readonly cache: TokenCache;
  readonly readiness: TokenReadinessSource;
  readonly mode: () => RotationMode | undefined;
}

/** What the status page is about. */
export interface PageParts {
  readonly core: Core;
  readonly log: BrokerLogger;
  readonly serving: Serving;
  readonly each: ReadonlyMap<string, PageToken>;
  readonly readiness: ReadinessSource;
  readonly audit: AuditTrail | undefined;
  readonly configWatch: ConfigWatch | undefined;
  readonly configFile: string | undefined;
  readonly activity: RecentActivity;
  readonly startedAt: number;
  readonly isDevelopment: boolean;
  /** The peers of the file as they are now. */
  readonly identities: () => IdentitiesConfig;
}

const DAY = 86_400_000;
/** Slots of a day that are counted. */
const MOST_PLANNED = 100;

/** What the status page shows of a running broker. */
export function createPageSource(parts: PageParts): PageSource {
  const { core, each, readiness, activity, configFile } = parts;
  return {
    configFile,
    facts: async () => {
      const now = core.clock.now();
      return {
        now,
        startedAt: parts.startedAt,
        isStopping: readiness.isStopping?.() === true,
        isDevelopment: parts.isDevelopment,
        store: { name: core.store.name, failure: storeFailure(parts) },
        tokens: await Promise.all([...each].map(([name, token]) => standingOf(name, token))),
        providers: providersOf(parts),
        peers: readiness.peers(),
        clock: readiness.clock?.(),
        certificate: readiness.certificate?.(),
        configFile:
          configFile === undefined || parts.configWatch === undefined
            ? undefined
            : { path: configFile, isValid: parts.configWatch.status().isValid },
        audit: { isOn: parts.audit !== undefined, dropped: parts.audit?.dropped ?? 0 },
        droppedLogLines: droppedLines(parts.log),
      };
    },
    details: (name) => detailsOf(name, parts),
    privateFacts: () => {
      const listed = parts.serving.peerDirectory.status().value;
      return {
        peers: [
          ...(listed === undefined ? [] : summarizePeers(listed)).map(
            ({ id, roles, tokens, enabled }): PeerFacts => {
              return { id, roles, tokens, enabled, source: 'list', identities: [] };
            },
          ),
          ...parts
            .identities()
            .peers.map(({ id, roles, tokens, enabled, identities }): PeerFacts => ({
              id,
              roles,
              tokens,
              enabled,
              source: 'file',
              identities: identities.map(({ subject }) => subject),
            })),
        ],
        malformed: listed?.malformed.size ?? 0,
        activity: activity.peers(),
        events: activity.events(),
        listReads: activity.reads(PEERS_LIST),
      };
    },
  };
}

async function standingOf(name: string, { readiness, cache }: PageToken): Promise<TokenStanding> {
  const token = await readiness.tokenState();
  const current = cache.status().value?.token;
  return {
    name,
    token,
    rotation: readiness.rotation(),
    coverage: readiness.coverage(),
    generatedAt: current?.generatedAt,
    expiresAt: current?.expiresAt,
  };
}

function detailsOf(name: string, { core, each, activity }: PageParts): TokenDetails {
  const runtime = each.get(name);
  if (runtime === undefined) throw new TypeError(`There is no token ${name}.`);
  const { slots, token, rotator } = runtime.core;
  const now = core.clock.now();
  const { value } = runtime.cache.status();
  const mode = runtime.mode();
  const isOurs = mode === undefined || mode === 'broker';
  const slotsWithin = (from: number, to: number, most: number): readonly number[] => {
    const found: number[] = [];
    for (
      let at = slots.nextAfter(from);
      at <= to && found.length < most;
      at = slots.nextAfter(at)
    ) {
      found.push(at);
    }
    return found;
  };
  return {
    provider: token.providerName,
    issuer: value?.token.issuer ?? token.provider.issuer,
    audience: value?.token.audience ?? [],
    versionId: value?.versionId,
    rotatedBy: mode,
    isScheduled: core.config.rotation.enabled,
    slots:
      value === undefined || !isOurs
        ? []
        : slotsWithin(value.token.generatedAt, value.token.expiresAt, MOST_SLOTS_SHOWN),
    nextSlot: isOurs && core.config.rotation.enabled ? slots.nextAfter(now) : undefined,
    minimumLife: token.rotation.minRemainingSeconds * 1000,
    outcomes: rotator.outcomes.list(),
    versions: activity.versions(name),
    reads: activity.reads(name),
    mints: activity.mints(name),
    plannedMints: slotsWithin(now - DAY, now, MOST_PLANNED).length,
  };
}

/** What the caches' last reads failed with. A token that does not exist yet is no failure of the store. */
function storeFailure({ each, serving }: PageParts): StoreFailure | undefined {
  const failures = [
    ...[...each.values()].map(({ cache }) => cache.status()),
    serving.peerDirectory.status(),
  ].flatMap(({ lastError }) =>
    lastError instanceof SecretStoreError && lastError.code !== 'SECRET_NOT_FOUND' ? lastError : [],
  );
  const [first] = failures;
  return first && { code: first.code, reason: first.message, secrets: failures.length };
}

function providersOf({ each, activity }: PageParts): readonly ProviderFacts[] {
  const found = new Map<string, ProviderFacts>();
  for (const [token, { core }] of each) {
    const name = core.token.providerName;
    const known = found.get(name);
    const minted = activity.lastMint(token);
    const isNewer = (known?.lastMint?.at ?? 0) <= (minted?.at ?? -1);
    found.set(name, {
      name,
      tokens: (known?.tokens ?? 0) + 1,
      keys: core.keysState()?.status ?? known?.keys,
      lastMint: isNewer ? minted : known?.lastMint,
    });
  }
  return [...found.values()];
}

/** What an admin does from the page: the same as by HTTP and by the command line. */
export function createPageActions({
  core,
  serving,
  identities,
}: Pick<PageParts, 'core' | 'serving' | 'identities'>): PageActions {
  const { store, clock, tokens, config } = core;
  return {
    rotate: (peer, token, request) => serving.rotate.rotateNow(peer, token, request),
    repair: async (name) => {
      const token = tokens.get(name)?.token;
      return token && repairPending({ store, tokenSecretId: token.secretId, clock });
    },
    setPeerEnabled: async (id, enabled) => {
      const { peersSecretId: secretId, morePeersSecretIds: moreSecretIds } = config.secrets;
      await setPeerEnabled({ store, secretId, moreSecretIds, clock }, id, enabled);
      // The next login waits for the new list; if it cannot be read, the observer of its reads says so.
      serving.peerDirectory.invalidate();
      serving.peerDirectory.refresh();
      const isEnabledInFile = identities().peers.some((peer) => peer.id === id && peer.enabled);
      return { isEnabledInFile };
    },
  };
}
