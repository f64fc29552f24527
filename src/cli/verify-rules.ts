import { storeIsMissing } from '../composition/open-store.js';
import {
  configuredSettings,
  providerKeys,
  verifierOptionsOf,
} from '../composition/verifier-options.js';
import type { BrokerConfig, ProviderConfig } from '../config/broker-config.js';
import { createOAuthProvider } from '../provider/oauth-provider.js';
import { resolveProviderSettings } from '../provider/provider-settings.js';
import { systemClock } from '../tokens/clock.js';
import { BrokerError } from '../tokens/errors.js';
import type { TokenVerifierOptions } from '../verification/index.js';
import { readConfig, withCore, type CommandContext } from './commands.js';

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
