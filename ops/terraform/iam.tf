# Two roles with least privilege.

data "aws_partition" "current" {}
data "aws_caller_identity" "current" {}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  # 123456789012.dkr.ecr.eu-central-1.amazonaws.com/NAME@sha256:... or NAME:TAG
  image         = regex("^(?P<account>[0-9]{12})\\.dkr\\.ecr\\.(?P<region>[a-z0-9-]+)\\.[^/]+/(?P<repository>[^@:]+)", var.image_uri)
  repository    = "arn:${local.partition}:ecr:${local.image.region}:${local.image.account}:repository/${local.image.repository}"
  endpoint_logs = "arn:${local.partition}:logs:*:${local.account}:log-group:/aws/sagemaker/Endpoints/${var.name}"
}

data "aws_iam_policy_document" "assumed_by" {
  for_each = toset(["sagemaker", "lambda"])

  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["${each.key}.amazonaws.com"]
    }

    # Lambda sends no aws:SourceAccount when it assumes a role.
    dynamic "condition" {
      for_each = each.key == "sagemaker" ? [local.account] : []
      content {
        test     = "StringEquals"
        variable = "aws:SourceAccount"
        values   = [condition.value]
      }
    }
  }
}

resource "aws_iam_role" "endpoint" {
  name_prefix        = "${substr(var.name, 0, 24)}-endpoint-"
  assume_role_policy = data.aws_iam_policy_document.assumed_by["sagemaker"].json
  tags               = var.tags
}

data "aws_iam_policy_document" "endpoint" {
  statement {
    sid       = "Model"
    actions   = ["s3:GetObject"]
    resources = ["arn:${local.partition}:s3:::${local.model_bucket}/${local.model_key}"]
  }

  statement {
    sid       = "ImageLogin"
    actions   = ["ecr:GetAuthorizationToken"]
    resources = ["*"]
  }

  statement {
    sid       = "Image"
    actions   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    resources = [local.repository]
  }

  statement {
    sid       = "Logs"
    actions   = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
    resources = [local.endpoint_logs, "${local.endpoint_logs}:*"]
  }

  statement {
    sid       = "Metrics"
    actions   = ["cloudwatch:PutMetricData"]
    resources = ["*"]

    condition {
      test     = "StringLike"
      variable = "cloudwatch:namespace"
      values   = ["/aws/sagemaker/*", "AWS/SageMaker"]
    }
  }

  # SageMaker uses this role to read the alarm that rolls an update back.
  statement {
    sid       = "Rollback"
    actions   = ["cloudwatch:DescribeAlarms"]
    resources = [aws_cloudwatch_metric_alarm.model_errors.arn]
  }

  dynamic "statement" {
    for_each = var.model_kms_key_arn[*]
    content {
      sid       = "Decryption"
      actions   = ["kms:Decrypt"]
      resources = [statement.value]
    }
  }

  dynamic "statement" {
    for_each = var.vpc[*]
    content {
      sid = "Network"
      actions = [
        "ec2:CreateNetworkInterface", "ec2:CreateNetworkInterfacePermission", "ec2:DeleteNetworkInterface",
        "ec2:DeleteNetworkInterfacePermission", "ec2:DescribeDhcpOptions", "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", "ec2:DescribeVpcs",
      ]
      resources = ["*"]
    }
  }
}

resource "aws_iam_role_policy" "endpoint" {
  name   = "endpoint"
  role   = aws_iam_role.endpoint.id
  policy = data.aws_iam_policy_document.endpoint.json
}

resource "aws_iam_role" "function" {
  name_prefix        = "${substr(var.name, 0, 24)}-function-"
  assume_role_policy = data.aws_iam_policy_document.assumed_by["lambda"].json
  tags               = var.tags
}

data "aws_iam_policy_document" "function" {
  statement {
    sid       = "Endpoint"
    actions   = ["sagemaker:InvokeEndpoint"]
    resources = [aws_sagemaker_endpoint.this.arn]
  }

  statement {
    sid       = "Logs"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.function.arn}:*"]
  }
}

resource "aws_iam_role_policy" "function" {
  name   = "function"
  role   = aws_iam_role.function.id
  policy = data.aws_iam_policy_document.function.json
}
