import { decideAccess } from '../peers/policy.js';
import { errorCode } from '../tokens/errors.js';
import { CacheError, type CacheAnswer } from '../tokens/refreshing-cache.js';
import { remainingLife, type ServiceToken } from '../tokens/service-token.js';
import type { Clock } from '../tokens/time.js';
import type { TokenBody } from './answers.js';
import {
  asksForRead,
  bodylessAnswer,
  errorAnswer,
  failureAnswer,
  jsonBytesAnswer,
  methodNotAllowed,
  plainPath,
  queryOf,
  unavailableAnswer,
  READ_AGAIN,
  type Endpoint,
  type EndpointAnswer,
  type EndpointRequest,
  type PeerDecision,
  type ServingObserver,
} from './endpoint.js';
import { UNNAMED, type KeptToken } from './kept-token.js';
import {
  decide,
  refuseAccess,
  refuseRequest,
  unauthorizedAnswer,
  type LoggedInPeer,
  type PeerAuthentication,
} from './peer-login.js';
import type { ServedToken, TokenCache } from './token-cache.js';
import { waitPreference, type Wait, type WaitingPeers } from './waiting-peers.js';

/** What the token endpoints work with. */
export interface TokenEndpointOptions {
  readonly login: PeerAuthentication;
  readonly tokens: readonly KeptToken[];
  readonly clock: Clock;
  readonly observer: ServingObserver;
  /** The requests that wait for a token to change. Default: none may. */
  readonly waiting?: WaitingPeers;
}

/** Seconds until a token with more life may be available, when no other time is known. */
const RETRY_FOR_LIFE = 60;

/** The same for a token that is not granted and for one that does not exist. */
const TOKEN_UNKNOWN = errorAnswer(404, 'invalid_target', 'There is no such token for this peer.');

/** The path of the tokens, each below it by its name. */
export const TOKENS_PATH = '/v1/tokens/';

/**
 * `GET /v1/tokens/{name}`: a service token for a peer with HTTP Basic. `GET /v1/token` is the one named `default`.
 *
 * - A token that the peer may not have, and one that does not exist: 404 `invalid_target`, the same answer.
 *
 * - `ETag` is the version id; `If-None-Match` gives 304. `Age` is the seconds since the read, `X-Cache` the cache's state.
 * - `?min_ttl=SECONDS`: the least remaining life. With less: 503 with `Retry-After`; more than the token ever had: 400.
 * - `Cache-Control: no-cache` reads the store first, at most once a second for all peers together.
 * - `Prefer: wait=SECONDS` with `If-None-Match` (RFC 7240 §4.3): holds the request until the version changes (200) or the time,
 *   300 seconds at most, is over (304). `Preference-Applied` says that it was held. While anybody waits, the store is read
 *   every 15 seconds.
 * - Any other query is refused with 400: credentials do not belong in a URL.
 */
export class TokenEndpoint implements Endpoint {
  readonly #options: TokenEndpointOptions;
  readonly #tokens: ReadonlyMap<string, PreparedToken>;
  readonly #unnamed: PreparedToken | undefined;

  constructor(options: TokenEndpointOptions) {
    this.#options = options;
    this.#tokens = new Map(
      options.tokens.map((token) => [token.name, { ...token, answers: new TokenAnswers() }]),
    );
    this.#unnamed = this.#tokens.get(UNNAMED);
  }

  /** Answers a request, waiting for the store when the freshness policy asks for it. */
  async answer(request: EndpointRequest): Promise<EndpointAnswer> {
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      return methodNotAllowed(['GET', 'HEAD']);
    }
    const { clock, observer } = this.#options;
    const name = nameIn(request.url);
    const token = this.#tokens.get(name);
    // Both reads at once: a slow store costs the peer one wait, not one for the peers and another for the token.
    const since = this.#options.login.waits?.() === true ? token?.cache.prepare() : undefined;
    const login = await this.#options.login.withHeader(request);
    if ('refusal' in login) return login.refusal;
    const refusal = refuseAccess(login.peer, { token: name }, observer, TOKEN_UNKNOWN, request);
    if (refusal !== undefined) return refusal;
    if (token === undefined) {
      observer.tokenNotGranted?.(login.peer.id);
      decide(observer, login.peer, { outcome: 'denied', reason: 'TOKEN_NOT_GRANTED' }, request);
      return TOKEN_UNKNOWN;
    }
    const { cache, answers } = token;
    const minTtl = readMinTtl(request.url);
    if (typeof minTtl !== 'number') {
      return refuseRequest(observer, login.peer, minTtl, request, name);
    }
    const force = asksForRead(request);
    let source: CacheAnswer<ServedToken>;
    try {
      source = await cache.get({ force, minTtlMs: minTtl * 1_000, since });
    } catch (error) {
      const never = refuseLife(cache, error, minTtl);
      if (never !== undefined) return refuseRequest(observer, login.peer, never, request, name);
      observer.tokenUnavailable?.(login.peer.id, error, name);
      const reason = errorCode(error);
      decide(observer, login.peer, { outcome: 'unavailable', token: name, reason }, request);
      if (isLifeTooShort(error)) return unavailableAnswer(error.message, RETRY_FOR_LIFE);
      return failureAnswer(
        error,
        `The service token cannot be served at the moment (${reason}).`,
        READ_AGAIN,
      );
    }
    const condition = request.headers['if-none-match']?.join(', ');
    const isKnown = ({ value }: CacheAnswer<ServedToken>): boolean =>
      condition !== undefined && matchesEntityTag(condition, entityTag(value.versionId));
    let held = NOT_HELD;
    const seconds = condition === undefined ? 0 : waitPreference(request.headers['prefer']);
    if (seconds > 0 && this.#options.waiting?.isOffered === true) {
      // Another version than ours may be a newer one, of a replica that has read it already.
      if (!isKnown(source)) source = await newest(cache, source);
      if (isKnown(source)) {
        const wait = { token: name, versionId: source.value.versionId, peer: login.peer, seconds };
        const end = await this.#wait(wait, request);
        if (end === 'refused') {
          const reason = 'REFUSED_WHILE_WAITING';
          decide(observer, login.peer, { outcome: 'denied', token: name, reason }, request);
          return this.#options.login.unauthorized?.() ?? unauthorizedAnswer();
        }
        held = end;
        if (held !== NOT_HELD) source = await newest(cache, source, false);
      }
    }
    const now = clock.now();
    const known = isKnown(source);
    observer.tokenServed?.(login.peer.id, source.state, known ? 304 : 200, name);
    const outcome = known ? 'not_modified' : 'served';
    observer.decided?.(servedDecision(login.peer, name, source.value, outcome), request);
    const answer = known ? answers.notModified(source, now) : answers.ok(source, now);
    return held.length === 0 ? answer : { ...answer, headers: [...answer.headers, ...held] };
  }

  /** Holds a request. @returns the headers that say so; none when it was not held. */
  async #wait(wait: Wait, request: EndpointRequest): Promise<readonly string[] | 'refused'> {
    const end = await this.#options.waiting?.hold(wait, request);
    if (end === undefined) return NOT_HELD;
    this.#options.observer.held?.(request.source);
    if (end === 'refused') return end;
    const applied = ['Preference-Applied', `wait=${wait.seconds}`];
    return end === 'closing' ? [...applied, 'Connection', 'close'] : applied;
  }

  /**
   * The answer to a plain GET with this `Authorization` header, if it is decidable from the caches: a warm cache, a known
   * peer, the right secret. It has the same bytes as that of {@link answer}. Otherwise `undefined`, and no observer is
   * notified; a bug is reported, and leaves the request to {@link answer}.
   *
   * @param name the token's name. Default: `default`.
   */
  readonly answerNow = (
    authorization: string,
    request?: object,
    name?: string,
  ): EndpointAnswer | undefined => {
    const { login, clock, observer } = this.#options;
    const token = name === undefined ? this.#unnamed : this.#tokens.get(name);
    if (token === undefined) return undefined;
    try {
      const source = token.cache.peek();
      if (source === undefined) return undefined;
      const peer = login.now(authorization, request);
      if (peer === undefined || decideAccess(peer, token.need) !== 'granted') return undefined;
      const answer = token.answers.ok(source, clock.now());
      observer.loggedIn?.(peer.id, request);
      observer.tokenServed?.(peer.id, source.state, 200, token.name);
      observer.decided?.(servedDecision(peer, token.name, source.value), {
        remoteAddress: '',
        source: request,
      });
      return answer;
    } catch (error) {
      observer.failed?.(error);
      return undefined;
    }
  };
}

function isLifeTooShort(error: unknown): error is CacheError {
  return error instanceof CacheError && error.code === 'TOKEN_LIFE_TOO_SHORT';
}

/** 400 for more life than service tokens have. */
function refuseLife(cache: TokenCache, error: unknown, minTtl: number): EndpointAnswer | undefined {
  const token = isLifeTooShort(error) ? cache.status().value?.token : undefined;
  if (token === undefined) return undefined;
  const whole = (token.expiresAt - token.generatedAt) / 1_000;
  if (minTtl <= whole) return undefined;
  const words = `"min_ttl" is ${minTtl} s, but service tokens live only ${Math.floor(whole)} s.`;
  return errorAnswer(400, 'invalid_request', words);
}

/** The decision that a peer gets a token. */
export function servedDecision(
  { id: peer, method }: LoggedInPeer,
  name: string,
  { token: served, versionId }: ServedToken,
  outcome: 'served' | 'not_modified' = 'served',
): PeerDecision {
  return { outcome, peer, ...(method && { method }), token: name, versionId, served };
}

const NOT_HELD: readonly string[] = [];

/** What the cache has now, or the store; what there is already when neither can be served. */
async function newest(
  cache: TokenCache,
  known: CacheAnswer<ServedToken>,
  force = true,
): Promise<CacheAnswer<ServedToken>> {
  try {
    return await cache.get({ force });
  } catch {
    // The cache's observer logs why. What was served before is as good as it was.
    return known;
  }
}

/** A token with its answers. */
interface PreparedToken extends KeptToken {
  readonly answers: TokenAnswers;
}

/** The name in the path of a request; `default` where there is none. Names need no escapes, and none are undone. */
function nameIn(url: string): string {
  const path = plainPath(url);
  const at = path.lastIndexOf(TOKENS_PATH);
  return at < 0 ? UNNAMED : path.slice(at + TOKENS_PATH.length);
}

/** Seconds, 0 when not given; or the refusal of a query that is not understood. */
function readMinTtl(url: string): number | EndpointAnswer {
  const query = queryOf(url);
  const values = query.getAll('min_ttl');
  if (query.size > values.length) {
    return errorAnswer(
      400,
      'invalid_request',
      'The only query parameter is "min_ttl". Credentials and tokens never go into a URL.',
    );
  }
  const [value = '0'] = values;
  if (values.length > 1 || !/^[0-9]{1,9}$/.test(value)) {
    return errorAnswer(
      400,
      'invalid_request',
      '"min_ttl" must be given once, as whole seconds from 0 to 999999999.',
    );
  }
  return Number(value);
}

/**
 * The members of a token answer (RFC 6749 §5.1). `expires_in` is the remaining life in whole seconds, `scope` every scope
 * of the token, whatever was requested.
 */
export function tokenMembers(token: ServiceToken, now: number): TokenBody {
  return {
    access_token: token.accessToken,
    token_type: token.tokenType,
    expires_in: expiresIn(token, now),
    ...(token.scope !== undefined && token.scope !== '' && { scope: token.scope }),
  };
}

/** The entity tag of a version: its id, quoted (RFC 9110 §8.8.3). */
export function entityTag(versionId: string): string {
  // The store chooses the version id; what an entity tag cannot hold is escaped.
  const opaque = /^[\x21\x23-\x7e]+$/.test(versionId) ? versionId : encodeURIComponent(versionId);
  return `"${opaque}"`;
}

/** Whether an `If-None-Match` header names the entity tag: weak comparison, RFC 9110 §13.1.2. */
export function matchesEntityTag(header: string, tag: string): boolean {
  if (header.trim() === '*') return true;
  return [...header.matchAll(/(?:W\/)?("[^"]*")/g)].some(([, candidate]) => candidate === tag);
}

interface Prepared {
  readonly source: CacheAnswer<ServedToken>;
  readonly from: number;
  /** The last millisecond at which `Age` and `expires_in` are right. */
  readonly until: number;
  readonly answer: EndpointAnswer;
}

interface Body {
  readonly token: ServiceToken;
  readonly expiresIn: number;
  readonly bytes: Buffer;
}

/** Answers with the token. One is used again until a second has passed or another token came. */
export class TokenAnswers {
  #prepared: Prepared | undefined;
  #body: Body | undefined;

  /** 200 with the token. @param now milliseconds since the Unix epoch. */
  ok(source: CacheAnswer<ServedToken>, now: number): EndpointAnswer {
    const last = this.#prepared;
    if (last?.source === source && now >= last.from && now <= last.until) return last.answer;
    const { token } = source.value;
    const answer = jsonBytesAnswer(200, this.#bytes(token, now), validators(source, now));
    const until = Math.min(
      token.expiresAt - expiresIn(token, now) * 1_000,
      source.readAt + (ageSeconds(source, now) + 1) * 1_000 - 1,
    );
    this.#prepared = { source, from: now, until, answer };
    return answer;
  }

  /** 304 for a peer that has this version already. */
  notModified(source: CacheAnswer<ServedToken>, now: number): EndpointAnswer {
    return bodylessAnswer(304, validators(source, now));
  }

  #bytes(token: ServiceToken, now: number): Buffer {
    const seconds = expiresIn(token, now);
    if (this.#body?.token !== token || this.#body.expiresIn !== seconds) {
      const bytes = Buffer.from(JSON.stringify(tokenMembers(token, now)));
      this.#body = { token, expiresIn: seconds, bytes };
    }
    return this.#body.bytes;
  }
}

function validators(source: CacheAnswer<ServedToken>, now: number): readonly string[] {
  return [
    'ETag',
    entityTag(source.value.versionId),
    'Age',
    String(ageSeconds(source, now)),
    'X-Cache',
    source.state,
  ];
}

function ageSeconds(source: CacheAnswer<ServedToken>, now: number): number {
  return Math.max(0, Math.floor((now - source.readAt) / 1_000));
}

function expiresIn(token: ServiceToken, now: number): number {
  return Math.max(0, Math.floor(remainingLife(token, now) / 1_000));
}
