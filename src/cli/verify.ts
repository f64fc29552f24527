import { readTextInput } from '../composition/secret-file.js';
import { trimPasted } from '../tokens/pasted-text.js';
import { explainToken } from '../verification/index.js';
import type { CommandContext } from './commands.js';
import { show } from './output.js';
import { adviceFor, explanationLines, tokenHint } from './verify-report.js';
import { rulesOfReceivers } from './verify-rules.js';

/**
 * `verify`: what a token is, and why it is accepted or refused, by the rules that this broker's service tokens are
 * held to.
 *
 * @param token the token; without one it is read from standard input, which keeps it out of the shell's history.
 * @returns true when the token is accepted.
 */
export async function verifyCommand(
  context: CommandContext,
  token: string | undefined,
): Promise<boolean> {
  const text =
    token === undefined || token === '-'
      ? await readTextInput({
          path: '-',
          what: 'the token',
          tell: (line) => context.output.err(`${line}\n`),
        })
      : trimPasted(token);
  const options = await rulesOfReceivers(context);
  const explanation = await explainToken(text, options);
  const hint = tokenHint(text);
  const advice = adviceFor(explanation, options);
  show(
    context.output,
    {
      ...explanation,
      ...(hint !== undefined && { hint }),
      ...(advice !== undefined && { [explanation.accepted ? 'receiversNeed' : 'advice']: advice }),
    },
    explanationLines(explanation, hint, advice),
  );
  return explanation.accepted;
}
