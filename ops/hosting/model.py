"""The model: image, archive and environment."""

from typing import Any

from ops.hosting.settings import ModelSettings
from ops.sagemaker_settings import with_digest, without_none


def model_request(settings: ModelSettings) -> dict[str, Any]:
    """Return the request of CreateModel."""
    container = {"Image": settings.image, "ModelDataUrl": settings.model_data, "Environment": settings.environment}
    request = without_none(
        {
            "PrimaryContainer": container,
            "ExecutionRoleArn": settings.role,
            "VpcConfig": settings.vpc(),
            "EnableNetworkIsolation": settings.isolates(),
        }
    )
    return {"ModelName": with_digest(settings.name, request), **request, "Tags": settings.tag_list()}
