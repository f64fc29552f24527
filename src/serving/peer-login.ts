import type { LoginThrottle } from '../peers/login-throttle.js';
import {
  authenticate,
  hasSecret,
  parseBasicCredentials,
  type Authentication,
  type PeerCredentials,
} from '../peers/peer-credentials.js';
import { isPeerId, type Peer, type Peers } from '../peers/peers.js';
import { NO_FILE_PEERS, type FilePeersSource } from '../peers/file-peers.js';
import type { WorkloadAuthentication, WorkloadProof } from '../peers/workload-tokens.js';
import { decideAccess, requiredRole, type Grants, type Need } from '../peers/policy.js';
import { REREAD_INTERVAL, type PeerDirectory } from '../peers/peer-directory.js';
import type { CacheAnswer } from '../tokens/refreshing-cache.js';
import type { Clock } from '../tokens/time.js';
import {
  isPeers,
  type CertificateLogin,
  type CertificateProof,
  type HeldCertificate,
} from './certificate-login.js';
import {
  errorAnswer,
  failureAnswer,
  READ_AGAIN,
  type DecidedRequest,
  type EndpointAnswer,
  type EndpointRequest,
  type LoginAttempt,
  type LoginFailure,
  type LoginMethod,
  type PeerDecision,
  type ServingObserver,
} from './endpoint.js';
import { parameterOf, type Form } from './form.js';

/** A peer that proved who it is, and what was granted to it. What it may have, {@link refuseAccess} says. */
export interface LoggedInPeer extends Pick<Peer, 'id'>, Grants {
  readonly method?: LoginMethod;
  /** The digest of the secret that it has presented; `undefined` for every other method. */
  readonly digest?: Buffer;
  /** What its workload token has proved; `undefined` for every other method. */
  readonly proof?: WorkloadProof;
  /** Its client certificate; `undefined` for every other method. */
  readonly certificate?: HeldCertificate;
}

/** The peer, or the answer to give instead. */
export type LoginResult = { readonly peer: LoggedInPeer } | { readonly refusal: EndpointAnswer };

/** How endpoints learn which peer asks. Whether it may have what it asks for is decided afterwards. */
export interface PeerAuthentication {
  /** By the request's headers alone. */
  withHeader(request: EndpointRequest): Promise<LoginResult>;

  /** By the headers of a token request or by its form (RFC 6749 §2.3.1), never by both. */
  withHeaderOrForm(request: EndpointRequest, form: Form): Promise<LoginResult>;

  /** Whether a login would have to wait for a read. Default: never. */
  waits?(): boolean;

  /**
   * What is granted to a peer that has logged in before, by the list and the file as they were last read; `undefined` when it
   * is not there any more, or disabled, or has lost the secret or the identity that it had proved. Default: it stays as it was.
   */
  current?(peer: LoggedInPeer): LoggedInPeer | undefined;

  /** The answer to a peer that was logged in and is not let in any more. Default: that to any other failed login by secret. */
  unauthorized?(): EndpointAnswer;

  /**
   * The peer of an `Authorization` header, if decidable from the cache; notifies no observer.
   *
   * @param source the server's own request: its certificate may be a second proof.
   */
  now(authorization: string, source?: object): LoggedInPeer | undefined;

  /** Whether client certificates are accepted. Default: no. */
  takesCertificates?(): boolean;
}

/**
 * The refusal of a peer that may not have what it asks for, by `decideAccess`; `undefined` when it may. The observer is
 * notified of a refusal.
 *
 * - Without the role: 403 `unauthorized_client`.
 * - A token that was not granted: `unknown`, by default 400 `invalid_target` (RFC 8707 §2), as for one that does not
 *   exist.
 *
 * @example
 * ```ts
 * const login = await authentication.withHeader(request);
 * if ('refusal' in login) return login.refusal;
 * const refusal = refuseAccess(login.peer, { role: 'admin' }, observer);
 * if (refusal !== undefined) return refusal;
 * ```
 */
export function refuseAccess(
  peer: LoggedInPeer,
  need: Need,
  observer: Pick<ServingObserver, 'roleMissing' | 'tokenNotGranted' | 'decided'>,
  unknown: EndpointAnswer = targetUnknownAnswer(),
  request: DecidedRequest = NO_REQUEST,
): EndpointAnswer | undefined {
  const access = decideAccess(peer, need);
  if (access === 'granted') return undefined;
  decide(observer, peer, { outcome: 'denied', reason: access.toUpperCase() }, request);
  if (access === 'token_not_granted') {
    observer.tokenNotGranted?.(peer.id);
    return unknown;
  }
  const role = requiredRole(need);
  observer.roleMissing?.(peer.id, role);
  return errorAnswer(403, 'unauthorized_client', `This peer does not have the role "${role}".`);
}

/** Reports one decision about a peer. */
export function decide(
  observer: Pick<ServingObserver, 'decided'>,
  { id, method }: LoggedInPeer,
  decision: Omit<PeerDecision, 'peer' | 'method'>,
  request: DecidedRequest,
): void {
  if (observer.decided === undefined) return;
  // One spread: a second, conditional one would cost as much as all the rest.
  observer.decided(
    method === undefined ? { ...decision, peer: id } : { ...decision, peer: id, method },
    request,
  );
}

/** Reports that a peer's request was refused for what it asks, and gives the answer back. */
export function refuseRequest(
  observer: Pick<ServingObserver, 'decided'>,
  peer: LoggedInPeer,
  answer: EndpointAnswer,
  request: DecidedRequest,
  token?: string,
): EndpointAnswer {
  const reason = (answer.error ?? 'invalid_request').toUpperCase();
  decide(
    observer,
    peer,
    { outcome: 'invalid', reason, ...(token !== undefined && { token }) },
    request,
  );
  return answer;
}

/** The answer for a token that the peer may not have, and for one that does not exist: 400 `invalid_target`. */
export function targetUnknownAnswer(): EndpointAnswer {
  return errorAnswer(400, 'invalid_target', 'There is no such token for this peer.');
}

const NO_REQUEST: DecidedRequest = { remoteAddress: '' };

/** What {@link PeerLogin} works with. */
interface PeerLoginOptions {
  readonly directory: PeerDirectory;
  readonly throttle: LoginThrottle;
  readonly clock: Clock;
  readonly observer: ServingObserver;
  /** The peers of the configuration file. Default: none. */
  readonly filePeers?: FilePeersSource;
  /** Accepts the client certificates of peers of the file. Default: none is accepted. */
  readonly certificates?: CertificateLogin;
}

/** The challenge of every 401: RFC 7617 §2. */
const CHALLENGE: readonly string[] = [
  'WWW-Authenticate',
  'Basic realm="service-token-broker", charset="UTF-8"',
];

/** With workload tokens also RFC 6750 §3. */
const WORKLOAD_CHALLENGE: readonly string[] = [
  'WWW-Authenticate',
  'Basic realm="service-token-broker", charset="UTF-8", Bearer realm="service-token-broker"',
];

const TWO_WAYS = 'The client authenticates in one way, not in two.';
const FORWARDED_MALFORMED = 'The X-Forwarded-Client-Cert header is malformed.';

/** `client_assertion_type` of a JWT: RFC 7523 §2.2. */
const JWT_BEARER = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';

/** The token of an `Authorization: Bearer` header (RFC 6750 §2.1); one space, as hardly any client writes more. */
function bearerToken(header: string): string | undefined {
  return /^bearer /i.test(header) ? header.slice(7) : undefined;
}

/**
 * Authenticates peers by the peers secret. Every failed login gets the same answer: 401 `invalid_client`, or 429 when
 * there were too many.
 */
export class PeerLogin implements PeerAuthentication {
  readonly #directory: PeerDirectory;
  readonly #observer: ServingObserver;
  readonly #throttle: LoginThrottle;
  readonly #clock: Clock;
  readonly #filePeers: FilePeersSource;
  readonly #certificates: CertificateLogin | undefined;

  constructor(options: PeerLoginOptions) {
    const { directory, observer, throttle, clock, filePeers = NO_FILE_PEERS } = options;
    this.#filePeers = filePeers;
    this.#certificates = options.certificates;
    this.#directory = directory;
    this.#clock = clock;
    this.#observer = observer;
    this.#throttle = throttle;
  }

  /** Logs in with the `Authorization` header, of which there must be one at most, or with the client certificate. */
  async withHeader(request: EndpointRequest): Promise<LoginResult> {
    const values = request.headers['authorization'] ?? [];
    const [header] = values;
    const proof = this.#certificates?.proofOf(request);
    if (proof === 'malformed') return this.#ambiguous(request, FORWARDED_MALFORMED);
    if (header === undefined) return this.#withCertificate(proof, request);
    if (values.length > 1) {
      return this.#ambiguous(request, 'There is more than one Authorization header.');
    }
    if (isPeers(proof)) return this.#ambiguous(request, TWO_WAYS);
    const token = bearerToken(header);
    if (token !== undefined && this.#takesTokens()) {
      return this.#withToken(token, 'bearer', request);
    }
    const credentials = parseBasicCredentials(header);
    if (credentials === undefined) {
      return (
        this.#throttled(undefined, undefined, request) ??
        this.#unauthorized('malformed', undefined, request)
      );
    }
    return this.withCredentials(credentials, 'client_secret_basic', request);
  }

  /** Logs in with an id and a secret, from wherever they came. */
  async withCredentials(
    credentials: PeerCredentials,
    method: LoginMethod,
    { remoteAddress, source }: DecidedRequest,
  ): Promise<LoginResult> {
    const attempt = { remoteAddress, source, loginMethod: method };
    let peers: CacheAnswer<Peers>;
    try {
      peers = await this.#directory.get();
    } catch (error) {
      return this.#unavailable(error);
    }
    const first = authenticate(peers.value, credentials, this.#clock.now());
    if (first.ok) return this.#admit({ ...first.peer, method, digest: first.digest }, source);
    let second: Authentication | undefined;
    try {
      second = await this.#againstNewerList(credentials, peers.readAt);
    } catch (error) {
      return this.#unavailable(error);
    }
    const last = second ?? first;
    if (last.ok) return this.#admit({ ...last.peer, method, digest: last.digest }, source);
    return (
      this.#throttled(last.peer, credentials.id, attempt) ??
      this.#unauthorized(last.reason, last.peer, attempt)
    );
  }

  /** Logs in with a workload token, from wherever it came. Every refusal has the same answer. */
  async #withToken(
    token: string,
    method: LoginMethod,
    { remoteAddress, source }: DecidedRequest,
  ): Promise<LoginResult> {
    const attempt = { remoteAddress, source, loginMethod: method };
    let result: WorkloadAuthentication | undefined;
    try {
      // The file may change while an issuer's keys are fetched: what it says then decides.
      while (result === undefined) {
        const { current } = this.#filePeers;
        result =
          current.workloadTokens === undefined
            ? { ok: false, reason: 'token_issuer_unknown', peer: undefined }
            : await current.workloadTokens.authenticate(
                token,
                () => current !== this.#filePeers.current,
              );
      }
    } catch (error) {
      this.#observer.issuerUnavailable?.(error);
      const what = 'The workload token cannot be judged at the moment.';
      return refuse(failureAnswer(error, what));
    }
    if (result.ok) {
      return this.#admit({ ...result.peer, method, proof: result.proof }, source);
    }
    return (
      this.#throttled(result.peer, undefined, attempt) ??
      this.#unauthorized(result.reason, result.peer, attempt)
    );
  }

  /** Logs in with a client certificate alone. @param id the `client_id` of the form, if there is one. */
  #withCertificate(
    proof: CertificateProof | undefined,
    { remoteAddress, source, connection }: EndpointRequest,
    id?: string,
  ): LoginResult {
    const attempt = { remoteAddress, source, loginMethod: 'tls_client_auth' } as const;
    if (proof === undefined) return this.missing(attempt);
    const { peer } = proof;
    const refusal =
      peer === undefined
        ? proof.refusal
        : id !== undefined && id !== peer.id
          ? 'other_client_id'
          : peer.enabled
            ? undefined
            : 'disabled_peer';
    if (peer !== undefined && refusal === undefined) {
      const certificate = connection && { names: proof.names, connection };
      return this.#admit(
        { ...peer, method: 'tls_client_auth', ...(certificate && { certificate }) },
        source,
      );
    }
    return (
      this.#throttled(peer, id, attempt) ?? this.#unauthorized(refusal ?? 'missing', peer, attempt)
    );
  }

  /**
   * Logs in with `client_secret_basic` or `client_secret_post`; with workload tokens also by `Authorization: Bearer` or
   * `client_assertion` (RFC 7523 §2.2); with client certificates also by `tls_client_auth` (RFC 8705 §2.1). Two ways at once
   * are refused.
   */
  async withHeaderOrForm(request: EndpointRequest, form: Form): Promise<LoginResult> {
    const id = parameterOf(form, 'client_id');
    const secret = parameterOf(form, 'client_secret');
    const assertion = this.#takesTokens() ? parameterOf(form, 'client_assertion') : undefined;
    if (request.headers['authorization'] !== undefined) {
      if (secret === undefined && assertion === undefined) return this.withHeader(request);
      return this.#ambiguous(
        request,
        'The client authenticates in the header or in the body, not in both.',
      );
    }
    const proof = this.#certificates?.proofOf(request);
    if (proof === 'malformed') return this.#ambiguous(request, FORWARDED_MALFORMED);
    const isAlone = secret === undefined && parameterOf(form, 'client_assertion') === undefined;
    if (isPeers(proof) && !isAlone) return this.#ambiguous(request, TWO_WAYS);
    if (assertion !== undefined) {
      if (secret !== undefined) {
        return this.#ambiguous(request, TWO_WAYS);
      }
      if (parameterOf(form, 'client_assertion_type') !== JWT_BEARER) {
        return this.#ambiguous(request, `"client_assertion_type" must be ${JWT_BEARER}.`);
      }
      return this.#withToken(assertion, 'client_assertion', request);
    }
    if (id === undefined || secret === undefined) {
      return this.#withCertificate(isAlone ? proof : undefined, request, id);
    }
    return this.withCredentials({ id, secret }, 'client_secret_post', request);
  }

  #takesTokens(): boolean {
    return this.#filePeers.current.workloadTokens !== undefined;
  }

  waits(): boolean {
    return this.#directory.peek() === undefined;
  }

  current(peer: LoggedInPeer): LoggedInPeer | undefined {
    const { method, digest, proof, certificate } = peer;
    if (certificate !== undefined) {
      const now = this.#certificates?.holderOf(certificate);
      return now?.enabled === true ? { ...now, method, certificate } : undefined;
    }
    if (proof !== undefined) {
      const now = this.#filePeers.current.workloadTokens?.holderOf(proof);
      return now && { ...now, method, proof };
    }
    const peers = this.#directory.status().value;
    if (peers === undefined) return peer;
    const now = peers.byId.get(peer.id);
    if (now?.enabled !== true || digest === undefined) return undefined;
    return hasSecret(now, digest, this.#clock.now()) ? { ...now, method, digest } : undefined;
  }

  takesCertificates(): boolean {
    return this.#certificates?.isOn === true;
  }

  now(header: string, source?: object): LoggedInPeer | undefined {
    if (this.#certificates?.concerns(source) === true) return undefined;
    const { workloadTokens } = this.#filePeers.current;
    if (workloadTokens !== undefined) {
      const token = bearerToken(header);
      if (token !== undefined) return withMethod(workloadTokens.now(token), 'bearer');
    }
    const peers = this.#directory.peek();
    if (peers === undefined) return undefined;
    const credentials = parseBasicCredentials(header);
    if (credentials === undefined) return undefined;
    const result = authenticate(peers.value, credentials, this.#clock.now());
    return result.ok ? withMethod(result.peer, 'client_secret_basic') : undefined;
  }

  /** Nothing was presented. Never 429: some clients wait for the challenge before they send credentials. */
  missing({ remoteAddress, source }: DecidedRequest): LoginResult {
    return this.#unauthorized('missing', undefined, { remoteAddress, source });
  }

  /**
   * A peer that was just added is not on the cached list yet. Every failed login checks a newer list before it is refused,
   * whether the id is known or not, so that timing reveals nothing; the directory limits how often that reads the store.
   */
  async #againstNewerList(
    credentials: PeerCredentials,
    readAt: number,
  ): Promise<Authentication | undefined> {
    // An id that no list can have costs no read.
    if (!isPeerId(credentials.id)) return undefined;
    // If the read fails, this is the cached list, unless that has just become too old to be served.
    const newer = await this.#directory.get({ force: true });
    return newer.readAt === readAt
      ? undefined
      : authenticate(newer.value, credentials, this.#clock.now());
  }

  #unavailable(error: unknown): LoginResult {
    this.#observer.peersUnavailable?.(error);
    return refuse(
      failureAnswer(error, 'The list of peers cannot be read at the moment.', READ_AGAIN),
    );
  }

  #admit(peer: LoggedInPeer, source: object | undefined): LoginResult {
    this.#observer.loggedIn?.(peer.id, source);
    return { peer };
  }

  /** Credentials in two places are refused: another part of the system might take the others. */
  #ambiguous({ remoteAddress, source }: DecidedRequest, description: string): LoginResult {
    const attempt = { remoteAddress, source };
    const throttled = this.#throttled(undefined, undefined, attempt);
    if (throttled !== undefined) return throttled;
    this.#observer.loginFailed?.('malformed', undefined, remoteAddress);
    this.#observer.loginRefused?.('malformed', undefined, attempt);
    return refuse(errorAnswer(400, 'invalid_request', description));
  }

  /** Counts a failure. @returns the refusal when there were too many. */
  #throttled(
    peer: Pick<Peer, 'id'> | undefined,
    id: string | undefined,
    attempt: LoginAttempt,
  ): LoginResult | undefined {
    const { remoteAddress } = attempt;
    const seconds = this.#throttle.fail(remoteAddress, id, REREAD_INTERVAL);
    if (seconds === undefined) return undefined;
    this.#observer.loginThrottled?.(peer?.id, remoteAddress);
    this.#observer.loginRefused?.('throttled', peer?.id, attempt);
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
    attempt: LoginAttempt,
  ): LoginResult {
    this.#observer.loginFailed?.(reason, peer?.id, attempt.remoteAddress);
    this.#observer.loginRefused?.(reason, peer?.id, attempt);
    return refuse(this.unauthorized());
  }

  /** The same for every failed login. */
  unauthorized(): EndpointAnswer {
    const ways = [
      'secret',
      ...(this.#takesTokens() ? ['workload token'] : []),
      ...(this.takesCertificates() ? ['client certificate'] : []),
    ];
    if (ways.length === 1) return unauthorizedAnswer();
    const last = ways.pop() ?? '';
    return unauthorizedAnswer(
      `A peer's ${ways.join(', ')} or ${last} is required, in the Authorization header or as the endpoint describes.`,
      this.#takesTokens() ? WORKLOAD_CHALLENGE : CHALLENGE,
    );
  }
}

/** Without spreading, which costs more than the rest of a warm login. */
function withMethod(
  peer: (Pick<Peer, 'id'> & Grants) | undefined,
  method: LoginMethod,
): LoggedInPeer | undefined {
  return peer && { id: peer.id, roles: peer.roles, tokens: peer.tokens, method };
}

/** The same for every failed login. The defaults are those of a broker that knows peers by secrets alone. */
export function unauthorizedAnswer(
  description = 'A peer id and its secret are required, by HTTP Basic or as the endpoint describes.',
  challenge = CHALLENGE,
): EndpointAnswer {
  return errorAnswer(401, 'invalid_client', description, challenge);
}

function refuse(refusal: EndpointAnswer): LoginResult {
  return { refusal };
}
