import { type Core, receiversNeed, coverageOf } from '../composition/core.js';
import { RotationError } from '../rotation/rotation.js';
import type { Rotated, Rotator } from '../rotation/rotator.js';
import { parseServiceToken, TokenSecretError } from '../tokens/service-token.js';
import {
  withCore,
  type CommandContext,
  instant,
  show,
  span,
  coverageJson,
  ROTATED_BY,
} from './command.js';
import { type Coverage, worstGap } from '../rotation/coverage.js';
import {
  planRotation,
  type PlannedRotation,
  type RotationPlan,
} from '../rotation/rotation-plan.js';
import { isStoreError } from '../secrets/secret-store.js';
import { BrokerError } from '../tokens/errors.js';
import { repairPending } from '../rotation/repair.js';

/**
 * `rotate`: rotates the service token now, by the same path as the schedule, or asks Secrets Manager to.
 *
 * @param force rotates also when the token is of a moment ago.
 */
export async function rotateCommand(context: CommandContext, force: boolean): Promise<void> {
  const rotate = async (core: Core): Promise<void> => {
    const rotated = await untilSignal(core.rotator, () =>
      core.rotator.rotate({ trigger: 'cli', force }),
    );
    if (rotated.result === 'requested') showRequested(context, rotated);
    else await showRotated(context, core, rotated);
  };
  // A rotation needs the credentials secret: a store that is not there holds none.
  await withCore(context, rotate, { makes: 'secrets' });
}

/**
 * Rotates until SIGTERM or SIGINT; then a wait ends at once, and a mint that takes longer than four seconds is abandoned. The next
 * signal ends the process.
 */
async function untilSignal(rotator: Rotator, rotate: () => Promise<Rotated>): Promise<Rotated> {
  let onSignal: () => void = () => undefined;
  const stopped = new Promise<never>((_, reject) => {
    onSignal = () => void rotator.stop().then(() => reject(interrupted()));
  });
  for (const name of SIGNALS) process.once(name, onSignal);
  try {
    return await Promise.race([rotate(), stopped]);
  } finally {
    for (const name of SIGNALS) process.off(name, onSignal);
  }
}

/** What is left when even the end of the rotation takes too long. */
function interrupted(): RotationError {
  return new RotationError(
    'ROTATION_STOPPED',
    'The rotation was left as it is: the secret store did not answer in time. See what came of it: service-token-broker status',
  );
}

const SIGNALS = ['SIGTERM', 'SIGINT'] as const;

/** The rotation goes on without us: what is current now is still the version before. */
function showRequested({ output }: CommandContext, { versionId, result }: Rotated): void {
  show(output, { result, version_id: versionId }, [
    `Asked Secrets Manager to rotate: its rotation function brings version ${versionId}.`,
    'That takes seconds. See how it ended: service-token-broker status',
  ]);
}

async function showRotated(
  { output }: CommandContext,
  core: Core,
  { versionId, result }: Rotated,
): Promise<void> {
  const { rotator, clock, config } = core;
  const current = await rotator.current();
  const receivers = current && (await receiversOf(core));
  const remaining = current === undefined ? 0 : current.expiresAt - clock.now();
  show(
    output,
    {
      result,
      version_id: versionId,
      ...(current && { expires_at: instant(current.expiresAt) }),
      remaining_seconds: Math.floor(remaining / 1000),
      ...(receivers !== undefined && { receivers_need: receivers }),
    },
    [
      result === 'recent'
        ? `Not rotated: version ${versionId} was minted ${span(Math.max(0, clock.now() - (current?.generatedAt ?? 0)))} ago. To mint another all the same: --force`
        : `Rotated: version ${versionId} is AWSCURRENT${result === 'adopted' ? ' (adopted: an earlier rotation had minted it)' : ''}.`,
      `The service token lives for another ${span(remaining)}.`,
      `Running brokers serve it when their cached one is refreshed, within ${span(config.cache.ttlSeconds * 1000)}.`,
      ...(receivers === undefined ? [] : [receivers]),
    ],
  );
}

async function receiversOf({
  store,
  config,
  source,
  verifierOptions,
}: Core): Promise<string | undefined> {
  const { settings } = await source.access();
  const [rules] = verifierOptions(settings).issuers;
  const { audience } = parseServiceToken((await store.read(config.secrets.tokenSecretId)).value);
  return rules && receiversNeed(rules, audience);
}

/** `rotate --dry-run`: what a rotation would do now. Reads the provider's keys; writes nothing, and mints nothing. */
export async function planCommand(context: CommandContext): Promise<void> {
  await withCore(context, async (core) => {
    const { store, rotator, slots, clock, config } = core;
    const acceptance = await acceptanceOf(core);
    const plan = await planRotation({
      store,
      tokenSecretId: config.secrets.tokenSecretId,
      rotator,
      slots,
      minimumRemaining: config.rotation.minRemainingSeconds * 1000,
      clock,
      isRefused: acceptance?.state === 'refused',
    });
    const coverage = await coverageNow(core, plan);
    show(
      context.output,
      planJson(plan, coverage, acceptance),
      lines(plan, coverage, acceptance, clock.now()),
    );
  });
}

/** What receivers do with the current token. */
interface Acceptance {
  readonly state: 'accepted' | 'refused' | 'not known';
  /** The stable code, and what is wrong, unless it is accepted. */
  readonly code?: string;
  readonly reason?: string;
}

/** `undefined` while there is no token. */
async function acceptanceOf({ store, config, verify }: Core): Promise<Acceptance | undefined> {
  try {
    const { value } = await store.read(config.secrets.tokenSecretId);
    await verify(parseServiceToken(value));
    return { state: 'accepted' };
  } catch (error) {
    if (error instanceof TokenSecretError || isStoreError(error, 'VERSION_NOT_FOUND')) {
      return undefined;
    }
    if (!(error instanceof BrokerError)) throw error;
    const { code, kind, message } = error;
    return { state: kind === 'rejected' ? 'refused' : 'not known', code, reason: message };
  }
}

async function coverageNow(core: Core, plan: RotationPlan): Promise<Coverage | undefined> {
  const gap = worstGap(await core.rotator.describe(), core.slots, core.clock.now());
  return plan.current && gap && coverageOf(plan.current, gap, core.config);
}

function planJson(
  plan: RotationPlan,
  coverage: Coverage | undefined,
  acceptance: Acceptance | undefined,
): object {
  const { mode, current, pending, schedule, onRequest } = plan;
  return {
    dry_run: true,
    rotated_by: mode,
    ...(current && {
      current: { version_id: current.versionId, expires_at: instant(current.expiresAt) },
    }),
    ...(pending !== undefined && { pending_version_id: pending }),
    schedule: plannedJson(schedule),
    on_request: plannedJson(onRequest),
    ...(coverage && { coverage: coverageJson(coverage) }),
    ...(acceptance && { receivers: acceptance }),
  };
}

function plannedJson({ action, versionId, reason }: PlannedRotation): object {
  return { action, reason, ...(versionId !== undefined && { version_id: versionId }) };
}

function lines(
  plan: RotationPlan,
  coverage: Coverage | undefined,
  acceptance: Acceptance | undefined,
  now: number,
): readonly string[] {
  const { mode, current, pending, schedule, onRequest } = plan;
  return [
    'Nothing was written, and nothing minted.',
    `Rotation     by ${ROTATED_BY[mode]}`,
    current === undefined
      ? 'Current      none yet'
      : `Current      version ${current.versionId}, for another ${span(current.expiresAt - now)}`,
    ...(acceptance === undefined ? [] : [`Receivers    ${acceptanceWords(acceptance)}`]),
    ...(pending === undefined
      ? []
      : [
          `Pending      version ${pending}: a rotation runs now, or one did not finish (rotate --repair)`,
        ]),
    `Schedule     ${words(schedule)}`,
    `rotate       ${words(onRequest)}`,
    coverage === undefined
      ? 'Coverage     not known'
      : `Coverage     ${coverage.covered ? 'ok' : 'TOO SHORT'}: ${coverage.explanation}`,
  ];
}

function acceptanceWords({ state, code, reason }: Acceptance): string {
  if (state === 'accepted') return 'accept the current token';
  const why = `(${code}): ${reason}`;
  return state === 'refused' ? `REFUSE the current token ${why}` : `not known ${why}`;
}

const ACTIONS: Readonly<Record<PlannedRotation['action'], string>> = {
  mint: 'would mint a token, stage, verify and promote it',
  adopt: 'would adopt the token that is staged, verify and promote it',
  request: 'would ask Secrets Manager to rotate',
  refuse: 'would be refused',
  none: 'would do nothing',
};

function words({ action, versionId, reason }: PlannedRotation): string {
  const version = versionId === undefined ? '' : ` as version ${versionId}`;
  return `${ACTIONS[action]}${version}: ${reason}`;
}

/**
 * `rotate --repair`: clears the pending version that a failed rotation left behind. AWSCURRENT is not touched, and
 * nothing is rotated.
 *
 * @param force clears it whatever its age is.
 */
export async function repairCommand(context: CommandContext, force: boolean): Promise<void> {
  await withCore(context, async ({ store, config, clock }) => {
    const { tokenSecretId } = config.secrets;
    const { cleared, reason } = await repairPending({ store, tokenSecretId, clock, force });
    show(
      context.output,
      { cleared_version_id: cleared ?? null, reason },
      cleared === undefined
        ? [`Nothing to repair: ${reason}.`]
        : [
            `Took AWSPENDING off version ${cleared} of secret "${tokenSecretId}" (${reason}).`,
            'AWSCURRENT is as it was. Rotate now: service-token-broker rotate',
          ],
    );
  });
}
