// The store is part of the public test kit; these tests use it as users do.
export * from '../../src/testing/memory-secret-store.js';
