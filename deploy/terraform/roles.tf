# What each part may do, and nothing more.

resource "aws_iam_role" "function" {
  for_each = { rotation = "Mints and promotes the service token.", http = "Serves the service token." }

  name        = "${local.name}-${each.key}"
  description = each.value
  tags        = local.tags
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "lambda.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

locals {
  # A replica has the primary's name, and its suffix of six characters.
  replicas = {
    for name in concat(["token", "peers"], [for token in local.deployment.tokens : "tokens/${token.name}"], [for number in local.further_peers : "peers/${number}"]) :
    name => [for region in var.replica_regions : "arn:${local.partition}:secretsmanager:${region}:${local.account}:secret:${local.prefix}/${name}-??????"]
  }
  token_secrets = concat([local.token_arn], local.replicas["token"])
  peers_secrets = concat([local.peers_arn], local.replicas["peers"])

  # What the rotation function may prove to the provider with.
  use_signing_key = [for arn in compact([var.kms_key_arn]) : {
    Sid      = "SignAssertions"
    Effect   = "Allow"
    Action   = ["kms:GetPublicKey", "kms:Sign"]
    Resource = arn
  }]
  ask_for_identity_token = [for audience in compact([var.aws_token_audience]) : {
    Sid      = "AskForIdentityToken"
    Effect   = "Allow"
    Action   = "sts:GetWebIdentityToken"
    Resource = "*"
    Condition = {
      "ForAllValues:StringEquals" = { "sts:IdentityTokenAudience" = audience }
      NumericLessThanEquals       = { "sts:DurationSeconds" = 120 }
    }
  }]

  ask_for_rotation = {
    Sid       = "AskForRotation"
    Effect    = "Allow"
    Action    = "secretsmanager:RotateSecret"
    Resource  = local.token_arn
    Condition = local.only_now
  }
  # Secrets Manager requires this of every caller of RotateSecret.
  let_rotation_run = {
    Sid      = "LetRotationRun"
    Effect   = "Allow"
    Action   = "lambda:InvokeFunction"
    Resource = aws_lambda_function.this["rotation"].arn
  }
}

resource "aws_iam_role_policy" "rotation" {
  name = "rotation"
  role = aws_iam_role.function["rotation"].name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [
        { Sid = "ReadCredentials", Effect = "Allow", Action = local.reading, Resource = local.credentials_arn },
        { Sid = "RotateToken", Effect = "Allow", Action = concat(local.reading, local.writing), Resource = local.token_arn },
        {
          Sid      = "DecryptCredentials"
          Effect   = "Allow"
          Action   = "kms:Decrypt"
          Resource = aws_kms_key.this.arn
          Condition = {
            StringEquals = { "kms:EncryptionContext:SecretARN" = local.credentials_arn, "kms:ViaService" = local.via_secrets_manager }
          }
        },
        {
          Sid      = "EncryptToken"
          Effect   = "Allow"
          Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
          Resource = aws_kms_key.this.arn
          Condition = {
            StringEquals = { "kms:EncryptionContext:SecretARN" = local.token_arn, "kms:ViaService" = local.via_secrets_manager }
          }
        },
      ],
      local.use_signing_key,
      local.ask_for_identity_token,
      [
        {
          Sid      = "Log"
          Effect   = "Allow"
          Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
          Resource = "${aws_cloudwatch_log_group.function["rotation"].arn}:*"
        },
        { Sid = "KeepDeadLetters", Effect = "Allow", Action = "sqs:SendMessage", Resource = aws_sqs_queue.dead_letters.arn },
      ],
    )
  })
}

resource "aws_iam_role_policy" "http" {
  name = "http"
  role = aws_iam_role.function["http"].name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Sid = "ReadToken", Effect = "Allow", Action = local.reading, Resource = local.token_secrets },
      local.ask_for_rotation,
      local.let_rotation_run,
      {
        Sid      = "DecryptToken"
        Effect   = "Allow"
        Action   = "kms:Decrypt"
        Resource = aws_kms_key.this.arn
        Condition = {
          StringEquals = { "kms:EncryptionContext:SecretARN" = local.token_arn, "kms:ViaService" = local.via_secrets_manager }
        }
      },
      {
        Sid      = "Log"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${aws_cloudwatch_log_group.function["http"].arn}:*"
      },
    ]
  })
}

# For the roles of brokers in containers (broker_roles).
resource "aws_iam_policy" "container_broker" {
  name        = "${local.name}-container-broker"
  description = "What a broker in a container may do where Secrets Manager rotates the token secret."
  tags        = local.tags
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Sid = "ReadToken", Effect = "Allow", Action = local.reading, Resource = local.token_secrets },
      { Sid = "ReadPeers", Effect = "Allow", Action = local.reading, Resource = local.peers_secrets },
      local.ask_for_rotation,
      local.let_rotation_run,
      {
        Sid      = "DecryptTokenAndPeers"
        Effect   = "Allow"
        Action   = "kms:Decrypt"
        Resource = aws_kms_key.this.arn
        Condition = {
          StringEquals = { "kms:EncryptionContext:SecretARN" = [local.token_arn, local.peers_arn], "kms:ViaService" = local.via_secrets_manager }
        }
      },
    ]
  })
}

# For the roles of services that call the function's URL (peers).
resource "aws_iam_policy" "peer" {
  name        = "${local.name}-peer"
  description = "Lets a service ask the broker for the service token."
  tags        = local.tags
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "CallTheUrl"
        Effect    = "Allow"
        Action    = "lambda:InvokeFunctionUrl"
        Resource  = aws_lambda_function.this["http"].arn
        Condition = { StringEquals = { "lambda:FunctionUrlAuthType" = "AWS_IAM" } }
      },
      # URLs created since October 2025 need both. Never a direct call, which could claim any caller.
      {
        Sid       = "ThroughTheUrlOnly"
        Effect    = "Allow"
        Action    = "lambda:InvokeFunction"
        Resource  = aws_lambda_function.this["http"].arn
        Condition = { Bool = { "lambda:InvokedViaFunctionUrl" = "true" } }
      },
    ]
  })
}
