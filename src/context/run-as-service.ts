import { currentCorrelation, runInFrame, type CallFrame } from './call-context.js';
import { keepFrame } from './keep-frame.js';

type Method = (this: unknown, ...args: unknown[]) => unknown;

/**
 * Runs a method as this service itself, also what it returns to be pulled later: for jobs (`@Cron`, `@Interval`), consumers
 * of queues, and handlers of messages that nobody in particular sends. Calls to other services carry the service token.
 *
 * It may stand above or below other decorators. What they have stored about the method is kept.
 *
 * @throws {TypeError} when it stands on anything but a method.
 *
 * @example
 * ```ts
 * import { Injectable } from '@nestjs/common';
 * import { Cron } from '@nestjs/schedule';
 * import { RunAsService } from 'service-token-broker/client/nest';
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
      throw new TypeError(`RunAsService() stands on methods, and ${String(key)} is none.`);
    }
    descriptor.value = asService(method as Method);
  };
}

function asService(method: Method): Method {
  const wrapped: Method = function (...args) {
    const frame: CallFrame = { behalf: 'service', correlation: currentCorrelation() };
    const result = runInFrame(frame, () => method.apply(this, args));
    return keepFrame(result, frame, () => {});
  };
  for (const name of ['name', 'length'] as const) {
    Object.defineProperty(wrapped, name, { value: method[name], configurable: true });
  }
  // Without the package reflect-metadata no decorator has stored anything.
  if (typeof Reflect.getOwnMetadataKeys === 'function') {
    for (const key of Reflect.getOwnMetadataKeys(method)) {
      Reflect.defineMetadata(key, Reflect.getOwnMetadata(key, method), wrapped);
    }
  }
  return wrapped;
}
