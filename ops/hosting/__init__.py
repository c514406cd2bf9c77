"""A SageMaker endpoint, from a model archive in S3: each module makes one of its parts."""
