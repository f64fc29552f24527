import type { Core } from '../composition/core.js';
import { readTextInput } from '../composition/secret-file.js';
import { writeSecret } from '../composition/write-secret.js';
import { parseCredentialsSecret } from '../provider/client-credentials.js';
import { withCore, type CommandContext } from './commands.js';
import { show } from './output.js';

/**
 * `credentials set`: writes the credentials secret, for stores that people cannot edit otherwise. What is written is
 * checked first, so that a mistake does not replace credentials that work.
 */
export async function setCredentialsCommand(
  context: CommandContext,
  options: { readonly file: string },
): Promise<void> {
  const text = await readTextInput({
    path: options.file,
    what: 'the client credentials (JSON)',
    tell: (line) => context.output.err(`${line}\n`),
  });
  const { credentials } = parseCredentialsSecret(text);
  const write = async ({ store, config }: Core): Promise<void> => {
    const { credentialsSecretId } = config.secrets;
    const versionId = await writeSecret(store, credentialsSecretId, text);
    show(context.output, { client_id: credentials.clientId, version_id: versionId }, [
      `The credentials secret "${credentialsSecretId}" holds the credentials of client ${credentials.clientId}.`,
      'The next rotation uses them. Try them now: service-token-broker rotate',
    ]);
  };
  await withCore(context, write, { makes: 'store' });
}
