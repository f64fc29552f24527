import {
  type Form,
  errorAnswer,
  type EndpointAnswer,
  type EndpointRequest,
  failureAnswer,
  parameterOf,
  type LoginFailure,
  type ServingObserver,
} from './endpoint.js';
import { type Peer, type PeerRole, hasRole, isPeerId, type Peers } from '../peers/peers.js';
import type { CacheAnswer } from '../tokens/refreshing-cache.js';
import {
  authenticate,
  type Authentication,
  parseBasicCredentials,
  type PeerCredentials,
} from '../peers/peer-credentials.js';
import type { LoginThrottle } from '../peers/login-throttle.js';
import { REREAD_INTERVAL, type PeerDirectory } from '../peers/peer-directory.js';

/** The peer, or the answer to give instead. */
export type LoginResult =
  { readonly peer: Pick<Peer, 'id'> } | { readonly refusal: EndpointAnswer };

/** How endpoints learn which peer asks, and whether it has the role that they are for. */
export interface PeerAuthentication {
  /** By the head of the request alone. */
  withHeader(request: EndpointRequest, role: PeerRole): Promise<LoginResult>;

  /** By the head of a token request or by its form (RFC 6749 §2.3.1), never by both. */
  withHeaderOrForm(request: EndpointRequest, form: Form, role: PeerRole): Promise<LoginResult>;

  /** Whether a login has to wait for a read now. Without it: never. */
  waits?(): boolean;

  /** The peer of an `Authorization` header, if it can be told at once and everything is right; tells nobody. */
  now(authorization: string, role: PeerRole): Pick<Peer, 'id'> | undefined;
}

/** The answer to a peer that is known, and has no role for what it asks. */
export function roleMissingAnswer(role: PeerRole): EndpointAnswer {
  return errorAnswer(403, 'unauthorized_client', `This peer does not have the role "${role}".`);
}

/** What a login needs. */
interface PeerLoginOptions {
  readonly directory: PeerDirectory;
  readonly throttle: LoginThrottle;
  readonly observer: ServingObserver;
}

/** The challenge of every 401: RFC 7617 §2. */
const CHALLENGE: readonly string[] = [
  'WWW-Authenticate',
  'Basic realm="service-token-broker", charset="UTF-8"',
];

/**
 * Lets peers in. A failed login looks the same whatever was wrong: 401 `invalid_client`, and 429 when there are too
 * many. Only a peer that proved who it is learns that it lacks a role: 403.
 */
export class PeerLogin implements PeerAuthentication {
  readonly #directory: PeerDirectory;
  readonly #observer: ServingObserver;
  readonly #throttle: LoginThrottle;

  constructor(options: PeerLoginOptions) {
    this.#directory = options.directory;
    this.#observer = options.observer;
    this.#throttle = options.throttle;
  }

  /** Logs in with the `Authorization` header, which must be there exactly once. */
  async withHeader(request: EndpointRequest, role: PeerRole): Promise<LoginResult> {
    const values = request.headers['authorization'] ?? [];
    const [header] = values;
    if (header === undefined) return this.missing(request.remoteAddress);
    if (values.length > 1) {
      return this.#ambiguous(request, 'There is more than one Authorization header.');
    }
    const credentials = parseBasicCredentials(header);
    if (credentials === undefined) {
      return (
        this.#throttled(undefined, undefined, request.remoteAddress) ??
        this.#unauthorized('malformed', undefined, request.remoteAddress)
      );
    }
    return this.withCredentials(credentials, request, role);
  }

  /** Logs in with an id and a secret, wherever they were. */
  async withCredentials(
    credentials: PeerCredentials,
    request: Pick<EndpointRequest, 'remoteAddress' | 'source'>,
    role: PeerRole,
  ): Promise<LoginResult> {
    const { remoteAddress, source } = request;
    let peers: CacheAnswer<Peers>;
    try {
      peers = await this.#directory.get();
    } catch (error) {
      return this.#unavailable(error);
    }
    const first = authenticate(peers.value, credentials);
    if (first.ok) return this.#admit(first.peer, role, source);
    let second: Authentication | undefined;
    try {
      second = await this.#againstNewerList(credentials, peers.readAt);
    } catch (error) {
      return this.#unavailable(error);
    }
    const last = second ?? first;
    if (last.ok) return this.#admit(last.peer, role, source);
    return (
      this.#throttled(last.peer, credentials.id, remoteAddress) ??
      this.#unauthorized(last.reason, last.peer, remoteAddress)
    );
  }

  /** Logs in with `client_secret_basic` or `client_secret_post`. */
  async withHeaderOrForm(
    request: EndpointRequest,
    form: Form,
    role: PeerRole,
  ): Promise<LoginResult> {
    const id = parameterOf(form, 'client_id');
    const secret = parameterOf(form, 'client_secret');
    if (request.headers['authorization'] !== undefined) {
      if (secret === undefined) return this.withHeader(request, role);
      return this.#ambiguous(
        request,
        'The client authenticates in the header or in the body, not in both.',
      );
    }
    if (id === undefined || secret === undefined) return this.missing(request.remoteAddress);
    return this.withCredentials({ id, secret }, request, role);
  }

  waits(): boolean {
    return this.#directory.peek() === undefined;
  }

  now(header: string, role: PeerRole): Peer | undefined {
    const peers = this.#directory.peek();
    if (peers === undefined) return undefined;
    const credentials = parseBasicCredentials(header);
    if (credentials === undefined) return undefined;
    const result = authenticate(peers.value, credentials);
    return result.ok && hasRole(result.peer, role) ? result.peer : undefined;
  }

  /** Nothing was presented. Never refused with 429: some clients wait for the challenge before they send credentials. */
  missing(remoteAddress: string): LoginResult {
    this.#observer.loginFailed?.('missing', undefined, remoteAddress);
    return refuse(unauthorizedAnswer());
  }

  /**
   * A peer that was added a moment ago is not on the cached list yet. Every failed login looks at a newer one, before
   * anybody is told to come back later, and known id or not, so that the time it takes tells nothing; the directory limits
   * how often that reads the store.
   */
  async #againstNewerList(
    credentials: PeerCredentials,
    readAt: number,
  ): Promise<Authentication | undefined> {
    // Any id on the list passes this test, so nothing is read for what cannot be on any list.
    if (!isPeerId(credentials.id)) return undefined;
    // If the read fails this answers with the list at hand, unless that has just become too old to be served.
    const newer = await this.#directory.get({ force: true });
    return newer.readAt === readAt ? undefined : authenticate(newer.value, credentials);
  }

  #unavailable(error: unknown): LoginResult {
    this.#observer.peersUnavailable?.(error);
    return refuse(failureAnswer(error, 'The list of peers cannot be read at the moment.'));
  }

  #admit(peer: Peer, role: PeerRole, source: object | undefined): LoginResult {
    this.#observer.loggedIn?.(peer.id, source);
    if (hasRole(peer, role)) return { peer };
    this.#observer.roleMissing?.(peer.id, role);
    return refuse(roleMissingAnswer(role));
  }

  /** Credentials in two places: whichever were taken, another part of the system might have taken the others. */
  #ambiguous({ remoteAddress }: EndpointRequest, description: string): LoginResult {
    const throttled = this.#throttled(undefined, undefined, remoteAddress);
    if (throttled !== undefined) return throttled;
    this.#observer.loginFailed?.('malformed', undefined, remoteAddress);
    return refuse(errorAnswer(400, 'invalid_request', description));
  }

  /** Counts a failure, and refuses when there were too many. */
  #throttled(
    peer: Pick<Peer, 'id'> | undefined,
    id: string | undefined,
    remoteAddress: string,
  ): LoginResult | undefined {
    const seconds = this.#throttle.fail(remoteAddress, id, REREAD_INTERVAL);
    if (seconds === undefined) return undefined;
    this.#observer.loginThrottled?.(peer?.id, remoteAddress);
    return refuse(
      errorAnswer(429, 'too_many_requests', 'Too many failed logins. Correct the credentials.', [
        'Retry-After',
        String(seconds),
      ]),
    );
  }

  #unauthorized(
    reason: LoginFailure,
    peer: Pick<Peer, 'id'> | undefined,
    remoteAddress: string,
  ): LoginResult {
    this.#observer.loginFailed?.(reason, peer?.id, remoteAddress);
    return refuse(unauthorizedAnswer());
  }
}

/** One for every failed login. */
function unauthorizedAnswer(): EndpointAnswer {
  return errorAnswer(
    401,
    'invalid_client',
    'A peer id and its secret are required, by HTTP Basic or as the endpoint describes.',
    CHALLENGE,
  );
}

function refuse(refusal: EndpointAnswer): LoginResult {
  return { refusal };
}
