const ASSUMED_ROLE = /^(arn:aws[a-z-]*):sts::(\d{12}):assumed-role\/([^/]+)\/[^/]+$/;
const ROLE = /^(arn:aws[a-z-]*:iam::\d{12}:role)\/(?:.*\/)?([^/]+)$/;

/**
 * Who an ARN stands for: the role of an assumed role, without its session; a role without its path, which the ARN of a
 * session does not have, and which no two roles of an account differ by. Everything else as it is.
 *
 * @example
 * ```ts
 * principalArn('arn:aws:sts::123456789012:assumed-role/orders/i-0abc'); // 'arn:aws:iam::123456789012:role/orders'
 * principalArn('arn:aws:iam::123456789012:role/services/orders'); // 'arn:aws:iam::123456789012:role/orders'
 * ```
 */
export function principalArn(arn: string): string {
  const [, partition, account, role] = ASSUMED_ROLE.exec(arn) ?? [];
  if (role !== undefined) return `${partition}:iam::${account}:role/${role}`;
  return arn.replace(ROLE, '$1/$2');
}
