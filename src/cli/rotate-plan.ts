import type { Core } from '../composition/core.js';
import { coverageOf } from '../composition/coverage.js';
import type { Coverage } from '../rotation/coverage.js';
import { planRotation, type PlannedRotation, type RotationPlan } from '../rotation/plan.js';
import { worstGap } from '../rotation/worst-gap.js';
import { isStoreError } from '../secrets/secret-store-error.js';
import { BrokerError } from '../tokens/errors.js';
import { parseServiceToken, TokenSecretError } from '../tokens/service-token.js';
import { withCore, type CommandContext } from './commands.js';
import { coverageJson, instant, ROTATED_BY, show, span } from './output.js';

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
