import type { BrokerConfig, RotationConfig } from '../../config/broker-config.js';
import { findVersion } from '../../rotation/claim.js';
import { gapOfStoreRotation, type Slots } from '../../rotation/coverage.js';
import { PENDING_GRACE } from '../../rotation/repair.js';
import { pendingLeftover, rotationMode } from '../../rotation/rotation.js';
import type { SecretDescription } from '../../secrets/secret-store.js';
import { tokenArgument } from '../command.js';
import { instant, span } from '../../composition/terminal.js';
import { failed, ok, skipped, warning, type Finding } from './examination.js';
import type { ExaminedBroker } from './examine-secrets.js';

/** Who rotates the token secret, and when. Pure. */
export function judgeRotation(
  description: SecretDescription,
  { enabled, cron, timeZone }: BrokerConfig['rotation'] & Pick<RotationConfig, 'cron' | 'timeZone'>,
  slots: Slots,
  now: number,
): Finding {
  const mode = rotationMode(description);
  if (mode === 'primary-region') {
    return ok('This is a replica: it is rotated in its primary Region, and only read here.');
  }
  if (mode === 'secrets-manager') return judgeStoreRotation(description, now);
  return enabled
    ? ok(`The broker rotates at "${cron}" (${timeZone}), next at ${instant(slots.nextAfter(now))}.`)
    : warning(
        'The broker rotates, and BROKER_ROTATION=disabled says that this process does not.',
        'Make sure that another process with the same secrets does.',
      );
}

function judgeStoreRotation({ storeRotation = {} }: SecretDescription, now: number): Finding {
  const { schedule, window, lastAt, nextAt } = storeRotation;
  if (schedule === undefined) {
    return warning(
      'Secrets Manager rotates the secret, and has no schedule for it.',
      'Give it one: aws secretsmanager rotate-secret --rotation-rules',
    );
  }
  const within = window === undefined ? 'its default window' : `a window of ${window}`;
  const last = lastAt === undefined ? 'never yet' : `last ${instant(lastAt)}`;
  const found = `Secrets Manager rotates at "${schedule}" within ${within}, ${last}`;
  if (nextAt !== undefined && nextAt < now) {
    return warning(
      `${found}; it was due by ${instant(nextAt)}.`,
      "Look into the rotation function's log.",
    );
  }
  return ok(`${found}${nextAt === undefined ? '' : `, next by ${instant(nextAt)}`}.`);
}

/**
 * Whether Secrets Manager may invoke the rotation function. Only Lambda shows its policy, and the broker does not call
 * Lambda: a recent rotation is the proof, and without one the check is skipped. Pure.
 */
export function judgeFunction(description: SecretDescription, now: number): Finding {
  if (rotationMode(description) !== 'secrets-manager') {
    return skipped('Secrets Manager does not rotate this secret.');
  }
  const { storeRotation = {} } = description;
  const { functionId, lastAt } = storeRotation;
  if (functionId === undefined) {
    return failed(
      'Rotation is enabled, and the secret has no rotation function.',
      'Name one: aws secretsmanager rotate-secret --rotation-lambda-arn',
    );
  }
  const gap = gapOfStoreRotation(storeRotation, now);
  if (gap !== undefined && lastAt !== undefined && now - lastAt <= gap.period + gap.window) {
    return ok(`Secrets Manager rotated with ${functionId} at ${instant(lastAt)}.`);
  }
  return skipped(
    'Not checked: only Lambda shows the policy of the function, and no rotation in time proves it.',
    `See that it allows lambda:InvokeFunction to secretsmanager.amazonaws.com: aws lambda get-policy --function-name ${functionId}`,
  );
}

/** Finds a pending version and its age. @throws {BrokerError} */
export async function examinePending(
  { store, token, config, clock }: ExaminedBroker,
  description: SecretDescription,
): Promise<Finding> {
  const pending = pendingLeftover(description);
  const staged =
    pending === undefined ? undefined : await findVersion(store, token.secretId, pending);
  return judgePending(
    description,
    staged?.createdAt,
    clock.now(),
    tokenArgument(token.name, config),
  );
}

/**
 * Whether a failed rotation has left a pending version behind. Pure.
 *
 * @param argument of `rotate`, for its token.
 * @param stagedAt when the version got its value, in milliseconds since the Unix epoch; `undefined` if it has none.
 */
export function judgePending(
  description: SecretDescription,
  stagedAt: number | undefined,
  now: number,
  argument = '',
): Finding {
  const versionId = pendingLeftover(description);
  if (versionId === undefined) return ok('No rotation was left unfinished.');
  const since = stagedAt ?? description.changedAt;
  const age = since === undefined ? undefined : Math.max(0, now - since);
  const found = `Version ${versionId} is AWSPENDING${age === undefined ? '' : ` since ${span(age)}`}`;
  const repair = `Clear it: service-token-broker rotate${argument} --repair`;
  if (age !== undefined && age < PENDING_GRACE) {
    return warning(`${found}: a rotation may be running.`, 'Look again in a quarter of an hour.');
  }
  return rotationMode(description) === 'secrets-manager'
    ? failed(`${found}: Secrets Manager takes no request to rotate while it stands.`, repair)
    : warning(`${found}: left behind by a rotation that failed. The next one replaces it.`, repair);
}
