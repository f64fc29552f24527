import { systemCode } from '../tokens/connection-failure.js';

/** One thing that a broker says is wrong with it. */
export interface HealthReason {
  /** What it is about: `token`, `rotation`, `coverage`, `peers`. */
  readonly check: string;
  /** What is wrong and what to do, in words. */
  readonly reason: string;
}

/** What a running broker says of itself. */
export interface BrokerHealth {
  readonly url: string;
  /** `degraded`: it serves, and somebody should look at it. */
  readonly state: 'ready' | 'degraded' | 'not ready' | 'no answer';
  /** One sentence for people. */
  readonly words: string;
  /** The token that it serves, when it says so. */
  readonly serves?: { readonly remaining_seconds: number; readonly stale: boolean };
  /** What is wrong, when it says so. */
  readonly reasons: readonly HealthReason[];
  /** The body of `/health/ready`, when there was one. */
  readonly details?: unknown;
}

const TIMEOUT = 5_000;

const REASONS_ELSEWHERE =
  '; its log says why, and so does its management port (BROKER_MANAGEMENT_PORT)';

/**
 * Asks a broker's `/health/ready`: best at its management port, where it gives its reasons. A broker that does not answer is a finding, not an error.
 */
export async function askBroker(url: string): Promise<BrokerHealth> {
  try {
    const response = await fetch(new URL('/health/ready', url), {
      signal: AbortSignal.timeout(TIMEOUT),
      redirect: 'manual',
    });
    return judgeHealth(url, response.ok, await response.json());
  } catch (error) {
    const words = `no answer at ${url} (${reasonOf(error)})`;
    return { url, state: 'no answer', words, reasons: [] };
  }
}

/**
 * What an answer of `/health/ready` means. Pure.
 *
 * @param isReady whether its status was 200.
 * @param body whatever came: the address may be wrong, so that nothing of it is taken for granted.
 */
export function judgeHealth(url: string, isReady: boolean, body: unknown): BrokerHealth {
  const checks = Object.entries(fields(fields(body)['details']));
  const ailing = checks.filter(([, check]) => !['up', undefined].includes(statusOf(check)));
  const isDegraded = ailing.length > 0 || statusOf(body) === 'degraded';
  const state = !isReady ? 'not ready' : isDegraded ? 'degraded' : 'ready';
  const reasons = ailing.map(([check, found]) => ({
    check: plain(check),
    reason: plain(fields(found)['reason'] ?? statusOf(found)),
  }));
  const token = fields(fields(fields(body)['details'])['token']);
  const remaining = token['remaining_seconds'];
  // What a broker's own port says to everybody: its status, and nothing else.
  const isTerse = statusOf(body) !== undefined && Object.keys(fields(body)).length === 1;
  const hint = isTerse && state !== 'ready' ? REASONS_ELSEWHERE : '';
  return {
    url,
    state,
    words: `${state} at ${url}${hint}`,
    ...(typeof remaining === 'number' && {
      serves: { remaining_seconds: remaining, stale: token['stale'] === true },
    }),
    reasons,
    details: body,
  };
}

function statusOf(check: unknown): string | undefined {
  const { status } = fields(check);
  return typeof status === 'string' ? status : undefined;
}

function fields(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

/** Somebody else's text for a terminal: one line, without what could move the cursor. */
function plain(value: unknown): string {
  const text = typeof value === 'string' ? value : 'no reason given';
  return text.replace(/[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]+/gu, ' ').slice(0, 1000);
}

function reasonOf(error: unknown): string {
  const { name } = fields(error);
  if (name === 'SyntaxError') return 'what answers there is no broker';
  return systemCode(error) ?? (typeof name === 'string' ? name : 'unknown reason');
}
