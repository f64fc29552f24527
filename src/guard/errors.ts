import { BrokerError, type BrokerErrorOptions } from '../tokens/errors.js';

/**
 * The guard or one of its decorators is used wrongly. Thrown where a decorator stands, at start-up, or by the first
 * call of the handler: never does a mistake open a route. The message names the handler and what to change.
 */
export class GuardConfigError extends BrokerError {
  declare readonly code: 'GUARD_MISCONFIGURED';

  constructor(message: string, options: BrokerErrorOptions = {}) {
    super('GUARD_MISCONFIGURED', 'misconfigured', message, options);
  }
}
