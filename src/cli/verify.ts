import { explainToken, type TokenExplanation } from '../verification/index.js';
import { withCore, type CommandContext } from './commands.js';
import { show, span } from './output.js';
import { readTextInput } from '../composition/secret-file.js';

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
  const text = (token === undefined || token === '-' ? await readTextInput('-') : token).trim();
  return withCore(context, async ({ source, verifierOptions }) => {
    const { settings } = await source.access();
    const explanation = await explainToken(text, verifierOptions(settings));
    show(context.output, explanation, lines(explanation));
    return explanation.accepted;
  });
}

function lines(explanation: TokenExplanation): readonly string[] {
  const { accepted, kind, code, isRetryable, steps, rules, seen } = explanation;
  const verdict = accepted
    ? `Accepted: a ${kind} token.`
    : isRetryable
      ? `Cannot be judged now (${code}).`
      : `Refused (${code}).`;
  return [
    verdict,
    '',
    ...steps.map(
      ({ step, outcome, words }) => `${outcome === 'ok' ? ' ok ' : 'FAIL'}  ${step}: ${words}`,
    ),
    ...(rules.length === 0
      ? []
      : ['', 'Rules that were asked:', ...rules.map((rule) => `  ${rule}`)]),
    '',
    accepted ? 'The token says:' : 'The token claims (nothing of it is proven):',
    ...Object.entries(seen)
      .filter(([, value]) => value !== undefined)
      .map(
        ([name, value]) =>
          `  ${name}: ${typeof value === 'object' ? JSON.stringify(value) : String(value)}`,
      ),
    ...(seen.remainingSeconds === undefined
      ? []
      : [`  remaining life: ${span(seen.remainingSeconds * 1000)}`]),
  ];
}
