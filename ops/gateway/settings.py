"""The settings of ops/config/gateway.yaml, and the parameters of the stack."""

from typing import Literal

from pydantic import Field, model_validator

from ops.aws import AwsSettings
from ops.config_file import Settings

_STACK = r"^[a-zA-Z][a-zA-Z0-9-]{0,50}$"
_ENDPOINT = r"^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$"
_IMAGE = r"^\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(\.cn)?/.+$"


class JwtSettings(Settings):
    """Which tokens are accepted."""

    issuer: str = Field(pattern="^https://", description="Issuer, as https://cognito-idp.REGION.amazonaws.com/POOL")
    audience: list[str] = Field(min_length=1, description="Accepted audiences")


class GatewaySettings(Settings):
    """Settings of the HTTP API and its function."""

    aws: AwsSettings = AwsSettings()
    stack: str = Field(default="text-classifier-api", pattern=_STACK, description="Name of the CloudFormation stack")
    endpoint: str | None = Field(default=None, pattern=_ENDPOINT, description="SageMaker endpoint to call")
    code_bucket: str | None = Field(default=None, description="Bucket for the function's code; with `endpoint`")
    image: str | None = Field(default=None, pattern=_IMAGE, description="Image in ECR with the model; or `endpoint`")
    architecture: Literal["x86_64", "arm64"] = Field(default="x86_64", description="Processor architecture")
    model_memory_mb: int = Field(default=1769, ge=512, le=10240, description="With `image`; 1,769 MB give one core")
    reserved_concurrency: int = Field(default=0, ge=0, description="Most instances; 0: the account's quota")
    authorization: Literal["iam", "jwt", "none"] = Field(default="iam", description="Signed requests, tokens, or none")
    jwt: JwtSettings | None = Field(default=None, description="Which tokens are accepted; with `authorization: jwt`")
    allowed_origins: list[str] = Field(default=[], description="Web sites with browser access: https://example.com")
    rate_limit: int = Field(default=100, ge=1, description="Requests a second; above it the status is 429")
    burst_limit: int = Field(default=200, ge=1, description="Requests that may arrive at once")
    # Base64 makes a body a third larger for Lambda, which takes 6 MB.
    max_body_bytes: int = Field(default=4_000_000, ge=1024, le=4_500_000, description="Largest body of a request")
    read_timeout_s: int = Field(default=20, ge=1, le=25, description="Longest time of the model for one response")
    attempts: int = Field(default=3, ge=1, le=5, description="Attempts when the endpoint throttles")
    log_retention_days: int = Field(default=30, ge=1, description="Days to keep logs; one of CloudWatch's values")
    alarm_topic: str | None = Field(default=None, pattern="^arn:aws[a-z-]*:sns:", description="SNS topic for alarms")
    latency_alarm_ms: int = Field(default=2000, ge=1, description="p99 latency that raises an alarm")
    tags: dict[str, str] = Field(default={}, description="Tags of every resource")

    @model_validator(mode="after")
    def _one_model_and_its_tokens(self) -> "GatewaySettings":
        if (self.endpoint is None) == (self.image is None):
            raise ValueError("give `endpoint` or `image`, one of the two")
        if self.endpoint is not None and self.code_bucket is None:
            raise ValueError("`endpoint` needs a `code_bucket` for the function's code")
        if (self.authorization == "jwt") != (self.jwt is not None):
            raise ValueError("`authorization: jwt` and `jwt` go together")
        return self

    def parameters(self, code_key: str) -> dict[str, str]:
        """Return the parameters of the template; `code_key` is the key of the code in `code_bucket`."""
        return {
            "EndpointName": self.endpoint or "",
            "ImageUri": self.image or "",
            "CodeBucket": self.code_bucket or "none",
            "CodeKey": code_key if self.code_bucket else "none",
            "Architecture": self.architecture,
            "ModelMemory": str(self.model_memory_mb),
            "ReservedConcurrency": str(self.reserved_concurrency),
            "Authorization": {"iam": "AWS_IAM", "jwt": "JWT", "none": "NONE"}[self.authorization],
            "JwtIssuer": self.jwt.issuer if self.jwt else "",
            "JwtAudience": ",".join(self.jwt.audience) if self.jwt else "",
            "AllowedOrigins": ",".join(self.allowed_origins),
            "RateLimit": str(self.rate_limit),
            "BurstLimit": str(self.burst_limit),
            "MaxBodyBytes": str(self.max_body_bytes),
            "ReadTimeout": str(self.read_timeout_s),
            "Attempts": str(self.attempts),
            "LogRetention": str(self.log_retention_days),
            "AlarmTopic": self.alarm_topic or "",
            "LatencyAlarm": str(self.latency_alarm_ms),
        }
