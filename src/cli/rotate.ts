import { withCore, type CommandContext } from './commands.js';
import { instant, show, span } from './output.js';

/** `rotate`: rotates the service token now, by the same path as the schedule. */
export async function rotateCommand(context: CommandContext): Promise<void> {
  await withCore(context, async ({ rotator, clock }) => {
    const { versionId, result } = await rotator.rotate({ trigger: 'cli' });
    const current = await rotator.current();
    const remaining = current === undefined ? 0 : current.expiresAt - clock.now();
    show(
      context.output,
      {
        result,
        version_id: versionId,
        ...(current && { expires_at: instant(current.expiresAt) }),
        remaining_seconds: Math.floor(remaining / 1000),
      },
      [
        `Rotated: version ${versionId} is AWSCURRENT (${result}).`,
        `The service token lives for another ${span(remaining)}.`,
        'Running brokers serve it when their cached one is refreshed, within 5 minutes by default.',
      ],
    );
  });
}
