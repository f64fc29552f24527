import { hash } from 'node:crypto';
import { isJsonObject } from '../tokens/json.js';

/** What was decided. `started`, `stopped`, `torn` and `dropped` are about the audit itself. */
export type AuditOutcome =
  | 'served'
  | 'not_modified'
  | 'unavailable'
  | 'login_failed'
  | 'throttled'
  | 'denied'
  | 'invalid'
  | 'rotated'
  | 'rotation_failed'
  | 'repaired'
  | 'peer_disabled'
  | 'peer_enabled'
  | 'action_failed'
  | 'introspected'
  | 'authorized'
  | 'refused'
  | 'started'
  | 'stopped'
  | 'torn'
  | 'dropped';

/** One decision. What does not apply is left out. */
export interface AuditEvent {
  readonly outcome: AuditOutcome;
  /** Why not: a stable code. With `rotated`, `introspected` and `authorized`: how it ended, or the kind of the token. */
  readonly reason?: string | undefined;
  /** The id of a peer on the list. */
  readonly peer?: string | undefined;
  /** How it proved who it is, or tried to: `client_secret_basic`, `bearer`. Of a rotation that no peer asked for: its trigger. */
  readonly method?: string | undefined;
  /** The name of the token. */
  readonly token?: string | undefined;
  readonly versionId?: string | undefined;
  /** The peer that the action was about. */
  readonly subject?: string | undefined;
  /** The `jti` of the token. Only its digest is written. */
  readonly jti?: string | undefined;
  readonly remoteAddress?: string | undefined;
  readonly requestId?: string | undefined;
  /** With `dropped`: how many events were dropped, because the sink was too slow. */
  readonly dropped?: number | undefined;
}

/** Where a chain has come to. */
export interface ChainEnd {
  /** The number of the last line; 0 before the first one. */
  readonly seq: number;
  /** The digest of the last line. */
  readonly digest: string;
}

/** Before the first line: its `prev` is 64 zeros. */
export const CHAIN_START: ChainEnd = { seq: 0, digest: '0'.repeat(64) };

/** The digest by which the next line refers to this one: SHA-256 of its bytes without the line break, in hexadecimal. */
export function digestLine(line: string | Uint8Array): string {
  return hash('sha256', line, 'hex');
}

/**
 * The next line of a chain, without the line break, and where the chain has come to.
 *
 * @param now milliseconds since the Unix epoch.
 */
export function nextLine(
  before: ChainEnd,
  event: AuditEvent,
  now: number,
): { readonly line: string; readonly end: ChainEnd } {
  const seq = before.seq + 1;
  const { outcome, reason, peer, method, token, versionId, jti } = event;
  const line = JSON.stringify({
    time: new Date(now).toISOString(),
    seq,
    peer,
    method,
    token,
    subject: event.subject,
    version_id: versionId,
    jti_sha256: jti === undefined ? undefined : hash('sha256', jti, 'hex'),
    outcome,
    reason,
    dropped: event.dropped,
    remote_address: event.remoteAddress,
    request_id: event.requestId,
    prev: before.digest,
  });
  return { line, end: { seq, digest: digestLine(line) } };
}

/** What the next process writes first when a process was killed while it wrote, and left half a line. */
export const TORN: AuditEvent = { outcome: 'torn', reason: 'PROCESS_ENDED_WHILE_WRITING' };

/** What is wrong with a line. */
export type ChainFault =
  /** It is not a line of the audit: changed, or half written. */
  | 'not_a_line'
  /** Its number is higher than the next one: lines before it were removed. */
  | 'lines_missing'
  /** Its number is lower than the next one: it was repeated, moved or added. */
  | 'out_of_order'
  /** A new chain begins: the file before it was removed or emptied while the broker was stopped. */
  | 'new_chain'
  /** It does not refer to the line before it: that one, or this one, was changed. */
  | 'does_not_follow';

/** What a walk along a chain knows after a line. */
export interface ChainWalk {
  readonly end: ChainEnd;
  /** What is wrong with the line; `undefined` when it follows from the one before. */
  readonly fault?: ChainFault;
  /** The line before was half written, and this one says so. */
  readonly isTear?: boolean;
  /** The line cannot be read. That is right only when the next one says so. */
  readonly isUnreadable?: boolean;
}

/**
 * Walks on by one line. After a fault the walk goes on from the line as it stands, so that each fault is found by itself.
 *
 * @param walk of the line before; for the first line `{ end: CHAIN_START }`.
 * @param line its bytes, without the line break.
 */
export function walkLine({ end, isUnreadable }: ChainWalk, line: Uint8Array): ChainWalk {
  const read = readLine(line);
  if (read === undefined) {
    return {
      end: { seq: end.seq, digest: digestLine(line) },
      fault: 'not_a_line',
      isUnreadable: true,
    };
  }
  const { seq, prev, outcome } = read;
  const now = { seq, digest: digestLine(line) };
  if (isUnreadable && outcome === TORN.outcome && seq === end.seq + 1 && prev === end.digest) {
    return { end: now, isTear: true };
  }
  if (seq === end.seq + 1) {
    return prev === end.digest ? { end: now } : { end: now, fault: 'does_not_follow' };
  }
  // The line that cannot be read had a number, and was what this one refers to.
  if (isUnreadable && seq === end.seq + 2) return { end: now };
  if (seq === 1 && prev === CHAIN_START.digest) return { end: now, fault: 'new_chain' };
  return { end: now, fault: seq > end.seq ? 'lines_missing' : 'out_of_order' };
}

interface AuditLine {
  readonly seq: number;
  readonly prev: string;
  readonly outcome: unknown;
}

/** A line as the broker writes it; `undefined` for every other. */
export function readLine(bytes: Uint8Array): AuditLine | undefined {
  let value: unknown;
  try {
    const text = UTF8.decode(bytes);
    value = JSON.parse(text);
    // Written again it is the same, so that it has no second form. Thousands of levels can be read, and not written.
    if (JSON.stringify(value) !== text) return undefined;
  } catch {
    return undefined;
  }
  if (!isJsonObject(value)) return undefined;
  const { seq, prev, outcome } = value;
  if (typeof seq !== 'number' || !Number.isSafeInteger(seq) || seq < 1) return undefined;
  return typeof prev === 'string' && DIGEST.test(prev) ? { seq, prev, outcome } : undefined;
}

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const DIGEST = /^[0-9a-f]{64}$/;
