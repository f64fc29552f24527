# Alarms and notices. docs/runbook.md has a section for each alarm.

resource "aws_sns_topic" "alerts" {
  name              = "${local.name}-alerts"
  display_name      = "Service token broker, alerts"
  kms_master_key_id = aws_kms_key.this.arn
  tags              = local.tags
}

# Separate from the alerts: a successful rotation belongs in a log or a chat, not in a pager.
resource "aws_sns_topic" "rotations" {
  name              = "${local.name}-rotations"
  display_name      = "Service token broker, rotations"
  kms_master_key_id = aws_kms_key.this.arn
  tags              = local.tags
}

resource "aws_sns_topic_subscription" "alerts" {
  for_each = toset(var.alert_emails)

  topic_arn = aws_sns_topic.alerts.arn
  protocol  = "email"
  endpoint  = each.value
}

locals {
  topic_statements = {
    alarms = {
      Sid       = "Alarms"
      Effect    = "Allow"
      Principal = { Service = "cloudwatch.amazonaws.com" }
      Action    = "sns:Publish"
      Resource  = aws_sns_topic.alerts.arn
      Condition = {
        ArnLike = { "aws:SourceArn" = "arn:${local.partition}:cloudwatch:${local.region}:${local.account}:alarm:${local.name}-*" }
      }
    }
    # No condition: AWS documents EventBridge's access to topics so.
    events = {
      Sid       = "Events"
      Effect    = "Allow"
      Principal = { Service = "events.amazonaws.com" }
      Action    = "sns:Publish"
      Resource  = [aws_sns_topic.alerts.arn, aws_sns_topic.rotations.arn]
    }
  }
}

resource "aws_sns_topic_policy" "alerts" {
  arn    = aws_sns_topic.alerts.arn
  policy = jsonencode({ Version = "2012-10-17", Statement = [local.topic_statements.alarms, merge(local.topic_statements.events, { Resource = aws_sns_topic.alerts.arn })] })
}

resource "aws_sns_topic_policy" "rotations" {
  arn    = aws_sns_topic.rotations.arn
  policy = jsonencode({ Version = "2012-10-17", Statement = [merge(local.topic_statements.events, { Resource = aws_sns_topic.rotations.arn })] })
}

locals {
  # Of the further tokens, whose secrets have names with one beginning.
  further_tokens_prefix = "arn:${local.partition}:secretsmanager:${local.region}:${local.account}:secret:${local.prefix}/tokens/"

  notices = merge(
    { for kind in ["done", "failed"] : kind => { kind = kind, secret = local.token_arn, name = "${local.prefix}/token" } },
    { for kind in ["done", "failed"] : "${kind}-2" => { kind = kind, secret = { prefix = local.further_tokens_prefix }, name = "<secret>" } if length(local.deployment.tokens) > 0 },
  )
  patterns = {
    for title, notice in local.notices : title => {
      # Secrets Manager's own event: it needs no CloudTrail.
      done = jsonencode({
        source        = ["aws.secretsmanager"]
        "detail-type" = ["Secret Label Updated"]
        resources     = [notice.secret]
        detail        = { labelUpdated = ["AWSCURRENT"] }
      })
      # Needs CloudTrail: without a trail it never fires. The alarms do not depend on it.
      failed = jsonencode({
        source        = ["aws.secretsmanager"]
        "detail-type" = ["AWS Service Event via CloudTrail", "AWS API Call via CloudTrail"]
        detail = {
          eventSource = ["secretsmanager.amazonaws.com"]
          "$or" = [
            { eventName = ["RotationFailed", "RotationAbandoned"], additionalEventData = { SecretId = [notice.secret] } },
            # AWS has used both spellings of this member.
            { eventName = ["CancelRotateSecret"], responseElements = { arn = [notice.secret] } },
            { eventName = ["CancelRotateSecret"], responseElements = { aRN = [notice.secret] } },
          ]
        }
      })
    }[notice.kind]
  }
}

resource "aws_cloudwatch_event_rule" "notice" {
  for_each = local.notices

  name          = "${local.name}-${each.key}"
  description   = each.value.kind == "done" ? "A new service token is current." : "Secrets Manager gave a rotation up, or somebody switched the rotation off."
  event_pattern = local.patterns[each.key]
  tags          = local.tags
}

resource "aws_cloudwatch_event_target" "notice" {
  for_each = local.notices

  rule      = aws_cloudwatch_event_rule.notice[each.key].name
  target_id = "notice"
  arn       = each.value.kind == "done" ? aws_sns_topic.rotations.arn : aws_sns_topic.alerts.arn

  dead_letter_config {
    arn = aws_sqs_queue.dead_letters.arn
  }
  retry_policy {
    maximum_event_age_in_seconds = 3600
    maximum_retry_attempts       = 10
  }
  input_transformer {
    input_paths = merge(
      { time = "$.time" },
      each.value.kind == "done" ? { name = "$.detail.name", version = "$.detail.versionId" } : { event = "$.detail.eventName" },
      each.key == "failed-2" ? { secret = "$.detail.additionalEventData.SecretId" } : {},
    )
    input_template = (
      each.value.kind == "done"
      ? "\"A new service token is current in <name> since <time>: version <version>.\""
      : "\"<event> of ${each.value.name} at <time>. ${each.key == "failed-2" ? "Without a name: CloudTrail has it. " : ""}What to do: docs/runbook.md, rotation-failed (RotationFailed, RotationAbandoned) or rotation-missing (CancelRotateSecret).\""
    )
  }
}

# Checks the token when there is no traffic. The rotation function can already read and verify it.
resource "aws_cloudwatch_event_rule" "probe" {
  name                = "${local.name}-probe"
  description         = "Lets the rotation function look at the current service token."
  schedule_expression = "rate(5 minutes)"
  tags                = local.tags
}

resource "aws_cloudwatch_event_target" "probe" {
  rule      = aws_cloudwatch_event_rule.probe.name
  target_id = "probe"
  arn       = aws_lambda_function.this["rotation"].arn
  input     = jsonencode({ Probe = "token" })

  # The next one comes soon enough, and the alarms notice missing ones.
  retry_policy {
    maximum_event_age_in_seconds = 300
    maximum_retry_attempts       = 0
  }
}

resource "aws_lambda_permission" "probe" {
  statement_id  = "Probe"
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.this["rotation"].function_name
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.probe.arn
}

locals {
  # With further tokens, these count the lines about the token `default` alone.
  of_default = length(local.deployment.tokens) > 0 ? " && $.tokenName NOT EXISTS" : ""
  # Of further tokens: one metric with a dimension for all of them.
  of_others = { Token = "$.tokenName" }
  probed    = "$.message = \"service token probed\""

  filters = merge(
    {
      # 0 for every other line, such as the probe's: CloudWatch then counts hours without a token and has no gaps to fill.
      TokensPromoted = { function = "rotation", value = "1", default = "0", unit = "Count", dimensions = null, pattern = "$.message = \"rotation step ended\" && $.step = \"finishSecret\" && $.ended = \"done\"${local.of_default}" }
      TokenRemaining = { function = "rotation", value = "$.remainingSeconds", default = null, unit = "Seconds", dimensions = null, pattern = "${local.probed}${local.of_default}" }
      TokensRefused  = { function = "rotation", value = "1", default = null, unit = "Count", dimensions = null, pattern = "$.message = \"receivers refuse the service token\"${local.of_default}" }
      StepsFailed    = { function = "rotation", value = "1", default = null, unit = "Count", dimensions = null, pattern = "$.message = \"rotation step failed\"${local.of_default}" }
      # A cached token was served instead, or none.
      SecretsNotRead = { function = "http", value = "1", default = null, unit = "Count", dimensions = null, pattern = "($.message = \"request\" && $.cache = \"STALE\") || $.message = \"the service token could not be served\"" }
    },
    {
      for metric, filter in {
        TokenAgeByToken       = { value = "$.ageSeconds", unit = "Seconds", pattern = "${local.probed} && $.ageSeconds >= 0" }
        TokenRemainingByToken = { value = "$.remainingSeconds", unit = "Seconds", pattern = local.probed }
        TokensRefusedByToken  = { value = "1", unit = "Count", pattern = "$.message = \"receivers refuse the service token\"" }
        StepsFailedByToken    = { value = "1", unit = "Count", pattern = "$.message = \"rotation step failed\"" }
      } :
      metric => { function = "rotation", value = filter.value, default = null, unit = filter.unit, dimensions = local.of_others, pattern = "${filter.pattern} && $.tokenName = \"*\"" }
      if length(local.deployment.tokens) > 0
    },
  )
}

resource "aws_cloudwatch_log_metric_filter" "this" {
  for_each = local.filters

  name           = each.key
  log_group_name = aws_cloudwatch_log_group.function[each.value.function].name
  pattern        = "{ ${each.value.pattern} }"

  metric_transformation {
    namespace     = local.name
    name          = each.key
    value         = each.value.value
    default_value = each.value.default
    dimensions    = each.value.dimensions
    unit          = each.value.unit
  }
}

locals {
  # A probe may fall into the period of the next one, and the cache covers a single failed read.
  once  = { periods = 1, datapoints = null }
  twice = { periods = 3, datapoints = 2 }
  # What counts something bad.
  counted = { namespace = local.name, dimensions = null, statistic = "Sum", period = 300, comparison = "GreaterThanOrEqualToThreshold", threshold = 1, missing = "notBreaching" }
  of_http = { namespace = "AWS/Lambda", dimensions = { FunctionName = aws_lambda_function.this["http"].function_name } }

  alarms = merge(
    {
      rotation-failed          = merge(local.counted, local.once, { metric = "StepsFailed", words = "A step of the rotation failed." })
      token-expiring           = merge(local.counted, local.twice, { metric = "TokenRemaining", statistic = "Minimum", comparison = "LessThanThreshold", threshold = module.schedule.expiring_seconds, missing = "breaching", words = "The service token is about to expire, or nobody can look at it." })
      token-refused            = merge(local.counted, local.twice, { metric = "TokensRefused", words = "Receivers refuse the service token." })
      rotation-function-errors = merge(local.counted, local.once, { namespace = "AWS/Lambda", metric = "Errors", dimensions = { FunctionName = aws_lambda_function.this["rotation"].function_name }, words = "The rotation function failed or ran out of time." })
      http-function-errors     = merge(local.counted, local.once, local.of_http, { metric = "Errors", words = "The HTTP function failed or ran out of time." })
      http-throttled           = merge(local.counted, local.once, local.of_http, { metric = "Throttles", words = "Lambda turned callers away." })
      token-unavailable        = merge(local.counted, local.once, local.of_http, { metric = "Url5xxCount", words = "A peer got no token." })
      secret-not-read          = merge(local.counted, local.twice, { metric = "SecretsNotRead", words = "The token secret cannot be read; a cached token may still be served." })
      dead-letters             = merge(local.counted, local.once, { namespace = "AWS/SQS", metric = "ApproximateNumberOfMessagesVisible", dimensions = { QueueName = aws_sqs_queue.dead_letters.name }, statistic = "Maximum", words = "An event or a notice was given up." })
    },
    # CloudWatch looks back a week at most: with longer schedules, only token-expiring notices missing rotations.
    { for kind in ["rotation-missing"] : kind => merge(local.counted, { metric = "TokensPromoted", period = module.schedule.missing.period, periods = module.schedule.missing.periods, datapoints = null, comparison = "LessThanThreshold", missing = "breaching", words = "No new token for ${module.schedule.missing.in_words}." }) if module.schedule.missing.is_seen },
    # As above for each further token; its missing rotations are seen by its age, which has no end of what CloudWatch looks
    # back to.
    [
      for name, token in local.tokens : {
        "rotation-failed-${name}"  = merge(local.counted, local.once, { metric = "StepsFailedByToken", dimensions = { Token = name }, words = "A step of the rotation of the token ${name} failed." })
        "rotation-missing-${name}" = merge(local.counted, local.twice, { metric = "TokenAgeByToken", dimensions = { Token = name }, statistic = "Maximum", comparison = "GreaterThanThreshold", threshold = token.missingSeconds, missing = "breaching", words = "The token ${name} is older than its rotations allow." })
        "token-expiring-${name}"   = merge(local.counted, local.twice, { metric = "TokenRemainingByToken", dimensions = { Token = name }, statistic = "Minimum", comparison = "LessThanThreshold", threshold = token.expiringSeconds, missing = "breaching", words = "The token ${name} is about to expire, or nobody can look at it." })
        "token-refused-${name}"    = merge(local.counted, local.twice, { metric = "TokensRefusedByToken", dimensions = { Token = name }, words = "Receivers refuse the token ${name}." })
      }
    ]...
  )
  # The runbook has one section for all tokens.
  sections = { for title in keys(local.alarms) : title => try(regex("^(rotation-failed|rotation-missing|token-expiring|token-refused)", title)[0], title) }
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name          = "${local.name}-${each.key}"
  alarm_description   = "${each.value.words} What to do - docs/runbook.md#${local.sections[each.key]}"
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  period              = each.value.period
  evaluation_periods  = each.value.periods
  datapoints_to_alarm = each.value.datapoints
  comparison_operator = each.value.comparison
  threshold           = each.value.threshold
  treat_missing_data  = each.value.missing
  alarm_actions       = [aws_sns_topic.alerts.arn]
  ok_actions          = [aws_sns_topic.alerts.arn]
  tags                = local.tags
}
