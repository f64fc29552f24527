import { afterAll, afterEach, beforeAll, beforeEach } from '@jest/globals';
import { createAwsStore, type AwsStoreOptions } from '../../../src/secrets/aws/aws-store.js';
import type { SecretStore } from '../../../src/secrets/secret-store.js';
import {
  isolateAwsSettings,
  startScriptedEndpoint,
  type ScriptedEndpoint,
} from './scripted-endpoint.js';

export const VERSION = '7f1d0a52-52a4-4b1e-9a3e-2f0f6a1f6b01';
export const VALUE = '{"access_token":"canary-token"}';
export const ROTATION_TOKEN = 'canary-rotation-token';

/** One scripted endpoint for a file, and stores that are closed after each test. */
export interface Harness {
  readonly endpoint: ScriptedEndpoint;
  /** Opens a store at the endpoint, unless the options name another. */
  open(options?: AwsStoreOptions): SecretStore;
}

/** Registers the hooks. The endpoint is there as soon as the first test runs. */
export function useScriptedEndpoint(): Harness {
  let endpoint: ScriptedEndpoint | undefined;
  let restore: () => void = () => undefined;
  const stores: SecretStore[] = [];
  beforeAll(async () => {
    endpoint = await startScriptedEndpoint();
  });
  afterAll(async () => {
    await endpoint?.close();
  });
  beforeEach(() => {
    restore = isolateAwsSettings();
  });
  afterEach(async () => {
    restore();
    for (const store of stores.splice(0)) await store.close();
  });
  const started = (): ScriptedEndpoint => {
    if (endpoint === undefined) throw new Error('The endpoint starts before the first test.');
    return endpoint;
  };
  return {
    get endpoint() {
      return started();
    },
    open: (options) => {
      const store = createAwsStore({ endpoint: started().url, ...options });
      stores.push(store);
      return store;
    },
  };
}

/** A write that carries secrets in every place that can. */
export function put(store: SecretStore): Promise<void> {
  return store.putPending('token', VERSION, VALUE, { rotationToken: ROTATION_TOKEN });
}
