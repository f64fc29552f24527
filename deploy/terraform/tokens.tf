# What there is for the service tokens beside `default` (config), and for further peers secrets (peers_secrets).

locals {
  further_peers = range(2, var.peers_secrets + 1)
  # The ARNs of the further secrets, by what names them.
  token_arns           = { for name, secret in aws_secretsmanager_secret.further_token : name => secret.arn }
  provider_arns        = { for name, secret in aws_secretsmanager_secret.further_credentials : name => secret.arn }
  further_peers_arns   = { for number, secret in aws_secretsmanager_secret.further_peers : number => secret.arn }
  further_secrets      = concat(values(local.provider_arns), values(local.token_arns), values(local.further_peers_arns))
  further_peers_titles = [for number in local.further_peers : tostring(number)]
}

resource "aws_secretsmanager_secret" "further_credentials" {
  for_each = local.providers

  name                    = each.value.credentialsSecret
  description             = "Client credentials for the provider ${each.key}, written by people."
  kms_key_id              = aws_kms_key.this.arn
  recovery_window_in_days = 30
  tags                    = local.tags
}

resource "aws_secretsmanager_secret_policy" "further_credentials" {
  for_each = local.providers

  secret_arn          = local.provider_arns[each.key]
  block_public_policy = true
  policy              = local.credentials_policy
}

resource "aws_secretsmanager_secret" "further_token" {
  for_each = local.tokens

  name                    = each.value.secret
  description             = "The service token ${each.key}, written by rotation."
  kms_key_id              = aws_kms_key.this.arn
  recovery_window_in_days = 0
  tags                    = local.tags

  dynamic "replica" {
    for_each = var.replica_regions
    content {
      region = replica.value
    }
  }
}

resource "aws_secretsmanager_secret_policy" "further_token" {
  for_each = local.tokens

  secret_arn          = local.token_arns[each.key]
  block_public_policy = true
  policy              = local.token_policy
}

resource "aws_secretsmanager_secret" "further_peers" {
  for_each = toset(local.further_peers_titles)

  name                    = "${local.prefix}/peers/${each.key}"
  description             = "Further peers of brokers in containers."
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

resource "aws_secretsmanager_secret_policy" "further_peers" {
  for_each = toset(local.further_peers_titles)

  secret_arn          = local.further_peers_arns[each.key]
  block_public_policy = true
  policy              = local.peers_policy
}

resource "aws_secretsmanager_secret_rotation" "further_token" {
  for_each = local.tokens

  secret_id           = aws_secretsmanager_secret.further_token[each.key].id
  rotation_lambda_arn = aws_lambda_function.this["rotation"].arn
  rotate_immediately  = false

  rotation_rules {
    schedule_expression = each.value.expression
    duration            = var.window == "" ? null : var.window
  }

  depends_on = [
    aws_lambda_permission.further_rotation,
    aws_iam_role_policy.rotation,
    aws_iam_role_policy_attachment.rotation,
    aws_secretsmanager_secret_policy.further_token,
  ]
}

# The function itself refuses every secret that is not of its tokens.
resource "aws_lambda_permission" "further_rotation" {
  count = length(local.deployment.tokens) > 0 ? 1 : 0

  statement_id   = "SecretsManagerRotatesOthers"
  action         = "lambda:InvokeFunction"
  function_name  = aws_lambda_function.this["rotation"].function_name
  principal      = "secretsmanager.amazonaws.com"
  source_account = local.account
  source_arn     = "${local.further_tokens_prefix}*"
}

# The policies of the roles for all of these, in as many pieces as IAM's limit of 6,144 characters needs: an ARN of such a
# secret has about 130, and stands there as often as `times` says.
locals {
  arn_length = 70 + max(length("${local.prefix}/peers/30"), [
    for name in concat([for token in local.deployment.tokens : token.secret], [for provider in local.deployment.providers : provider.credentialsSecret]) : length(name)
  ]...)
  pieces = {
    for title, part in {
      rotation-tokens    = { names = keys(local.tokens), times = 2, more = 0 }
      rotation-providers = { names = keys(local.providers), times = 2, more = 500 }
      tokens             = { names = keys(local.tokens), times = 3 + length(var.replica_regions), more = 0 }
      peers              = { names = local.further_peers_titles, times = 2 + length(var.replica_regions), more = 0 }
    } : title => chunklist(part.names, max(1, floor(5000 / (part.times * local.arn_length + part.more))))
  }
  decrypting = { Effect = "Allow", Resource = aws_kms_key.this.arn }

  rotation_pieces = merge(
    { for index, names in local.pieces.rotation-tokens : "tokens-${index + 1}" => [
      { Sid = "RotateTokens", Effect = "Allow", Action = concat(local.reading, local.writing), Resource = [for name in names : local.token_arns[name]] },
      merge(local.decrypting, { Sid = "EncryptTokens", Action = ["kms:Decrypt", "kms:GenerateDataKey"], Condition = { StringEquals = { "kms:EncryptionContext:SecretARN" = [for name in names : local.token_arns[name]], "kms:ViaService" = local.via_secrets_manager } } }),
    ] },
    { for index, names in local.pieces.rotation-providers : "providers-${index + 1}" => concat(
      [
        { Sid = "ReadCredentials", Effect = "Allow", Action = local.reading, Resource = [for name in names : local.provider_arns[name]] },
        merge(local.decrypting, { Sid = "DecryptCredentials", Action = "kms:Decrypt", Condition = { StringEquals = { "kms:EncryptionContext:SecretARN" = [for name in names : local.provider_arns[name]], "kms:ViaService" = local.via_secrets_manager } } }),
      ],
      # A statement's id occurs once in a policy.
      [for arn in distinct(compact([for name in names : try(local.providers[name].kmsKeyArn, "")])) : {
        Sid = "SignAssertions${substr(sha256(arn), 0, 10)}", Effect = "Allow", Action = ["kms:GetPublicKey", "kms:Sign"], Resource = arn
      }],
      [for audience in distinct(compact([for name in names : try(local.providers[name].awsTokenAudience, "")])) : {
        Sid    = "AskForIdentityToken${substr(sha256(audience), 0, 10)}"
        Effect = "Allow", Action = "sts:GetWebIdentityToken", Resource = "*"
        Condition = {
          "ForAllValues:StringEquals" = { "sts:IdentityTokenAudience" = audience }
          NumericLessThanEquals       = { "sts:DurationSeconds" = 120 }
        }
      }],
    ) },
  )
  tokens_pieces = { for index, names in local.pieces.tokens : tostring(index + 1) => [
    { Sid = "ReadTokens", Effect = "Allow", Action = local.reading, Resource = flatten([for name in names : [local.token_arns[name], local.replicas["tokens/${name}"]]]) },
    merge(local.ask_for_rotation, { Resource = [for name in names : local.token_arns[name]] }),
    merge(local.decrypting, { Sid = "DecryptTokens", Action = "kms:Decrypt", Condition = { StringEquals = { "kms:EncryptionContext:SecretARN" = [for name in names : local.token_arns[name]], "kms:ViaService" = local.via_secrets_manager } } }),
  ] }
  peers_pieces = { for index, numbers in local.pieces.peers : tostring(index + 1) => [
    { Sid = "ReadPeers", Effect = "Allow", Action = local.reading, Resource = flatten([for number in numbers : [local.further_peers_arns[number], local.replicas["peers/${number}"]]]) },
    merge(local.decrypting, { Sid = "DecryptPeers", Action = "kms:Decrypt", Condition = { StringEquals = { "kms:EncryptionContext:SecretARN" = [for number in numbers : local.further_peers_arns[number]], "kms:ViaService" = local.via_secrets_manager } } }),
  ] }
}

resource "aws_iam_policy" "rotation" {
  for_each = local.rotation_pieces

  name        = "${local.name}-rotation-${each.key}"
  description = "What the rotation function may do for further ${startswith(each.key, "tokens") ? "tokens" : "providers"}."
  policy      = jsonencode({ Version = "2012-10-17", Statement = each.value })
  tags        = local.tags
}

resource "aws_iam_role_policy_attachment" "rotation" {
  for_each = local.rotation_pieces

  role       = aws_iam_role.function["rotation"].name
  policy_arn = aws_iam_policy.rotation[each.key].arn
}

# The HTTP function and brokers in containers serve the same further tokens: one policy for both.
resource "aws_iam_policy" "tokens" {
  for_each = local.tokens_pieces

  name        = "${local.name}-tokens-${each.key}"
  description = "Further tokens that the HTTP function and brokers in containers serve."
  policy      = jsonencode({ Version = "2012-10-17", Statement = each.value })
  tags        = local.tags
}

resource "aws_iam_role_policy_attachment" "tokens" {
  for_each = local.tokens_pieces

  role       = aws_iam_role.function["http"].name
  policy_arn = aws_iam_policy.tokens[each.key].arn
}

resource "aws_iam_policy" "peers" {
  for_each = local.peers_pieces

  name        = "${local.name}-peers-${each.key}"
  description = "Further peers secrets that a broker in a container reads."
  policy      = jsonencode({ Version = "2012-10-17", Statement = each.value })
  tags        = local.tags
}
