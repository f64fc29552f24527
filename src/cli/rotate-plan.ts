import type { Core } from '../composition/core.js';
import { coverageOf } from '../composition/coverage.js';
import type { Coverage } from '../rotation/coverage.js';
import { planRotation, type PlannedRotation, type RotationPlan } from '../rotation/plan.js';
import { worstGap } from '../rotation/worst-gap.js';
import { withCore, type CommandContext } from './commands.js';
import { instant, ROTATED_BY, show, span } from './output.js';

/** `rotate --dry-run`: what a rotation would do now. Writes nothing, and mints nothing. */
export async function planCommand(context: CommandContext): Promise<void> {
  await withCore(context, async (core) => {
    const { store, rotator, slots, clock, config } = core;
    const plan = await planRotation({
      store,
      tokenSecretId: config.secrets.tokenSecretId,
      rotator,
      slots,
      minimumRemaining: config.rotation.minRemainingSeconds * 1000,
      clock,
    });
    const coverage = await coverageNow(core, plan);
    show(context.output, planJson(plan, coverage), lines(plan, coverage, clock.now()));
  });
}

async function coverageNow(core: Core, plan: RotationPlan): Promise<Coverage | undefined> {
  const gap = worstGap(await core.rotator.describe(), core.slots, core.clock.now());
  return plan.current && gap && coverageOf(plan.current, gap, core.config);
}

function planJson(plan: RotationPlan, coverage: Coverage | undefined): object {
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
    ...(coverage && { coverage }),
  };
}

function plannedJson({ action, versionId, reason }: PlannedRotation): object {
  return { action, reason, ...(versionId !== undefined && { version_id: versionId }) };
}

function lines(plan: RotationPlan, coverage: Coverage | undefined, now: number): readonly string[] {
  const { mode, current, pending, schedule, onRequest } = plan;
  return [
    'Nothing was written, and nothing minted.',
    `Rotation     by ${ROTATED_BY[mode]}`,
    current === undefined
      ? 'Current      none yet'
      : `Current      version ${current.versionId}, for another ${span(current.expiresAt - now)}`,
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
