import { audienceAdvice, receiversNeed } from '../composition/own-token.js';
import type { TokenExplanation, TokenVerifierOptions } from '../verification/index.js';
import { span } from './output.js';

/** What was given around the token by a slip of the hand: nothing of it belongs to the token. Pure. */
export function tokenHint(text: string): string | undefined {
  if (/^["'`]|["'`]$/.test(text)) return 'Leave out the quotes.';
  if (/^(?:authorization:\s*)?bearer\b/i.test(text)) return 'Leave out the word Bearer.';
  return undefined;
}

/** What receivers need to accept a token, or what to set when they refuse its further audiences. Pure. */
export function adviceFor(
  { accepted, code, seen }: TokenExplanation,
  { issuers: [options] }: TokenVerifierOptions,
): string | undefined {
  if (options === undefined) return undefined;
  const aud = seen.aud ?? [];
  if (accepted) return receiversNeed(options, aud);
  return code === 'TOKEN_AUDIENCE_WRONG' ? audienceAdvice(aud, options) : undefined;
}

/** An explanation for people. Pure. */
export function explanationLines(
  explanation: TokenExplanation,
  hint: string | undefined,
  advice?: string,
): readonly string[] {
  const { accepted, steps, rules } = explanation;
  return [
    verdict(explanation),
    ...(hint === undefined ? [] : [hint]),
    '',
    ...steps.map(
      ({ step, outcome, words }) => `${outcome === 'ok' ? ' ok ' : 'FAIL'}  ${step}: ${words}`,
    ),
    ...(advice === undefined ? [] : ['', advice]),
    ...section('Rules that were asked:', rules),
    ...section(
      accepted ? 'The token says:' : 'The token claims (nothing of it is proven):',
      seenLines(explanation),
    ),
  ];
}

function verdict({ accepted, kind, code, isRetryable }: TokenExplanation): string {
  if (accepted) return `Accepted: a ${kind} token.`;
  return isRetryable ? `Cannot be judged now (${code}).` : `Refused (${code}).`;
}

/** A heading over nothing would look like something that is missing. */
function section(heading: string, entries: readonly string[]): readonly string[] {
  return entries.length === 0 ? [] : ['', heading, ...entries.map((entry) => `  ${entry}`)];
}

function seenLines({ seen }: TokenExplanation): readonly string[] {
  const members = Object.entries(seen)
    .filter(([, value]) => value !== undefined)
    .map(
      ([name, value]) =>
        `${name}: ${typeof value === 'object' ? JSON.stringify(value) : String(value)}`,
    );
  const { remainingSeconds } = seen;
  return remainingSeconds === undefined
    ? members
    : [...members, `remaining life: ${span(remainingSeconds * 1000)}`];
}
