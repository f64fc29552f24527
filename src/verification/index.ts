export {
  isSignatureAlgorithm,
  SIGNATURE_ALGORITHMS,
  type SignatureAlgorithm,
} from './keys/usable-keys.js';
export {
  KeyFetchError,
  KeysUnavailableError,
  TokenRejectedError,
  VerifierConfigError,
  type KeyFetchCode,
  type TokenRejectionCode,
} from './verification-errors.js';
export { explainToken, type ExplainedStep, type TokenExplanation } from './explain.js';
export type { JudgementStep, VerifiedToken } from './judge.js';
export type {
  KeyMatch,
  KeysAtHand,
  KeySet,
  KeySetState,
  VerificationKey,
  WantedKey,
} from './keys/key-set.js';
export { createRemoteKeySet, type RemoteKeySet } from './keys/remote-key-set.js';
export type { RemoteKeySetOptions } from './keys/remote-key-set.js';
export { createStaticKeySet } from './keys/key-set.js';
export type { IgnoredKey, IgnoredKeyReason } from './keys/usable-keys.js';
export type { IssuerOptions, TokenVerifierOptions } from './verifier-options.js';
export type { TokenSight } from './explain.js';
export type { Actor, CustomerPrincipal, Principal, ServicePrincipal } from './principal.js';
export {
  classify,
  type Classification,
  type ClassificationRefusal,
  type ClassifyOptions,
} from './profiles/classify.js';
export type { Condition } from './profiles/profile.js';
export {
  checkProfile,
  type ClassificationProfile,
  type ClientIdSource,
} from './profiles/profile.js';
export { isProfileName, PROFILE_NAMES, PROFILES, type ProfileName } from './profiles/providers.js';
export { createTokenVerifier, type TokenVerifier } from './verifier.js';
