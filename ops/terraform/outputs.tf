output "url" {
  description = "URL that predicts, with POST."
  value       = "${aws_apigatewayv2_api.this.api_endpoint}/invocations"
}

output "endpoint" {
  description = "Name of the SageMaker endpoint."
  value       = aws_sagemaker_endpoint.this.name
}

output "function" {
  description = "Name of the Lambda function."
  value       = aws_lambda_function.this.function_name
}
