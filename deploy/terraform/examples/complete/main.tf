# A broker with everything that can be switched on. From nothing to a token: docs/terraform.md.

terraform {
  required_version = ">= 1.9"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.29, < 7.0"
    }
  }
}

provider "aws" {
  region = "eu-central-1"
}

module "broker" {
  source = "../.."

  stage = "prod"
  tags  = { team = "platform" }

  issuer   = "https://TENANT.eu.auth0.com/"
  audience = "https://services.example.com"
  profile  = "auth0"

  schedule       = "cron(0 3/12 * * ? *)"
  window         = "1h"
  token_lifetime = "24h"

  peers = [
    "arn:aws:iam::123456789012:role/billing",
    "token+admin=arn:aws:iam::123456789012:role/operations",
  ]
  broker_roles   = ["arn:aws:iam::123456789012:role/broker-in-a-container"]
  administrators = ["arn:aws:iam::123456789012:role/aws-reserved/sso.amazonaws.com/*/AWSReservedSSO_Platform_*"]

  alert_emails       = ["platform@example.com"]
  log_retention_days = 365
  replica_regions    = ["eu-west-1"]

  vpc_id     = "vpc-0a1b2c3d4e5f60718"
  subnet_ids = ["subnet-0a1b2c3d4e5f60718", "subnet-1a1b2c3d4e5f60718"]
}

output "url" {
  value = module.broker.url
}

output "peer_policy_arn" {
  value = module.broker.peer_policy_arn
}
