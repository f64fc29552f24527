import { tokenField, type Core, type TokenCore } from '../composition/core.js';
import type { TokenConfig } from '../config/broker-config.js';
import { sameSecret } from '../config/schema.js';
import { isWithdrawing } from '../rotation/claim.js';
import { REFUSED } from '../rotation/due.js';
import type { StepCall } from '../rotation/rotation-steps.js';
import { ROTATION_STEPS, type RotationStep } from '../rotation/rotation.js';
import type { Rotator } from '../rotation/rotator.js';
import { isStoreError, VERSION_ID_LENGTH } from '../secrets/secret-store.js';
import { BrokerError, errorCode } from '../tokens/errors.js';
import {
  parseServiceToken,
  remainingLife,
  TokenSecretError,
  type ServiceToken,
} from '../tokens/service-token.js';
import {
  elapsed,
  prepareFunction,
  readFunctionConfig,
  startOnce,
  type FunctionLog,
  type FunctionOptions,
} from './function-start.js';
import { FunctionError, runInvocation, shownError, type FunctionContext } from './invocation.js';

/**
 * The handler of a rotation function. It resolves with nothing: Secrets Manager only looks at whether it succeeded. It
 * also takes `{"Probe":"token"}`, which logs the current token's remaining life, and whether receivers accept it.
 */
export type RotationHandler = (event: unknown, context: FunctionContext) => Promise<void>;

/**
 * Makes the handler of a rotation function. Configuration, clients, the provider's metadata and its keys are kept from
 * one invocation to the next. After a failed start the next invocation tries again.
 */
export function createRotationFunction(options: FunctionOptions = {}): RotationHandler {
  const { clock, firstLog, start } = prepareFunction(options, readFunctionConfig);
  const started = startOnce(start);

  /** Never rejects: a retry could not help before the schedule does, and a missing line raises the alarm. */
  async function probe(): Promise<void> {
    try {
      const { core, log } = await started();
      for (const token of core.tokens.values()) await probeToken(token, log);
    } catch (error) {
      firstLog('error', 'the service token could not be probed', { ...elapsed(clock), err: error });
    }
  }

  return (event, context) =>
    runInvocation(clock, context, async () => {
      let log = firstLog;
      let call: RotationEvent | undefined;
      let name: string | undefined;
      if (isProbe(event)) return probe();
      try {
        call = readRotationEvent(event);
        const { core, log: configured } = await started();
        log = configured;
        const chosen = tokenOfSecret(call, core);
        name = chosen.token.name;
        await runRotationStep(chosen, call, log);
      } catch (error) {
        const { step, versionId } = call ?? {};
        log('error', 'rotation step failed', {
          ...tokenField(name),
          step,
          versionId,
          ...elapsed(clock),
          err: error,
        });
        throw shownError(error);
      }
    });
}

/**
 * Runs one step of Secrets Manager's rotation, as the handler does. A version whose token receivers refuse is given up.
 *
 * @throws {BrokerError} what the step says.
 */
export async function runRotationStep(
  { token, rotator: { steps } }: StepCore,
  { step, versionId, rotationToken }: RotationEvent,
  log: FunctionLog,
): Promise<void> {
  const call: StepCall = {
    managed: true,
    withdraws: isWithdrawing(versionId),
    ...(rotationToken !== undefined && { rotationToken }),
  };
  try {
    await steps[step](versionId, call);
  } catch (error) {
    // A staged token that receivers refuse must not stay pending: every retry would adopt it again, and a pending
    // leftover keeps Secrets Manager from starting another rotation.
    if (step !== 'createSecret' && errorCode(error) === 'ROTATION_TOKEN_REJECTED') {
      log('warn', 'the pending version is given up', {
        ...tokenField(token.name),
        step,
        versionId,
        err: error,
      });
      await steps.giveUp(versionId);
    }
    throw error;
  }
}

/** What a step takes from the core of a token. */
interface StepCore {
  readonly token: Pick<TokenConfig, 'name'>;
  readonly rotator: Pick<Rotator, 'steps'>;
}

/** Logs how old the current token is, how long it lives, and whether receivers accept it. A secret without a token has no life left. */
async function probeToken(core: TokenCore, log: FunctionLog): Promise<void> {
  const { store, clock, verify } = core;
  const of = tokenField(core.token.name);
  let token: ServiceToken;
  try {
    token = parseServiceToken((await store.read(core.token.secretId)).value);
  } catch (error) {
    if (!(error instanceof TokenSecretError) && !isStoreError(error, 'VERSION_NOT_FOUND'))
      throw error;
    log('warn', 'service token probed', { ...of, err: error }, { remainingSeconds: 0 });
    return;
  }
  try {
    await verify(token);
  } catch (error) {
    const isRefused = error instanceof BrokerError && error.kind === 'rejected';
    log('warn', isRefused ? REFUSED : 'the service token could not be verified', {
      ...of,
      code: errorCode(error),
      err: error,
    });
  }
  const now = clock.now();
  const remainingSeconds = Math.max(0, Math.floor(remainingLife(token, now) / 1000));
  const ageSeconds = Math.max(0, Math.floor((now - token.generatedAt) / 1000));
  const measured = { remainingSeconds, ageSeconds };
  log('info', 'service token probed', { ...of, ...elapsed(clock) }, measured);
}

/** The event that Secrets Manager invokes a rotation function with. */
interface RotationEvent {
  readonly step: RotationStep;
  /** The secret's ARN. */
  readonly secretId: string;
  /** ClientRequestToken: the id of the new version. */
  readonly versionId: string;
  /** RotationToken: sensitive; passed on to PutSecretValue unchanged, and never logged. */
  readonly rotationToken: string | undefined;
}

/** Lengths in characters, by the API reference of Secrets Manager. */
const SECRET_ID_LENGTH = { min: 1, max: 2_048 } as const;
const ROTATION_TOKEN_LENGTH = { min: 1, max: 256 } as const;

/**
 * Reads a rotation event. Unknown members are ignored: Secrets Manager has added one before.
 *
 * @throws {FunctionError} `FUNCTION_EVENT_INVALID`, naming the member, never its value.
 */
export function readRotationEvent(event: unknown): RotationEvent {
  if (typeof event !== 'object' || event === null || Array.isArray(event)) {
    throw invalid('it is not an object');
  }
  const members = event as Readonly<Record<string, unknown>>;
  const rotationToken = members['RotationToken'];
  return {
    step: stepOf(members['Step']),
    secretId: textOf(members, 'SecretId', SECRET_ID_LENGTH),
    versionId: textOf(members, 'ClientRequestToken', VERSION_ID_LENGTH),
    rotationToken:
      rotationToken === undefined || rotationToken === null
        ? undefined
        : textOf(members, 'RotationToken', ROTATION_TOKEN_LENGTH),
  };
}

/** Whether it is the event of the stack's schedule, which asks for a look at the current token. */
function isProbe(event: unknown): boolean {
  return typeof event === 'object' && event !== null && 'Probe' in event && event.Probe === 'token';
}

function stepOf(value: unknown): RotationStep {
  const step = ROTATION_STEPS.find((name) => name === value);
  if (step === undefined) throw invalid(`"Step" is none of ${ROTATION_STEPS.join(', ')}`);
  return step;
}

function textOf(
  members: Readonly<Record<string, unknown>>,
  name: string,
  length: { readonly min: number; readonly max: number },
): string {
  const value = members[name];
  if (typeof value !== 'string') throw invalid(`"${name}" is not a text`);
  if (value.length < length.min || value.length > length.max) {
    throw invalid(`"${name}" must have ${length.min} to ${length.max} characters`);
  }
  if (!/^[!-~]+$/.test(value)) throw invalid(`"${name}" has characters that no such id has`);
  return value;
}

function invalid(what: string): FunctionError {
  return new FunctionError(
    'FUNCTION_EVENT_INVALID',
    `This is not an event of a Secrets Manager rotation: ${what}. Only Secrets Manager should invoke this function.`,
  );
}

/** The token that the event's secret holds. @throws {FunctionError} `FUNCTION_SECRET_UNEXPECTED` when it is none of ours. */
function tokenOfSecret({ secretId }: RotationEvent, { tokens }: Core): TokenCore {
  const all = [...tokens.values()];
  const chosen = all.find(({ token }) => isConfiguredSecret(secretId, token.secretId));
  if (chosen !== undefined) return chosen;
  const [first] = all;
  throw new FunctionError(
    'FUNCTION_SECRET_UNEXPECTED',
    all.length > 1 || first === undefined
      ? `The event is for a secret that none of the ${all.length} configured tokens is kept in. Add its token to the configuration, or take the rotation off the secret.`
      : `The event is for another secret than the token secret "${first.token.secretId}". ` +
          'Set BROKER_TOKEN_SECRET_ID to the secret that this function rotates, or configure a token for each secret.',
  );
}

/**
 * Whether an event's secret is the configured one, each given by name or by ARN, with or without the random characters
 * at its end. A name counts as one of the function's own account and Region. Pure.
 */
export function isConfiguredSecret(secretId: string, configured: string): boolean {
  if (sameSecret(secretId, configured)) return true;
  const [one, other] = [splitArn(secretId), splitArn(configured)];
  if (one === undefined || other === undefined || one.place !== other.place) return false;
  return sameSecret(secretId, other.name);
}

/** `arn:aws:secretsmanager:REGION:ACCOUNT:secret` and the rest of an ARN. */
function splitArn(secretId: string): { readonly place: string; readonly name: string } | undefined {
  if (!secretId.startsWith('arn:')) return undefined;
  const parts = secretId.split(':');
  return { place: parts.slice(0, 6).join(':'), name: parts.slice(6).join(':') };
}
