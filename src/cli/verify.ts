import {
  audienceAdvice,
  receiversNeed,
  configuredSettings,
  providerKeys,
  verifierOptionsOf,
} from '../composition/core.js';
import {
  type TokenExplanation,
  type TokenVerifierOptions,
  explainToken,
} from '../verification/index.js';
import { span, readConfig, withCore, type CommandContext, show } from './command.js';
import { storeIsMissing } from '../composition/open-store.js';
import type { BrokerConfig, ProviderConfig } from '../config/broker-config.js';
import { createOAuthProvider } from '../provider/oauth-provider.js';
import { resolveProviderSettings } from '../provider/client-credentials.js';
import { systemClock } from '../tokens/time.js';
import { BrokerError } from '../tokens/errors.js';
import { readTextInput } from '../composition/secret-file.js';
import { trimPasted } from '../tokens/json.js';

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

/**
 * By which rules receivers judge a token. Receivers have no store: where the configuration says it all, none is opened.
 *
 * @throws {BrokerError} when neither the configuration nor the store says who the provider is.
 */
export async function rulesOfReceivers(context: CommandContext): Promise<TokenVerifierOptions> {
  const config = readConfig(context);
  const isMissing = await storeIsMissing(config);
  if (whereRulesStand(config.provider, isMissing) === 'configuration') {
    return configuredRules(context, config);
  }
  if (isMissing) {
    throw new BrokerError(
      'STORE_MISSING',
      'misconfigured',
      'Nobody says who the provider is: set BROKER_ISSUER and BROKER_AUDIENCE, as receivers do; or name the data folder of a broker with BROKER_DATA_DIR.',
    );
  }
  return withCore(
    context,
    async ({ source, verifierOptions }) => verifierOptions((await source.access()).settings),
    { config },
  );
}

/**
 * Whether the configuration says all that a token is held to. Without an audience in it, one may stand in the
 * credentials secret, where there is one; to the broker that counts more than a resource. Pure.
 */
export function whereRulesStand(
  { issuer, audience }: Pick<ProviderConfig, 'issuer' | 'audience'>,
  storeIsMissing: boolean,
): 'configuration' | 'credentials secret' {
  if (issuer === undefined) return 'credentials secret';
  return audience !== undefined || storeIsMissing ? 'configuration' : 'credentials secret';
}

function configuredRules({ output }: CommandContext, config: BrokerConfig): TokenVerifierOptions {
  const clock = systemClock;
  const settings = resolveProviderSettings(configuredSettings(config), {});
  if (settings.audience === undefined && settings.resource === undefined) {
    output.err('Warning: the audience is not checked, because BROKER_AUDIENCE is not set.\n');
  }
  const keys = providerKeys(createOAuthProvider({ clock }), settings, clock);
  return verifierOptionsOf(config, settings, keys, clock);
}

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
