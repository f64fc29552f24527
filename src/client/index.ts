export {
  CallContext,
  currentCallContext,
  runAsService,
  runInCallContext,
  runWithPrincipal,
} from '../context/call-context.js';
export { RunAsService } from '../context/run-as-service.js';
export { BrokerError, type ErrorKind } from '../tokens/errors.js';
export type { Clock } from '../tokens/clock.js';
export { CacheError } from '../tokens/refreshing-cache.js';
export type { ServiceTokenSource, SuppliedToken, TokenDemand } from '../tokens/token-supply.js';
export type { CustomerPrincipal, Principal, ServicePrincipal } from '../verification/index.js';
export { asCustomer, asService, type Acting, type ActingAs } from './attachment/acting-as.js';
export type { AllowedOrigin } from './attachment/allowed-origins.js';
export { attachAuthorization } from './attachment/attach-authorization.js';
export { AttachmentError, type AttachmentErrorCode } from './attachment/attachment-error.js';
export type { AttachmentOptions, RefusedServiceToken } from './attachment/attachment-options.js';
export {
  createAuthorizedFetch,
  type AuthorizedFetch,
  type AuthorizedFetchOptions,
  type AuthorizedRequestInit,
} from './attachment/authorized-fetch.js';
export type { AxiosLike } from './attachment/axios-shapes.js';
export type { OtherOrigins, OutsideCalls } from './attachment/decide-attachment.js';
export { ClientConfigError, TokenRequestError, type TokenRequestErrorCode } from './errors.js';
export type {
  BrokerFailed,
  BrokerSwitched,
  RefreshFailed,
  ServedStale,
  ServiceTokenClientObserver,
  TokenRefreshed,
} from './observer.js';
export type { PeerOptions, ServiceTokenClientOptions } from './options.js';
export {
  createServiceTokenClient,
  type ServiceTokenClient,
  type ServiceTokenClientStatus,
} from './service-token-client.js';
