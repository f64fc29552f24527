export {
  BrokerModule,
  type BrokerModuleAsyncOptions,
  type BrokerModuleOptions,
  type BrokerOptionsFactory,
} from './composition/broker.module.js';
export { serveHttp, type RunningBroker } from './composition/http-server.js';
export { BrokerRuntime, createRuntime, type RuntimeOptions } from './composition/runtime.js';
export type { BrokerConfig } from './config/broker-config.js';
export { ConfigError } from './config/config-error.js';
export { loadConfig, type LoadConfigOptions } from './config/load-config.js';
export { createLogger, type BrokerLogger, type CreateLoggerOptions } from './operations/log.js';
export { createAwsStore, type AwsStoreOptions } from './secrets/aws/aws-store.js';
export type { KeyWrapping, WrappedMasterKey } from './secrets/embedded/master-keys.js';
export {
  openEmbeddedStore,
  type EmbeddedStoreOptions,
} from './secrets/embedded/open-embedded-store.js';
export {
  isStoreError,
  SecretStore,
  SecretStoreError,
  versionWithLabel,
  type PutPendingOptions,
  type SecretDescription,
  type SecretLabel,
  type SecretStoreErrorCode,
  type SecretVersion,
  type VersionSelector,
} from './secrets/secret-store.js';
export { BrokerError, errorCode, type ErrorKind } from './tokens/errors.js';
export {
  parseServiceToken,
  remainingLife,
  TokenSecretError,
  type ServiceToken,
} from './tokens/service-token.js';
export { systemClock, type Clock } from './tokens/time.js';
