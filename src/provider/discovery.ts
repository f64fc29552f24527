import * as oauth from 'oauth4webapi';
import {
  complaintOf,
  isProviderError,
  LostAnswerError,
  ProviderError,
  readMembers,
  requireWhole,
  safeText,
  shownComplaint,
} from './provider-errors.js';
import { boundedFetch, retrying, type Budget } from './provider-http.js';
import { displayUrl, requireUrl, type ProviderSettings } from './client-credentials.js';
import { parseUrl } from '../tokens/http.js';
import { isJsonObject } from '../tokens/json.js';
import type { Clock } from '../tokens/time.js';

/** Where a provider may have metadata. OpenID first: nearly every provider has it, and several have nothing else. */
const PLACES = ['oidc', 'oauth2'] as const;

type Place = (typeof PLACES)[number];

/** What the broker needs of a provider's metadata (RFC 8414 §2). */
export interface DiscoveredServer {
  readonly issuer: string;
  readonly token_endpoint?: string;
  readonly jwks_uri?: string;
  /** The token endpoint for mutual TLS: `token_endpoint` of `mtls_endpoint_aliases` (RFC 8705 §5). */
  readonly mtls_token_endpoint?: string;
  /** Never empty. */
  readonly token_endpoint_auth_methods_supported?: readonly string[];
}

/**
 * Fetches the provider's metadata by OpenID Connect Discovery §4, then by RFC 8414 §3. It is for exactly the configured
 * issuer, and may be cached.
 *
 * @throws {ProviderError} `PROVIDER_DISCOVERY_FAILED` when neither place has metadata, `PROVIDER_ISSUER_MISMATCH`,
 *   `PROVIDER_INSECURE`, and what every request may throw.
 */
export async function discover(
  settings: ProviderSettings,
  budget: Budget,
): Promise<DiscoveredServer> {
  const issuer = requireUrl(settings.issuer, 'issuer', settings);
  if (issuer.search !== '') {
    throw new ProviderError(
      'PROVIDER_SETTINGS_INVALID',
      'The issuer cannot be used: it must have no query.',
    );
  }
  const failures: ProviderError[] = [];
  for (const place of PLACES) {
    try {
      return await retrying(budget, (timeoutMs) => ask(place, issuer, settings, budget, timeoutMs));
    } catch (error) {
      // A provider that is down or slow is so at both places; only a response without metadata makes the other worth a try.
      if (!(error instanceof ProviderError) || !isAboutPlace(error)) throw error;
      failures.push(error);
    }
  }
  throw bestOf(failures, issuer);
}

function isAboutPlace(error: ProviderError): boolean {
  return error.kind === 'misconfigured' || error instanceof LostAnswerError;
}

async function ask(
  place: Place,
  issuer: URL,
  settings: ProviderSettings,
  budget: Budget,
  timeoutMs: number,
): Promise<DiscoveredServer> {
  const response = await oauth.discoveryRequest(issuer, {
    algorithm: place,
    [oauth.allowInsecureRequests]: issuer.protocol === 'http:',
    [oauth.customFetch]: boundedFetch({
      clock: budget.clock,
      timeoutMs,
      signal: budget.signal,
      what: 'discovery document',
      onDate: budget.onDate,
      fetch: budget.fetch,
    }),
  });
  const server = await readMetadata(response);
  if (server.issuer !== settings.issuer) throw mismatch(settings.issuer, server.issuer);
  return server;
}

async function readMetadata(response: Response): Promise<DiscoveredServer> {
  const members = requireWhole(
    await readMembers(response),
    "The provider's discovery document",
    response,
  );
  if (!response.ok) {
    const complaint = typeof members === 'string' ? undefined : complaintOf(members);
    const said = complaint === undefined ? undefined : shownComplaint(complaint);
    throw failed(`status ${response.status}${said === undefined ? '' : `, ${said}`}`);
  }
  if (members === 'no-json') {
    const type = safeText(response.headers.get('content-type')) ?? 'no content type';
    throw failed(`no JSON, but ${type}`);
  }
  if (typeof members === 'string') throw failed('JSON, but no object');
  const { issuer, token_endpoint: tokenEndpoint, jwks_uri: jwksUri } = members;
  if (!isText(issuer)) throw failed('no metadata with an "issuer"');
  if (parseUrl(issuer) === undefined) throw failed('its "issuer" is not a URL');
  const methods = members['token_endpoint_auth_methods_supported'];
  const listed = Array.isArray(methods) ? methods.filter(isText) : [];
  const aliases = members['mtls_endpoint_aliases'];
  const alias = isJsonObject(aliases) ? aliases['token_endpoint'] : undefined;
  // A member of the wrong type, null included, counts as absent.
  return {
    issuer,
    ...(isText(tokenEndpoint) && { token_endpoint: tokenEndpoint }),
    ...(isText(jwksUri) && { jwks_uri: jwksUri }),
    ...(isText(alias) && { mtls_token_endpoint: alias }),
    ...(listed.length > 0 && { token_endpoint_auth_methods_supported: listed }),
  };
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== '';
}

function mismatch(configured: string, described: unknown): ProviderError {
  const named = safeText(described) ?? 'something unreadable';
  // What Entra ID's "common" and "organizations" say: an issuer for any tenant, which no token has.
  const remedy = named.includes('{')
    ? 'BROKER_ISSUER must name one tenant, by its id'
    : 'set BROKER_ISSUER to the former if it is the provider you mean';
  return new ProviderError(
    'PROVIDER_ISSUER_MISMATCH',
    `The provider says that its issuer is ${named}, and ${safeText(configured) ?? 'another'} is configured. Its tokens ` +
      `carry its own word, and every character counts, a trailing slash too: ${remedy}.`,
  );
}

function failed(why: string): ProviderError {
  return new ProviderError('PROVIDER_DISCOVERY_FAILED', why);
}

/** A lost response, or the metadata of another issuer, says more than no metadata. */
function bestOf(failures: readonly ProviderError[], issuer: URL): ProviderError {
  const telling = failures.find(
    (failure) => !isProviderError(failure, 'PROVIDER_DISCOVERY_FAILED'),
  );
  if (telling !== undefined) return telling;
  const [openid, oauth2] = failures.map((failure) => failure.message);
  return new ProviderError(
    'PROVIDER_DISCOVERY_FAILED',
    `The issuer ${displayUrl(issuer)} describes itself neither as OpenID provider (${openid}) nor as OAuth ` +
      `authorization server (${oauth2}). Check BROKER_ISSUER, or set BROKER_TOKEN_ENDPOINT and BROKER_JWKS_URI.`,
  );
}

/** How long discovered metadata is used, in milliseconds. */
export const METADATA_TTL = 60 * 60 * 1000;

/** More issuers than any broker has: bounds the map. */
const MAX_ISSUERS = 1_000;

interface Entry {
  readonly server: Promise<DiscoveredServer>;
  /** When it was requested, in milliseconds since the Unix epoch. */
  readonly askedAt: number;
}

/** Discovered metadata by issuer. Concurrent callers share one discovery; a failed one is not kept. */
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
    // The caller receives the failure; here it only must not be kept.
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

// A clock that was set back would keep an entry until it catches up.
function isFresh(entry: Entry, now: number): boolean {
  const age = now - entry.askedAt;
  return age >= 0 && age < METADATA_TTL;
}

function keyOf(settings: ProviderSettings): string {
  return `${settings.allowInsecureHttp === true} ${settings.issuer}`;
}
