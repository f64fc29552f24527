# With vpc_id: the functions inside your VPC. They reach the provider through the subnets' route to the internet.

resource "aws_security_group" "functions" {
  count = local.in_vpc ? 1 : 0

  name        = "${local.name}-functions"
  description = "Functions of ${local.name}"
  vpc_id      = var.vpc_id
  tags        = local.tags

  egress {
    description = "HTTPS to the provider and to Secrets Manager"
    protocol    = "tcp"
    from_port   = 443
    to_port     = 443
    cidr_blocks = ["0.0.0.0/0"]
  }
}

locals {
  interface_actions = [
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
  ]
}

# Lambda creates the network interfaces with the function's role, and their ids are unknown beforehand: AWS accepts these
# actions only for all resources. The denial keeps the function's own code from using them.
resource "aws_iam_role_policy" "network" {
  for_each = local.in_vpc ? local.functions : {}

  name = "network"
  role = aws_iam_role.function[each.key].name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Sid = "LambdaMakesInterfaces", Effect = "Allow", Action = local.interface_actions, Resource = "*" },
      {
        Sid      = "FunctionsDoNot"
        Effect   = "Deny"
        Action   = local.interface_actions
        Resource = "*"
        Condition = {
          ArnEquals = {
            "lambda:SourceFunctionArn" = [
              for function in ["rotation", "http"] : "arn:${local.partition}:lambda:${local.region}:${local.account}:function:${local.name}-${function}"
            ]
          }
        }
      },
    ]
  })
}

# Secrets Manager inside the VPC, only for these secrets. The functions call it by its own name: with private DNS it would
# receive the calls of everybody else in the VPC, and refuse them.
resource "aws_security_group" "endpoint" {
  count = local.has_endpoint ? 1 : 0

  name        = "${local.name}-endpoint"
  description = "Secrets Manager for the functions of ${local.name}"
  vpc_id      = var.vpc_id
  tags        = local.tags

  ingress {
    description     = "HTTPS from the functions"
    protocol        = "tcp"
    from_port       = 443
    to_port         = 443
    security_groups = [aws_security_group.functions[0].id]
  }
}

resource "aws_vpc_endpoint" "secrets_manager" {
  count = local.has_endpoint ? 1 : 0

  vpc_endpoint_type   = "Interface"
  service_name        = "com.amazonaws.${local.region}.secretsmanager"
  vpc_id              = var.vpc_id
  subnet_ids          = var.subnet_ids
  security_group_ids  = [aws_security_group.endpoint[0].id]
  private_dns_enabled = false
  tags                = local.tags
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = "*"
      Action = [
        "secretsmanager:DescribeSecret",
        "secretsmanager:GetSecretValue",
        "secretsmanager:PutSecretValue",
        "secretsmanager:RotateSecret",
        "secretsmanager:UpdateSecretVersionStage",
      ]
      Resource  = concat([local.credentials_arn, local.token_arn, local.peers_arn], local.further_secrets)
      Condition = { StringEquals = { "aws:PrincipalAccount" = local.account } }
    }]
  })
}
