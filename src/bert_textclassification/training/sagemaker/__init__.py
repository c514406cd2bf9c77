"""A training job under SageMaker's contract."""
