# A SageMaker endpoint with autoscaling, and an HTTP API in front of it. Use it as a module, or on its own:
#   terraform -chdir=ops/terraform init
#   terraform -chdir=ops/terraform plan -var image_uri=ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME@sha256:DIGEST \
#     -var model_url=s3://BUCKET/model.tar.gz
#   terraform -chdir=ops/terraform apply ...        # `destroy` removes everything
terraform {
  required_version = ">= 1.5"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.80, < 7.0"
    }
    archive = {
      source  = "hashicorp/archive"
      version = "~> 2.4"
    }
  }
}
