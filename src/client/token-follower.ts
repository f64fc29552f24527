import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import { readBoundedBody, retryAfterOf } from '../tokens/http.js';
import { isJsonObject } from '../tokens/json.js';
import { backoff } from '../tokens/time.js';
import { withoutSpans } from '../tokens/tracing.js';
import type { ClientSettings } from './client-options.js';
import { fetchDirectly } from './direct-fetch.js';
import type { PeerProof, ProofReader } from './peer-proof.js';
import type { BrokerToken } from './ask-brokers.js';
import { readGrant } from './token-request.js';

/** Where the token that is in use came from. */
export interface FollowedToken {
  /** The broker's URL, without a slash at the end. */
  readonly broker: string;
  /** The path of the token there: `/v1/token`, or that of a token with a name. */
  readonly path: string;
  readonly accessToken: string;
}

/** What the follower works with. */
interface FollowerOptions {
  readonly settings: ClientSettings;
  readonly proofs: ProofReader;
  /** The token that is in use; `undefined` while there is none. */
  readonly inUse: () => FollowedToken | undefined;
  /** Takes the token that has replaced it. */
  readonly onToken: (token: BrokerToken) => void;
}

/** The member of the metadata (RFC 8414) by which a broker offers to wait: the most seconds. */
export const MAX_WAIT_MEMBER = 'service_token_broker_max_wait_seconds';

/** Never longer than this, whatever a broker offers; seconds. */
const LONGEST_WAIT = 300;
/** The shortest wait that is worth a request, in seconds, for networks that end long requests. */
const SHORTEST_WAIT = 10;
/** How long is remembered what a broker offers, and what the way to it allows; milliseconds. */
const OFFER_LIFE = 3_600_000;
/** The pauses after waits that did not go well, in milliseconds. */
const FIRST_PAUSE = 1_000;
const LONGEST_PAUSE = 300_000;
/** How long a request may make no progress beyond its wait, in milliseconds. */
const IDLE_TIMEOUT = 10_000;
/** Two new tokens within this time are no rotation: replicas that do not agree yet, or a proxy that drops headers. Milliseconds. */
const LEAST_AGE = 1_000;
const MAX_BYTES = 64 * 1024;

/** How a request ended. */
type WaitEnd =
  /** It has told the version of the token that is in use: now it can be waited for another. */
  | { readonly went: 'known' }
  /** The token has not changed within the time, or a new one was taken. */
  | { readonly went: 'well' }
  /** Something else: the ordinary refresh goes on alone for a while. */
  | { readonly went: 'otherwise'; readonly retryAfterMs: number };

/** What a broker offers: seconds, 0 for nothing; and until when that is known, in milliseconds since the Unix epoch. */
interface Offer {
  readonly seconds: number;
  readonly until: number;
}

const KNOWN: WaitEnd = { went: 'known' };
const WELL: WaitEnd = { went: 'well' };
const OTHERWISE: WaitEnd = { went: 'otherwise', retryAfterMs: 0 };

/**
 * Learns of a new token as soon as a broker has it: one request waits at the broker that gave the current one
 * (`Prefer: wait`, RFC 7240 §4.3), if that offers it.
 *
 * It only speeds up what the client does anyway: whatever goes wrong here, the token is refreshed as without it. A request
 * waits only while the client is used, keeps no process alive, and there are no timers: what has to be done later is done at
 * the next use.
 */
export class TokenFollower {
  readonly #options: FollowerOptions;
  readonly #offers = new Map<string, Offer>();
  readonly #closing = new AbortController();
  #agents: { readonly http: HttpAgent; readonly https: HttpsAgent } | undefined;
  /** The version of the token that is in use. */
  #version: { readonly accessToken: string; readonly etag: string } | undefined;
  #isWaiting = false;
  #wasUsed = false;
  /** The pause after a request that did not go well; in milliseconds since the Unix epoch. */
  #pause: { readonly from: number; readonly until: number } | undefined;
  #bad = 0;
  #changedAt = Number.NEGATIVE_INFINITY;
  /** Shortened for an hour at most when something on the way ends longer requests; seconds. */
  #patience = LONGEST_WAIT;

  constructor(options: FollowerOptions) {
    this.#options = options;
  }

  /** True while a request waits. */
  get isWaiting(): boolean {
    return this.#isWaiting;
  }

  /** Says that the client is in use. Never throws. */
  use(): void {
    this.#wasUsed = true;
    if (this.#isWaiting || this.#closing.signal.aborted || this.#pauses()) return;
    if (this.#options.inUse() === undefined) return;
    this.#isWaiting = true;
    // Not in the trace of the call that happened to begin it: it waits for minutes, and follows others.
    withoutSpans(() => void this.#follow());
  }

  /** Says that another broker gives the token now: what went wrong with the last one does not count. */
  restart(): void {
    this.#pause = undefined;
    this.#bad = 0;
    this.#patience = LONGEST_WAIT;
  }

  #pauses(): boolean {
    if (this.#pause === undefined) return false;
    const now = this.#options.settings.clock.now();
    // Before its beginning, the clock was set back.
    return now >= this.#pause.from && now < this.#pause.until;
  }

  /** Ends the request that waits, for good. */
  close(): void {
    this.#closing.abort();
    this.#agents?.http.destroy();
    this.#agents?.https.destroy();
  }

  async #follow(): Promise<void> {
    const { clock, random } = this.#options.settings;
    let isDue = true;
    while (isDue && !this.#closing.signal.aborted) {
      this.#wasUsed = false;
      let end: WaitEnd;
      try {
        end = await this.#wait();
      } catch {
        // The ordinary refresh meets the same failure, and reports it.
        end = OTHERWISE;
      }
      if (end.went === 'otherwise') {
        this.#bad += 1;
        const pause = backoff(this.#bad, FIRST_PAUSE, LONGEST_PAUSE) * (0.5 + random());
        const from = clock.now();
        this.#pause = { from, until: from + Math.max(pause, end.retryAfterMs) };
        break;
      }
      this.#bad = 0;
      isDue = this.#wasUsed || end.went === 'known';
    }
    this.#isWaiting = false;
  }

  async #wait(): Promise<WaitEnd> {
    const token = this.#options.inUse();
    if (token === undefined) return OTHERWISE;
    const { broker, path } = token;
    const { clock, random } = this.#options.settings;
    const offer = await this.#offerOf(broker);
    if ('went' in offer) return offer;
    if (offer.seconds === 0) return { went: 'otherwise', retryAfterMs: offer.until - clock.now() };
    const etag = this.#version?.accessToken === token.accessToken ? this.#version.etag : undefined;
    const longest = Math.min(offer.seconds, this.#patience);
    // Clients that began together do not come back together.
    const seconds = Math.max(1, Math.floor(longest * (0.8 + 0.2 * random())));
    const proof = await this.#readProof();
    const { getAuthorization: authorization } = proof;
    const startedAt = clock.now();
    const waited = (): number => (clock.now() - startedAt) / 1_000;
    let response: Response;
    try {
      response = await this.#get(`${broker}${path}`, 1_000 * seconds + IDLE_TIMEOUT, proof, {
        prefer: `wait=${seconds}`,
        ...(etag !== undefined && { 'if-none-match': etag }),
        ...(authorization !== undefined && { authorization }),
      });
    } catch (error) {
      this.#shorten(waited());
      throw error;
    }
    if (response.status === 200) return this.#take(response, token, etag, startedAt);
    response.body?.cancel().catch(() => undefined);
    if (response.status === 304) {
      // Earlier than asked for: the broker stops, or holds as many requests as it may.
      return response.headers.has('preference-applied') && waited() >= seconds / 2
        ? WELL
        : OTHERWISE;
    }
    if (response.status === 502 || response.status === 504) this.#shorten(waited());
    return failed(response.headers, clock.now());
  }

  async #take(
    response: Response,
    old: FollowedToken,
    etag: string | undefined,
    startedAt: number,
  ): Promise<WaitEnd> {
    const { clock, skewMs } = this.#options.settings;
    const { broker } = old;
    const next = response.headers.get('etag');
    const body = await readBoundedBody(response, MAX_BYTES, () => new Error('too large'));
    const { accessToken, lifeSeconds } = readGrant(200, body, broker);
    const now = clock.now();
    // Counted from before the answer was sent: it was on its way for no longer than a request may stand still. An instant in
    // the future is from before the clock was set back.
    const earliest = now - IDLE_TIMEOUT;
    const sentAt = startedAt <= now ? Math.max(startedAt, earliest) : earliest;
    const expiresAt = sentAt + lifeSeconds * 1_000;
    const lifeMs = expiresAt - now;
    // Who has just named this version should have waited.
    if (next === null || next === etag || lifeMs <= skewMs) return OTHERWISE;
    // The ordinary refresh may have brought another meanwhile.
    const current = this.#options.inUse();
    if (accessToken === current?.accessToken) {
      this.#version = { accessToken, etag: next };
      return etag === undefined ? KNOWN : WELL;
    }
    const isSoon = now >= this.#changedAt && now - this.#changedAt < LEAST_AGE;
    if (isSoon || (current !== undefined && isOlder(accessToken, current.accessToken))) {
      return OTHERWISE;
    }
    this.#changedAt = now;
    this.#version = { accessToken, etag: next };
    this.#options.onToken({ broker, accessToken, expiresAt, lifeMs, path: old.path });
    return WELL;
  }

  /** Something on the way ended a request that had waited for so many seconds: the next ones are shorter. */
  #shorten(seconds: number): void {
    if (seconds < SHORTEST_WAIT) return;
    this.#patience = Math.max(SHORTEST_WAIT, Math.min(this.#patience, Math.floor(seconds * 0.8)));
  }

  /** What a broker offers, asked once an hour; or that it does not say so at the moment, which is not remembered. */
  async #offerOf(broker: string): Promise<Offer | WaitEnd> {
    const { clock, peer } = this.#options.settings;
    const known = this.#offers.get(broker);
    const now = clock.now();
    if (known !== undefined && now < known.until && known.until - now <= OFFER_LIFE) return known;
    const url = `${broker}/.well-known/oauth-authorization-server`;
    // The metadata are public; the connection may need the certificate, and the authorities beside it.
    const proof = peer.kind === 'certificate' ? await this.#readProof() : undefined;
    const response = await this.#get(url, IDLE_TIMEOUT, proof, {});
    const seconds = await offerIn(response);
    if (seconds === undefined) return failed(response.headers, clock.now());
    const offer = { seconds, until: clock.now() + OFFER_LIFE };
    this.#offers.set(broker, offer);
    this.#patience = LONGEST_WAIT;
    return offer;
  }

  #readProof(): Promise<PeerProof> {
    const { proofs, settings } = this.#options;
    return proofs.read(settings.timeoutMs);
  }

  /** A request in the background. @param proof whose certificate the connection presents, if it has one. */
  #get(
    url: string,
    idleTimeoutMs: number,
    proof: PeerProof | undefined,
    headers: Readonly<Record<string, string>>,
  ): Promise<Response> {
    // Of its own, and without a proxy: the connections end with the client.
    this.#agents ??= {
      http: new HttpAgent({ keepAlive: true, maxFreeSockets: 1 }),
      https: new HttpsAgent({ keepAlive: true, maxFreeSockets: 1 }),
    };
    const own = url.startsWith('https:') ? this.#agents.https : this.#agents.http;
    return fetchDirectly(url, {
      method: 'GET',
      headers: { accept: 'application/json', ...headers },
      signal: this.#closing.signal,
      agent: proof?.agent ?? own,
      idleTimeoutMs,
      isBackground: true,
    });
  }
}

/** How long a response asks to be left alone. */
function failed(headers: Headers, now: number): WaitEnd {
  const retryAfter = retryAfterOf(headers, now) ?? 0;
  return { went: 'otherwise', retryAfterMs: Math.min(retryAfter * 1_000, LONGEST_PAUSE) };
}

/**
 * How many seconds metadata offer; 0 for no offer, or one that is not understood. `undefined` for a response that is of no
 * broker, or of one that fails: another may follow.
 */
async function offerIn(response: Response): Promise<number | undefined> {
  if (response.status !== 200) {
    response.body?.cancel().catch(() => undefined);
    return response.status === 404 ? 0 : undefined;
  }
  const body = await readBoundedBody(response, MAX_BYTES, () => new Error('too large'));
  const metadata: unknown = JSON.parse(body.toString('utf8'));
  if (!isJsonObject(metadata)) return undefined;
  const offer = metadata[MAX_WAIT_MEMBER];
  return typeof offer === 'number' && offer >= 1 ? Math.min(offer, LONGEST_WAIT) : 0;
}

/** Whether a token was issued before another, as a replica may serve one that has not read the newer yet. */
function isOlder(token: string, other: string): boolean {
  const [own, others] = [issuedAt(token), issuedAt(other)];
  return own !== undefined && others !== undefined && own < others;
}

/** `iat` (RFC 7519 §4.1.6); both tokens are of one issuer's clock. */
function issuedAt(token: string): number | undefined {
  const [, payload = ''] = token.split('.');
  try {
    const claims: unknown = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8'));
    const iat = isJsonObject(claims) ? claims['iat'] : undefined;
    return typeof iat === 'number' ? iat : undefined;
  } catch {
    // Not a JWT: its age is unknown.
    return undefined;
  }
}
