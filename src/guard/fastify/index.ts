export { BrokerError, type ErrorKind } from '../../tokens/errors.js';
export type { Clock } from '../../tokens/time.js';
export type { AllowedClient, Refusal } from '../../verification/bearer-access.js';
export type {
  CustomerPrincipal,
  Principal,
  ServicePrincipal,
} from '../../verification/principal.js';
export type {
  ClaimCheck,
  ClaimExpectation,
  ClaimValue,
  RequiredClaims,
} from '../../verification/required-claims.js';
export {
  CallContext,
  currentCallContext,
  currentCorrelation,
  runAsService,
  runInCallContext,
  runWithPrincipal,
  type Correlation,
} from '../../context/call-context.js';
export type { CallOptions, VerifierChoice } from '../call-options.js';
export { GuardConfigError } from '../declarations.js';
export { CallRefusedError, type HttpCallOptions, type HttpGuardOptions } from '../http-guard.js';
export type { RefusalLogger, RefusedCall } from '../refusal-log.js';
export type { TokenRequirement } from '../token-requirement.js';
export { fastifyGuard } from './fastify-guard.js';
