"""The requests for a model and for an endpoint configuration."""

from typing import Any

from ops.hosting.settings import Asynchronous, DataCapture, EndpointSettings, ModelSettings
from ops.sagemaker_settings import with_digest, without_none

VARIANT = "AllTraffic"  # an update needs the same name in the old and the new configuration


def model_request(settings: ModelSettings) -> dict[str, Any]:
    """Return the request of CreateModel: image, archive, environment, and network."""
    container = {"Image": settings.image, "ModelDataUrl": settings.model_data, "Environment": settings.environment}
    request = {
        "PrimaryContainer": container,
        "ExecutionRoleArn": settings.role,
        **without_none({"VpcConfig": settings.vpc()}),
        "EnableNetworkIsolation": settings.isolates(),
    }
    return {"ModelName": with_digest(settings.name, request), **request, "Tags": settings.tag_list()}


def configuration_request(settings: EndpointSettings, model: str) -> dict[str, Any]:
    """Return the request of CreateEndpointConfig."""
    request = without_none(
        {
            "ProductionVariants": [_variant(settings, model)],
            "KmsKeyId": settings.kms_key,
            "AsyncInferenceConfig": _asynchronous(settings.asynchronous, settings.kms_key),
            "DataCaptureConfig": _data_capture(settings.data_capture, settings.kms_key),
        }
    )
    return {"EndpointConfigName": with_digest(settings.name, request), **request, "Tags": settings.tag_list()}


def _variant(settings: EndpointSettings, model: str) -> dict[str, Any]:
    variant = {"VariantName": VARIANT, "ModelName": model, "InitialVariantWeight": 1.0}
    if settings.serverless:
        size = {"MemorySizeInMB": settings.serverless.memory_mb, "MaxConcurrency": settings.serverless.max_concurrency}
        provisioned = without_none({"ProvisionedConcurrency": settings.serverless.provisioned})
        return {**variant, "ServerlessConfig": {**size, **provisioned}}
    return {
        **variant,
        "InstanceType": settings.instances.type,
        "InitialInstanceCount": settings.instances.count,
        "ContainerStartupHealthCheckTimeoutInSeconds": 180,
        "RoutingConfig": {"RoutingStrategy": "LEAST_OUTSTANDING_REQUESTS"},
    }


def _asynchronous(settings: Asynchronous | None, kms_key: str | None) -> dict[str, Any] | None:
    if settings is None:
        return None
    topics = without_none({"SuccessTopic": settings.success_topic, "ErrorTopic": settings.error_topic})
    output = {
        "S3OutputPath": settings.output,
        "S3FailurePath": settings.failures,
        "KmsKeyId": kms_key,
        "NotificationConfig": topics or None,
    }
    return {
        "ClientConfig": {"MaxConcurrentInvocationsPerInstance": settings.concurrency},
        "OutputConfig": without_none(output),
    }


def _data_capture(settings: DataCapture | None, kms_key: str | None) -> dict[str, Any] | None:
    if settings is None:
        return None
    request = {
        "EnableCapture": True,
        "InitialSamplingPercentage": settings.percent,
        "DestinationS3Uri": settings.to,
        "KmsKeyId": kms_key,
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json"], "CsvContentTypes": ["text/csv"]},
    }
    return without_none(request)
