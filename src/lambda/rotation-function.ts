import type { BrokerConfig } from '../config/broker-config.js';
import { REFUSED } from '../rotation/due.js';
import type { RotationSteps, StepCall } from '../rotation/rotation-steps.js';
import type { Core } from '../composition/core.js';
import { isStoreError } from '../secrets/secret-store-error.js';
import { BrokerError, errorCode } from '../tokens/errors.js';
import {
  parseServiceToken,
  remainingLife,
  TokenSecretError,
  type ServiceToken,
} from '../tokens/service-token.js';
import { readFunctionConfig } from './function-config.js';
import { FunctionError, shownError } from './function-error.js';
import type { FunctionLog } from './function-log.js';
import { elapsed, prepareFunction, type FunctionOptions } from './function-start.js';
import { runInvocation, type FunctionContext } from './invocation.js';
import {
  isConfiguredSecret,
  isProbe,
  readRotationEvent,
  type RotationEvent,
} from './rotation-event.js';
import { startOnce } from './start-once.js';

/**
 * The handler of a rotation function. It resolves with nothing: Secrets Manager only looks whether it succeeded. Besides
 * the events of a rotation it takes `{"Probe":"token"}`, which writes the current token's remaining life to the log, and
 * whether receivers accept it.
 */
export type RotationHandler = (event: unknown, context: FunctionContext) => Promise<void>;

/**
 * Makes the handler of a rotation function. Configuration, clients, the provider's metadata and its keys are kept from
 * one invocation to the next; a start that fails is tried again by the next one.
 */
export function createRotationFunction(options: FunctionOptions = {}): RotationHandler {
  const { clock, firstLog, start } = prepareFunction(options, readFunctionConfig);
  const started = startOnce(start);

  /** Never rejects: nobody would repeat it sooner than the schedule, and a missing line rings the alarm. */
  async function probe(): Promise<void> {
    try {
      const { core, log } = await started();
      await probeToken(core, log);
    } catch (error) {
      firstLog('error', 'the service token could not be probed', { ...elapsed(clock), err: error });
    }
  }

  return (event, context) =>
    runInvocation(clock, context, async () => {
      let log = firstLog;
      let call: RotationEvent | undefined;
      if (isProbe(event)) return probe();
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

/** Writes how long the current token lives, and whether receivers accept it. What holds no token has no life left. */
async function probeToken(core: Core, log: FunctionLog): Promise<void> {
  const { store, config, clock, verify } = core;
  let token: ServiceToken;
  try {
    token = parseServiceToken((await store.read(config.secrets.tokenSecretId)).value);
  } catch (error) {
    if (!(error instanceof TokenSecretError) && !isStoreError(error, 'VERSION_NOT_FOUND'))
      throw error;
    log('warn', 'service token probed', { err: error }, { remainingSeconds: 0 });
    return;
  }
  try {
    await verify(token);
  } catch (error) {
    const isRefused = error instanceof BrokerError && error.kind === 'rejected';
    log('warn', isRefused ? REFUSED : 'the service token could not be verified', {
      code: errorCode(error),
      err: error,
    });
  }
  const remainingSeconds = Math.max(0, Math.floor(remainingLife(token, clock.now()) / 1000));
  log('info', 'service token probed', elapsed(clock), { remainingSeconds });
}
