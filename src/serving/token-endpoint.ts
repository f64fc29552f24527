import type { Clock } from '../tokens/clock.js';
import { CacheError, type CacheAnswer } from '../tokens/refreshing-cache.js';
import { errorCode } from '../tokens/errors.js';
import { failureAnswer, unavailableAnswer } from './failure-answer.js';
import {
  asksForRead,
  errorAnswer,
  methodNotAllowed,
  queryOf,
  type Endpoint,
  type EndpointAnswer,
  type EndpointRequest,
} from './http.js';
import type { PeerAuthentication } from './peer-authentication.js';
import type { ServingObserver } from './serving-observer.js';
import { entityTag, matchesEntityTag, TokenAnswers } from './token-answer.js';
import type { CurrentToken, TokenCache } from './token-cache.js';

/** What the token endpoints work with. */
export interface TokenEndpointOptions {
  readonly login: PeerAuthentication;
  readonly cache: TokenCache;
  readonly clock: Clock;
  readonly observer: ServingObserver;
}

/** When a token with more life may be there, if no other time is known: seconds. */
const RETRY_FOR_LIFE = 60;

/**
 * `GET /v1/token`: the service token for a peer with HTTP Basic.
 *
 * - `ETag` is the version id; `If-None-Match` gives 304. `Age` is the seconds since the read, `X-Cache` the cache's state.
 * - `?min_ttl=SECONDS`: the least remaining life. Too little: 503 with `Retry-After`; more than the token ever had: 400.
 * - `Cache-Control: no-cache` reads the store first, at most once a second for all peers together.
 * - Any other query is refused with 400: a credential does not belong into a URL.
 */
export class TokenEndpoint implements Endpoint {
  readonly #options: TokenEndpointOptions;
  readonly #answers = new TokenAnswers();

  constructor(options: TokenEndpointOptions) {
    this.#options = options;
  }

  /** Answers a request, waiting for the store when the freshness policy asks for it. */
  async answer(request: EndpointRequest): Promise<EndpointAnswer> {
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      return methodNotAllowed(['GET', 'HEAD']);
    }
    const { cache, clock, observer } = this.#options;
    // A store that is slow costs the peer one wait, not one for the list of peers and then one for the token.
    const since = this.#options.login.waits?.() === true ? cache.prepare() : undefined;
    const login = await this.#options.login.withHeader(request, 'token');
    if ('refusal' in login) return login.refusal;
    const minTtl = readMinTtl(request.url);
    if (typeof minTtl !== 'number') return minTtl;
    const force = asksForRead(request);
    let source: CacheAnswer<CurrentToken>;
    try {
      source = await cache.get({ force, minTtlMs: minTtl * 1_000, since });
    } catch (error) {
      observer.tokenUnavailable?.(login.peer.id, error);
      return this.#failure(error, minTtl);
    }
    const condition = request.headers['if-none-match']?.join(', ');
    const now = clock.now();
    const known =
      condition !== undefined && matchesEntityTag(condition, entityTag(source.value.versionId));
    observer.tokenServed?.(login.peer.id, source.state, known ? 304 : 200);
    return known ? this.#answers.notModified(source, now) : this.#answers.ok(source, now);
  }

  /**
   * The answer to a plain GET with this `Authorization` header, if it is at hand: a warm cache, a known peer, the
   * right secret. Otherwise `undefined`, nobody is told, and {@link answer} has to decide. Both say the same, byte for byte.
   */
  answerNow(authorization: string, request?: object): EndpointAnswer | undefined {
    const { login, cache, clock, observer } = this.#options;
    const source = cache.peek();
    if (source === undefined) return undefined;
    const peer = login.now(authorization, 'token');
    if (peer === undefined) return undefined;
    const answer = this.#answers.ok(source, clock.now());
    observer.loggedIn?.(peer.id, request);
    observer.tokenServed?.(peer.id, source.state, 200);
    return answer;
  }

  #failure(error: unknown, minTtl: number): EndpointAnswer {
    if (!(error instanceof CacheError) || error.code !== 'TOKEN_LIFE_TOO_SHORT') {
      return failureAnswer(
        error,
        `The service token cannot be served at the moment (${errorCode(error)}).`,
      );
    }
    const token = this.#options.cache.status().value?.token;
    const whole = token === undefined ? undefined : (token.expiresAt - token.generatedAt) / 1_000;
    if (whole !== undefined && minTtl > whole) {
      return errorAnswer(
        400,
        'invalid_request',
        `"min_ttl" is ${minTtl} s, and service tokens live ${Math.floor(whole)} s from the start.`,
      );
    }
    return unavailableAnswer(error.message, RETRY_FOR_LIFE);
  }
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
