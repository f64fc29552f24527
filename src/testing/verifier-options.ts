import {
  createRemoteKeySet,
  createStaticKeySet,
  PROFILES,
  type ClassificationProfile,
  type IssuerOptions,
  type KeySet,
  type RemoteKeySetOptions,
  type TokenVerifierOptions,
} from '../verification/index.js';
import type { IssuerTokens, MintSettings } from './issuer-tokens.js';
import { PROVIDER_SHAPES } from './provider-shapes.js';
import { DEFAULT_CLIENT_IDS } from './token-overrides.js';

/** What is different from the defaults of `verifierOptions`. */
export interface VerifierChanges
  extends
    Partial<Omit<IssuerOptions, 'issuer' | 'audiences'>>,
    Omit<TokenVerifierOptions, 'issuers' | 'clock'> {
  /** Who the service under test is. Default: the issuer's audience; `null` for Cognito, whose tokens have none. */
  readonly audience?: IssuerOptions['audiences'];
  /** How keys are fetched: cooldown, age, time-out. Without effect offline. */
  readonly keyFetching?: Omit<RemoteKeySetOptions, 'jwksUri' | 'clock'>;
}

/** Options that fit the tokens of a test issuer. @param jwksUri `undefined` for keys that never change. */
export function verifierOptionsFor(
  settings: MintSettings,
  tokens: IssuerTokens,
  jwksUri: string | undefined,
  changes: VerifierChanges,
): TokenVerifierOptions {
  const { issuer, profile, clock } = settings;
  const { audience, keyFetching, clockSkewSeconds, maxTokenLength, cache, ...own } = changes;
  const keys: KeySet =
    jwksUri === undefined
      ? createStaticKeySet(tokens.jwks())
      : createRemoteKeySet({ ...keyFetching, jwksUri, clock });
  const hasAudience = PROVIDER_SHAPES[profile].hasAudience !== false;
  const byDefault = hasAudience ? settings.audience : null;
  return {
    clock,
    ...(clockSkewSeconds === undefined ? {} : { clockSkewSeconds }),
    ...(maxTokenLength === undefined ? {} : { maxTokenLength }),
    ...(cache === undefined ? {} : { cache }),
    issuers: [
      {
        profile,
        keys,
        ...listsFor(settings),
        ...own,
        issuer,
        audiences: audience === undefined ? byDefault : audience,
      },
    ],
  };
}

/** Where claims cannot decide, or have no audience, the client ids do. */
function listsFor({
  profile,
}: MintSettings): Pick<IssuerOptions, 'serviceClientIds' | 'customerClientIds'> {
  const { decidedBy }: ClassificationProfile = PROFILES[profile];
  if (decidedBy !== 'client-ids' && PROVIDER_SHAPES[profile].hasAudience !== false) return {};
  return {
    serviceClientIds: [DEFAULT_CLIENT_IDS.service],
    customerClientIds: [DEFAULT_CLIENT_IDS.customer],
  };
}
