import { BrokerError, errorCode } from '../tokens/errors.js';
import {
  challengeOf,
  decideForPrincipal,
  MALFORMED_CREDENTIALS,
  NO_CREDENTIALS,
  NOT_DECLARED,
  readBearer,
  refusalOf,
  rejectedToken,
  unreadBearer,
  type PrincipalRequirement,
  type Refusal,
} from '../verification/bearer-access.js';
import type { VerifiedToken } from '../verification/judge.js';
import type { Principal } from '../verification/principal.js';
import type { Receivers } from '../verification/receivers.js';
import type { ErrorBody } from './answers.js';
import {
  COMMON_HEADERS,
  errorAnswer,
  failureAnswer,
  jsonAnswer,
  notFound,
  READ_AGAIN,
  unavailableAnswer,
  type Endpoint,
  type EndpointAnswer,
  type EndpointRequest,
  type ServingObserver,
} from './endpoint.js';

/** The receivers that tokens of callers are judged for, as the configuration and the credentials secrets name them. */
export interface ReceiverSource {
  /** @throws {BrokerError} when no credentials secret that names one can be read. */
  get(): Promise<KnownReceivers>;
  /** What {@link get} gives, if it is known already. */
  peek(): KnownReceivers | undefined;
}

/** Receivers, of which some may not be known yet. A token that only these could accept rejects with the reason. */
export interface KnownReceivers extends Receivers {
  /**
   * All receivers; absent when these are all.
   *
   * @throws {BrokerError} when the credentials secret that names one of the others still cannot be read.
   */
  readonly complete?: () => Promise<Receivers>;
}

/** What the endpoint works with. */
interface AuthorizeOptions {
  readonly receivers: ReceiverSource;
  readonly observer: ServingObserver;
}

/** The path. A gateway that appends the path of the request in front writes the policy as the next segment. */
export const AUTHORIZE_PATH = '/v1/authorize';

/** What the gateway asks: who may pass, and at which receiver. */
interface GatewayPolicy {
  readonly requirement: PrincipalRequirement;
  readonly audience: string | undefined;
}

/**
 * `/v1/authorize`: forward authentication. A gateway (nginx `auth_request`, Traefik `forwardAuth`, Envoy `ext_authz`, Caddy
 * `forward_auth`) asks with the `Authorization` header of the request in front; 200 lets it pass, with who calls in
 * `X-Principal-Kind`, `-Subject`, `-Client` and `-Issuer`. All four are in every 200, so that they replace what the caller
 * sent. 401 and 403 have the challenge of RFC 6750 §3.
 *
 * The policy is the query: `allow=service`, `allow=customer`, or both; `scope`, all of which are required; `audience`, of
 * which the token must be, required when the configured tokens are for more than one. Without `allow` nobody passes. Or
 * it is the segment behind the path, `/v1/authorize/allow=service/…`: then what follows, query included, is ignored.
 *
 * The method makes no difference, and there is no login: whoever can ask can only try tokens that they have.
 */
export class AuthorizeEndpoint implements Endpoint {
  readonly #options: AuthorizeOptions;
  readonly #policies = new Map<string, GatewayPolicy>();
  readonly #passes = new WeakMap<VerifiedToken, EndpointAnswer>();

  constructor(options: AuthorizeOptions) {
    this.#options = options;
  }

  async answer(request: EndpointRequest): Promise<EndpointAnswer> {
    const policy = this.#policyOf(request.url);
    if ('error' in policy) return errorAnswer(400, 'invalid_request', policy.error);
    const { requirement, audience } = policy;
    if (!requirement.customers && requirement.services === 'none') {
      return this.#refuse(NOT_DECLARED, request);
    }
    const credentials = readBearer(request.headers['authorization'] ?? []);
    if (credentials.kind === 'none') return this.#refuse(NO_CREDENTIALS, request);
    if (credentials.kind === 'malformed') return this.#refuse(MALFORMED_CREDENTIALS, request);
    let verified: VerifiedToken;
    try {
      const known = await this.#options.receivers.get();
      // Those that are not known may have another audience.
      const isOpen = audience === undefined && !known.needAudience;
      const receivers = isOpen && known.complete ? await known.complete() : known;
      if (audience === undefined && receivers.needAudience) {
        return errorAnswer(400, 'invalid_request', AUDIENCE_MISSING);
      }
      verified = await receivers.verify(credentials.token, audience);
    } catch (error) {
      const refusal = refusalOf(error);
      if (refusal !== undefined) return this.#refuse(refusal, request);
      if (!(error instanceof BrokerError)) throw error;
      this.#options.observer.authorized?.({ outcome: 'unavailable', reason: error.code }, request);
      const description = `The token cannot be verified (${errorCode(error)}).`;
      return failureAnswer(error, description, READ_AGAIN);
    }
    return this.#decide(verified, requirement, request);
  }

  /**
   * The answer to a request whose token was verified before and may pass; it has the same bytes as that of {@link answer}.
   * Otherwise `undefined`, and no observer is notified.
   *
   * @param authorization the only `Authorization` of the request.
   */
  readonly answerNow = (
    url: string,
    authorization: string,
    request: Pick<EndpointRequest, 'remoteAddress' | 'source'>,
  ): EndpointAnswer | undefined => {
    const { receivers, observer } = this.#options;
    try {
      const policy = this.#policies.get(policyText(url) ?? '');
      const known = receivers.peek();
      if (policy === undefined || known === undefined) return undefined;
      const { requirement, audience } = policy;
      if (audience === undefined && (known.needAudience || known.complete)) return undefined;
      const verified = known.peek(unreadBearer(authorization), audience);
      if (verified === undefined) return undefined;
      if (!decideForPrincipal(requirement, verified.principal).allowed) return undefined;
      return this.#decide(verified, requirement, request);
    } catch (error) {
      observer.failed?.(error);
      return undefined;
    }
  };

  #decide(
    verified: VerifiedToken,
    requirement: PrincipalRequirement,
    request: Pick<EndpointRequest, 'remoteAddress' | 'source'>,
  ): EndpointAnswer {
    const decision = decideForPrincipal(requirement, verified.principal);
    if (!decision.allowed) return this.#refuse(decision.refusal, request, verified);
    let pass = this.#passes.get(verified);
    if (pass === undefined) {
      const headers = principalHeaders(verified.principal);
      if (headers === undefined) {
        return this.#refuse(rejectedToken('TOKEN_CLAIM_INVALID'), request, verified);
      }
      pass = emptyAnswer(200, headers);
      this.#passes.set(verified, pass);
    }
    this.#options.observer.authorized?.({ outcome: verified.principal.kind, verified }, request);
    return pass;
  }

  #refuse(
    refusal: Refusal,
    request: Pick<EndpointRequest, 'remoteAddress' | 'source'>,
    verified?: VerifiedToken,
  ): EndpointAnswer {
    const outcome = refusal.status === 503 ? 'unavailable' : 'refused';
    this.#options.observer.authorized?.({ outcome, reason: refusal.reason, verified }, request);
    return refusalAnswer(refusal);
  }

  /** Gateways ask with the same few; those that anybody makes up are not kept beyond a limit. */
  #policyOf(url: string): GatewayPolicy | { readonly error: string } {
    const text = policyText(url);
    if (text === undefined) return { error: 'There is no policy behind the path.' };
    const known = this.#policies.get(text);
    if (known !== undefined) return known;
    const policy = parsePolicy(text);
    if ('error' in policy || text.length > LONGEST_KEPT) return policy;
    if (this.#policies.size >= MOST_POLICIES) this.#policies.clear();
    this.#policies.set(text, policy);
    return policy;
  }
}

/** For a broker that is not asked by gateways. */
export const AUTHORIZE_OFF: Endpoint & Pick<AuthorizeEndpoint, 'answerNow'> = {
  answer: async () => notFound(),
  answerNow: () => undefined,
};

const MOST_POLICIES = 1_000;
const LONGEST_KEPT = 512;

const AUDIENCE_MISSING =
  'The broker has tokens for more than one audience: name that of the service behind the gateway, "audience=…".';

/** RFC 6749 §3.3: what a scope may be made of. It is repeated in the challenge. */
const SCOPES = /^[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*$/;

/** Reads the policy of a request to the endpoint, written as a query; or says what is wrong with it. */
export function parsePolicy(text: string): GatewayPolicy | { readonly error: string } {
  const query = new URLSearchParams(text);
  const names = new Set(query.keys());
  for (const name of ['allow', 'scope', 'audience']) names.delete(name);
  if (names.size > 0) return { error: 'The parameters are "allow", "scope" and "audience".' };
  const allow = query.getAll('allow');
  if (!allow.every((kind) => kind === 'service' || kind === 'customer')) {
    return { error: '"allow" must be "service" or "customer".' };
  }
  const scopes = query.getAll('scope');
  if (!scopes.every((scope) => SCOPES.test(scope))) {
    return { error: '"scope" must be scopes, separated by single spaces.' };
  }
  const [audience, ...further] = query.getAll('audience');
  if (audience === '' || further.length > 0) return { error: '"audience" must be given once.' };
  return {
    requirement: {
      kind: 'principal',
      customers: allow.includes('customer'),
      services: allow.includes('service') ? 'all' : 'none',
      scopes: [...new Set(scopes.flatMap((scope) => scope.split(' ')))],
    },
    audience,
  };
}

/**
 * The policy that the gateway wrote into a request target: the query, or the segment behind the path, and then nothing of
 * what follows, which the caller chose. `undefined` when that segment is empty.
 */
export function policyText(url: string): string | undefined {
  const end = url.indexOf('?');
  const path = end < 0 ? url : url.slice(0, end);
  // A global prefix of a Nest application stands before it.
  const behind = path.slice(path.indexOf(AUTHORIZE_PATH) + AUTHORIZE_PATH.length);
  if (behind === '' || behind === '/') return end < 0 ? '' : url.slice(end + 1);
  const [before, policy = ''] = behind.split('/', 2);
  return before !== '' || policy === '' ? undefined : policy;
}

/**
 * The target of a request to the endpoint without what the caller in front chose, for a framework that reads all of it: it
 * would refuse a path that is not UTF-8, and answer others. Any other target stays as it is.
 */
export function gatewayTarget(url: string): string {
  return CALLERS_PART.exec(url)?.[1] ?? url;
}

const CALLERS_PART = new RegExp(`^(${AUTHORIZE_PATH}/[^/?]+)[/?]`);

/** The longest value of a header: gateways have little room for all headers together. */
const LONGEST_VALUE = 1_024;

/**
 * Who calls, as headers; `undefined` when a value cannot be written. A client that the token does not name is empty. What
 * is not visible ASCII, and `%` and `,`, is percent-encoded as UTF-8 (RFC 3986 §2.1), so that two different values never
 * look the same.
 */
export function principalHeaders(principal: Principal): readonly string[] | undefined {
  const values: readonly (readonly [string, string])[] = [
    ['X-Principal-Kind', principal.kind],
    ['X-Principal-Subject', principal.subject],
    ['X-Principal-Client', principal.clientId ?? ''],
    ['X-Principal-Issuer', principal.issuer],
  ];
  const headers: string[] = [];
  for (const [name, value] of values) {
    // A lone surrogate has no UTF-8.
    if (/\p{Surrogate}/u.test(value)) return undefined;
    const written = value.replaceAll(/[^\x21-\x24\x26-\x2b\x2d-\x7e]/gu, encodeURIComponent);
    if (written.length > LONGEST_VALUE) return undefined;
    headers.push(name, written);
  }
  return headers;
}

function emptyAnswer(status: number, headers: readonly string[]): EndpointAnswer {
  return {
    status,
    headers: ['Content-Length', '0', ...COMMON_HEADERS, ...headers],
    body: Buffer.alloc(0),
  };
}

/**
 * The answer to a request that may not pass. Malformed credentials get 401 too, not the 400 of RFC 6750 §3.1: gateways pass
 * 401 and 403 on, and take everything else for a failure of the broker.
 */
function refusalAnswer(refusal: Refusal): EndpointAnswer {
  const { error, description, retryAfterSeconds } = refusal;
  if (refusal.status === 503) return unavailableAnswer(description, retryAfterSeconds ?? 1);
  const status = refusal.status === 400 ? 401 : refusal.status;
  const challenge = challengeOf(refusal);
  const headers = challenge === undefined ? [] : ['WWW-Authenticate', challenge];
  return error === undefined
    ? emptyAnswer(status, headers)
    : jsonAnswer<ErrorBody>(status, { error, error_description: description }, headers);
}
