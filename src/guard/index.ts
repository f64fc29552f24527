export {
  CallContext,
  currentCallContext,
  currentCorrelation,
  runAsService,
  runInCallContext,
  runWithPrincipal,
  type Correlation,
} from '../context/call-context.js';
export { RunAsService } from '../context/run-as-service.js';
export { BrokerError, type ErrorKind } from '../tokens/errors.js';
export type { Clock } from '../tokens/time.js';
export type {
  AccessDecision,
  AllowedClient,
  ChallengeOptions,
  PrincipalRequirement,
  Refusal,
} from '../verification/bearer-access.js';
export type {
  ClaimCheck,
  ClaimExpectation,
  ClaimRequirement,
  ClaimValue,
  RequiredClaims,
} from '../verification/required-claims.js';
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
export { decideAccess } from './access.js';
export { keepHandshakes, type CredentialsOptions } from './call-credentials.js';
export { GuardConfigError, type AccessRequirement } from './declarations.js';
export {
  AllowCustomer,
  AllowService,
  CurrentPrincipal,
  Public,
  RequireClaims,
  RequireScopes,
  type AccessDecorator,
} from './decorators.js';
export type { CallOptions, VerifierChoice } from './call-options.js';
export type { GuardOptions, JwtGuardModuleExtras, JwtGuardModuleOptions } from './guard-options.js';
export { callContextOf } from './admissions.js';
export { JwtGuardModule, TOKEN_VERIFIER } from './jwt-guard.module.js';
export { JwtGuard } from './jwt.guard.js';
export {
  CallRefusedException,
  GraphqlCallRefusedException,
  MessageRefusedException,
} from './refusal-exceptions.js';
export type { RefusedCall } from './refusal-log.js';
