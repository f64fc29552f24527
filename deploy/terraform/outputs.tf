output "url" {
  description = "Where peers get the token: a signed GET of v1/token below it."
  value       = aws_lambda_function_url.http.function_url
}

output "credentials_secret_name" {
  description = "Write the provider's client id and secret into it."
  value       = aws_secretsmanager_secret.credentials.name
}

output "token_secret_name" {
  description = "Holds the service token."
  value       = aws_secretsmanager_secret.token.name
}

output "token_secret_arn" {
  description = "For brokers of other accounts, which know a secret by its ARN alone."
  value       = local.token_arn
}

output "peers_secret_name" {
  description = "Holds the peers of brokers in containers."
  value       = aws_secretsmanager_secret.peers.name
}

output "peers_secret_arn" {
  description = "For brokers of other accounts."
  value       = local.peers_arn
}

output "further_secret_names" {
  description = "The token secrets, credentials secrets and peers secrets beyond those."
  value = concat(
    [for secret in aws_secretsmanager_secret.further_token : secret.name],
    [for secret in aws_secretsmanager_secret.further_credentials : secret.name],
    [for secret in aws_secretsmanager_secret.further_peers : secret.name],
  )
}

output "key_arn" {
  description = "The key of the secrets, for the policies of roles of other accounts."
  value       = aws_kms_key.this.arn
}

output "function_arns" {
  description = "The functions, by rotation and http, for the policies of roles of other accounts."
  value       = { for title, function in aws_lambda_function.this : title => function.arn }
}

output "function_role_arns" {
  description = "The roles of the functions, by rotation and http."
  value       = { for title, role in aws_iam_role.function : title => role.arn }
}

output "peer_policy_arn" {
  description = "Attach it to the role of each service that peers names."
  value       = aws_iam_policy.peer.arn
}

output "container_broker_policy_arns" {
  description = "Attach all of them to each role that broker_roles names."
  value       = concat([aws_iam_policy.container_broker.arn], [for policy in aws_iam_policy.tokens : policy.arn], [for policy in aws_iam_policy.peers : policy.arn])
}

output "alerts_topic_arn" {
  description = "Alarms and failed rotations."
  value       = aws_sns_topic.alerts.arn
}

output "rotations_topic_arn" {
  description = "Rotations that went well."
  value       = aws_sns_topic.rotations.arn
}
