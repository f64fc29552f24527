# The broker on AWS: two functions, three secrets, and what watches over them. docs/terraform.md says how to apply it, and
# docs/deploying.md what each resource is for and what it costs: serverless.yml makes the same.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  name      = "service-token-broker-${var.stage}"
  prefix    = "service-token-broker/${var.stage}"
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  region    = data.aws_region.current.region
  tags      = merge(var.tags, { service = "service-token-broker", stage = var.stage })

  functions_folder = var.functions_folder == "" ? "${path.module}/../../dist-lambda" : var.functions_folder

  in_vpc       = var.vpc_id != ""
  has_endpoint = local.in_vpc && var.secrets_manager_endpoint

  via_secrets_manager = "secretsmanager.${local.region}.amazonaws.com"
}

# When the token `default` is rotated, and its alarms.
module "schedule" {
  source = "./modules/schedule"

  schedule       = var.schedule
  window         = var.window
  token_lifetime = var.token_lifetime
}

# Further tokens: the broker's own code reads its file, by the rules that the functions have.
data "external" "config" {
  count = var.config == "" ? 0 : 1

  program = ["node", "${path.module}/read-config.mjs"]
  query = {
    config               = var.config
    stage                = var.stage
    functionsFolder      = local.functions_folder
    issuer               = var.issuer
    audience             = var.audience
    profile              = var.profile
    scope                = var.scope
    resource             = join(",", var.resource)
    tokenEndpoint        = var.token_endpoint
    jwksUri              = var.jwks_uri
    clientAuthentication = var.client_authentication
    clientId             = var.client_id
    kmsKeyArn            = var.kms_key_arn
    awsTokenAudience     = var.aws_token_audience
    serviceClientIds     = join(",", var.service_client_ids)
    otherAudiences       = join(",", var.other_audiences)
    customerClientIds    = join(",", var.customer_client_ids)
    tokenTyp             = var.token_typ
    peers                = join(",", var.peers)
    replicaRegions       = join(",", var.replica_regions)
    schedule             = var.schedule
    window               = var.window
    tokenLifetime        = join(",", concat([var.token_lifetime], [for name, life in var.token_lifetimes : "${name}=${life}"]))
  }
}

locals {
  # `{ tokens, providers, iamPeers, json }`, empty without a file.
  deployment = jsondecode(try(data.external.config[0].result.deployment, "{\"tokens\":[],\"providers\":[],\"iamPeers\":[],\"json\":\"\"}"))
  tokens     = { for token in local.deployment.tokens : token.name => token }
  providers  = { for provider in local.deployment.providers : provider.name => provider }

  # What becomes environment variables of a function, as it is written there.
  settings = join("", [
    var.issuer, var.audience, var.scope, join(",", var.resource), var.token_endpoint, var.jwks_uri, var.client_id, var.kms_key_arn,
    var.aws_token_audience, join(",", var.service_client_ids), join(",", var.other_audiences), join(",", var.customer_client_ids),
    join(",", var.peers), join(",", var.replica_regions),
  ])
}

# What several variables or the account decide together. All of it is known when the plan is made.
resource "terraform_data" "checked" {
  lifecycle {
    precondition {
      condition     = length(module.schedule.mistakes) == 0
      error_message = "${local.name}: ${join(" ", module.schedule.mistakes)}"
    }
    precondition {
      condition     = !contains(var.replica_regions, local.region)
      error_message = "${local.name}: replica_regions = ${jsonencode(var.replica_regions)} is refused: ${local.region} has the primary."
    }
    precondition {
      condition     = length(local.settings) <= 2800
      error_message = "${local.name}: the variables of the provider, peers and replica_regions have ${length(local.settings)} characters together, and may have 2800: Lambda takes 4 KB of environment variables in all. The longest is most often peers: list fewer."
    }
  }
}
