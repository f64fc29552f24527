import type { Core } from '../composition/core.js';
import { checkCoverage, type Coverage } from '../rotation/coverage.js';
import type { RotationMode } from '../rotation/rotator.js';
import { pendingLeftover } from '../rotation/rotator.js';
import { withCore, type CommandContext } from './commands.js';
import { askBroker, type BrokerHealth } from './ask-broker.js';
import { instant, show, span } from './output.js';

/** Options of `status`. */
export interface StatusOptions {
  /** Where a broker runs that is asked as well. Default: this machine, at `PORT`. */
  readonly url?: string;
  readonly showToken?: boolean;
}

/** What the store says, and what a running broker says of itself. */
interface Status {
  readonly ok: boolean;
  readonly store: string;
  readonly token_secret: string;
  readonly rotated_by: RotationMode;
  readonly next_slot: string;
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
    const { host, port } = core.config.http;
    const address = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host;
    const url = options.url ?? `http://${address.includes(':') ? `[${address}]` : address}:${port}`;
    const status = await readStatus(core, await askBroker(url), options.showToken === true);
    show(context.output, status, lines(status, core.clock.now()));
    return status.ok;
  });
}

async function readStatus(core: Core, broker: BrokerHealth, showToken: boolean): Promise<Status> {
  const { config, clock, store, rotator, slots } = core;
  const now = clock.now();
  const { tokenSecretId } = config.secrets;
  const description = await store.describe(tokenSecretId);
  const current = await rotator.current();
  const pending = pendingLeftover(description);
  const skew = config.verification.clockSkewSeconds * 1000;
  const value = showToken && current ? (await store.read(tokenSecretId)).value : undefined;
  return {
    ok: current !== undefined && current.expiresAt - now > skew,
    store: store.name,
    token_secret: tokenSecretId,
    rotated_by: await rotator.mode(),
    next_slot: instant(slots.nextAfter(now)),
    ...(current && {
      current: {
        version_id: current.versionId,
        generated_at: instant(current.generatedAt),
        expires_at: instant(current.expiresAt),
        remaining_seconds: Math.floor((current.expiresAt - now) / 1000),
      },
      coverage: checkCoverage({
        tokenLifetime: current.expiresAt - current.generatedAt,
        period: slots.longestPeriod(now),
        window: 0,
        cacheTtl: config.cache.ttlSeconds * 1000,
        skew,
      }),
    }),
    ...(pending !== undefined && { pending_leftover: pending }),
    broker,
    ...(value !== undefined && {
      access_token: (JSON.parse(value) as { access_token: string }).access_token,
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
        ]),
    `Rotation        by ${ROTATED_BY[status.rotated_by]}; next slot ${status.next_slot}`,
    ...(status.pending_leftover === undefined
      ? []
      : [
          `Pending         version ${status.pending_leftover}: a rotation runs now, or one did not finish`,
        ]),
    ...(coverage === undefined
      ? []
      : [`Coverage        ${coverage.covered ? 'ok' : 'TOO SHORT'}: ${coverage.explanation}`]),
    `Broker          ${broker.words}`,
    ...(status.access_token === undefined ? [] : ['', status.access_token]),
  ];
}

const ROTATED_BY: Readonly<Record<RotationMode, string>> = {
  broker: 'the broker',
  'secrets-manager': 'Secrets Manager',
  'primary-region': "the primary Region's broker (this is a replica)",
};
