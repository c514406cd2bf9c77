"""Settings of a service on Kubernetes."""

from typing import Literal, Self

from pydantic import Field, model_validator

from ops.config_file import Settings
from ops.push import ImageSettings

_NAME = r"^[a-z]([a-z0-9-]{0,51}[a-z0-9])?$"


class ScalingSettings(Settings):
    """How many pods there are."""

    smallest: int = Field(default=2, ge=1, le=1000, description="Fewest pods; two, so that one may fail")
    largest: int = Field(default=10, ge=1, le=1000, description="Most pods")
    cpu_percent: int = Field(default=60, ge=10, le=95, description="Pods are added above this use of their cores")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.smallest > self.largest:
            raise ValueError(f"smallest={self.smallest} is more than largest={self.largest}")
        return self


class KubernetesSettings(Settings):
    """A service on Kubernetes: a Deployment with all that belongs to it, or an InferenceService of KServe."""

    image: ImageSettings
    context: str | None = Field(default=None, description="Context of the kubeconfig; when not given, the current one")
    namespace: str = Field(default="default", pattern=_NAME, description="Namespace, which must exist")
    name: str = Field(default="bert-textclassification", pattern=_NAME, description="Name of everything that is made")
    kind: Literal["deployment", "inference_service"] = Field(
        default="deployment", description="A plain Deployment, or an InferenceService where KServe is installed"
    )
    cores: int = Field(default=2, ge=1, le=64, description="Cores of a pod, whole ones")
    memory_mib: int = Field(default=1024, ge=384, description="Most memory of a pod, in MiB; half of it is reserved")
    scaling: ScalingSettings = ScalingSettings()
    token_secret: str | None = Field(
        default=None,
        description="Secret whose key `token` callers must send; a Deployment without it has its network policy alone",
    )
    allowed_namespaces: list[str] = Field(
        default=[], description="Other namespaces whose pods may ask, as those of ingress and monitoring"
    )
    timeout_s: int = Field(default=600, ge=10, description="Longest wait until it is ready, in seconds")

    @model_validator(mode="after")
    def _somebody_is_kept_out(self) -> Self:
        if self.kind == "inference_service":
            # KServe routes traffic to it from outside the cluster, through pods of its own: no network policy fits.
            if self.token_secret is None:
                raise ValueError("token_secret: an inference_service is open to all without it; name a secret")
            if self.allowed_namespaces:
                raise ValueError("allowed_namespaces: an inference_service has no network policy; remove them")
        return self
