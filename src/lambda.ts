import { createRotationFunction, type RotationHandler } from './lambda/rotation-function.js';

export type { FunctionContext } from './lambda/invocation.js';
export type { RotationHandler } from './lambda/rotation-function.js';

/**
 * The rotation function for AWS Secrets Manager: runs one of the four steps for the token secret.
 *
 * Configured by environment variables, as the broker is; `BROKER_SECRET_STORE` is `aws`, and `BROKER_CONFIG` may
 * name a JSON file in the function's package. Every step may be repeated, and a step that was ended by a time-out is
 * taken up by the next attempt. Give the function 60 seconds.
 *
 * Rejects with a `BrokerError`: Secrets Manager then tries the rotation again, and AWSCURRENT is as it was.
 *
 * @example
 * ```ts
 * // rotation.ts: bundle it, and leave the AWS SDK to Lambda's runtime
 * export { handler } from 'service-token-broker/lambda';
 * ```
 */
export const handler: RotationHandler = createRotationFunction();
