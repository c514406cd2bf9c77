"""The model: image, archive and environment."""

from typing import Any

from ops.hosting.settings import EndpointSettings
from ops.sagemaker_settings import with_digest, without_none


def model_request(settings: EndpointSettings) -> dict[str, Any]:
    """Return the request of CreateModel."""
    container = {"Image": settings.image, "ModelDataUrl": settings.model_data, "Environment": settings.environment}
    request = without_none(
        {
            "PrimaryContainer": container,
            "ExecutionRoleArn": settings.role,
            "VpcConfig": settings.vpc(),
            "EnableNetworkIsolation": settings.network_isolation and not settings.serverless,
        }
    )
    return {"ModelName": with_digest(settings.name, request), **request, "Tags": settings.tag_list()}
