# The three secrets, their encryption key, and who may use them.

locals {
  reading = ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"]
  writing = ["secretsmanager:PutSecretValue", "secretsmanager:UpdateSecretVersionStage"]
  # To rotate now, but not to change who rotates, or when.
  only_now = {
    Null         = { "secretsmanager:RotationLambdaARN" = "true" }
    BoolIfExists = { "secretsmanager:ModifyRotationRules" = "false" }
  }

  # The last resort: never denied.
  root   = "arn:${local.partition}:iam::${local.account}:root"
  people = concat(var.administrators, [local.root])

  # The principals that the secrets' policies do not deny.
  may_read_token       = concat([aws_iam_role.function["rotation"].arn, aws_iam_role.function["http"].arn], var.broker_roles, local.people)
  may_write_token      = concat([aws_iam_role.function["rotation"].arn], local.people)
  may_read_credentials = concat([aws_iam_role.function["rotation"].arn], local.people)
  may_read_peers       = concat(var.broker_roles, local.people)

  # Principals of other accounts need a resource's own permission besides IAM's. A statement names their accounts, so that a
  # role need not exist yet, and may be recreated; for those of this account it allows nothing that IAM does not.
  broker_accounts        = distinct([for arn in var.broker_roles : "${join(":", slice(split(":", arn), 0, 5))}:root"])
  administrator_accounts = distinct([for arn in var.administrators : "${join(":", slice(split(":", arn), 0, 5))}:root"])

  let_brokers_read = [for accounts in [local.broker_accounts] : {
    Sid       = "Brokers"
    Effect    = "Allow"
    Principal = { AWS = accounts }
    Action    = local.reading
    Resource  = "*"
    Condition = { ArnLike = { "aws:PrincipalArn" = var.broker_roles } }
  } if length(accounts) > 0]
  let_brokers_rotate = [for accounts in [local.broker_accounts] : {
    Sid       = "BrokersRotate"
    Effect    = "Allow"
    Principal = { AWS = accounts }
    Action    = "secretsmanager:RotateSecret"
    Resource  = "*"
    Condition = merge(local.only_now, { ArnLike = { "aws:PrincipalArn" = var.broker_roles } })
  } if length(accounts) > 0]
  let_administrators_edit = [for accounts in [local.administrator_accounts] : {
    Sid       = "Administrators"
    Effect    = "Allow"
    Principal = { AWS = accounts }
    Action    = concat(local.reading, local.writing)
    Resource  = "*"
    Condition = { ArnLike = { "aws:PrincipalArn" = var.administrators } }
  } if length(accounts) > 0]
  let_decrypt = [for who in [
    { sid = "Brokers", accounts = local.broker_accounts, arns = var.broker_roles, actions = ["kms:Decrypt"] },
    { sid = "Administrators", accounts = local.administrator_accounts, arns = var.administrators, actions = ["kms:Decrypt", "kms:GenerateDataKey"] },
    ] : {
    Sid       = who.sid
    Effect    = "Allow"
    Principal = { AWS = who.accounts }
    Action    = who.actions
    Resource  = "*"
    Condition = {
      StringEquals = { "kms:ViaService" = local.via_secrets_manager }
      ArnLike      = { "aws:PrincipalArn" = who.arns }
    }
  } if length(who.accounts) > 0]

  # The policies deny only values and labels. IAM still decides who may describe a secret, and change or delete its policy:
  # nobody can be locked out for good, and CloudTrail records who removes a policy.
  token_policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(local.let_brokers_read, local.let_brokers_rotate, local.let_administrators_edit, [
      for rule in [
        { sid = "OnlyBrokersRead", actions = "secretsmanager:GetSecretValue", who = local.may_read_token },
        { sid = "OnlyRotationWrites", actions = local.writing, who = local.may_write_token },
        { sid = "OnlyRotationUpdates", actions = "secretsmanager:UpdateSecret", who = local.may_write_token },
        ] : {
        Sid       = rule.sid
        Effect    = "Deny"
        Principal = "*"
        Action    = rule.actions
        Resource  = "*"
        Condition = { ArnNotLike = { "aws:PrincipalArn" = rule.who } }
      }
    ])
  })
  peers_policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(local.let_brokers_read, local.let_administrators_edit, [
      for rule in [
        { sid = "OnlyBrokersRead", actions = "secretsmanager:GetSecretValue", who = local.may_read_peers },
        { sid = "OnlyAdministratorsWrite", actions = local.writing, who = local.people },
        { sid = "OnlyAdministratorsUpdate", actions = "secretsmanager:UpdateSecret", who = local.people },
        ] : {
        Sid       = rule.sid
        Effect    = "Deny"
        Principal = "*"
        Action    = rule.actions
        Resource  = "*"
        Condition = { ArnNotLike = { "aws:PrincipalArn" = rule.who } }
      }
    ])
  })
  # Writing is not denied: filling the secret needs no right to read it.
  credentials_policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(local.let_administrators_edit, [{
      Sid       = "OnlyRotationReads"
      Effect    = "Deny"
      Principal = "*"
      Action    = "secretsmanager:GetSecretValue"
      Resource  = "*"
      Condition = { ArnNotLike = { "aws:PrincipalArn" = local.may_read_credentials } }
    }])
  })
}

resource "aws_kms_key" "this" {
  description             = "Secrets, logs and alerts of ${local.name}"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  tags                    = local.tags
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [
        # Only administration: administering the key does not allow reading what it encrypts.
        {
          Sid       = "Administration"
          Effect    = "Allow"
          Principal = { AWS = local.root }
          Action = [
            "kms:CancelKeyDeletion",
            "kms:CreateAlias",
            "kms:DeleteAlias",
            "kms:DescribeKey",
            "kms:DisableKey",
            "kms:DisableKeyRotation",
            "kms:EnableKey",
            "kms:EnableKeyRotation",
            "kms:GetKeyPolicy",
            "kms:GetKeyRotationStatus",
            "kms:ListGrants",
            "kms:ListKeyPolicies",
            "kms:ListKeyRotations",
            "kms:ListResourceTags",
            "kms:PutKeyPolicy",
            "kms:RevokeGrant",
            "kms:RotateKeyOnDemand",
            "kms:ScheduleKeyDeletion",
            "kms:TagResource",
            "kms:UntagResource",
            "kms:UpdateAlias",
            "kms:UpdateKeyDescription",
          ]
          Resource = "*"
        },
        # Only through Secrets Manager, and for those whom IAM allows. Each secret's own policy limits it further.
        {
          Sid       = "Secrets"
          Effect    = "Allow"
          Principal = { AWS = local.root }
          Action    = ["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey"]
          Resource  = "*"
          Condition = {
            StringEquals = { "kms:CallerAccount" = local.account, "kms:ViaService" = local.via_secrets_manager }
          }
        },
      ],
      local.let_decrypt,
      [
        {
          Sid       = "Logs"
          Effect    = "Allow"
          Principal = { Service = "logs.${local.region}.amazonaws.com" }
          Action = [
            "kms:Decrypt",
            "kms:DescribeKey",
            "kms:Encrypt",
            "kms:GenerateDataKey",
            "kms:GenerateDataKeyWithoutPlaintext",
            "kms:ReEncryptFrom",
            "kms:ReEncryptTo",
          ]
          Resource = "*"
          Condition = {
            ArnLike = {
              "kms:EncryptionContext:aws:logs:arn" = "arn:${local.partition}:logs:${local.region}:${local.account}:log-group:/aws/lambda/${local.name}-*"
            }
          }
        },
        {
          Sid       = "Alarms"
          Effect    = "Allow"
          Principal = { Service = "cloudwatch.amazonaws.com" }
          Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
          Resource  = "*"
          Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
        },
        # By AWS's documentation, EventBridge's calls have no source for a condition.
        {
          Sid       = "Events"
          Effect    = "Allow"
          Principal = { Service = "events.amazonaws.com" }
          Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
          Resource  = "*"
        },
      ],
    )
  })
}

resource "aws_kms_alias" "this" {
  name          = "alias/${local.name}"
  target_key_id = aws_kms_key.this.key_id
}

# No secret has a value here: Terraform would keep it in its state, and would want it back whenever it changed. People
# write the credentials; the first rotation writes the token, which it verifies before (src/rotation).

resource "aws_secretsmanager_secret" "credentials" {
  name        = "${local.prefix}/credentials"
  description = "Client credentials of the service token broker, written by people."
  kms_key_id  = aws_kms_key.this.arn
  # What people wrote can be restored for as long as the key can.
  recovery_window_in_days = 30
  tags                    = local.tags
}

resource "aws_secretsmanager_secret" "token" {
  name        = "${local.prefix}/token"
  description = "The service token, written by rotation."
  kms_key_id  = aws_kms_key.this.arn
  # May be deleted at once: a token can always be minted again.
  recovery_window_in_days = 0
  tags                    = local.tags

  dynamic "replica" {
    for_each = var.replica_regions
    content {
      region = replica.value
    }
  }
}

resource "aws_secretsmanager_secret" "peers" {
  name                    = "${local.prefix}/peers"
  description             = "Peers of brokers in containers, who may ask for the service token."
  kms_key_id              = aws_kms_key.this.arn
  recovery_window_in_days = 30
  tags                    = local.tags

  dynamic "replica" {
    for_each = var.replica_regions
    content {
      region = replica.value
    }
  }
}

locals {
  credentials_arn = aws_secretsmanager_secret.credentials.arn
  token_arn       = aws_secretsmanager_secret.token.arn
  peers_arn       = aws_secretsmanager_secret.peers.arn
}

resource "aws_secretsmanager_secret_policy" "credentials" {
  secret_arn          = local.credentials_arn
  block_public_policy = true
  policy              = local.credentials_policy
}

resource "aws_secretsmanager_secret_policy" "token" {
  secret_arn          = local.token_arn
  block_public_policy = true
  policy              = local.token_policy
}

resource "aws_secretsmanager_secret_policy" "peers" {
  secret_arn          = local.peers_arn
  block_public_policy = true
  policy              = local.peers_policy
}
