import { runInFrame, type CallFrame, currentCorrelation } from './call-context.js';
import { keepFrame } from './lazy-results.js';

/**
 * Runs a method as this service, with its lazy results: for jobs (`@Cron`, `@Interval`), consumers of queues, and handlers of
 * messages without a principal. Calls to other services carry the service token. Lazy results are iterators, streams and
 * Observables, and promises of them; not those within an object, a list or another lazy result.
 *
 * It may stand above or below other decorators, and keeps their metadata.
 *
 * @throws {TypeError} on anything but a method.
 *
 * @example
 * ```ts
 * import { Injectable } from '@nestjs/common';
 * import { Cron } from '@nestjs/schedule';
 * import { RunAsService } from 'service-token-kit/client/nest';
 *
 * @Injectable()
 * export class Reconciliation {
 *   @Cron('0 3 * * *')
 *   @RunAsService()
 *   async run() {
 *     await this.http.axiosRef.post('https://ledger.internal/reconciliations');
 *   }
 * }
 * ```
 */
export function RunAsService(): MethodDecorator {
  return (_target, key, descriptor: PropertyDescriptor | undefined) => {
    const method: unknown = descriptor?.value;
    if (descriptor === undefined || typeof method !== 'function') {
      throw new TypeError(`RunAsService() is for methods, and ${String(key)} is not a method.`);
    }
    descriptor.value = asService(method as Method);
  };
}

type Method = (this: unknown, ...args: unknown[]) => unknown;

function asService(method: Method): Method {
  const wrapped: Method = function (...args) {
    const frame: CallFrame = { behalf: 'service', correlation: currentCorrelation() };
    const result = runInFrame(frame, () => method.apply(this, args));
    return keepFrame(result, frame, () => {});
  };
  for (const name of ['name', 'length'] as const) {
    Object.defineProperty(wrapped, name, { value: method[name], configurable: true });
  }
  // Without the package reflect-metadata there is no metadata.
  if (typeof Reflect.getOwnMetadataKeys === 'function') {
    for (const key of Reflect.getOwnMetadataKeys(method)) {
      Reflect.defineMetadata(key, Reflect.getOwnMetadata(key, method), wrapped);
    }
  }
  return wrapped;
}
