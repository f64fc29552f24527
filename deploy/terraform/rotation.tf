# When the token is rotated, who may start it, and where failed events go.

resource "aws_secretsmanager_secret_rotation" "token" {
  secret_id           = aws_secretsmanager_secret.token.id
  rotation_lambda_arn = aws_lambda_function.this["rotation"].arn
  # At first there are no client credentials yet: the rotation would fail, be retried for hours, and leave a pending
  # version behind. A change of the schedule should not rotate, either.
  rotate_immediately = false

  rotation_rules {
    schedule_expression = module.schedule.expression
    duration            = var.window == "" ? null : var.window
  }

  # Secrets Manager invokes the function for a test as soon as the schedule is set.
  depends_on = [
    terraform_data.checked,
    aws_lambda_permission.rotation,
    aws_iam_role_policy.rotation,
    aws_secretsmanager_secret_policy.token,
  ]
}

resource "aws_lambda_permission" "rotation" {
  statement_id   = "SecretsManagerRotates"
  action         = "lambda:InvokeFunction"
  function_name  = aws_lambda_function.this["rotation"].function_name
  principal      = "secretsmanager.amazonaws.com"
  source_account = local.account
  source_arn     = local.token_arn
}

resource "aws_sqs_queue" "dead_letters" {
  name = "${local.name}-dead-letters"
  # Fourteen days: covers a long weekend and a week of leave.
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
  tags                      = local.tags
}

resource "aws_sqs_queue_policy" "dead_letters" {
  queue_url = aws_sqs_queue.dead_letters.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "NoticesThatWereNotDelivered"
        Effect    = "Allow"
        Principal = { Service = "events.amazonaws.com" }
        Action    = "sqs:SendMessage"
        Resource  = aws_sqs_queue.dead_letters.arn
        Condition = { ArnEquals = { "aws:SourceArn" = [for rule in aws_cloudwatch_event_rule.notice : rule.arn] } }
      },
      {
        Sid       = "TlsOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:SendMessage"
        Resource  = aws_sqs_queue.dead_letters.arn
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })
}
