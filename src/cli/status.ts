import type { IncomingMessage } from 'node:http';
import { json } from 'node:stream/consumers';
import { coverageOf, type Core, type TokenCore } from '../composition/core.js';
import { DEFAULT_NAME } from '../config/broker-config.js';
import { worstGap, type Coverage } from '../rotation/coverage.js';
import { pendingLeftover, rotationMode, type RotationMode } from '../rotation/rotation.js';
import { BrokerError } from '../tokens/errors.js';
import { systemCode } from '../tokens/http.js';
import { parseServiceToken } from '../tokens/service-token.js';
import {
  coverageJson,
  coverageText,
  chosenCore,
  ROTATED_BY,
  tokenArgument,
  withCore,
  type CommandContext,
} from './command.js';
import {
  entryLines,
  instant,
  minute,
  plain,
  show,
  span,
  table,
  type Entry,
  type Paint,
} from '../composition/terminal.js';

/** Options of `status`. */
export interface StatusOptions {
  /** A running broker to ask as well. Default: this machine, at `BROKER_MANAGEMENT_PORT` or `PORT`. */
  readonly url?: string;
  readonly showToken?: boolean;
  /** The token's name. Default: every token. */
  readonly token?: string;
}

/** What the store holds, and how a running broker is. */
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
 * @returns false when a service token has too little life to be served, or does not exist yet.
 */
export async function statusCommand(
  context: CommandContext,
  { url, showToken = false, token: name }: StatusOptions,
): Promise<boolean> {
  const { output } = context;
  return withCore(context, async (all) => {
    if (name === undefined && all.tokens.size > 1)
      return statusOfAll(context, all, { url, showToken });
    const core = chosenCore(all, name);
    const { config, store, clock, token } = core;
    const [broker, read] = await Promise.all([
      askBroker(url ?? ownUrl(config.http)),
      readStatus(core, showToken).then(
        (status) => ({ status }),
        (error: unknown) => ({ error }),
      ),
    ]);
    if ('error' in read) {
      // A running broker serves on, whatever the store does: its health is shown beside the error.
      if (!(read.error instanceof BrokerError)) throw read.error;
      const { code, kind, message } = read.error;
      const failed = { ok: false, store: store.name, token_secret: token.secretId };
      show(
        output,
        { ...failed, error: { code, kind, message }, broker },
        entryLines(
          [
            ['Secret store', `${store.name}: ${message} (${code})`],
            ...brokerEntries(broker, output.paint),
          ],
          output.paint,
        ),
      );
      return false;
    }
    const status = { ...read.status, broker };
    const { coverage } = status;
    show(
      output,
      { ...status, ...(coverage && { coverage: coverageJson(coverage) }) },
      statusLines(status, clock.now(), output.paint, tokenArgument(token.name, config)),
    );
    return status.ok;
  });
}

/** Every token in one table. */
async function statusOfAll(
  { output }: CommandContext,
  { config, store, clock, tokens }: Core,
  { url, showToken = false }: StatusOptions,
): Promise<boolean> {
  const [broker, found] = await Promise.all([
    askBroker(url ?? ownUrl(config.http)),
    Promise.all([...tokens].map(([name, core]) => statusOfOne(name, core, showToken))),
  ]);
  const ok = found.every((token) => token.ok);
  show(
    output,
    { ok, store: store.name, tokens: found, broker },
    allLines(found, store.name, broker, clock.now(), output.paint),
  );
  return ok;
}

/** A token's state in the store, or why it could not be read. */
type TokenState = { readonly name: string } & (
  | (Omit<Status, 'broker' | 'store' | 'coverage'> & { readonly coverage?: object })
  | { readonly ok: false; readonly token_secret: string; readonly error: object }
);

async function statusOfOne(name: string, core: TokenCore, showToken: boolean): Promise<TokenState> {
  try {
    const { store: _store, coverage, ...status } = await readStatus(core, showToken);
    return { name, ...status, ...(coverage && { coverage: coverageJson(coverage) }) };
  } catch (error) {
    if (!(error instanceof BrokerError)) throw error;
    const { code, kind, message } = error;
    return { name, ok: false, token_secret: core.token.secretId, error: { code, kind, message } };
  }
}

function allLines(
  tokens: readonly TokenState[],
  store: string,
  broker: BrokerHealth,
  now: number,
  paint: Paint,
): readonly string[] {
  const time = (text: string | undefined): string =>
    text === undefined ? '-' : minute(Date.parse(text));
  const rows = tokens.map((token): readonly string[] => {
    const state = token.ok ? paint('good', 'served') : paint('bad', 'NOT SERVED');
    if ('error' in token) return [token.name, state, '-', '-', '-', '-'];
    const { current, next_rotation: next } = token;
    const left = current === undefined ? '-' : span(Date.parse(current.expires_at) - now);
    return [
      token.name,
      state,
      time(current?.generated_at),
      time(current?.expires_at),
      left,
      time(next),
    ];
  });
  const failures = tokens.flatMap((token): readonly Entry[] => {
    if ('error' in token) {
      const { code, message } = token.error as { code: string; message: string };
      return [[token.name, `${message} (${code})`]];
    }
    if (token.current === undefined && token.pending_leftover === undefined) {
      const argument = token.name === DEFAULT_NAME ? '' : ` --token ${token.name}`;
      const advice = `run "service-token-broker rotate${argument}", and see what it says`;
      return [[token.name, `none yet: ${advice}`]];
    }
    return token.pending_leftover === undefined
      ? []
      : [
          [
            token.name,
            `version ${token.pending_leftover} is pending: a rotation runs, or did not finish`,
          ],
        ];
  });
  const shown = tokens.flatMap((token) =>
    'access_token' in token && token.access_token !== undefined
      ? ['', `${token.name}: ${token.access_token}`]
      : [],
  );
  return [
    ...table(['NAME', 'STATE', 'MINTED (UTC)', 'EXPIRES (UTC)', 'LEFT', 'NEXT (UTC)'], rows, paint),
    '',
    ...entryLines([['Secret store', store], ...failures, ...brokerEntries(broker, paint)], paint),
    ...shown,
  ];
}

/** Where the broker of this configuration answers health checks on this machine. */
function ownUrl({ management, ...own }: Core['config']['http']): string {
  const { host, port, tls } = management === undefined ? own : { ...management, tls: undefined };
  // The name in the certificate is not that of the loopback.
  if (tls !== undefined && own.publicUrl !== undefined) return own.publicUrl;
  const scheme = tls === undefined ? 'http' : 'https';
  const address = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host;
  return `${scheme}://${address.includes(':') ? `[${address}]` : address}:${port}`;
}

async function readStatus(core: TokenCore, showToken: boolean): Promise<Omit<Status, 'broker'>> {
  const { token, clock, store, rotator, slots } = core;
  const now = clock.now();
  const tokenSecretId = token.secretId;
  const description = await store.describe(tokenSecretId);
  const current = await rotator.current();
  const pending = pendingLeftover(description);
  const mode = rotationMode(description);
  const next = mode === 'broker' ? slots.nextAfter(now) : description.storeRotation?.nextAt;
  const gap = worstGap(description, slots, now);
  const skew = token.verification.clockSkewSeconds * 1000;
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
      ...(gap && { coverage: coverageOf(current, gap, core) }),
    }),
    ...(pending !== undefined && { pending_leftover: pending }),
    ...(value !== undefined && { access_token: parseServiceToken(value).accessToken }),
  };
}

/** The tokens as a table, and below it everything else beside its label. Pure. @param argument of `rotate`. */
export function statusLines(
  status: Status,
  now: number,
  paint: Paint = plain,
  argument = '',
): readonly string[] {
  const { current, coverage, broker, pending_leftover: pending } = status;
  const tokens: (readonly string[])[] = [];
  if (current !== undefined) {
    const [minted, expires] = [Date.parse(current.generated_at), Date.parse(current.expires_at)];
    const left = span(expires - now);
    tokens.push(['current', current.version_id, minute(minted), minute(expires), left]);
  }
  if (pending !== undefined) tokens.push(['pending', pending, '-', '-', '-']);
  const next =
    status.next_rotation === undefined
      ? ''
      : `; next ${minute(Date.parse(status.next_rotation))} UTC`;
  const entries: readonly (Entry | undefined)[] = [
    current === undefined
      ? [
          'Service token',
          `none yet: run "service-token-broker rotate${argument}", and see what it says`,
        ]
      : undefined,
    current === undefined || status.ok
      ? undefined
      : [
          'Served',
          `${paint('bad', 'no')}: too little life left. Rotate now: service-token-broker rotate${argument}`,
        ],
    ['Secret store', `${status.store}, token secret "${status.token_secret}"`],
    ['Rotation', `by ${ROTATED_BY[status.rotated_by]}${next}`],
    pending === undefined
      ? undefined
      : ['Pending', `a rotation runs now, or one did not finish (rotate${argument} --repair)`],
    coverage && ['Coverage', coverageText(coverage, paint)],
    ...brokerEntries(broker, paint),
  ];
  return [
    ...(tokens.length === 0
      ? []
      : [
          ...table(['TOKEN', 'VERSION', 'MINTED (UTC)', 'EXPIRES (UTC)', 'LEFT'], tokens, paint),
          '',
        ]),
    ...entryLines(entries, paint),
    ...(status.access_token === undefined ? [] : ['', status.access_token]),
  ];
}

const TONES = {
  ready: 'good',
  degraded: 'warning',
  'not ready': 'bad',
  'no answer': 'faint',
} as const satisfies Record<BrokerHealth['state'], Parameters<Paint>[0]>;

/** What a running broker serves, and what is wrong with it. */
function brokerEntries(
  { state, words, serves, reasons }: BrokerHealth,
  paint: Paint,
): readonly Entry[] {
  const entries: Entry[] = [['Broker', words.replace(state, paint(TONES[state], state))]];
  if (serves !== undefined) {
    const stale = serves.stale ? ', STALE: it cannot read the secret store' : '';
    entries.push(['', `serves a token with ${span(serves.remaining_seconds * 1000)} left${stale}`]);
  }
  for (const { check, reason } of reasons) entries.push(['', `${check}: ${reason}`]);
  return entries;
}

/** One thing that is wrong with a broker. */
interface HealthReason {
  /** What it is about: `token`, `rotation`, `coverage`, `peers`. */
  readonly check: string;
  /** What is wrong and what to do, in words. */
  readonly reason: string;
}

/** How a running broker is, by its own account. */
interface BrokerHealth {
  readonly url: string;
  /** `degraded`: it serves, and somebody should look at it. */
  readonly state: 'ready' | 'degraded' | 'not ready' | 'no answer';
  /** One sentence for people. */
  readonly words: string;
  /** The token that it serves, if it says so. */
  readonly serves?: { readonly remaining_seconds: number; readonly stale: boolean };
  /** What is wrong, if it says so. */
  readonly reasons: readonly HealthReason[];
  /** The body of `/health/ready`, when there was one. */
  readonly details?: unknown;
}

/** How long a broker may take to answer, in milliseconds. */
const TIMEOUT = 5_000;

/** Asks a broker's `/health/ready`. A broker that does not answer is a finding, not an error. */
export async function askBroker(url: string): Promise<BrokerHealth> {
  try {
    const { status, body } = await read(new URL('/health/ready', url));
    return judgeHealth(url, status === 200, body);
  } catch (error) {
    const words = `no answer at ${url} (${failureOf(error)})`;
    return { url, state: 'no answer', words, reasons: [] };
  }
}

/** A GET without `fetch`, whose load takes longer than the answer. */
async function read(url: URL): Promise<{ readonly status: number; readonly body: unknown }> {
  const { get } = await (url.protocol === 'https:' ? import('node:https') : import('node:http'));
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    get(url, { agent: false, signal: AbortSignal.timeout(TIMEOUT) }, resolve).on('error', reject);
  });
  return { status: response.statusCode ?? 0, body: await json(response) };
}

/**
 * What a response of `/health/ready` means. Pure.
 *
 * @param isReady whether its status was 200.
 * @param body whatever came: the address may be wrong, so nothing in it is taken for granted.
 */
export function judgeHealth(url: string, isReady: boolean, body: unknown): BrokerHealth {
  const checks = Object.entries(fields(fields(body)['details']));
  const ailing = checks.filter(([, check]) => !['up', undefined].includes(statusOf(check)));
  const isDegraded = ailing.length > 0 || statusOf(body) === 'degraded';
  const state = !isReady ? 'not ready' : isDegraded ? 'degraded' : 'ready';
  const reasons = ailing.map(([check, found]) => ({
    check: printable(check),
    reason: printable(fields(found)['reason'] ?? statusOf(found)),
  }));
  const token = fields(fields(fields(body)['details'])['token']);
  const remaining = token['remaining_seconds'];
  // The broker's main port shows its status to everybody, and nothing else.
  const isTerse = statusOf(body) !== undefined && Object.keys(fields(body)).length === 1;
  const hint =
    isTerse && state !== 'ready'
      ? '; its log says why, and so does its management port (BROKER_MANAGEMENT_PORT)'
      : '';
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

/** Text from elsewhere on one line, without what could move the cursor. */
function printable(value: unknown): string {
  const text = typeof value === 'string' ? value : 'no reason given';
  return text.replace(/[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]+/gu, ' ').slice(0, 1000);
}

function failureOf(error: unknown): string {
  const { name } = fields(error);
  if (name === 'AbortError') return `none within ${TIMEOUT / 1_000} s`;
  if (name === 'SyntaxError') return 'the response is not from a broker';
  return systemCode(error) ?? (typeof name === 'string' ? name : 'unknown reason');
}
