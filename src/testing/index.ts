export { FakeClock } from './fake-clock.js';
export type { EndpointAnswer } from './test-issuer.js';
export {
  MemorySecretStore,
  type MemoryStoreOptions,
  type StoreCall,
  type StoreHook,
  type StoreMethod,
} from './memory-secret-store.js';
export type { TestClaims } from './provider-shapes.js';
export type { TestAlgorithm } from './test-tokens.js';
export {
  createOfflineTestIssuer,
  startTestIssuer,
  type OfflineTestIssuer,
  type TestIssuer,
  type TestIssuerOptions,
} from './test-issuer.js';
export { TestKitError } from './test-tokens.js';
export { TOKEN_FAULTS, type TokenFault } from './test-tokens.js';
export type { TokenOverrides } from './test-tokens.js';
export type { VerifierChanges } from './test-issuer.js';
