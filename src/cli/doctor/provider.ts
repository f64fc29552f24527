import type { ProviderSettings } from '../../provider/provider-settings.js';
import type { ProviderMetadata } from '../../provider/token-provider.js';
import { createRemoteKeySet, type KeySetState } from '../../verification/index.js';
import { ok, warning, type Examined, type Finding } from './examination.js';
import type { Patient } from './store.js';

/** The provider as it describes itself, with the settings that it was asked by. */
export interface ExaminedProvider {
  readonly settings: ProviderSettings;
  readonly metadata: ProviderMetadata;
}

/** Whether the provider is known and describes itself. @throws {BrokerError} */
export async function examineProvider({
  source,
  provider,
}: Patient): Promise<Examined<ExaminedProvider>> {
  const { settings } = await source.access();
  const metadata = await provider.metadata(settings);
  const isAsked = settings.tokenEndpoint === undefined || settings.jwksUri === undefined;
  const how = isAsked ? 'describes itself' : 'is configured, with nothing to discover';
  return {
    ...ok(
      `${metadata.issuer} ${how}: token endpoint ${metadata.tokenEndpoint}, keys ${metadata.jwksUri}.`,
    ),
    value: { settings, metadata },
  };
}

/** Whether the provider's public keys can be had and used. @throws {BrokerError} */
export async function examineKeys(
  { clock }: Patient,
  { settings, metadata }: ExaminedProvider,
): Promise<Finding> {
  const keys = createRemoteKeySet({
    jwksUri: metadata.jwksUri,
    clock,
    allowInsecureHttp: settings.allowInsecureHttp === true,
  });
  await keys.refresh();
  return judgeKeys(keys.state());
}

/** Whether the provider publishes keys to verify with. Pure. */
export function judgeKeys({ keyIds, ignored }: Pick<KeySetState, 'keyIds' | 'ignored'>): Finding {
  const left = ignored.map(
    ({ keyId, reason }) =>
      `${keyId ?? 'one without an id'} (${reason === 'roca' ? 'ROCA, CVE-2017-15361' : reason})`,
  );
  const unused = left.length === 0 ? '' : ` Not used: ${left.join(', ')}.`;
  if (keyIds.length > 0) return ok(`Published, by their ids: ${keyIds.join(', ')}.${unused}`);
  return warning(
    `The provider publishes no key with an id.${unused}`,
    'Whether its tokens can be verified all the same is shown by "classification".',
  );
}
