import type { Clock } from '../tokens/clock.js';
import type { DiscoveredServer } from './discovery.js';
import type { ProviderSettings } from './provider-settings.js';

/** How long discovered metadata is used, in milliseconds. */
export const METADATA_TTL = 60 * 60 * 1000;

/** More issuers than any broker has; it only keeps a mistake from growing the map for ever. */
const MAX_ISSUERS = 16;

interface Entry {
  readonly server: Promise<DiscoveredServer>;
  /** Milliseconds since the Unix epoch; when it was asked for. */
  readonly askedAt: number;
}

/** Discovered metadata by issuer. Callers that come together share one discovery; a failed one is not kept. */
export class MetadataCache {
  readonly #clock: Clock;
  readonly #entries = new Map<string, Entry>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The cached metadata, or what `load` resolves to. */
  get(
    settings: ProviderSettings,
    load: () => Promise<DiscoveredServer>,
  ): Promise<DiscoveredServer> {
    const key = keyOf(settings);
    const now = this.#clock.now();
    const known = this.#entries.get(key);
    if (known !== undefined && isFresh(known, now)) return known.server;
    this.#entries.delete(key);
    const entry = { server: load(), askedAt: now };
    this.#entries.set(key, entry);
    const [oldest] = this.#entries.keys();
    if (oldest !== undefined && this.#entries.size > MAX_ISSUERS) this.#entries.delete(oldest);
    // Whoever asked gets the failure itself; here it only must not stay.
    entry.server.catch(() => {
      if (this.#entries.get(key) === entry) this.#entries.delete(key);
    });
    return entry.server;
  }

  /** Makes the next call discover again. */
  forget(settings: ProviderSettings): void {
    this.#entries.delete(keyOf(settings));
  }
}

// A clock that was set back would keep an entry for as long as the jump.
function isFresh(entry: Entry, now: number): boolean {
  const age = now - entry.askedAt;
  return age >= 0 && age < METADATA_TTL;
}

function keyOf(settings: ProviderSettings): string {
  return `${settings.allowInsecureHttp === true} ${settings.issuer}`;
}
