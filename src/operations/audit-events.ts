import type { DecidedRequest, ServingObserver, TokenDecision } from '../serving/endpoint.js';
import type { RotationOutcome } from '../rotation/rotation.js';
import type { ServiceToken } from '../tokens/service-token.js';
import type { Clock } from '../tokens/time.js';
import { isJsonObject, type JsonObject } from '../tokens/json.js';
import type { AuditEvent } from './audit-chain.js';
import { AuditTrail, lineSink, openAuditFile } from './audit.js';
import type { BrokerLogger } from './log.js';

/**
 * Opens the audit. `SIGHUP` opens a file again.
 *
 * @param place `stdout`, the path of a file, or `undefined` for none.
 * @throws {BrokerError} `AUDIT_FILE_UNUSABLE`, `AUDIT_FILE_INVALID`.
 */
export async function openAudit(
  place: string | undefined,
  clock: Clock,
  log: BrokerLogger,
): Promise<AuditTrail | undefined> {
  if (place === undefined) return undefined;
  if (place === 'stdout') {
    // Functions on Lambda have no logger: they take the rest of this file alone.
    const { writeBetweenLines } = await import('./log.js');
    return new AuditTrail({ sink: lineSink((line) => writeBetweenLines(log, line)), clock });
  }
  const sink = await openAuditFile(place, {
    observer: {
      failed: (error) => log.error({ err: error }, 'the audit cannot be written; its lines wait'),
      recovered: () => log.info('the audit is written again'),
    },
  });
  const trail = new AuditTrail({ sink, clock });
  log.info({ file: place, isTorn: sink.isTorn, ...sink.start }, 'the audit goes on from this line');
  return trail;
}

/** The id of a request and the caller's address, as the door knows them. */
export type RequestPlace = (
  request: DecidedRequest,
) => Pick<AuditEvent, 'remoteAddress' | 'requestId'>;

/** An observer that also writes every decision to the audit. */
export function withAudit(
  observer: ServingObserver,
  trail: AuditTrail,
  placeOf: RequestPlace,
): ServingObserver {
  return {
    ...observer,
    decided: ({ outcome, peer, method, token, subject, versionId, served, reason }, request) => {
      const jti = served === undefined ? undefined : jtiOf(served);
      const what = { outcome, reason, peer, method, token, subject, versionId, jti };
      trail.record({ ...what, ...placeOf(request) });
    },
    loginRefused: (reason, peer, attempt) => {
      const event = { peer, method: attempt.loginMethod, ...placeOf(attempt) };
      trail.record(
        reason === 'throttled'
          ? { outcome: 'throttled', ...event }
          : { outcome: 'login_failed', reason, ...event },
      );
    },
    authorized: (decision, request) => {
      observer.authorized?.(decision, request);
      trail.record({ ...eventOf('authorized', decision), ...placeOf(request) });
    },
    introspected: (peer, decision, request) => {
      observer.introspected?.(peer, decision, request);
      const method = request.loginMethod;
      trail.record({ ...eventOf('introspected', decision), peer, method, ...placeOf(request) });
    },
  };
}

/** How many versions that this process has made are remembered: those that may still become current. */
const MOST_OWN = 10;

/**
 * Writes the rotations of one token that no peer has asked for: those of this process, and, by the versions that are read,
 * those of others (the command line, another replica, Secrets Manager).
 */
export class RotationEvents {
  readonly #trail: AuditTrail;
  readonly #token: string;
  #own: readonly string[] = [];
  #known: string | undefined;
  #failing: string | undefined;

  constructor(trail: AuditTrail, token: string) {
    this.#trail = trail;
    this.#token = token;
  }

  /** This process works on a version. To be called before the version is promoted, and can be read as the current one. */
  made(versionId: string): void {
    if (!this.#own.includes(versionId)) this.#own = [versionId, ...this.#own].slice(0, MOST_OWN);
  }

  /** A version was read as the current one. */
  read(versionId: string): void {
    const before = this.#known;
    this.#known = versionId;
    if (before === undefined || before === versionId || this.#own.includes(versionId)) return;
    this.#trail.record({ outcome: 'rotated', reason: 'elsewhere', token: this.#token, versionId });
  }

  /** A rotation of this process has ended. Repeated failures with the same code are one event. */
  ended({ trigger, result, versionId, code = 'UNEXPECTED' }: RotationOutcome): void {
    const isRepeated = result === 'failed' && code === this.#failing;
    this.#failing = result === 'failed' ? code : undefined;
    // The endpoint writes those that a peer asks for; nothing was done by the others.
    if (trigger === 'http' || isRepeated || result === 'recent' || result === 'already-rotated')
      return;
    const token = this.#token;
    if (result !== 'failed') {
      this.#trail.record({ outcome: 'rotated', reason: result, method: trigger, token, versionId });
    } else {
      this.#trail.record({ outcome: 'rotation_failed', reason: code, method: trigger, token });
    }
  }
}

function eventOf(
  accepted: 'authorized' | 'introspected',
  { outcome, reason, verified }: TokenDecision,
): AuditEvent {
  const isAccepted = outcome === 'customer' || outcome === 'service';
  return {
    outcome: isAccepted ? accepted : outcome,
    reason: isAccepted ? outcome : reason,
    jti: textOf(verified?.claims['jti']),
  };
}

/** By the token: it is served thousands of times. */
const jtis = new WeakMap<ServiceToken, { readonly jti: string | undefined }>();

function jtiOf(token: ServiceToken): string | undefined {
  let known = jtis.get(token);
  if (known === undefined) {
    known = { jti: textOf(claimsOf(token.accessToken)['jti']) };
    jtis.set(token, known);
  }
  return known.jti;
}

function claimsOf(accessToken: string): JsonObject {
  try {
    const text = Buffer.from(accessToken.split('.', 2)[1] ?? '', 'base64url').toString();
    const claims: unknown = JSON.parse(text);
    return isJsonObject(claims) ? claims : {};
  } catch {
    // Not a JWT: it has no "jti".
    return {};
  }
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}
