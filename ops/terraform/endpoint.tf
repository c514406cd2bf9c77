# The model behind a real-time endpoint with autoscaling.

locals {
  model_bucket = split("/", var.model_url)[2]
  model_key    = join("/", slice(split("/", var.model_url), 3, length(split("/", var.model_url))))
}

resource "aws_sagemaker_model" "this" {
  execution_role_arn       = aws_iam_role.endpoint.arn
  enable_network_isolation = true
  tags                     = var.tags

  primary_container {
    image          = var.image_uri
    model_data_url = var.model_url
    environment    = var.model_environment
  }

  dynamic "vpc_config" {
    for_each = var.vpc[*]
    content {
      subnets            = vpc_config.value.subnets
      security_group_ids = vpc_config.value.security_group_ids
    }
  }

  lifecycle {
    create_before_destroy = true
  }

  depends_on = [aws_iam_role_policy.endpoint]
}

resource "aws_sagemaker_endpoint_configuration" "this" {
  name_prefix = "${var.name}-"
  kms_key_arn = var.kms_key_arn
  tags        = var.tags

  production_variants {
    variant_name           = "main"
    model_name             = aws_sagemaker_model.this.name
    instance_type          = var.instance_type
    initial_instance_count = var.min_instances
    # An instance that is not ready in this time counts as failed, for example when the model cannot be loaded.
    container_startup_health_check_timeout_in_seconds = 300

    routing_config {
      routing_strategy = "LEAST_OUTSTANDING_REQUESTS"
    }
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_sagemaker_endpoint" "this" {
  name                 = var.name
  endpoint_config_name = aws_sagemaker_endpoint_configuration.this.name
  tags                 = var.tags

  # With several instances, a tenth of the new ones gets traffic first. An alarm moves all traffic back to the old ones.
  deployment_config {
    blue_green_update_policy {
      termination_wait_in_seconds          = 300
      maximum_execution_timeout_in_seconds = 3600

      traffic_routing_configuration {
        type                     = var.min_instances > 1 ? "CANARY" : "ALL_AT_ONCE"
        wait_interval_in_seconds = 300

        dynamic "canary_size" {
          for_each = var.min_instances > 1 ? [10] : []
          content {
            type  = "CAPACITY_PERCENT"
            value = canary_size.value
          }
        }
      }
    }

    auto_rollback_configuration {
      alarms {
        alarm_name = aws_cloudwatch_metric_alarm.model_errors.alarm_name
      }
    }
  }
}

resource "aws_appautoscaling_target" "endpoint" {
  service_namespace  = "sagemaker"
  resource_id        = "endpoint/${aws_sagemaker_endpoint.this.name}/variant/main"
  scalable_dimension = "sagemaker:variant:DesiredInstanceCount"
  min_capacity       = var.min_instances
  max_capacity       = var.max_instances

  lifecycle {
    precondition {
      condition     = var.max_instances >= var.min_instances
      error_message = "max_instances is less than min_instances; raise it."
    }
  }
}

resource "aws_appautoscaling_policy" "endpoint" {
  name               = "${var.name}-load"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.endpoint.service_namespace
  resource_id        = aws_appautoscaling_target.endpoint.resource_id
  scalable_dimension = aws_appautoscaling_target.endpoint.scalable_dimension

  target_tracking_scaling_policy_configuration {
    target_value       = var.requests_per_instance_per_minute
    scale_out_cooldown = 60
    scale_in_cooldown  = 300

    predefined_metric_specification {
      predefined_metric_type = "SageMakerVariantInvocationsPerInstance"
    }
  }
}
