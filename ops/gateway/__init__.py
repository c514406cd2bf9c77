"""An HTTP API in front of the model: a Lambda function that calls an endpoint, or has the model inside."""
