export { FakeClock } from './fake-clock.js';
export type { EndpointAnswer } from './key-endpoint.js';
export {
  MemorySecretStore,
  type MemoryStoreOptions,
  type StoreCall,
  type StoreHook,
  type StoreMethod,
} from './memory-secret-store.js';
export type { TestClaims } from './provider-shapes.js';
export type { TestAlgorithm } from './signing-key.js';
export {
  createOfflineTestIssuer,
  startTestIssuer,
  type OfflineTestIssuer,
  type TestIssuer,
  type TestIssuerOptions,
} from './test-issuer.js';
export { TestKitError } from './test-kit-error.js';
export { TOKEN_FAULTS, type TokenFault } from './token-faults.js';
export type { TokenOverrides } from './token-overrides.js';
export type { VerifierChanges } from './verifier-options.js';
