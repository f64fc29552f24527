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

const TIMEOUT = 2_000;

/** Asks a broker's `/health/ready`. A broker that does not answer is a finding, not an error. */
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
  const state = !isReady ? 'not ready' : ailing.length > 0 ? 'degraded' : 'ready';
  const reasons = ailing.map(([check, found]) => ({
    check: plain(check),
    reason: plain(fields(found)['reason'] ?? statusOf(found)),
  }));
  const token = fields(fields(fields(body)['details'])['token']);
  const remaining = token['remainingSeconds'];
  return {
    url,
    state,
    words: `${state} at ${url}`,
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
