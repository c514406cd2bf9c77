"""The settings of ops/config/gateway.yaml, and the parameters of the stack that follow from them."""

from typing import Literal

from pydantic import Field, model_validator

from ops.aws import AwsSettings
from ops.config_file import Settings


class JwtSettings(Settings):
    """Whose tokens are accepted."""

    issuer: str = Field(pattern="^https://", description="Issuer, as https://cognito-idp.REGION.amazonaws.com/POOL")
    audience: list[str] = Field(min_length=1, description="Audiences, of which a token needs one")


class GatewaySettings(Settings):
    """Settings of the HTTP API and its function."""

    aws: AwsSettings = AwsSettings()
    stack: str = Field(
        default="text-classifier-api",
        pattern=r"^[a-zA-Z][a-zA-Z0-9-]{0,50}$",
        description="Name of the CloudFormation stack",
    )
    endpoint: str | None = Field(
        default=None, pattern=r"^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$", description="SageMaker endpoint that is called"
    )
    code_bucket: str | None = Field(default=None, description="Bucket for the function's code; with `endpoint`")
    image: str | None = Field(
        default=None,
        pattern=r"^\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(\.cn)?/.+$",
        description="Image in ECR that has the model inside; instead of `endpoint`",
    )
    architecture: Literal["x86_64", "arm64"] = Field(default="x86_64", description="Processor of the function")
    model_memory_mb: int = Field(
        default=1769, ge=512, le=10240, description="Memory with `image`; 1,769 MB come with one whole core"
    )
    reserved_concurrency: int = Field(
        default=0, ge=0, description="Most instances of the function; 0 leaves it to the account's quota"
    )
    authorization: Literal["iam", "jwt", "none"] = Field(
        default="iam", description="Who may call: signed requests, bearers of a token, or everybody"
    )
    jwt: JwtSettings | None = Field(default=None, description="Whose tokens are accepted; with `authorization: jwt`")
    allowed_origins: list[str] = Field(default=[], description="Web sites whose pages may call, as https://example.com")
    rate_limit: int = Field(default=100, ge=1, description="Requests a second, over which 429 is answered")
    burst_limit: int = Field(default=200, ge=1, description="Requests that may arrive at once")
    max_body_bytes: int = Field(
        default=4_000_000, ge=1024, le=4_500_000, description="Largest body; base64 makes it a third larger for Lambda"
    )
    read_timeout_s: int = Field(default=20, ge=1, le=25, description="Seconds that the model has for one answer")
    attempts: int = Field(default=3, ge=1, le=5, description="How often a request is sent when the endpoint throttles")
    log_retention_days: int = Field(default=30, ge=1, description="Days that logs are kept; one of CloudWatch's values")
    alarm_topic: str | None = Field(
        default=None, pattern="^arn:aws[a-z-]*:sns:", description="SNS topic that is told of alarms"
    )
    latency_alarm_ms: int = Field(default=2000, ge=1, description="The p99 over which there is an alarm")
    tags: dict[str, str] = Field(default={}, description="Tags of everything that is made")

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
        """Return the parameters of the template, given where the code is in `code_bucket`."""
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
