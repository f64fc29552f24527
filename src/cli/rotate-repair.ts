import { repairPending } from '../rotation/repair.js';
import { withCore, type CommandContext } from './commands.js';
import { show } from './output.js';

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
