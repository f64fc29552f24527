export { systemClock, type Clock } from './tokens/time.js';
export {
  BrokerError,
  errorCode,
  type BrokerErrorOptions,
  type ErrorKind,
} from './tokens/errors.js';
export { redactText } from './tokens/redaction.js';
export {
  parseServiceToken,
  remainingLife,
  TokenSecretError,
  type ServiceToken,
} from './tokens/service-token.js';
export {
  SecretStore,
  versionWithLabel,
  type PutPendingOptions,
  type SecretDescription,
  type SecretLabel,
  type SecretVersion,
  type VersionSelector,
} from './secrets/secret-store.js';
export {
  isStoreError,
  SecretStoreError,
  type SecretStoreErrorCode,
} from './secrets/secret-store.js';
export {
  classify,
  createRemoteKeySet,
  createStaticKeySet,
  createTokenVerifier,
  explainToken,
  KeysUnavailableError,
  PROFILE_NAMES,
  PROFILES,
  TokenRejectedError,
  VerifierConfigError,
  type Actor,
  type ClassificationProfile,
  type CustomerPrincipal,
  type IssuerOptions,
  type KeySet,
  type Principal,
  type ProfileName,
  type RemoteKeySet,
  type RemoteKeySetOptions,
  type ServicePrincipal,
  type TokenExplanation,
  type TokenRejectionCode,
  type TokenVerifier,
  type TokenVerifierOptions,
  type VerifiedToken,
} from './verification/index.js';
