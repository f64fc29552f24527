import type { BrokerConfig } from '../config/broker-config.js';
import type { RotationSteps, StepCall } from '../rotation/rotation-steps.js';
import { errorCode } from '../tokens/errors.js';
import { readFunctionConfig } from './function-config.js';
import { FunctionError, shownError } from './function-error.js';
import type { FunctionLog } from './function-log.js';
import { elapsed, prepareFunction, type FunctionOptions } from './function-start.js';
import { runInvocation, type FunctionContext } from './invocation.js';
import { isConfiguredSecret, readRotationEvent, type RotationEvent } from './rotation-event.js';
import { startOnce } from './start-once.js';

/** The handler of a rotation function. It resolves with nothing: Secrets Manager only looks whether it succeeded. */
export type RotationHandler = (event: unknown, context: FunctionContext) => Promise<void>;

/**
 * Makes the handler of a rotation function. Configuration, clients, the provider's metadata and its keys are kept from
 * one invocation to the next; a start that fails is tried again by the next one.
 */
export function createRotationFunction(options: FunctionOptions = {}): RotationHandler {
  const { clock, firstLog, start } = prepareFunction(options, readFunctionConfig);
  const started = startOnce(start);

  return (event, context) =>
    runInvocation(clock, context, async () => {
      let log = firstLog;
      let call: RotationEvent | undefined;
      try {
        call = readRotationEvent(event);
        const { core, log: configured } = await started();
        log = configured;
        requireTokenSecret(call, core.config);
        await runStep(core.rotator.steps, call, log);
      } catch (error) {
        const { step, versionId } = call ?? {};
        log('error', 'rotation step failed', { step, versionId, ...elapsed(clock), err: error });
        throw shownError(error);
      }
    });
}

function requireTokenSecret({ secretId }: RotationEvent, { secrets }: BrokerConfig): void {
  if (isConfiguredSecret(secretId, secrets.tokenSecretId)) return;
  throw new FunctionError(
    'FUNCTION_SECRET_UNEXPECTED',
    `The event is for another secret than the token secret "${secrets.tokenSecretId}". ` +
      'Set BROKER_TOKEN_SECRET_ID to the secret that this function rotates, and let each secret have a function of its own.',
  );
}

async function runStep(
  steps: RotationSteps,
  { step, versionId, rotationToken }: RotationEvent,
  log: FunctionLog,
): Promise<void> {
  const call: StepCall = {
    managed: true,
    ...(rotationToken !== undefined && { rotationToken }),
  };
  try {
    await steps[step](versionId, call);
  } catch (error) {
    // A staged token that receivers refuse must not stay pending: every retry would only adopt it again, and a pending
    // leftover keeps Secrets Manager from ever beginning another rotation.
    if (step !== 'createSecret' && errorCode(error) === 'ROTATION_TOKEN_REJECTED') {
      log('warn', 'the pending version is given up', { step, versionId, err: error });
      await steps.giveUp(versionId);
    }
    throw error;
  }
}
