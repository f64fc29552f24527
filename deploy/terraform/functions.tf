# The two functions, each with its role in roles.tf and its log.

locals {
  functions = {
    rotation = { description = "Mints, tests and promotes the service token, when Secrets Manager calls.", timeout = 60 }
    http     = { description = "Serves the service token to the IAM roles that may have it.", timeout = 20 }
  }

  common_environment = {
    BROKER_SECRET_STORE              = "aws"
    BROKER_TOKEN_SECRET_ID           = aws_secretsmanager_secret.token.arn
    BROKER_ISSUER                    = var.issuer
    BROKER_AUDIENCE                  = var.audience
    BROKER_SCOPE                     = var.scope
    BROKER_RESOURCE                  = join(",", var.resource)
    BROKER_TOKEN_ENDPOINT            = var.token_endpoint
    BROKER_JWKS_URI                  = var.jwks_uri
    BROKER_CLIENT_AUTHENTICATION     = var.client_authentication
    BROKER_CLIENT_ID                 = var.client_id
    BROKER_KMS_KEY_ID                = var.kms_key_arn
    BROKER_AWS_TOKEN_AUDIENCE        = var.aws_token_audience
    BROKER_PROFILE                   = var.profile
    BROKER_SERVICE_CLIENT_IDS        = join(",", var.service_client_ids)
    BROKER_OTHER_AUDIENCES           = join(",", var.other_audiences)
    BROKER_CUSTOMER_CLIENT_IDS       = join(",", var.customer_client_ids)
    BROKER_TOKEN_TYP                 = var.token_typ
    BROKER_CONFIG                    = var.config == "" ? "" : "dist-lambda/broker.json"
    AWS_ENDPOINT_URL_SECRETS_MANAGER = local.has_endpoint ? "https://${aws_vpc_endpoint.secrets_manager[0].dns_entry[0].dns_name}" : ""
  }
  environments = {
    rotation = merge(local.common_environment, {
      BROKER_CREDENTIALS_SECRET_ID = aws_secretsmanager_secret.credentials.arn
    })
    http = merge(local.common_environment, {
      BROKER_HTTP_IAM_PEERS = join(",", var.peers)
      # The module's endpoint reaches only its own Region.
      BROKER_AWS_FALLBACK_REGIONS = local.has_endpoint ? "" : join(",", var.replica_regions)
    })
  }
}

data "archive_file" "function" {
  for_each = local.functions

  type             = "zip"
  output_path      = "${path.root}/.terraform/${local.name}-${each.key}.zip"
  output_file_mode = "0644"

  source {
    filename = "dist-lambda/${each.key}.mjs"
    content  = fileexists("${local.functions_folder}/${each.key}.mjs") ? file("${local.functions_folder}/${each.key}.mjs") : ""
  }
  dynamic "source" {
    for_each = var.config == "" ? [] : [local.deployment.json]
    content {
      filename = "dist-lambda/broker.json"
      content  = "${source.value}\n"
    }
  }

  lifecycle {
    precondition {
      condition     = fileexists("${local.functions_folder}/${each.key}.mjs")
      error_message = "functions_folder: there is no ${local.functions_folder}/${each.key}.mjs. Run `npm ci && npm run build:lambda` in the repository of the broker, and give the path of its dist-lambda."
    }
  }
}

resource "aws_lambda_function" "this" {
  for_each = local.functions

  function_name    = "${local.name}-${each.key}"
  description      = each.value.description
  runtime          = "nodejs24.x"
  architectures    = ["arm64"]
  handler          = "dist-lambda/${each.key}.handler"
  filename         = data.archive_file.function[each.key].output_path
  source_code_hash = data.archive_file.function[each.key].output_base64sha256
  role             = aws_iam_role.function[each.key].arn
  memory_size      = 256
  timeout          = each.value.timeout
  tags             = local.tags

  environment {
    variables = { for name, value in local.environments[each.key] : name => value if value != "" }
  }

  # A URL's caller waits for the answer: only what Secrets Manager or somebody invokes may leave an event behind.
  dynamic "dead_letter_config" {
    for_each = each.key == "rotation" ? [aws_sqs_queue.dead_letters.arn] : []
    content {
      target_arn = dead_letter_config.value
    }
  }

  dynamic "vpc_config" {
    for_each = local.in_vpc ? [aws_security_group.functions[0].id] : []
    content {
      security_group_ids = [vpc_config.value]
      subnet_ids         = var.subnet_ids
    }
  }

  # Lambda refuses a function whose role may not yet do what its queue and its VPC need.
  depends_on = [
    aws_iam_role_policy.rotation,
    aws_iam_role_policy.network,
    aws_cloudwatch_log_group.function,
  ]
}

resource "aws_cloudwatch_log_group" "function" {
  for_each = local.functions

  name              = "/aws/lambda/${local.name}-${each.key}"
  retention_in_days = var.log_retention_days
  kms_key_id        = aws_kms_key.this.arn
  tags              = local.tags
}

resource "aws_lambda_function_url" "http" {
  function_name      = aws_lambda_function.this["http"].function_name
  authorization_type = "AWS_IAM"
}

# What the functions' own policies must allow for principals of other accounts. A permission for one of this account would
# allow the call past IAM.
locals {
  url_peers     = distinct(concat([for peer in var.peers : replace(peer, "/^.*=arn:/", "arn:")], local.deployment.iamPeers))
  foreign_peers = toset([for arn in local.url_peers : arn if split(":", arn)[4] != local.account])
  foreign_roles = toset([for arn in var.broker_roles : arn if split(":", arn)[4] != local.account])
}

resource "aws_lambda_permission" "peer_calls_url" {
  for_each = local.foreign_peers

  statement_id           = "PeerCallsUrl${substr(sha256(each.value), 0, 10)}"
  function_name          = aws_lambda_function.this["http"].function_name
  principal              = each.value
  action                 = "lambda:InvokeFunctionUrl"
  function_url_auth_type = "AWS_IAM"
}

resource "aws_lambda_permission" "peer_through_url" {
  for_each = local.foreign_peers

  statement_id             = "PeerThroughUrl${substr(sha256(each.value), 0, 10)}"
  function_name            = aws_lambda_function.this["http"].function_name
  principal                = each.value
  action                   = "lambda:InvokeFunction"
  invoked_via_function_url = true
}

# Secrets Manager requires this of every caller of RotateSecret.
resource "aws_lambda_permission" "broker_lets_rotate" {
  for_each = local.foreign_roles

  statement_id  = "BrokerLetsRotate${substr(sha256(each.value), 0, 10)}"
  function_name = aws_lambda_function.this["rotation"].function_name
  principal     = each.value
  action        = "lambda:InvokeFunction"
}
