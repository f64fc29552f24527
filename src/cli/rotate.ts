import type { Core } from '../composition/core.js';
import type { Rotated } from '../rotation/rotator.js';
import { withCore, type CommandContext } from './commands.js';
import { instant, show, span } from './output.js';

/** `rotate`: rotates the service token now, by the same path as the schedule, or asks Secrets Manager to. */
export async function rotateCommand(context: CommandContext): Promise<void> {
  const rotate = async (core: Core): Promise<void> => {
    const rotated = await core.rotator.rotate({ trigger: 'cli' });
    if (rotated.result === 'requested') showRequested(context, rotated);
    else await showRotated(context, core, rotated);
  };
  // A rotation needs the credentials secret: a store that is not there holds none.
  await withCore(context, rotate, { makes: 'secrets' });
}

/** The rotation goes on without us: what is current now is still the version before. */
function showRequested({ output }: CommandContext, { versionId, result }: Rotated): void {
  show(output, { result, version_id: versionId }, [
    `Asked Secrets Manager to rotate: its rotation function brings version ${versionId}.`,
    'That takes seconds. See how it ended: service-token-broker status',
  ]);
}

async function showRotated(
  { output }: CommandContext,
  { rotator, clock, config }: Core,
  { versionId, result }: Rotated,
): Promise<void> {
  const current = await rotator.current();
  const remaining = current === undefined ? 0 : current.expiresAt - clock.now();
  show(
    output,
    {
      result,
      version_id: versionId,
      ...(current && { expires_at: instant(current.expiresAt) }),
      remaining_seconds: Math.floor(remaining / 1000),
    },
    [
      `Rotated: version ${versionId} is AWSCURRENT${result === 'adopted' ? ' (adopted: an earlier rotation had minted it)' : ''}.`,
      `The service token lives for another ${span(remaining)}.`,
      `Running brokers serve it when their cached one is refreshed, within ${span(config.cache.ttlSeconds * 1000)}.`,
    ],
  );
}
