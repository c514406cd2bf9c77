# An HTTP API in front of the endpoint. The function is ops/gateway/handler.py.

data "archive_file" "function" {
  type        = "zip"
  source_file = "${path.module}/../gateway/handler.py"
  output_path = "${path.module}/.terraform/function.zip"
}

resource "aws_cloudwatch_log_group" "function" {
  name              = "/aws/lambda/${var.name}-api"
  retention_in_days = var.log_retention_days
  tags              = var.tags
}

resource "aws_lambda_function" "this" {
  function_name    = "${var.name}-api"
  description      = "Calls the SageMaker endpoint and explains errors."
  role             = aws_iam_role.function.arn
  filename         = data.archive_file.function.output_path
  source_code_hash = data.archive_file.function.output_base64sha256
  runtime          = "python3.13"
  handler          = "handler.handler"
  architectures    = ["x86_64"]
  memory_size      = 512
  timeout          = 28
  tags             = var.tags

  environment {
    variables = {
      ENDPOINT_NAME  = aws_sagemaker_endpoint.this.name
      MAX_BODY_BYTES = var.max_body_bytes
      READ_TIMEOUT_S = var.read_timeout_s
    }
  }

  logging_config {
    log_format = "JSON"
    log_group  = aws_cloudwatch_log_group.function.name
  }

  depends_on = [aws_iam_role_policy.function]
}

resource "aws_apigatewayv2_api" "this" {
  name          = var.name
  protocol_type = "HTTP"
  tags          = var.tags

  dynamic "cors_configuration" {
    for_each = length(var.allowed_origins) > 0 ? [var.allowed_origins] : []
    content {
      allow_origins  = cors_configuration.value
      allow_methods  = ["POST"]
      allow_headers  = ["authorization", "content-type", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256"]
      expose_headers = ["retry-after", "x-request-id"]
      max_age        = 600
    }
  }
}

resource "aws_apigatewayv2_authorizer" "jwt" {
  count            = var.authorization == "JWT" ? 1 : 0
  api_id           = aws_apigatewayv2_api.this.id
  name             = "jwt"
  authorizer_type  = "JWT"
  identity_sources = ["$request.header.Authorization"]

  jwt_configuration {
    issuer   = try(var.jwt.issuer, null)
    audience = try(var.jwt.audience, null)
  }

  lifecycle {
    precondition {
      condition     = var.jwt != null
      error_message = "authorization = \"JWT\" needs jwt = {issuer, audience}."
    }
  }
}

resource "aws_apigatewayv2_integration" "this" {
  api_id                 = aws_apigatewayv2_api.this.id
  integration_type       = "AWS_PROXY"
  integration_uri        = aws_lambda_function.this.invoke_arn
  payload_format_version = "2.0"
  timeout_milliseconds   = 29000
}

resource "aws_apigatewayv2_route" "this" {
  api_id             = aws_apigatewayv2_api.this.id
  route_key          = "POST /invocations"
  target             = "integrations/${aws_apigatewayv2_integration.this.id}"
  authorization_type = var.authorization
  authorizer_id      = one(aws_apigatewayv2_authorizer.jwt[*].id)
}

resource "aws_cloudwatch_log_group" "access" {
  name              = "/aws/apigateway/${var.name}"
  retention_in_days = var.log_retention_days
  tags              = var.tags
}

resource "aws_apigatewayv2_stage" "this" {
  api_id      = aws_apigatewayv2_api.this.id
  name        = "$default"
  auto_deploy = true
  tags        = var.tags

  default_route_settings {
    throttling_rate_limit    = var.rate_limit
    throttling_burst_limit   = var.burst_limit
    detailed_metrics_enabled = true
  }

  access_log_settings {
    destination_arn = aws_cloudwatch_log_group.access.arn
    format = jsonencode({
      time              = "$context.requestTime"
      request_id        = "$context.requestId"
      method            = "$context.httpMethod"
      path              = "$context.path"
      status            = "$context.status"
      bytes_out         = "$context.responseLength"
      milliseconds      = "$context.responseLatency"
      source            = "$context.identity.sourceIp"
      error             = "$context.error.message"
      integration_error = "$context.integrationErrorMessage"
    })
  }

  depends_on = [aws_apigatewayv2_route.this]
}

resource "aws_lambda_permission" "api" {
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.this.function_name
  principal     = "apigateway.amazonaws.com"
  source_arn    = "${aws_apigatewayv2_api.this.execution_arn}/*/POST/invocations"
}
