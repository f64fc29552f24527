import { sameSecret } from '../config/schema.js';
import { ROTATION_STEPS, type RotationStep } from '../rotation/decision.js';
import { VERSION_ID_LENGTH } from '../secrets/secret-limits.js';
import { FunctionError } from './function-error.js';

/** What Secrets Manager invokes a rotation function with. */
export interface RotationEvent {
  readonly step: RotationStep;
  /** The secret's ARN. */
  readonly secretId: string;
  /** ClientRequestToken: the id of the version that the rotation brings. */
  readonly versionId: string;
  /** RotationToken: sensitive; passed on to PutSecretValue as it came, and never logged. */
  readonly rotationToken: string | undefined;
}

/** Lengths in characters, as the API reference of Secrets Manager has them. */
const SECRET_ID_LENGTH = { min: 1, max: 2_048 } as const;
const ROTATION_TOKEN_LENGTH = { min: 1, max: 256 } as const;

/**
 * Reads a rotation event. Members that are not known are left alone: Secrets Manager has added one before.
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

/** The event of the stack's schedule, which asks the rotation function to look at the current token. */
export function isProbe(event: unknown): boolean {
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

/**
 * Whether an event's secret is the configured one, each given by name or by ARN, with the random characters at its end
 * or without. A name is taken for one of the function's own account and Region.
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
