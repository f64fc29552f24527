# As the parameters of serverless.yml, which deploy/options.cjs checks by the same rules: a test compares the two. No
# variable is a secret: the client id and secret never pass through Terraform, nor into its state.

variable "stage" {
  description = "Which of your stacks this is. Every name begins with service-token-broker-STAGE, every secret with service-token-broker/STAGE/."
  type        = string
  default     = "dev"
  nullable    = false
  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9-]{0,33}$", var.stage))
    error_message = "stage = ${jsonencode(var.stage)} is refused: letters, digits and hyphens, 34 at most."
  }
}

variable "tags" {
  description = "Tags of every resource, besides service and stage."
  type        = map(string)
  default     = {}
  nullable    = false
  validation {
    condition     = length(setintersection(keys(var.tags), ["service", "stage"])) == 0
    error_message = "tags = ${jsonencode(var.tags)} is refused: the module sets service and stage itself."
  }
  validation {
    # AWS's own limits, of which some services show only when the others have made theirs.
    condition = length(var.tags) <= 48 && alltrue([
      for name, text in var.tags : can(regex("^[\\p{L}\\p{Z}\\p{N}_.:/=+@-]{1,128}$", name)) && can(regex("^[\\p{L}\\p{Z}\\p{N}_.:/=+@-]{0,256}$", text)) && !startswith(lower(name), "aws:")
    ])
    error_message = "tags = ${jsonencode(var.tags)} is refused: 48 at most, names of 1 to 128 and values of 0 to 256 letters, digits, spaces and _.:/=+-@, and no name begins with aws:."
  }
}

variable "functions_folder" {
  description = "The folder with rotation.mjs and http.mjs, which `npm run build:lambda` makes. Default: dist-lambda of the repository that this module is part of."
  type        = string
  default     = ""
  nullable    = false
}

# --- The provider.

variable "issuer" {
  description = "The provider's issuer, exactly as in the tokens' iss claim."
  type        = string
  nullable    = false
  validation {
    condition     = can(regex("^(?i:https)://[^\\s/?#@]+(?:/[^\\s?#]*)?$", var.issuer)) && !can(regex("\\p{Cc}", var.issuer))
    error_message = "issuer = ${jsonencode(var.issuer)} is refused: an https URL without a query or a fragment."
  }
}

variable "audience" {
  description = "What the token is for."
  type        = string
  nullable    = false
  validation {
    condition     = var.audience != "" && trimspace(var.audience) == var.audience && !can(regex("\\p{Cc}", var.audience))
    error_message = "audience = ${jsonencode(var.audience)} is refused: it is empty, begins or ends with a space, or has control characters."
  }
}

variable "profile" {
  description = "How the provider marks service tokens and customer tokens."
  type        = string
  default     = "rfc9068"
  nullable    = false
  validation {
    condition     = contains(["rfc9068", "auth0", "okta", "entra", "cognito", "keycloak", "ping-am", "pingone", "workos", "hydra", "spring", "duende", "kinde", "kubernetes", "zitadel", "authentik"], var.profile)
    error_message = "profile = ${jsonencode(var.profile)} is refused: one of rfc9068, auth0, okta, entra, cognito, keycloak, ping-am, pingone, workos, hydra, spring, duende, kinde, kubernetes, zitadel, authentik."
  }
  validation {
    condition     = !contains(["zitadel", "authentik"], var.profile) || length(var.service_client_ids) > 0
    error_message = "profile = ${jsonencode(var.profile)} is refused: it needs service_client_ids, too."
  }
}

variable "scope" {
  description = "The scope to ask the provider for."
  type        = string
  default     = ""
  nullable    = false
  validation {
    condition     = var.scope == "" || can(regex("^[!#-\\[\\]-~]+(?: [!#-\\[\\]-~]+)*$", var.scope))
    error_message = "scope = ${jsonencode(var.scope)} is refused: scope names, separated by single spaces."
  }
}

variable "resource" {
  description = "Resource indicators (RFC 8707) to ask the provider for."
  type        = list(string)
  default     = []
  nullable    = false
  validation {
    condition     = alltrue([for uri in var.resource : can(regex("^(?i:[a-z][a-z0-9+.-]*):[^\\s#,]+$", uri)) && !can(regex("\\p{Cc}", uri))])
    error_message = "resource = ${jsonencode(var.resource)} is refused: absolute URIs without a fragment and without commas."
  }
  validation {
    condition     = length(var.resource) == length(distinct(var.resource))
    error_message = "resource = ${jsonencode(var.resource)} is refused: one is given twice."
  }
}

variable "token_endpoint" {
  description = "For a provider without discovery."
  type        = string
  default     = ""
  nullable    = false
  validation {
    condition     = var.token_endpoint == "" || can(regex("^(?i:https)://[^\\s/?#@]+(?:[/?][^\\s#]*)?$", var.token_endpoint)) && !can(regex("\\p{Cc}", var.token_endpoint))
    error_message = "token_endpoint = ${jsonencode(var.token_endpoint)} is refused: an https URL without a fragment."
  }
}

variable "jwks_uri" {
  description = "For a provider without discovery."
  type        = string
  default     = ""
  nullable    = false
  validation {
    condition     = var.jwks_uri == "" || can(regex("^(?i:https)://[^\\s/?#@]+(?:[/?][^\\s#]*)?$", var.jwks_uri)) && !can(regex("\\p{Cc}", var.jwks_uri))
    error_message = "jwks_uri = ${jsonencode(var.jwks_uri)} is refused: an https URL without a fragment."
  }
}

variable "client_authentication" {
  description = "client_secret_basic, client_secret_post or private_key_jwt, if the broker's own choice is wrong; without a stored secret kms, workload_token or mtls."
  type        = string
  default     = ""
  nullable    = false
  validation {
    condition     = contains(["", "client_secret_basic", "client_secret_post", "private_key_jwt", "kms", "workload_token", "mtls"], var.client_authentication)
    error_message = "client_authentication = ${jsonencode(var.client_authentication)} is refused: client_secret_basic, client_secret_post, private_key_jwt, kms, workload_token, mtls."
  }
}

variable "client_id" {
  description = "The client id. With kms or workload_token the credentials secret is then not needed. Default: that of the secret."
  type        = string
  default     = ""
  nullable    = false
  validation {
    condition     = !can(regex("\\p{Cc}", var.client_id))
    error_message = "client_id is refused: no control characters."
  }
}

variable "kms_key_arn" {
  description = "The key that signs client assertions, with client_authentication = \"kms\"."
  type        = string
  default     = ""
  nullable    = false
  validation {
    condition     = var.kms_key_arn == "" || can(regex("^arn:aws[a-z-]*:kms:[a-z0-9-]+:\\d{12}:key/[\\w-]+$", var.kms_key_arn))
    error_message = "kms_key_arn = ${jsonencode(var.kms_key_arn)} is refused: the ARN of a KMS key."
  }
  validation {
    condition     = (var.client_authentication == "kms") == (var.kms_key_arn != "")
    error_message = "service-token-broker-${var.stage}: give both client_authentication = \"kms\" and kms_key_arn, or neither."
  }
}

variable "aws_token_audience" {
  description = "The audience of the identity token of AWS, with client_authentication = \"workload_token\"."
  type        = string
  default     = ""
  nullable    = false
  validation {
    condition     = (var.client_authentication == "workload_token") == (var.aws_token_audience != "")
    error_message = "service-token-broker-${var.stage}: give both client_authentication = \"workload_token\" and aws_token_audience, or neither."
  }
  validation {
    condition     = !can(regex("\\p{Cc}", var.aws_token_audience))
    error_message = "aws_token_audience is refused: no control characters."
  }
}

variable "service_client_ids" {
  description = "The only client ids whose tokens count as service tokens; the profiles zitadel and authentik need it. Default: every client."
  type        = list(string)
  default     = []
  nullable    = false
  validation {
    condition     = alltrue([for id in var.service_client_ids : trimspace(id) != "" && !can(regex("[,\\p{Cc}]", id))]) && length(var.service_client_ids) == length(distinct(var.service_client_ids))
    error_message = "service_client_ids = ${jsonencode(var.service_client_ids)} is refused: client ids without commas and control characters, each once."
  }
}

variable "other_audiences" {
  description = "Audiences that may stand beside `audience` in the token, as otherAudiences of receivers; [\"*\"] allows any."
  type        = list(string)
  default     = []
  nullable    = false
  validation {
    condition     = !contains(var.other_audiences, "*") || length(var.other_audiences) == 1
    error_message = "other_audiences = ${jsonencode(var.other_audiences)} is refused: * stands alone."
  }
  validation {
    condition     = alltrue([for id in var.other_audiences : trimspace(id) != "" && !can(regex("[,\\p{Cc}]", id))]) && length(var.other_audiences) == length(distinct(var.other_audiences))
    error_message = "other_audiences = ${jsonencode(var.other_audiences)} is refused: audiences without commas and control characters, each once."
  }
}

variable "customer_client_ids" {
  description = "As customerClientIds of receivers. Default: every client."
  type        = list(string)
  default     = []
  nullable    = false
  validation {
    condition     = alltrue([for id in var.customer_client_ids : trimspace(id) != "" && !can(regex("[,\\p{Cc}]", id))]) && length(var.customer_client_ids) == length(distinct(var.customer_client_ids))
    error_message = "customer_client_ids = ${jsonencode(var.customer_client_ids)} is refused: client ids without commas and control characters, each once."
  }
}

variable "token_typ" {
  description = "at+jwt, where receivers insist on it with typ. Default: also JWT and none."
  type        = string
  default     = ""
  nullable    = false
  validation {
    condition     = contains(["", "at+jwt"], var.token_typ)
    error_message = "token_typ = ${jsonencode(var.token_typ)} is refused: at+jwt, or nothing."
  }
}

# --- Several tokens.

variable "config" {
  description = "The broker's own configuration file (docs/several-tokens.md), for further tokens. The variables above describe its token `default`. Needs Node.js where Terraform runs."
  type        = string
  default     = ""
  nullable    = false
  validation {
    condition     = var.config == "" ? true : fileexists(var.config)
    error_message = "config = ${jsonencode(var.config)} is refused: there is no such file. Write its path as in $${path.module}/broker.yml."
  }
}

# --- Rotation, in UTC.

variable "schedule" {
  description = "When, in Secrets Manager's notation, which is every four hours at most."
  type        = string
  # Twice a day, so that a token of 24 hours outlives the worst gap, and leaves people half a day to fix what is broken.
  default  = "cron(0 3/12 * * ? *)"
  nullable = false
}

variable "window" {
  description = "How long after that a rotation may begin: whole hours, up to the next rotation and the end of the UTC day. Empty: none, and then a daily schedule may use the rest of the day."
  type        = string
  default     = "1h"
  nullable    = false
}

variable "token_lifetime" {
  description = "How long the provider's tokens live, at least: minutes, hours or days, as in 1440m, 24h, 30d. The alarms follow from it, and a schedule that it does not outlive is refused."
  type        = string
  default     = "24h"
  nullable    = false
}

variable "token_lifetimes" {
  description = "The same for tokens of `config` whose life differs, by name: { mail = \"12h\" }."
  type        = map(string)
  default     = {}
  nullable    = false
  validation {
    condition     = length(var.token_lifetimes) == 0 || var.config != ""
    error_message = "token_lifetimes names tokens of config, and there is none: give token_lifetime."
  }
  validation {
    condition     = !contains(keys(var.token_lifetimes), "default")
    error_message = "token_lifetimes names default, whose life is token_lifetime: give it there."
  }
}

# --- People and services, as ARNs of roles or users.

variable "peers" {
  description = "IAM roles and users that may get the token from the function's URL; admin= or token+admin= before one: may rotate, or both. Those of other accounts have to exist."
  type        = list(string)
  default     = []
  nullable    = false
  validation {
    condition     = alltrue([for peer in var.peers : can(regex("^(?:(?:token|admin|token\\+admin)=)?arn:aws[a-z-]*:iam::\\d{12}:(?:role|user)/(?:[!-+\\x2d-~]+/)?[\\w+=.@-]{1,128}$", peer))])
    error_message = "peers = ${jsonencode(var.peers)} is refused: each is the ARN of an IAM role or user, as in arn:aws:iam::123456789012:role/orders, with admin= or token+admin= before it if need be."
  }
  validation {
    condition     = length(var.peers) == length(distinct([for peer in var.peers : replace(peer, "/^[a-z+]+=/", "")]))
    error_message = "peers = ${jsonencode(var.peers)} is refused: one is given twice. token+admin= gives one both roles."
  }
}

variable "broker_roles" {
  description = "The roles of brokers that run in containers, also of other accounts."
  type        = list(string)
  default     = []
  nullable    = false
  validation {
    condition     = alltrue([for role in var.broker_roles : can(regex("^arn:aws[a-z-]*:iam::\\d{12}:(?:role|user)/(?:[!-+\\x2d-~]+/)?[\\w+=.@-]{1,128}$", role))])
    error_message = "broker_roles = ${jsonencode(var.broker_roles)} is refused: each is the ARN of an IAM role or user, as in arn:aws:iam::123456789012:role/orders."
  }
  validation {
    condition     = length(var.broker_roles) == length(distinct(var.broker_roles))
    error_message = "broker_roles = ${jsonencode(var.broker_roles)} is refused: one is given twice."
  }
}

variable "peers_secrets" {
  description = "How many secrets the list of peers of brokers in containers spans, 30 at most: one holds some 420."
  type        = number
  default     = 1
  nullable    = false
  validation {
    condition     = var.peers_secrets >= 1 && var.peers_secrets <= 30 && floor(var.peers_secrets) == var.peers_secrets
    error_message = "peers_secrets = ${var.peers_secrets} is refused: a number from 1 to 30."
  }
}

variable "administrators" {
  description = "Who may read and write the secrets by hand, besides the account's root user; * and ? are wildcards in the name."
  type        = list(string)
  default     = []
  nullable    = false
  validation {
    # Never in the account: that would let in other people's accounts.
    condition     = alltrue([for who in var.administrators : can(regex("^arn:aws[a-z-]*:iam::\\d{12}:(?:(?:role|user)/[!-+\\x2d-~]+|root)$", who))])
    error_message = "administrators = ${jsonencode(var.administrators)} is refused: each is the ARN of an IAM role or user, as in arn:aws:iam::123456789012:role/orders; * and ? are wildcards in the name, not in the account."
  }
  validation {
    condition     = length(var.administrators) == length(distinct(var.administrators))
    error_message = "administrators = ${jsonencode(var.administrators)} is refused: one is given twice."
  }
  validation {
    condition     = length(join(",", var.administrators)) + length(join(",", var.broker_roles)) <= 3500
    error_message = "service-token-broker-${var.stage}: administrators and broker_roles have ${length(join(",", var.administrators)) + length(join(",", var.broker_roles))} characters together, and may have 3500: the policy of a secret has 20,480 characters at most."
  }
}

# --- Alerts.

variable "alert_emails" {
  description = "Addresses for the alerts; each has to confirm once."
  type        = list(string)
  default     = []
  nullable    = false
  validation {
    condition     = alltrue([for address in var.alert_emails : can(regex("^[^\\s@,<>\"]{1,64}@[A-Za-z0-9-]{1,63}(?:\\.[A-Za-z0-9-]{1,63})+$", address))]) && length(var.alert_emails) == length(distinct(var.alert_emails))
    error_message = "alert_emails = ${jsonencode(var.alert_emails)} is refused: mail addresses, each once."
  }
}

variable "log_retention_days" {
  description = "How long logs are kept."
  type        = number
  default     = 90
  nullable    = false
  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days = ${var.log_retention_days} is refused: CloudWatch Logs takes 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653."
  }
}

# --- Optional parts.

variable "replica_regions" {
  description = "Regions with replicas of the token and peers secrets. The HTTP function reads them in this order while its own Region's Secrets Manager fails."
  type        = list(string)
  default     = []
  nullable    = false
  validation {
    condition     = alltrue([for region in var.replica_regions : can(regex("^[a-z]{2,8}(?:-[a-z]{2,12}){1,3}-\\d{1,2}$", region))]) && length(var.replica_regions) == length(distinct(var.replica_regions))
    error_message = "replica_regions = ${jsonencode(var.replica_regions)} is refused: names of Regions, such as eu-west-1, each once."
  }
}

variable "vpc_id" {
  description = "A VPC for the functions."
  type        = string
  default     = ""
  nullable    = false
  validation {
    condition     = var.vpc_id == "" || can(regex("^vpc-[0-9a-f]{8,17}$", var.vpc_id))
    error_message = "vpc_id = ${jsonencode(var.vpc_id)} is refused: the id of a VPC."
  }
  validation {
    condition     = (var.vpc_id == "") == (length(var.subnet_ids) == 0)
    error_message = "service-token-broker-${var.stage}: give both vpc_id and subnet_ids, or neither."
  }
}

variable "subnet_ids" {
  description = "Private subnets of the VPC with a route to the provider through a NAT gateway."
  type        = list(string)
  default     = []
  nullable    = false
  validation {
    condition     = alltrue([for id in var.subnet_ids : can(regex("^subnet-[0-9a-f]{8,17}$", id))]) && length(var.subnet_ids) == length(distinct(var.subnet_ids))
    error_message = "subnet_ids = ${jsonencode(var.subnet_ids)} is refused: ids of subnets, each once."
  }
  validation {
    condition     = length(var.subnet_ids) <= 16
    error_message = "subnet_ids is refused: a function takes 16 subnets at most."
  }
}

variable "secrets_manager_endpoint" {
  description = "In a VPC: whether the module makes an interface endpoint of its own for Secrets Manager. false: the VPC has one."
  type        = bool
  default     = true
  nullable    = false
}
