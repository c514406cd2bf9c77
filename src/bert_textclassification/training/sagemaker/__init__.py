"""A training job under the contract of SageMaker."""
