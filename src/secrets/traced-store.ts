import { isTraced, traced } from '../tokens/tracing.js';
import { isStoreError, type SecretStore } from './secret-store.js';

/** What a store says in the normal course of a rotation. */
function isAnswer(error: unknown): boolean {
  return isStoreError(error, 'VERSION_NOT_FOUND', 'VERSION_CONFLICT', 'PROMOTE_CONFLICT');
}

/** Traces calls of a store, if an OpenTelemetry SDK is registered now. Otherwise the store itself. */
export function traceStore(store: SecretStore): SecretStore {
  if (!isTraced()) return store;
  const call = <Result>(
    operation: string,
    secretId: string,
    run: () => Promise<Result>,
  ): Promise<Result> =>
    traced(
      {
        span: `service_token.store.${operation}`,
        metric: 'service_token.store.duration',
        attributes: {
          'service_token.store': store.name,
          'service_token.store.operation': operation,
        },
        details: { 'service_token.secret_id': secretId },
        expects: isAnswer,
      },
      run,
    );
  return {
    name: store.name,
    read: (id, selector) => call('read', id, () => store.read(id, selector)),
    describe: (id) => call('describe', id, () => store.describe(id)),
    create: (id, description) => call('create', id, () => store.create(id, description)),
    putPending: (id, versionId, value, options) =>
      call('putPending', id, () => store.putPending(id, versionId, value, options)),
    putClaim: (id, versionId, value) =>
      call('putClaim', id, () => store.putClaim(id, versionId, value)),
    releaseClaim: (id, versionId) =>
      call('releaseClaim', id, () => store.releaseClaim(id, versionId)),
    promote: (id, versionId, expected) =>
      call('promote', id, () => store.promote(id, versionId, expected)),
    clearPending: (id, versionId) =>
      call('clearPending', id, () => store.clearPending(id, versionId)),
    requestRotation: (id, versionId) =>
      call('requestRotation', id, () => store.requestRotation(id, versionId)),
    close: () => store.close(),
  };
}
