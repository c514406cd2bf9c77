"""An HTTP API in front of the model: a Lambda that calls the SageMaker endpoint, or one that has the model inside."""
