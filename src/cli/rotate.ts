import type { Core } from '../composition/core.js';
import { receiversNeed } from '../composition/own-token.js';
import type { Rotated } from '../rotation/rotator.js';
import { parseServiceToken } from '../tokens/service-token.js';
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
      `Rotated: version ${versionId} is AWSCURRENT${result === 'adopted' ? ' (adopted: an earlier rotation had minted it)' : ''}.`,
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
