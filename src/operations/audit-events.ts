import type { DecidedRequest, ServingObserver, TokenDecision } from '../serving/endpoint.js';
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
    decided: ({ outcome, peer, token, versionId, served, reason }, request) => {
      const jti = served === undefined ? undefined : jtiOf(served);
      trail.record({ outcome, reason, peer, token, versionId, jti, ...placeOf(request) });
    },
    loginFailed: (reason, peer, remoteAddress) => {
      observer.loginFailed?.(reason, peer, remoteAddress);
      trail.record({ outcome: 'login_failed', reason, peer, remoteAddress });
    },
    loginThrottled: (peer, remoteAddress) => {
      observer.loginThrottled?.(peer, remoteAddress);
      trail.record({ outcome: 'throttled', peer, remoteAddress });
    },
    authorized: (decision, request) => {
      observer.authorized?.(decision, request);
      trail.record({ ...eventOf('authorized', decision), ...placeOf(request) });
    },
    introspected: (peer, decision, request) => {
      observer.introspected?.(peer, decision, request);
      trail.record({ ...eventOf('introspected', decision), peer, ...placeOf(request) });
    },
  };
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
