import type { Core } from '../composition/core.js';
import { receiversNeed } from '../composition/own-token.js';
import { RotationError } from '../rotation/rotation-error.js';
import type { Rotated, Rotator } from '../rotation/rotator.js';
import { parseServiceToken } from '../tokens/service-token.js';
import { withCore, type CommandContext } from './commands.js';
import { instant, show, span } from './output.js';

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
