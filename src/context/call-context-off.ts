import { BrokerError } from '../tokens/errors.js';

/**
 * Somebody asked on whose behalf the code runs, in a process whose guard was told not to keep that
 * (`callContext: false`). "Nobody" would be a wrong answer: work for a customer would be done as a service.
 */
export class CallContextOffError extends BrokerError {
  declare readonly code: 'CALL_CONTEXT_OFF';

  constructor() {
    super(
      'CALL_CONTEXT_OFF',
      'misconfigured',
      'The call context is off: JwtGuardModule was set up with callContext: false. Leave that out to act on behalf of whoever calls.',
    );
  }
}

let offs = 0;

/** Makes it an error to ask for the call context in this process. @returns what ends that; calling it again does nothing. */
export function switchOffCallContext(): () => void {
  offs += 1;
  let isOff = true;
  return () => {
    if (isOff) offs -= 1;
    isOff = false;
  };
}

/** @throws {CallContextOffError} while it is off. */
export function requireCallContextOn(): void {
  if (offs > 0) throw new CallContextOffError();
}
