variable "name" {
  description = "Name of the endpoint and prefix of every other name; different from the names that the commands of ops use."
  type        = string
  default     = "text-classifier-tf"

  validation {
    condition     = length(var.name) <= 36 && can(regex("^[a-zA-Z0-9](-*[a-zA-Z0-9])*$", var.name))
    error_message = "Give a name of at most 36 letters, digits and hyphens."
  }
}

# --- the model ----------------------------------------------------------------------------------------------------------

variable "image_uri" {
  description = "The serve image in ECR, in the region of the endpoint; name it by its digest."
  type        = string
}

variable "model_url" {
  description = "The model's archive: s3://BUCKET/KEY/model.tar.gz."
  type        = string

  validation {
    condition     = can(regex("^s3://[^/]+/.+\\.tar\\.gz$", var.model_url))
    error_message = "Give the model as s3://BUCKET/KEY/model.tar.gz."
  }
}

variable "model_kms_key_arn" {
  description = "KMS key that encrypts the model's archive; null for the bucket's own."
  type        = string
  default     = null
}

variable "model_environment" {
  description = "Settings of the server, such as {MODEL_VARIANT = \"int8\"}; no secrets."
  type        = map(string)
  default     = {}
}

# --- the endpoint -------------------------------------------------------------------------------------------------------

variable "instance_type" {
  description = "Instance type of the endpoint. AWS rejects a new type while autoscaling is registered: first destroy -target=aws_appautoscaling_target.endpoint."
  type        = string
  default     = "ml.c7i.large"
}

variable "min_instances" {
  description = "Fewest instances; two run in two availability zones."
  type        = number
  default     = 2

  validation {
    condition     = var.min_instances >= 1
    error_message = "A real-time endpoint has at least one instance."
  }
}

variable "max_instances" {
  description = "Most instances, which bounds the bill."
  type        = number
  default     = 8

  validation {
    condition     = var.max_instances >= 1
    error_message = "Give at least one instance, and no fewer than min_instances."
  }
}

variable "requests_per_instance_per_minute" {
  description = "Target of autoscaling for each instance; use half of the measured requests per second, times 60."
  type        = number
  default     = 6000

  validation {
    condition     = var.requests_per_instance_per_minute > 0
    error_message = "Give a positive number of requests."
  }
}

variable "kms_key_arn" {
  description = "KMS key for the instances' storage; null for the service's own. Instances with NVMe storage do not support one."
  type        = string
  default     = null
}

variable "vpc" {
  description = "Private subnets and security groups for the model's containers; null for SageMaker's own network."
  type = object({
    subnets            = list(string)
    security_group_ids = list(string)
  })
  default = null
}

# --- the API ------------------------------------------------------------------------------------------------------------

variable "authorization" {
  description = "Who may call the API: AWS_IAM (signed requests), JWT (requests with a token), NONE (everybody)."
  type        = string
  default     = "AWS_IAM"

  validation {
    condition     = contains(["AWS_IAM", "JWT", "NONE"], var.authorization)
    error_message = "Choose AWS_IAM, JWT or NONE."
  }
}

variable "jwt" {
  description = "Issuer and audiences of accepted tokens; with authorization = \"JWT\"."
  type = object({
    issuer   = string
    audience = list(string)
  })
  default = null
}

variable "allowed_origins" {
  description = "Web sites whose pages may call the API, such as https://example.com."
  type        = list(string)
  default     = []
}

variable "rate_limit" {
  description = "Requests per second; above it, API Gateway answers 429."
  type        = number
  default     = 100
}

variable "burst_limit" {
  description = "Requests that may arrive at once."
  type        = number
  default     = 200
}

variable "max_body_bytes" {
  description = "Largest body of a request; base64 makes it a third larger for Lambda, which accepts 6 MB."
  type        = number
  default     = 4000000

  validation {
    condition     = var.max_body_bytes >= 1024 && var.max_body_bytes <= 4500000
    error_message = "Give 1,024 to 4,500,000 bytes."
  }
}

variable "read_timeout_s" {
  description = "Longest time of the endpoint for one response, in seconds; API Gateway stops after 30."
  type        = number
  default     = 20

  validation {
    condition     = var.read_timeout_s >= 1 && var.read_timeout_s <= 25
    error_message = "Give 1 to 25 seconds."
  }
}

# --- logs and alarms ----------------------------------------------------------------------------------------------------

variable "log_retention_days" {
  description = "Days to keep logs."
  type        = number
  default     = 30
}

variable "alarm_topic_arn" {
  description = "SNS topic for alarms; null sends no notification."
  type        = string
  default     = null
}

variable "latency_alarm_ms" {
  description = "Latency of the API (p99) that raises an alarm, in milliseconds."
  type        = number
  default     = 2000
}

variable "tags" {
  description = "Tags of every resource."
  type        = map(string)
  default     = {}
}
