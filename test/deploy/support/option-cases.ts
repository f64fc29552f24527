import { EVERY_OPTION, type Parameters } from './packaging.js';

/** The key of a provider that the broker proves itself to by KMS. */
export const KMS_KEY =
  'arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab';

const ROLE = 'arn:aws:iam::123456789012:role/orders';
/** More roles than there is room for. */
export const LONG = Array.from({ length: 90 }, (_, number) => `${ROLE}${number}`).join(',');

/** Parameters beside those that have to be given, which serverless.yml and the Terraform module take. */
export const TAKEN: readonly (readonly [Parameters])[] = [
  [{}],
  [EVERY_OPTION],
  [{ issuer: 'https://tenant.example.test/a/b' }],
  [{ schedule: 'rate(12 hours)', window: '12h', tokenLifetime: '25h' }],
  [{ schedule: 'cron(0 3 * * ? *)', tokenLifetime: '30d' }],
  [{ window: '' }],
  [{ peers: `admin=${ROLE}, ${ROLE.replace('orders', 'a/path/billing')}` }],
  [{ peers: 'arn:aws-cn:iam::123456789012:user/ann@example.test' }],
  [{ administrators: 'arn:aws:iam::123456789012:role/a?b/*' }],
  [{ brokerRoles: ROLE, logRetentionDays: '1' }],
  [{ otherAudiences: '*' }],
  [{ profile: 'zitadel', serviceClientIds: 'broker' }],
  [{ vpcId: 'vpc-0a1b2c3d', subnetIds: 'subnet-0a1b2c3d', secretsManagerEndpoint: 'false' }],
  [{ replicaRegions: 'us-gov-west-1, ap-southeast-4' }],
  [{ alertEmails: 'on.call+broker@eu.example.test' }],
];

/** Parameters that both refuse, and what serverless.yml says of them. */
export const REFUSED: readonly (readonly [Parameters, string])[] = [
  [{ issuer: '' }, 'issuer is empty'],
  [{ audience: ' ' }, 'audience is empty'],
  [{ shedule: 'rate(1 day)' }, 'shedule is no parameter'],
  [{ issuer: 'http://tenant.example.test/' }, 'an https URL'],
  [{ issuer: 'tenant.example.test' }, 'an https URL'],
  [{ issuer: 'https://tenant.example.test/?a=b' }, 'without a query'],
  [{ issuer: 'https://user:secret@tenant.example.test/' }, 'an https URL'],
  [{ tokenEndpoint: 'https://tenant.example.test/#a' }, 'without a fragment'],
  [{ jwksUri: 'jwks.json' }, 'an https URL'],
  [{ audience: 'a\nb' }, 'no control characters'],
  [{ scope: 'a  b' }, 'single spaces'],
  [{ resource: 'orders' }, 'absolute URIs'],
  [{ profile: 'auth1' }, 'one of rfc9068'],
  [{ profile: 'zitadel' }, 'it needs serviceClientIds'],
  [{ clientAuthentication: 'basic' }, 'client_secret_basic'],
  [{ clientAuthentication: 'kms' }, 'and kmsKeyArn, or neither'],
  [{ kmsKeyArn: KMS_KEY }, 'and kmsKeyArn, or neither'],
  [{ clientAuthentication: 'kms', kmsKeyArn: 'alias/broker' }, 'the ARN of a KMS key'],
  [{ clientAuthentication: 'workload_token' }, 'and awsTokenAudience, or neither'],
  [{ awsTokenAudience: 'idp' }, 'and awsTokenAudience, or neither'],
  [{ tokenTyp: 'JWT' }, 'at+jwt'],
  [{ otherAudiences: '*,account' }, '* stands alone'],
  [{ schedule: 'rate(1 hours)' }, '1 hour apart'],
  [{ window: '13h' }, 'give 12h at most'],
  [{ schedule: 'cron(0 3 * * ? *)' }, 'tokenLifetime=24h is too short'],
  [{ tokenLifetime: '1 day' }, 'no length of time'],
  [{ peers: 'billing' }, 'the ARN of an IAM role or user'],
  [{ peers: `root=${ROLE}` }, 'the ARN of an IAM role or user'],
  [{ peers: `${ROLE}*` }, 'the ARN of an IAM role or user'],
  [{ peers: ROLE.replace('123456789012', '1234') }, 'the ARN of an IAM role or user'],
  [{ peers: 'arn:aws:sts::123456789012:assumed-role/orders/session' }, 'the ARN of an IAM role'],
  [{ peers: `${ROLE},admin=${ROLE}` }, 'it is given twice'],
  [{ brokerRoles: `${ROLE}?` }, 'the ARN of an IAM role or user'],
  [{ brokerRoles: `${ROLE},${ROLE}` }, 'it is given twice'],
  [{ administrators: '*' }, 'the ARN of an IAM role or user'],
  [{ administrators: 'arn:aws:iam::*:role/admin' }, 'not in the account'],
  [{ alertEmails: 'platform' }, 'mail addresses'],
  [{ alertEmails: 'platform@localhost' }, 'mail addresses'],
  [{ logRetentionDays: '91' }, 'CloudWatch Logs takes 1, 3'],
  [{ logRetentionDays: 'never' }, 'CloudWatch Logs takes 1, 3'],
  [{ logRetentionDays: '' }, 'CloudWatch Logs takes 1, 3'],
  [{ replicaRegions: 'Frankfurt' }, 'names of Regions'],
  [{ replicaRegions: 'eu-central-1' }, 'has the primary'],
  [{ vpcId: 'vpc-1' }, 'the id of a VPC'],
  [{ vpcId: 'vpc-0a1b2c3d', subnetIds: 'vpc-0a1b2c3d' }, 'ids of subnets'],
  [{ vpcId: 'vpc-0a1b2c3d' }, 'or neither'],
  [{ secretsManagerEndpoint: 'yes' }, 'true or false'],
  [{ peers: LONG }, '4 KB'],
  [{ brokerRoles: LONG }, '20,480'],
];
