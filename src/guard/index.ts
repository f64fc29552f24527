export {
  CallContext,
  currentCallContext,
  currentCorrelation,
  runAsService,
  runInCallContext,
  runWithPrincipal,
} from '../context/call-context.js';
export type { Correlation } from '../context/call-context.js';
export { RunAsService } from '../context/run-as-service.js';
export { BrokerError, type ErrorKind } from '../tokens/errors.js';
export type { Clock } from '../tokens/time.js';
export {
  createRemoteKeySet,
  createStaticKeySet,
  createTokenVerifier,
  explainToken,
  KeysUnavailableError,
  TokenRejectedError,
  VerifierConfigError,
  type Actor,
  type ClassificationProfile,
  type Condition,
  type CustomerPrincipal,
  type IssuerOptions,
  type KeySet,
  type KeySetState,
  type Principal,
  type ProfileName,
  type RemoteKeySet,
  type RemoteKeySetOptions,
  type ServicePrincipal,
  type SignatureAlgorithm,
  type TokenExplanation,
  type TokenRejectionCode,
  type TokenVerifier,
  type TokenVerifierOptions,
  type VerifiedToken,
} from '../verification/index.js';
export { callContextOf } from './http-call.js';
export type { ChallengeOptions } from './access.js';
export type { CredentialsOptions } from './call-credentials.js';
export { decideAccess, type AccessDecision } from './access.js';
export {
  AllowCustomer,
  AllowService,
  CurrentPrincipal,
  Public,
  RequireScopes,
  type AccessDecorator,
} from './decorators.js';
export { GuardConfigError } from './declarations.js';
export {
  CallRefusedException,
  GraphqlCallRefusedException,
  MessageRefusedException,
} from './access.js';
export { keepHandshakes } from './call-credentials.js';
export { JwtGuardModule } from './jwt-guard.module.js';
export { TOKEN_VERIFIER, type JwtGuardModuleExtras } from './jwt-guard.module.js';
export { JwtGuard } from './jwt.guard.js';
export type { Refusal } from './access.js';
export type { AccessRequirement, AllowedClient, PrincipalRequirement } from './declarations.js';
export type { GuardOptions, JwtGuardModuleOptions, RefusedCall } from './guard-options.js';
