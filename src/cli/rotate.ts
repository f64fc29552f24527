import { coverageOf, type Core, type TokenCore } from '../composition/core.js';
import { receiversNeed } from '../composition/own-token.js';
import { worstGap, type Coverage } from '../rotation/coverage.js';
import { repairPending } from '../rotation/repair.js';
import {
  planRotation,
  type PlannedRotation,
  type RotationPlan,
} from '../rotation/rotation-plan.js';
import { RotationError } from '../rotation/rotation.js';
import type { Rotated } from '../rotation/rotator.js';
import { isStoreError } from '../secrets/secret-store.js';
import { BrokerError } from '../tokens/errors.js';
import { parseServiceToken, TokenSecretError } from '../tokens/service-token.js';
import {
  coverageJson,
  coverageText,
  ROTATED_BY,
  chosenCore,
  tokenArgument,
  withCore,
  type CommandContext,
} from './command.js';
import {
  entryLines,
  instant,
  show,
  span,
  type Output,
  type Paint,
} from '../composition/terminal.js';

/** Options of `rotate`. */
export interface RotateOptions {
  /** Says what a rotation would do. Writes nothing, and mints nothing. */
  readonly dryRun?: boolean;
  /** Clears the pending version that a failed rotation left behind, and rotates nothing. */
  readonly repair?: boolean;
  /** Rotates even when the token was minted a moment ago; repairs whatever the age of the pending version. */
  readonly force?: boolean;
  /** Rotates in any case, and marks the token before as withdrawn. */
  readonly revokeCached?: boolean;
  /** The token's name. Default: the only one, or `default`. */
  readonly token?: string;
  /** Rotates every token, one after another. */
  readonly all?: boolean;
}

/**
 * `rotate`: rotates the service token now, by the same path as the schedule, or asks Secrets Manager to.
 *
 * @returns false when one of several rotations failed.
 * @throws {BrokerError}
 */
export async function rotateCommand(
  context: CommandContext,
  {
    dryRun = false,
    repair = false,
    force = false,
    revokeCached = false,
    token,
    all = false,
  }: RotateOptions,
): Promise<boolean | void> {
  const { output } = context;
  if (dryRun) return withCore(context, (core) => showPlan(output, chosenCore(core, token)));
  if (repair) return withCore(context, (core) => repairNow(output, chosenCore(core, token), force));
  if (all)
    return withCore(context, (core) => rotateAll(output, core, force), { creates: 'secrets' });
  // A rotation needs the credentials secret, which a new store would not hold.
  return withCore(
    context,
    (core) => rotateNow(output, chosenCore(core, token), force, revokeCached),
    {
      creates: 'secrets',
    },
  );
}

async function rotateNow(
  output: Output,
  core: TokenCore,
  force: boolean,
  revoke: boolean,
): Promise<void> {
  const { versionId, result } = await rotateUntilSignal(core, force, revoke);
  if (result !== 'requested') return showRotated(output, core, { versionId, result }, revoke);
  // The rotation goes on without this process; until it ends, the version before is current.
  show(output, { result, version_id: versionId }, [
    `Asked Secrets Manager to rotate: its rotation function brings version ${versionId}.`,
    'That takes seconds. See how it ended: service-token-broker status',
    ...(revoke
      ? [
          'The version before is withdrawn with it, if the rotation function is of this version of the broker or a later one.',
        ]
      : []),
  ]);
}

/** How the rotation of one of several tokens ended, for programs. */
interface RotatedToken {
  readonly token: string;
  readonly result: Rotated['result'] | 'failed';
  readonly version_id?: string;
  readonly error?: Pick<BrokerError, 'code' | 'kind' | 'message'>;
}

/** Rotates every token in turn: one that fails does not keep the others from being rotated. */
async function rotateAll(output: Output, { tokens }: Core, force: boolean): Promise<boolean> {
  const rotated: RotatedToken[] = [];
  const lines: string[] = [];
  for (const [token, core] of tokens) {
    try {
      const { versionId, result } = await rotateUntilSignal(core, force, false);
      rotated.push({ token, result, version_id: versionId });
      lines.push(`${token}: ${RESULT_WORDS[result]} (version ${versionId}).`);
    } catch (error) {
      // Somebody has stopped this command, and with it the rotations to come.
      if (!(error instanceof BrokerError) || error.code === 'ROTATION_STOPPED') throw error;
      const { code, kind, message } = error;
      rotated.push({ token, result: 'failed', error: { code, kind, message } });
      lines.push(`${token}: ${output.paint('bad', 'FAILED')}: ${message} (${code})`);
    }
  }
  const ok = rotated.every(({ result }) => result !== 'failed');
  show(output, { ok, tokens: rotated }, lines);
  return ok;
}

const RESULT_WORDS: Readonly<Record<Rotated['result'], string>> = {
  rotated: 'rotated',
  adopted: 'rotated, with a token that an earlier rotation had minted',
  'already-rotated': 'rotated already',
  recent: 'not rotated, since its token is of a moment ago',
  requested: 'Secrets Manager was asked to rotate',
};

const SIGNALS = ['SIGTERM', 'SIGINT'] as const;

/**
 * Rotates until SIGTERM or SIGINT. Either ends a wait at once, and abandons a mint that takes longer than four seconds.
 * The next signal ends the process.
 */
async function rotateUntilSignal(
  { rotator }: TokenCore,
  force: boolean,
  revoke: boolean,
): Promise<Rotated> {
  const interrupted = new RotationError(
    'ROTATION_STOPPED',
    'The rotation was left as it is: the secret store did not answer in time. See what came of it: service-token-broker status',
  );
  let onSignal: () => void = () => undefined;
  const stopped = new Promise<never>((_, reject) => {
    onSignal = () => void rotator.stop().then(() => reject(interrupted));
  });
  for (const name of SIGNALS) process.once(name, onSignal);
  try {
    return await Promise.race([rotator.rotate({ trigger: 'cli', force, revoke }), stopped]);
  } finally {
    for (const name of SIGNALS) process.off(name, onSignal);
  }
}

async function showRotated(
  output: Output,
  core: TokenCore,
  { versionId, result }: Rotated,
  revoked: boolean,
): Promise<void> {
  const { rotator, clock, config } = core;
  const current = await rotator.current();
  const receivers = current && (await guardOptions(core));
  const now = clock.now();
  const remaining = current === undefined ? 0 : current.expiresAt - now;
  const age = Math.max(0, now - (current?.generatedAt ?? 0));
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
        ? `Not rotated: version ${versionId} was minted ${span(age)} ago. To mint another all the same: --force`
        : `Rotated: version ${versionId} is AWSCURRENT${result === 'adopted' ? ' (adopted: an earlier rotation had minted it)' : ''}.`,
      `The service token lives for another ${span(remaining)}.`,
      ...(revoked
        ? [
            'The one before is withdrawn. Receivers accept it until it expires: they ask nobody. Revoke it at the provider, too.',
          ]
        : []),
      `Running brokers serve it when their cached one is refreshed, within ${span(config.cache.ttlSeconds * 1000)}.`,
      ...(receivers === undefined ? [] : [receivers]),
    ],
  );
}

/** The guard options that accept the current token, as text to paste. */
async function guardOptions({
  store,
  token,
  source,
  verifierOptions,
}: TokenCore): Promise<string | undefined> {
  const { settings } = await source.access();
  const [rules] = verifierOptions(settings).issuers;
  const { audience } = parseServiceToken((await store.read(token.secretId)).value);
  return rules && receiversNeed(rules, audience);
}

/** What receivers do with the current token. */
interface Acceptance {
  readonly state: 'accepted' | 'refused' | 'not known';
  /** The stable code, and what is wrong, unless it is accepted. */
  readonly code?: string;
  readonly reason?: string;
}

/** What a rotation would do now. Reads the provider's keys. */
async function showPlan(output: Output, core: TokenCore): Promise<void> {
  const { store, rotator, slots, clock, token } = core;
  const acceptance = await acceptanceOf(core);
  const plan = await planRotation({
    store,
    tokenSecretId: token.secretId,
    rotator,
    slots,
    minimumRemaining: token.rotation.minRemainingSeconds * 1000,
    clock,
    isRefused: acceptance?.state === 'refused',
  });
  const gap = worstGap(await rotator.describe(), slots, clock.now());
  const coverage = plan.current && gap && coverageOf(plan.current, gap, core);
  show(
    output,
    planJson(plan, coverage, acceptance),
    planLines(plan, coverage, acceptance, clock.now(), output.paint),
  );
}

/** `undefined` while there is no token. */
async function acceptanceOf({ store, token, verify }: TokenCore): Promise<Acceptance | undefined> {
  try {
    const { value } = await store.read(token.secretId);
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

function planJson(
  { mode, current, pending, schedule, onRequest }: RotationPlan,
  coverage: Coverage | undefined,
  acceptance: Acceptance | undefined,
): object {
  return {
    dry_run: true,
    rotated_by: mode,
    ...(current && {
      current: { version_id: current.versionId, expires_at: instant(current.expiresAt) },
    }),
    ...(pending !== undefined && { pending_version_id: pending }),
    schedule,
    on_request: onRequest,
    ...(coverage && { coverage: coverageJson(coverage) }),
    ...(acceptance && { receivers: acceptance }),
  };
}

function planLines(
  { mode, current, pending, schedule, onRequest }: RotationPlan,
  coverage: Coverage | undefined,
  acceptance: Acceptance | undefined,
  now: number,
  paint: Paint,
): readonly string[] {
  return [
    'Nothing was written, and nothing minted.',
    ...entryLines(
      [
        ['Rotation', `by ${ROTATED_BY[mode]}`],
        [
          'Current',
          current === undefined
            ? 'none yet'
            : `version ${current.versionId}, for another ${span(current.expiresAt - now)}`,
        ],
        acceptance && ['Receivers', acceptanceText(acceptance, paint)],
        pending === undefined
          ? undefined
          : [
              'Pending',
              `version ${pending}: a rotation runs now, or one did not finish (rotate --repair)`,
            ],
        ['Schedule', plannedText(schedule)],
        ['rotate', plannedText(onRequest)],
        ['Coverage', coverage === undefined ? 'not known' : coverageText(coverage, paint)],
      ],
      paint,
    ),
  ];
}

function acceptanceText({ state, code, reason }: Acceptance, paint: Paint): string {
  if (state === 'accepted') return 'accept the current token';
  const why = `(${code}): ${reason}`;
  return state === 'refused'
    ? `${paint('bad', 'REFUSE')} the current token ${why}`
    : `not known ${why}`;
}

const ACTIONS: Readonly<Record<PlannedRotation['action'], string>> = {
  mint: 'would mint a token, stage, verify and promote it',
  adopt: 'would adopt the token that is staged, verify and promote it',
  request: 'would ask Secrets Manager to rotate',
  refuse: 'would be refused',
  none: 'would do nothing',
};

function plannedText({ action, versionId, reason }: PlannedRotation): string {
  const version = versionId === undefined ? '' : ` as version ${versionId}`;
  return `${ACTIONS[action]}${version}: ${reason}`;
}

async function repairNow(
  output: Output,
  { store, token, config, clock }: TokenCore,
  force: boolean,
): Promise<void> {
  const tokenSecretId = token.secretId;
  const { cleared, reason } = await repairPending({ store, tokenSecretId, clock, force });
  show(
    output,
    { cleared_version_id: cleared ?? null, reason },
    cleared === undefined
      ? [`Nothing to repair: ${reason}.`]
      : [
          `Took AWSPENDING off version ${cleared} of secret "${tokenSecretId}" (${reason}).`,
          `AWSCURRENT is as it was. Rotate now: service-token-broker rotate${tokenArgument(token.name, config)}`,
        ],
  );
}
