/** What CloudFormation does to a resource. */
export type Operation = 'create' | 'read' | 'update' | 'delete';

/** The actions that CloudFormation's handlers of one resource type call, with the credentials of whoever deploys. */
export interface HandlerPermissions extends Readonly<Record<Operation, readonly string[]>> {
  /** Actions that are called only for resources with one of these properties. */
  readonly onlyWith?: Readonly<Record<string, readonly string[]>>;
}

/**
 * The permissions of each resource type in the stack, as AWS publishes them: `handlers.OPERATION.permissions` of the
 * type's schema in the CloudFormation registry, which this prints:
 *
 *     aws cloudformation describe-type --type RESOURCE --type-name AWS::KMS::Alias --query Schema --output text
 *
 * The schemas were read in the copy that pulumi/pulumi-aws-native keeps in `aws-cloudformation-schema/`. Types whose
 * schema has no handlers there (`fromApi`) have the required permissions of the API calls that they stand for, by the API
 * references of Secrets Manager and EventBridge. `onlyWith` follows from the descriptions of the properties.
 */
export const HANDLERS: Readonly<Record<string, HandlerPermissions>> = {
  'AWS::CloudWatch::Alarm': {
    create: ['cloudwatch:PutMetricAlarm', 'cloudwatch:DescribeAlarms', 'cloudwatch:TagResource'],
    read: ['cloudwatch:DescribeAlarms', 'cloudwatch:ListTagsForResource'],
    update: [
      'cloudwatch:PutMetricAlarm',
      'cloudwatch:DescribeAlarms',
      'cloudwatch:TagResource',
      'cloudwatch:UntagResource',
    ],
    delete: ['cloudwatch:DeleteAlarms', 'cloudwatch:DescribeAlarms'],
  },
  'AWS::EC2::SecurityGroup': {
    create: [
      'ec2:CreateSecurityGroup',
      'ec2:DescribeSecurityGroups',
      'ec2:RevokeSecurityGroupEgress',
      'ec2:AuthorizeSecurityGroupEgress',
      'ec2:AuthorizeSecurityGroupIngress',
      'ec2:CreateTags',
    ],
    read: ['ec2:DescribeSecurityGroups'],
    update: [
      'ec2:RevokeSecurityGroupEgress',
      'ec2:RevokeSecurityGroupIngress',
      'ec2:DescribeSecurityGroups',
      'ec2:AuthorizeSecurityGroupEgress',
      'ec2:AuthorizeSecurityGroupIngress',
      'ec2:CreateTags',
      'ec2:DeleteTags',
    ],
    delete: ['ec2:DescribeSecurityGroups', 'ec2:DeleteSecurityGroup', 'ec2:DescribeInstances'],
  },
  'AWS::EC2::VPCEndpoint': {
    create: ['ec2:CreateVpcEndpoint', 'ec2:DescribeVpcEndpoints'],
    read: ['ec2:DescribeVpcEndpoints'],
    update: ['ec2:ModifyVpcEndpoint', 'ec2:DescribeVpcEndpoints'],
    delete: ['ec2:DeleteVpcEndpoints', 'ec2:DescribeVpcEndpoints'],
  },
  // From the API.
  'AWS::Events::Rule': {
    create: [
      'events:PutRule',
      'events:DescribeRule',
      'events:PutTargets',
      'events:TagResource',
      'iam:PassRole',
    ],
    read: ['events:DescribeRule', 'events:ListTargetsByRule', 'events:ListTagsForResource'],
    update: [
      'events:PutRule',
      'events:DescribeRule',
      'events:PutTargets',
      'events:RemoveTargets',
      'events:ListTargetsByRule',
      'events:TagResource',
      'events:UntagResource',
      'iam:PassRole',
    ],
    delete: [
      'events:DescribeRule',
      'events:ListTargetsByRule',
      'events:RemoveTargets',
      'events:DeleteRule',
    ],
    onlyWith: { 'iam:PassRole': ['RoleArn'] },
  },
  'AWS::IAM::ManagedPolicy': {
    create: [
      'iam:CreatePolicy',
      'iam:AttachGroupPolicy',
      'iam:AttachUserPolicy',
      'iam:AttachRolePolicy',
    ],
    read: ['iam:GetPolicy', 'iam:ListEntitiesForPolicy', 'iam:GetPolicyVersion'],
    update: [
      'iam:DetachRolePolicy',
      'iam:GetPolicy',
      'iam:ListPolicyVersions',
      'iam:DetachGroupPolicy',
      'iam:DetachUserPolicy',
      'iam:CreatePolicyVersion',
      'iam:DeletePolicyVersion',
      'iam:AttachGroupPolicy',
      'iam:AttachUserPolicy',
      'iam:AttachRolePolicy',
    ],
    delete: [
      'iam:DetachRolePolicy',
      'iam:GetPolicy',
      'iam:ListPolicyVersions',
      'iam:DetachGroupPolicy',
      'iam:DetachUserPolicy',
      'iam:DeletePolicyVersion',
      'iam:DeletePolicy',
      'iam:ListEntitiesForPolicy',
    ],
    onlyWith: {
      'iam:AttachGroupPolicy': ['Groups'],
      'iam:DetachGroupPolicy': ['Groups'],
      'iam:AttachUserPolicy': ['Users'],
      'iam:DetachUserPolicy': ['Users'],
      'iam:AttachRolePolicy': ['Roles'],
      'iam:DetachRolePolicy': ['Roles'],
    },
  },
  'AWS::IAM::Policy': {
    create: [
      'iam:GetUserPolicy',
      'iam:GetRolePolicy',
      'iam:GetGroupPolicy',
      'iam:PutUserPolicy',
      'iam:PutRolePolicy',
      'iam:PutGroupPolicy',
    ],
    read: ['iam:GetUserPolicy', 'iam:GetRolePolicy', 'iam:GetGroupPolicy'],
    update: [
      'iam:PutUserPolicy',
      'iam:PutRolePolicy',
      'iam:PutGroupPolicy',
      'iam:DeleteRolePolicy',
      'iam:DeleteUserPolicy',
      'iam:DeleteGroupPolicy',
    ],
    delete: ['iam:DeleteRolePolicy', 'iam:DeleteUserPolicy', 'iam:DeleteGroupPolicy'],
    onlyWith: {
      'iam:GetUserPolicy': ['Users'],
      'iam:PutUserPolicy': ['Users'],
      'iam:DeleteUserPolicy': ['Users'],
      'iam:GetGroupPolicy': ['Groups'],
      'iam:PutGroupPolicy': ['Groups'],
      'iam:DeleteGroupPolicy': ['Groups'],
    },
  },
  'AWS::IAM::Role': {
    create: [
      'iam:CreateRole',
      'iam:PutRolePolicy',
      'iam:AttachRolePolicy',
      'iam:GetRole',
      'iam:ListAttachedRolePolicies',
      'iam:ListRolePolicies',
      'iam:GetRolePolicy',
      // Required by CreateRole as soon as it has tags, which the stack gives to every resource.
      'iam:TagRole',
    ],
    read: [
      'iam:GetRole',
      'iam:ListAttachedRolePolicies',
      'iam:ListRolePolicies',
      'iam:GetRolePolicy',
    ],
    update: [
      'iam:UpdateRole',
      'iam:UpdateRoleDescription',
      'iam:UpdateAssumeRolePolicy',
      'iam:DetachRolePolicy',
      'iam:AttachRolePolicy',
      'iam:DeleteRolePermissionsBoundary',
      'iam:PutRolePermissionsBoundary',
      'iam:DeleteRolePolicy',
      'iam:PutRolePolicy',
      'iam:TagRole',
      'iam:UntagRole',
      'iam:GetRole',
      'iam:ListAttachedRolePolicies',
      'iam:ListRolePolicies',
      'iam:GetRolePolicy',
    ],
    delete: [
      'iam:DeleteRole',
      'iam:DetachRolePolicy',
      'iam:DeleteRolePolicy',
      'iam:GetRole',
      'iam:ListAttachedRolePolicies',
      'iam:ListRolePolicies',
    ],
    onlyWith: {
      'iam:AttachRolePolicy': ['ManagedPolicyArns'],
      'iam:DetachRolePolicy': ['ManagedPolicyArns'],
      'iam:PutRolePermissionsBoundary': ['PermissionsBoundary'],
      'iam:DeleteRolePermissionsBoundary': ['PermissionsBoundary'],
    },
  },
  'AWS::KMS::Alias': {
    create: ['kms:CreateAlias'],
    read: ['kms:ListAliases'],
    update: ['kms:UpdateAlias'],
    delete: ['kms:DeleteAlias'],
  },
  'AWS::KMS::Key': {
    create: [
      'kms:CreateKey',
      'kms:EnableKeyRotation',
      'kms:DisableKey',
      'kms:TagResource',
      'kms:PutKeyPolicy',
    ],
    read: [
      'kms:DescribeKey',
      'kms:GetKeyPolicy',
      'kms:GetKeyRotationStatus',
      'kms:ListResourceTags',
    ],
    update: [
      'kms:DescribeKey',
      'kms:DisableKey',
      'kms:DisableKeyRotation',
      'kms:EnableKey',
      'kms:EnableKeyRotation',
      'kms:PutKeyPolicy',
      'kms:TagResource',
      'kms:UntagResource',
      'kms:UpdateKeyDescription',
      'kms:ListResourceTags',
    ],
    delete: ['kms:DescribeKey', 'kms:ScheduleKeyDeletion'],
  },
  'AWS::Lambda::Function': {
    create: [
      'lambda:CreateFunction',
      'lambda:GetFunction',
      'lambda:PutFunctionConcurrency',
      'iam:PassRole',
      's3:GetObject',
      's3:GetObjectVersion',
      'ec2:DescribeSecurityGroups',
      'ec2:DescribeSubnets',
      'ec2:DescribeVpcs',
      'elasticfilesystem:DescribeMountTargets',
      'kms:CreateGrant',
      'kms:Decrypt',
      'kms:Encrypt',
      'kms:GenerateDataKey',
      'lambda:GetCodeSigningConfig',
      'lambda:GetFunctionCodeSigningConfig',
      'lambda:GetLayerVersion',
      'lambda:GetRuntimeManagementConfig',
      'lambda:PutRuntimeManagementConfig',
      'lambda:TagResource',
    ],
    read: ['lambda:GetFunction', 'lambda:GetFunctionCodeSigningConfig'],
    update: [
      'lambda:DeleteFunctionConcurrency',
      'lambda:GetFunction',
      'lambda:PutFunctionConcurrency',
      'lambda:ListTags',
      'lambda:TagResource',
      'lambda:UntagResource',
      'lambda:UpdateFunctionConfiguration',
      'lambda:UpdateFunctionCode',
      'iam:PassRole',
      's3:GetObject',
      's3:GetObjectVersion',
      'ec2:DescribeSecurityGroups',
      'ec2:DescribeSubnets',
      'ec2:DescribeVpcs',
      'elasticfilesystem:DescribeMountTargets',
      'kms:CreateGrant',
      'kms:Decrypt',
      'kms:GenerateDataKey',
      'lambda:GetRuntimeManagementConfig',
      'lambda:PutRuntimeManagementConfig',
      'lambda:PutFunctionCodeSigningConfig',
      'lambda:DeleteFunctionCodeSigningConfig',
      'lambda:GetCodeSigningConfig',
      'lambda:GetFunctionCodeSigningConfig',
    ],
    delete: ['lambda:DeleteFunction', 'lambda:GetFunction', 'ec2:DescribeNetworkInterfaces'],
    onlyWith: {
      'lambda:PutFunctionConcurrency': ['ReservedConcurrentExecutions'],
      'lambda:DeleteFunctionConcurrency': ['ReservedConcurrentExecutions'],
      'ec2:DescribeSecurityGroups': ['VpcConfig'],
      'ec2:DescribeSubnets': ['VpcConfig'],
      'ec2:DescribeVpcs': ['VpcConfig'],
      'ec2:DescribeNetworkInterfaces': ['VpcConfig'],
      'elasticfilesystem:DescribeMountTargets': ['FileSystemConfigs'],
      'kms:CreateGrant': ['KmsKeyArn'],
      'kms:Decrypt': ['KmsKeyArn'],
      'kms:Encrypt': ['KmsKeyArn'],
      'kms:GenerateDataKey': ['KmsKeyArn'],
      'lambda:GetCodeSigningConfig': ['CodeSigningConfigArn'],
      'lambda:PutFunctionCodeSigningConfig': ['CodeSigningConfigArn'],
      'lambda:DeleteFunctionCodeSigningConfig': ['CodeSigningConfigArn'],
      'lambda:GetLayerVersion': ['Layers'],
      'lambda:PutRuntimeManagementConfig': ['RuntimeManagementConfig'],
    },
  },
  'AWS::Lambda::Permission': {
    create: ['lambda:AddPermission'],
    read: ['lambda:GetPolicy'],
    // Every change replaces it.
    update: ['lambda:AddPermission', 'lambda:RemovePermission'],
    delete: ['lambda:RemovePermission'],
  },
  'AWS::Lambda::Url': {
    create: ['lambda:CreateFunctionUrlConfig'],
    read: ['lambda:GetFunctionUrlConfig'],
    update: ['lambda:UpdateFunctionUrlConfig'],
    delete: ['lambda:DeleteFunctionUrlConfig'],
  },
  'AWS::Logs::LogGroup': {
    create: [
      'logs:DescribeLogGroups',
      'logs:CreateLogGroup',
      'logs:PutRetentionPolicy',
      'logs:TagResource',
      'logs:GetDataProtectionPolicy',
      'logs:PutDataProtectionPolicy',
      'logs:CreateLogDelivery',
      's3:REST.PUT.OBJECT',
      'firehose:TagDeliveryStream',
      'logs:PutResourcePolicy',
      'logs:DescribeResourcePolicies',
    ],
    read: ['logs:DescribeLogGroups', 'logs:ListTagsForResource', 'logs:GetDataProtectionPolicy'],
    update: [
      'logs:DescribeLogGroups',
      'logs:AssociateKmsKey',
      'logs:DisassociateKmsKey',
      'logs:PutRetentionPolicy',
      'logs:DeleteRetentionPolicy',
      'logs:TagResource',
      'logs:UntagResource',
      'logs:GetDataProtectionPolicy',
      'logs:PutDataProtectionPolicy',
      'logs:CreateLogDelivery',
      's3:REST.PUT.OBJECT',
      'firehose:TagDeliveryStream',
    ],
    delete: ['logs:DescribeLogGroups', 'logs:DeleteLogGroup', 'logs:DeleteDataProtectionPolicy'],
    onlyWith: {
      'logs:AssociateKmsKey': ['KmsKeyId'],
      'logs:DisassociateKmsKey': ['KmsKeyId'],
      'logs:PutDataProtectionPolicy': ['DataProtectionPolicy'],
      'logs:DeleteDataProtectionPolicy': ['DataProtectionPolicy'],
      'logs:CreateLogDelivery': ['DataProtectionPolicy'],
      's3:REST.PUT.OBJECT': ['DataProtectionPolicy'],
      'firehose:TagDeliveryStream': ['DataProtectionPolicy'],
      'logs:PutResourcePolicy': ['ResourcePolicyDocument'],
      'logs:DescribeResourcePolicies': ['ResourcePolicyDocument'],
    },
  },
  'AWS::Logs::MetricFilter': {
    create: ['logs:PutMetricFilter', 'logs:DescribeMetricFilters'],
    read: ['logs:DescribeMetricFilters'],
    update: ['logs:PutMetricFilter', 'logs:DescribeMetricFilters'],
    delete: ['logs:DeleteMetricFilter'],
  },
  'AWS::S3::Bucket': {
    create: [
      's3:CreateBucket',
      's3:PutBucketTagging',
      's3:PutEncryptionConfiguration',
      's3:PutLifecycleConfiguration',
      's3:PutBucketPublicAccessBlock',
      's3:PutBucketVersioning',
      's3:GetBucketAcl',
      's3:ListBucket',
    ],
    read: [
      's3:GetEncryptionConfiguration',
      's3:GetLifecycleConfiguration',
      's3:GetBucketPublicAccessBlock',
      's3:GetBucketVersioning',
      's3:GetBucketTagging',
      's3:GetBucketOwnershipControls',
      's3:ListBucket',
    ],
    // The schema lists an action for each of a bucket's properties. Those that the stack's bucket does not have are left
    // out of this type, whose list is the longest by far.
    update: [
      's3:PutBucketTagging',
      's3:PutEncryptionConfiguration',
      's3:PutLifecycleConfiguration',
      's3:PutBucketPublicAccessBlock',
      's3:PutBucketVersioning',
      's3:ListBucket',
    ],
    delete: ['s3:DeleteBucket', 's3:ListBucket'],
  },
  'AWS::S3::BucketPolicy': {
    create: ['s3:GetBucketPolicy', 's3:PutBucketPolicy'],
    read: ['s3:GetBucketPolicy'],
    update: ['s3:GetBucketPolicy', 's3:PutBucketPolicy'],
    delete: ['s3:GetBucketPolicy', 's3:DeleteBucketPolicy'],
  },
  'AWS::SNS::Topic': {
    create: [
      'sns:CreateTopic',
      'sns:TagResource',
      'sns:Subscribe',
      'sns:GetTopicAttributes',
      'sns:PutDataProtectionPolicy',
      'iam:GetRole',
      'iam:PassRole',
    ],
    read: [
      'sns:GetTopicAttributes',
      'sns:ListTagsForResource',
      'sns:ListSubscriptionsByTopic',
      'sns:GetDataProtectionPolicy',
    ],
    update: [
      'sns:SetTopicAttributes',
      'sns:TagResource',
      'sns:UntagResource',
      'sns:Subscribe',
      'sns:Unsubscribe',
      'sns:GetTopicAttributes',
      'sns:ListTagsForResource',
      'sns:ListSubscriptionsByTopic',
      'sns:GetDataProtectionPolicy',
      'sns:PutDataProtectionPolicy',
      'iam:GetRole',
      'iam:PassRole',
    ],
    delete: ['sns:GetTopicAttributes', 'sns:DeleteTopic'],
    onlyWith: {
      'sns:PutDataProtectionPolicy': ['DataProtectionPolicy'],
      'iam:GetRole': ['DeliveryStatusLogging'],
      'iam:PassRole': ['DeliveryStatusLogging'],
    },
  },
  'AWS::SNS::TopicPolicy': {
    create: ['sns:SetTopicAttributes'],
    read: [],
    update: ['sns:SetTopicAttributes'],
    delete: ['sns:SetTopicAttributes'],
  },
  'AWS::SQS::Queue': {
    create: [
      'sqs:CreateQueue',
      'sqs:GetQueueUrl',
      'sqs:GetQueueAttributes',
      'sqs:ListQueueTags',
      'sqs:TagQueue',
    ],
    read: ['sqs:GetQueueAttributes', 'sqs:ListQueueTags'],
    update: [
      'sqs:SetQueueAttributes',
      'sqs:GetQueueAttributes',
      'sqs:ListQueueTags',
      'sqs:TagQueue',
      'sqs:UntagQueue',
    ],
    delete: ['sqs:DeleteQueue', 'sqs:GetQueueAttributes'],
  },
  'AWS::SQS::QueuePolicy': {
    create: ['sqs:SetQueueAttributes'],
    read: [],
    update: ['sqs:SetQueueAttributes'],
    delete: ['sqs:SetQueueAttributes'],
  },
  // From the API.
  'AWS::SecretsManager::ResourcePolicy': {
    create: ['secretsmanager:PutResourcePolicy', 'secretsmanager:GetResourcePolicy'],
    read: ['secretsmanager:GetResourcePolicy'],
    update: ['secretsmanager:PutResourcePolicy', 'secretsmanager:GetResourcePolicy'],
    delete: ['secretsmanager:DeleteResourcePolicy', 'secretsmanager:GetResourcePolicy'],
  },
  // From the API: RotateSecret asks for lambda:InvokeFunction on the rotation function besides.
  'AWS::SecretsManager::RotationSchedule': {
    create: [
      'secretsmanager:RotateSecret',
      'secretsmanager:DescribeSecret',
      'lambda:InvokeFunction',
    ],
    read: ['secretsmanager:DescribeSecret'],
    update: [
      'secretsmanager:RotateSecret',
      'secretsmanager:DescribeSecret',
      'lambda:InvokeFunction',
    ],
    delete: ['secretsmanager:CancelRotateSecret', 'secretsmanager:DescribeSecret'],
  },
  'AWS::SecretsManager::Secret': {
    create: [
      'secretsmanager:DescribeSecret',
      'secretsmanager:GetRandomPassword',
      'secretsmanager:CreateSecret',
      'secretsmanager:TagResource',
      'secretsmanager:ReplicateSecretToRegions',
    ],
    read: ['secretsmanager:DescribeSecret', 'secretsmanager:GetSecretValue'],
    update: [
      'secretsmanager:UpdateSecret',
      'secretsmanager:TagResource',
      'secretsmanager:UntagResource',
      'secretsmanager:GetRandomPassword',
      'secretsmanager:GetSecretValue',
      'secretsmanager:ReplicateSecretToRegions',
      'secretsmanager:RemoveRegionsFromReplication',
    ],
    delete: [
      'secretsmanager:DeleteSecret',
      'secretsmanager:DescribeSecret',
      'secretsmanager:RemoveRegionsFromReplication',
    ],
    onlyWith: {
      'secretsmanager:GetRandomPassword': ['GenerateSecretString'],
      'secretsmanager:ReplicateSecretToRegions': ['ReplicaRegions'],
      'secretsmanager:RemoveRegionsFromReplication': ['ReplicaRegions'],
    },
  },
};

/**
 * What services do with the stack's key, for whoever deploys or on their own account: by the pages about encryption of
 * each service. `ACTION`s of a service's own principal carry the principal.
 */
export interface KeyUse {
  /** The type of the resource that is encrypted, and the property that names the key. */
  readonly type: string;
  readonly property: string;
  readonly actions: readonly string[];
  /** Whose call it is: by way of a service (kms:ViaService), or by the service itself. */
  readonly via?: string;
  readonly service?: string;
  /** What AWS documents about it. */
  readonly source: string;
}

export const KEY_USES: readonly KeyUse[] = [
  {
    type: 'AWS::SecretsManager::Secret',
    property: 'KmsKeyId',
    actions: ['kms:Decrypt', 'kms:Encrypt', 'kms:GenerateDataKey'],
    via: 'secretsmanager',
    source: 'API reference of Secrets Manager: CreateSecret, UpdateSecret',
  },
  {
    type: 'AWS::Logs::LogGroup',
    property: 'KmsKeyId',
    actions: [
      'kms:Encrypt',
      'kms:Decrypt',
      'kms:ReEncryptFrom',
      'kms:ReEncryptTo',
      'kms:GenerateDataKey',
      'kms:GenerateDataKeyWithoutPlaintext',
      'kms:DescribeKey',
    ],
    service: 'logs.eu-central-1.amazonaws.com',
    source: 'CloudWatch Logs user guide: Encrypt log data using AWS KMS',
  },
  {
    type: 'AWS::SNS::Topic',
    property: 'KmsMasterKeyId',
    actions: ['kms:Decrypt', 'kms:GenerateDataKey'],
    service: 'cloudwatch.amazonaws.com',
    source: 'SNS developer guide: Enable compatibility between event sources and encrypted topics',
  },
  {
    type: 'AWS::SNS::Topic',
    property: 'KmsMasterKeyId',
    actions: ['kms:Decrypt', 'kms:GenerateDataKey'],
    service: 'events.amazonaws.com',
    source: 'as above',
  },
];

/** The actions that CloudFormation needs for one resource. Properties are looked for at any depth. */
export function actionsFor(
  type: string,
  operation: Operation,
  properties: Readonly<Record<string, unknown>>,
): readonly string[] {
  const handlers = HANDLERS[type];
  if (handlers === undefined) throw new Error(`The table of permissions has no ${type}.`);
  return handlers[operation].filter((action) => {
    const wanted = handlers.onlyWith?.[action];
    return wanted === undefined || wanted.some((name) => hasProperty(properties, name));
  });
}

function hasProperty(value: unknown, name: string): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return Object.entries(value).some(([key, item]) => key === name || hasProperty(item, name));
}
