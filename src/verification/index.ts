export {
  explainToken,
  type ExplainedStep,
  type TokenExplanation,
  type TokenSight,
} from './explain.js';
export type { JudgementStep, VerifiedToken } from './judge.js';
export {
  createStaticKeySet,
  type KeyMatch,
  type KeysAtHand,
  type KeySet,
  type KeySetState,
  type VerificationKey,
  type WantedKey,
} from './keys/key-set.js';
export {
  createRemoteKeySet,
  type RemoteKeySet,
  type RemoteKeySetOptions,
} from './keys/remote-key-set.js';
export {
  isSignatureAlgorithm,
  SIGNATURE_ALGORITHMS,
  type IgnoredKey,
  type IgnoredKeyReason,
  type SignatureAlgorithm,
} from './keys/usable-keys.js';
export type { Actor, CustomerPrincipal, Principal, ServicePrincipal } from './principal.js';
export {
  classify,
  type Classification,
  type ClassificationRefusal,
  type ClassifyOptions,
} from './profiles/classify.js';
export {
  checkProfile,
  type ClassificationProfile,
  type ClientIdSource,
  type Condition,
} from './profiles/profile.js';
export { isProfileName, PROFILE_NAMES, PROFILES, type ProfileName } from './profiles/providers.js';
export {
  KeyFetchError,
  KeysUnavailableError,
  TokenRejectedError,
  VerifierConfigError,
  type KeyFetchCode,
  type TokenRejectionCode,
} from './verification-errors.js';
export type { IssuerOptions, TokenVerifierOptions } from './verifier-options.js';
export { createTokenVerifier, type TokenVerifier } from './verifier.js';
