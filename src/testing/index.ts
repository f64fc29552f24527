export { FakeClock } from './fake-clock.js';
export {
  MemorySecretStore,
  type MemoryStoreOptions,
  type StoreCall,
  type StoreHook,
  type StoreMethod,
} from './memory-secret-store.js';
export type { TestClaims } from './provider-shapes.js';
export {
  createOfflineTestIssuer,
  startTestIssuer,
  type EndpointAnswer,
  type OfflineTestIssuer,
  type TestIssuer,
  type TestIssuerOptions,
  type VerifierChanges,
} from './test-issuer.js';
export {
  TestKitError,
  TOKEN_FAULTS,
  type TestAlgorithm,
  type TokenFault,
  type TokenOverrides,
} from './test-tokens.js';
