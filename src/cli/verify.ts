import {
  byName,
  configuredSettings,
  coreOf,
  providerKeys,
  verifierOptionsOf,
} from '../composition/core.js';
import { audienceAdvice, receiversNeed } from '../composition/own-token.js';
import { networkOf, type Network } from '../composition/network.js';
import { storeIsMissing } from '../composition/open-store.js';
import { readTextInput } from '../composition/secret-file.js';
import {
  DEFAULT_NAME,
  type BrokerConfig,
  type ProviderConfig,
  type TokenConfig,
} from '../config/broker-config.js';
import { resolveProviderSettings } from '../provider/client-credentials.js';
import { createOAuthProvider } from '../provider/oauth-provider.js';
import { BrokerError } from '../tokens/errors.js';
import { trimPasted } from '../tokens/json.js';
import { systemClock } from '../tokens/time.js';
import { peekToken } from '../verification/explain.js';
import {
  explainToken,
  type TokenExplanation,
  type TokenVerifierOptions,
} from '../verification/index.js';
import { readConfig, withCore, type CommandContext } from './command.js';
import { plain, show, span, warn, type Output, type Paint } from '../composition/terminal.js';

/**
 * `verify`: what a token is, and why it is accepted or refused, by the rules that this broker's service tokens are
 * held to.
 *
 * @param token the token; without one it is read from standard input, which keeps it out of the shell's history.
 * @param name of the configured token whose rules apply. Default: by the token's own issuer and audience.
 * @returns true when the token is accepted.
 */
export async function verifyCommand(
  context: CommandContext,
  token: string | undefined,
  name?: string,
): Promise<boolean> {
  const { output } = context;
  const text =
    token === undefined || token === '-'
      ? await readTextInput({
          path: '-',
          what: 'the token',
          tell: (line) => output.err(`${line}\n`),
        })
      : trimPasted(token);
  const options = await rulesOfReceivers(context, (tokens) => chooseRules(tokens, text, name));
  const explanation = await explainToken(text, options);
  const hint = tokenHint(text);
  const advice = adviceFor(explanation, options);
  show(
    output,
    {
      ...explanation,
      ...(hint !== undefined && { hint }),
      ...(advice !== undefined && { [explanation.accepted ? 'receiversNeed' : 'advice']: advice }),
    },
    explanationLines(explanation, hint, advice, output.paint),
  );
  return explanation.accepted;
}

/**
 * The rules that receivers judge a token by. Receivers have no store: none is opened where the configuration suffices.
 *
 * @throws {BrokerError} when neither the configuration nor the store names the provider.
 */
async function rulesOfReceivers(
  context: CommandContext,
  choose: (tokens: BrokerConfig['tokens']) => TokenConfig,
): Promise<TokenVerifierOptions> {
  const config = readConfig(context);
  const isMissing = await storeIsMissing(config);
  const token = choose(config.tokens);
  if (sourceOfRules(token.provider, isMissing) === 'configuration') {
    return configuredRules(context.output, token, await networkOf(config));
  }
  if (isMissing) {
    throw new BrokerError(
      'STORE_MISSING',
      'misconfigured',
      'The provider is not known: set BROKER_ISSUER and BROKER_AUDIENCE, as receivers do; or name the data folder of a broker with BROKER_DATA_DIR.',
    );
  }
  return withCore(
    context,
    async (core) => {
      const { source, verifierOptions } = coreOf(core, token.name);
      return verifierOptions((await source.access()).settings);
    },
    { config },
  );
}

/**
 * The configured token whose rules a text is judged by: the one that is named, or the one whose issuer and audience the
 * text claims, or else `default`. Pure.
 *
 * @throws {BrokerError} `TOKEN_NAME_UNKNOWN` when none is configured by that name.
 */
export function chooseRules(
  tokens: BrokerConfig['tokens'],
  text: string,
  name?: string,
): TokenConfig {
  const byNames = new Map(tokens.map((token) => [token.name, token]));
  if (name !== undefined) return byName(byNames, name);
  const { iss, aud = [] } = peekToken(text, 0);
  const ofIssuer = tokens.filter(({ provider }) => iss !== undefined && provider.issuer === iss);
  const fitting = ofIssuer.find(({ provider: { audience, resource } }) =>
    aud.some((one) => one === audience || resource.includes(one)),
  );
  const [first] = ofIssuer;
  return fitting ?? byNames.get(DEFAULT_NAME) ?? first ?? tokens[0];
}

/**
 * Where the rules come from. Without a configured audience one may stand in the credentials secret, where it takes
 * precedence over a resource. Pure.
 */
export function sourceOfRules(
  { issuer, audience }: Pick<ProviderConfig, 'issuer' | 'audience'>,
  isStoreMissing: boolean,
): 'configuration' | 'credentials secret' {
  if (issuer === undefined) return 'credentials secret';
  return audience !== undefined || isStoreMissing ? 'configuration' : 'credentials secret';
}

function configuredRules(
  output: Output,
  token: TokenConfig,
  network: Network | undefined,
): TokenVerifierOptions {
  const clock = systemClock;
  const settings = resolveProviderSettings(configuredSettings(token), {});
  if (settings.audience === undefined && settings.resource === undefined) {
    warn(output, 'the audience is not checked, because BROKER_AUDIENCE is not set.');
  }
  const keys = providerKeys(
    createOAuthProvider({ clock, network }),
    settings,
    clock,
    network?.fetch,
  );
  return verifierOptionsOf(token, settings, keys, clock);
}

/** What was pasted around the token and does not belong to it. Pure. */
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
  paint: Paint = plain,
): readonly string[] {
  const { accepted, steps, rules } = explanation;
  return [
    verdict(explanation, paint),
    ...(hint === undefined ? [] : [hint]),
    '',
    ...steps.map(({ step, outcome, words }) => {
      const label = outcome === 'ok' ? paint('good', ' ok ') : paint('bad', 'FAIL');
      return `${label}  ${step}: ${words}`;
    }),
    ...(advice === undefined ? [] : ['', advice]),
    ...section('Rules that were asked:', rules),
    ...section(
      accepted ? 'The token says:' : 'The token claims (nothing of it is proven):',
      seenLines(explanation),
    ),
  ];
}

function verdict({ accepted, kind, code, isRetryable }: TokenExplanation, paint: Paint): string {
  if (accepted) return `${paint('good', 'Accepted')}: a ${kind} token.`;
  return isRetryable
    ? `${paint('warning', 'Cannot be judged now')} (${code}).`
    : `${paint('bad', 'Refused')} (${code}).`;
}

/** No heading stands over nothing: it would look as if something were missing. */
function section(heading: string, entries: readonly string[]): readonly string[] {
  return entries.length === 0 ? [] : ['', heading, ...entries.map((entry) => `  ${entry}`)];
}

function seenLines({ seen }: TokenExplanation): readonly string[] {
  const members = Object.entries(seen).flatMap(([name, value]) =>
    value === undefined
      ? []
      : [`${name}: ${typeof value === 'object' ? JSON.stringify(value) : String(value)}`],
  );
  const { remainingSeconds } = seen;
  return remainingSeconds === undefined
    ? members
    : [...members, `remaining life: ${span(remainingSeconds * 1000)}`];
}
