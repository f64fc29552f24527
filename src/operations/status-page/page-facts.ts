import type { RotationMode, RotationOutcome } from '../../rotation/rotation.js';
import type {
  CertificateReadiness,
  CoverageReadiness,
  PeersReadiness,
  RotationReadiness,
  TokenReadiness,
} from '../health.js';
import type { ClockReadiness } from '../clock-watch.js';
import type { PeerActivity, RecentEvent, SeenVersion } from './recent-activity.js';

/** The paths of the status page: for people, and so in no description for programs. */
export const PAGE_PATHS: readonly string[] = [
  '/',
  '/page.css',
  '/page.js',
  '/runbook',
  '/sign-in',
  '/sign-out',
  '/confirm',
  '/act',
  '/try',
];

/** How one token is, by what health says of it. */
export interface TokenStanding {
  readonly name: string;
  readonly token: TokenReadiness;
  readonly rotation: RotationReadiness | undefined;
  readonly coverage: CoverageReadiness | undefined;
  /** Of the cached version, in milliseconds since the Unix epoch; `undefined` while none is cached. */
  readonly generatedAt: number | undefined;
  readonly expiresAt: number | undefined;
}

/** What else is known of a token that is shown. Instants in milliseconds since the Unix epoch, spans in milliseconds. */
export interface TokenDetails {
  /** The provider's name in the configuration. */
  readonly provider: string;
  readonly issuer: string | undefined;
  readonly audience: readonly string[];
  readonly versionId: string | undefined;
  /** Who rotates it; `undefined` until the store was asked. */
  readonly rotatedBy: RotationMode | undefined;
  /** Whether this process runs the schedule. */
  readonly isScheduled: boolean;
  /** Starts of slots within the token's life, at most {@link MOST_SLOTS_SHOWN}. */
  readonly slots: readonly number[];
  readonly nextSlot: number | undefined;
  /** Life under which it is rotated early. */
  readonly minimumLife: number;
  /** Rotations of this process, the newest first. */
  readonly outcomes: readonly RotationOutcome[];
  /** Versions that were current since the start, the newest last. */
  readonly versions: readonly SeenVersion[];
  /** In the last hour. */
  readonly reads: number;
  /** In the last 24 hours. */
  readonly mints: number;
  /** Slots in the last 24 hours. */
  readonly plannedMints: number;
}

/** The most marks of slots in one bar. */
export const MOST_SLOTS_SHOWN = 30;

/** Reads of a secret in an hour that the design allows: one each four minutes. */
export const READS_PER_HOUR = 15;

/** A provider, by its name in the configuration. */
export interface ProviderFacts {
  readonly name: string;
  readonly tokens: number;
  readonly keys: 'empty' | 'fresh' | 'stale' | 'expired' | undefined;
  /** The last time that it was asked for a token: `OK`, or the code of the error. */
  readonly lastMint: { readonly at: number; readonly code: string } | undefined;
}

/** What is wrong with the store's reads, if anything. */
export interface StoreFailure {
  readonly code: string;
  readonly reason: string;
  /** How many secrets cannot be read. */
  readonly secrets: number;
}

/** How the process is. */
export interface ProcessFacts {
  readonly now: number;
  readonly startedAt: number;
  readonly isStopping: boolean;
  readonly isDevelopment: boolean;
  readonly store: { readonly name: string; readonly failure: StoreFailure | undefined };
  readonly tokens: readonly TokenStanding[];
  readonly providers: readonly ProviderFacts[];
  readonly peers: PeersReadiness | undefined;
  readonly clock: ClockReadiness | undefined;
  readonly certificate: CertificateReadiness | undefined;
  readonly configFile: { readonly path: string; readonly isValid: boolean } | undefined;
  readonly audit: { readonly isOn: boolean; readonly dropped: number };
  readonly droppedLogLines: number;
}

/** A peer that may log in. */
export interface PeerFacts {
  readonly id: string;
  readonly roles: readonly string[];
  readonly tokens: readonly string[];
  readonly enabled: boolean;
  /** Peers of the file are edited there. */
  readonly source: 'list' | 'file';
  /** How a peer of the file proves who it is. */
  readonly identities: readonly string[];
}

/** What only an admin sees. */
export interface PrivateFacts {
  readonly peers: readonly PeerFacts[];
  readonly malformed: number;
  readonly activity: ReadonlyMap<string, PeerActivity>;
  readonly events: readonly RecentEvent[];
  readonly listReads: number;
}

/** Where the page learns how things are. Only `facts` may read the store, as health does: through the caches. */
export interface PageSource {
  facts(): Promise<ProcessFacts>;
  details(token: string): TokenDetails;
  privateFacts(): PrivateFacts;
  /** The file that peers and settings are in, for words; `undefined` without one. */
  readonly configFile: string | undefined;
}
