/**
 * What each call to Secrets Manager does, as the words of an error message, whether it carries a secret value,
 * and whether it changes the secret.
 *
 * Not every role needs every call. RotateSecret is for whoever asks Secrets Manager to rotate: the broker's schedule as
 * a watchdog, `POST /v1/rotate` and the command line, where Secrets Manager rotates the token secret. AWS asks for
 * `lambda:InvokeFunction` on the rotation function besides. The rotation function itself never makes it.
 */
const OPERATIONS = {
  GetSecretValue: { verb: 'read', carriesValue: true, changes: false },
  DescribeSecret: { verb: 'describe', carriesValue: false, changes: false },
  CreateSecret: { verb: 'create', carriesValue: false, changes: true },
  PutSecretValue: { verb: 'write a version of', carriesValue: true, changes: true },
  UpdateSecretVersionStage: { verb: 'move a label of', carriesValue: false, changes: true },
  RotateSecret: { verb: 'start a rotation of', carriesValue: false, changes: true },
} as const;

/** A call that the adapter makes. */
export type AwsOperation = keyof typeof OPERATIONS;

/** Every call that the adapter makes; the least IAM policy allows these, as `secretsmanager:NAME`. */
export const AWS_API_CALLS = Object.keys(OPERATIONS) as readonly AwsOperation[];

/** The words for what was tried, to stand before "the secret". */
export function verbOf(operation: AwsOperation): string {
  return OPERATIONS[operation].verb;
}

/** True when the request or its answer holds a secret value, so that AWS's own words about it may quote one. */
export function carriesValue(operation: AwsOperation): boolean {
  return OPERATIONS[operation].carriesValue;
}

/** True when a call whose answer is lost may have taken effect. */
export function changesSecret(operation: AwsOperation): boolean {
  return OPERATIONS[operation].changes;
}
