export {
  CallContext,
  currentCallContext,
  runAsService,
  runInCallContext,
  runWithPrincipal,
} from '../context/call-context.js';
export { RunAsService } from '../context/run-as-service.js';
export { BrokerError, type ErrorKind } from '../tokens/errors.js';
export { CacheError } from '../tokens/refreshing-cache.js';
export type { Clock } from '../tokens/time.js';
export type { ServiceTokenSource, SuppliedToken, TokenDemand } from '../tokens/token-supply.js';
export type { CustomerPrincipal, Principal, ServicePrincipal } from '../verification/index.js';
export {
  asCustomer,
  asService,
  attachAuthorization,
  type Acting,
} from './attachment/attach-authorization.js';
export {
  AttachmentError,
  type ActingAs,
  type AllowedOrigin,
  type AttachmentErrorCode,
  type AttachmentOptions,
  type OtherOrigins,
  type OutsideCalls,
  type RefusedServiceToken,
} from './attachment/attachment-rules.js';
export {
  createAuthorizedFetch,
  type AuthorizedFetch,
  type AuthorizedFetchOptions,
  type AuthorizedRequestInit,
} from './attachment/authorized-fetch.js';
export type { AxiosLike } from './attachment/axios-dispatch.js';
export {
  ClientConfigError,
  TokenRequestError,
  type TokenRequestErrorCode,
} from './client-errors.js';
export type {
  BrokerFailed,
  BrokerSwitched,
  RefreshFailed,
  ServedStale,
  ServiceTokenClientObserver,
  ServiceTokenClientOptions,
  TokenRefreshed,
} from './client-options.js';
export type {
  PeerOptions,
  PeerWithCertificate,
  PeerWithSecret,
  PeerWithWorkloadToken,
  PemSource,
} from './peer-proof.js';
export {
  createServiceTokenClient,
  type ServiceTokenClient,
  type ServiceTokenClientStatus,
} from './service-token-client.js';
