import { BrokerError } from '../tokens/errors.js';

/** The test kit was asked for something that cannot be, so that a test would prove nothing. */
export class TestKitError extends BrokerError {
  declare readonly code: 'TEST_KIT_MISUSED';

  constructor(message: string) {
    super('TEST_KIT_MISUSED', 'misconfigured', message);
  }
}
