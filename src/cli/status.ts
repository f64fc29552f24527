import { systemCode } from '../tokens/http.js';
import { type Core, coverageOf } from '../composition/core.js';
import { type Coverage, worstGap } from '../rotation/coverage.js';
import { pendingLeftover, rotationMode, type RotationMode } from '../rotation/rotation.js';
import { BrokerError } from '../tokens/errors.js';
import { parseServiceToken } from '../tokens/service-token.js';
import {
  withCore,
  type CommandContext,
  coverageJson,
  instant,
  ROTATED_BY,
  show,
  span,
} from './command.js';

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

/** Options of `status`. */
export interface StatusOptions {
  /** Where a broker runs that is asked as well. Default: this machine, at `BROKER_MANAGEMENT_PORT` or `PORT`. */
  readonly url?: string;
  readonly showToken?: boolean;
}

/** What the store says, and what a running broker says of itself. */
interface Status {
  readonly ok: boolean;
  readonly store: string;
  readonly token_secret: string;
  readonly rotated_by: RotationMode;
  /** When the broker's own schedule rotates next, or Secrets Manager's at the latest; not known for a replica. */
  readonly next_rotation?: string;
  readonly current?: {
    readonly version_id: string;
    readonly generated_at: string;
    readonly expires_at: string;
    readonly remaining_seconds: number;
  };
  readonly pending_leftover?: string;
  readonly coverage?: Coverage;
  readonly broker: BrokerHealth;
  readonly access_token?: string;
}

/**
 * `status`: what is served, for how long, and what comes next.
 *
 * @returns false when no service token with enough life is there to be served.
 */
export async function statusCommand(
  context: CommandContext,
  options: StatusOptions,
): Promise<boolean> {
  return withCore(context, async (core) => {
    const { management, ...own } = core.config.http;
    const { host, port } = management ?? own;
    const address = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host;
    const url = options.url ?? `http://${address.includes(':') ? `[${address}]` : address}:${port}`;
    const [broker, read] = await Promise.all([
      askBroker(url),
      readStatus(core, options.showToken === true).then(
        (status) => ({ status }),
        (error: unknown) => ({ error }),
      ),
    ]);
    if ('error' in read) {
      // What runs goes on serving, whatever the store does: it is said beside the error.
      if (!(read.error instanceof BrokerError)) throw read.error;
      const { code, kind, message } = read.error;
      const { store, config } = core;
      const failed = {
        ok: false,
        store: store.name,
        token_secret: config.secrets.tokenSecretId,
        error: { code, kind, message },
        broker,
      };
      show(context.output, failed, [
        `Secret store    ${store.name}: ${message} (${code})`,
        ...brokerLines(broker),
      ]);
      return false;
    }
    const status = { ...read.status, broker };
    const { coverage, ...others } = status;
    const json = { ...others, ...(coverage && { coverage: coverageJson(coverage) }) };
    show(context.output, json, lines(status, core.clock.now()));
    return status.ok;
  });
}

async function readStatus(core: Core, showToken: boolean): Promise<Omit<Status, 'broker'>> {
  const { config, clock, store, rotator, slots } = core;
  const now = clock.now();
  const { tokenSecretId } = config.secrets;
  const description = await store.describe(tokenSecretId);
  const current = await rotator.current();
  const pending = pendingLeftover(description);
  const mode = rotationMode(description);
  const next = mode === 'broker' ? slots.nextAfter(now) : description.storeRotation?.nextAt;
  const gap = worstGap(description, slots, now);
  const skew = config.verification.clockSkewSeconds * 1000;
  const value = showToken && current ? (await store.read(tokenSecretId)).value : undefined;
  return {
    ok: current !== undefined && current.expiresAt - now > skew,
    store: store.name,
    token_secret: tokenSecretId,
    rotated_by: mode,
    ...(next !== undefined && { next_rotation: instant(next) }),
    ...(current && {
      current: {
        version_id: current.versionId,
        generated_at: instant(current.generatedAt),
        expires_at: instant(current.expiresAt),
        remaining_seconds: Math.floor((current.expiresAt - now) / 1000),
      },
      ...(gap && { coverage: coverageOf(current, gap, config) }),
    }),
    ...(pending !== undefined && { pending_leftover: pending }),
    ...(value !== undefined && {
      access_token: parseServiceToken(value).accessToken,
    }),
  };
}

function lines(status: Status, now: number): readonly string[] {
  const { current, coverage, broker } = status;
  return [
    `Secret store    ${status.store}, token secret "${status.token_secret}"`,
    current === undefined
      ? 'Service token   none yet: run "service-token-broker rotate", and see what it says'
      : `Service token   version ${current.version_id}, minted ${current.generated_at}`,
    ...(current === undefined
      ? []
      : [
          `Remaining life  ${span(Date.parse(current.expires_at) - now)} (until ${current.expires_at})`,
          ...(status.ok
            ? []
            : [
                'Served          no: too little life left. Rotate now: service-token-broker rotate',
              ]),
        ]),
    `Rotation        by ${ROTATED_BY[status.rotated_by]}${status.next_rotation === undefined ? '' : `; next ${status.next_rotation}`}`,
    ...(status.pending_leftover === undefined
      ? []
      : [
          `Pending         version ${status.pending_leftover}: a rotation runs now, or one did not finish (rotate --repair)`,
        ]),
    ...(coverage === undefined
      ? []
      : [`Coverage        ${coverage.covered ? 'ok' : 'TOO SHORT'}: ${coverage.explanation}`]),
    ...brokerLines(broker),
    ...(status.access_token === undefined ? [] : ['', status.access_token]),
  ];
}

/** What a running broker serves, and what it says is wrong. */
function brokerLines({ words, serves, reasons }: BrokerHealth): readonly string[] {
  const { remaining_seconds: seconds, stale } = serves ?? {};
  return [
    `Broker          ${words}`,
    ...(seconds === undefined
      ? []
      : [
          `                serves a token with ${span(seconds * 1000)} left${stale === true ? ', STALE: it cannot read the secret store' : ''}`,
        ]),
    ...reasons.map(({ check, reason }) => `                ${check}: ${reason}`),
  ];
}
