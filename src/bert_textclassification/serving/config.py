"""The server's settings: environment variables in order of precedence, default, bounds and description of each."""

import difflib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from bert_textclassification.errors import ConfigurationError, RequestError
from bert_textclassification.serving.protocols.csv_texts import Column

MEBIBYTE = 1024 * 1024
MAX_PAYLOAD_MB = 100  # batch transform's limit
MAX_BODY_LIMIT_BYTES = 1024 * MEBIBYTE  # a body is held in memory, more than once
SPARE_THREADS = 4
RENAMED = {"MAX_WAITING": "MAX_QUEUE", "CACHE_TEXTS": "CACHE_SIZE"}  # the old names work until 1.0
BATCH_DEFAULTS = {"MAX_TEXTS": 1_000_000, "REQUEST_TIMEOUT_S": 590}  # batch transform gives up after 600 s


class ServingConfig(BaseSettings):
    """Settings of the server, read from the environment.

    Timeouts and body limits of nginx, gunicorn and the application are derived from this object, so that they are
    consistent.
    """

    model_config = SettingsConfigDict(env_ignore_empty=True, frozen=True, extra="ignore")

    model_source: str = Field(
        default="/opt/ml/model",
        validation_alias=AliasChoices("MODEL_DIR", "AZUREML_MODEL_DIR", "AIP_STORAGE_URI"),
        description="Folder of the model artifact, its `.tar.gz`, or a `file://`, `s3://`, `gs://`, `az://` or `hf://` "
        "address of either.",
    )
    model_name: str = Field(
        default="model",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        validation_alias="MODEL_NAME",
        description="Name of the model in the routes of KServe and the Open Inference Protocol.",
    )
    variant: str | None = Field(
        default=None,
        validation_alias="MODEL_VARIANT",
        description="Variant to serve; the artifact's default when unset.",
    )
    port: int = Field(
        default=8080,
        ge=1,
        le=65535,
        validation_alias=AliasChoices("SAGEMAKER_BIND_TO_PORT", "AIP_HTTP_PORT", "PORT"),
        description="Port that nginx listens on.",
    )
    health_route: str = Field(
        default="/ping",
        pattern=r"^/[A-Za-z0-9._~/:-]*$",
        validation_alias="AIP_HEALTH_ROUTE",
        description="Additional path of the health check, besides `/ping`, `/readyz` and those of other platforms.",
    )
    predict_route: str = Field(
        default="/invocations",
        pattern=r"^/[A-Za-z0-9._~/:-]*$",
        validation_alias="AIP_PREDICT_ROUTE",
        description="Additional path for predictions, besides `/invocations`, `/score` and those of other platforms.",
    )
    workers: int | None = Field(
        default=None,
        ge=1,
        le=256,
        validation_alias="SERVING_WORKERS",
        description="gunicorn worker processes; derived from the CPU quota and the memory limit when unset.",
    )
    threads: int | None = Field(
        default=None,
        ge=1,
        le=256,
        validation_alias="SERVING_THREADS",
        description="Texts that one worker computes at a time, one core each; derived from the CPU quota when unset.",
    )
    max_queue: int = Field(
        default=64,
        ge=0,
        le=1000,
        validation_alias=AliasChoices("MAX_QUEUE", "MAX_WAITING"),
        description="Requests per worker that may wait for a core; more are rejected with 503 and Retry-After.",
    )
    request_timeout_s: int = Field(
        default=55,
        ge=1,
        le=3600,
        validation_alias="REQUEST_TIMEOUT_S",
        description="Deadline of one request, in seconds; SageMaker times out after 60. In batch transform 590.",
    )
    drain_timeout_s: int = Field(
        default=8,
        ge=1,
        le=3600,
        validation_alias="DRAIN_TIMEOUT_S",
        description="Seconds to finish accepted requests after SIGTERM; Cloud Run sends SIGKILL after 10.",
    )
    max_body_bytes: int = Field(
        default=6 * MEBIBYTE,
        ge=1024,
        le=MAX_BODY_LIMIT_BYTES,
        validation_alias="MAX_BODY_BYTES",
        description="Largest request body, in bytes, before and after decompression; SageMaker sends up to 6 MB, in "
        "batch transform up to SAGEMAKER_MAX_PAYLOAD_IN_MB.",
    )
    max_payload_mb: int | None = Field(
        default=None,
        ge=0,
        le=MAX_BODY_LIMIT_BYTES // MEBIBYTE,
        validation_alias="SAGEMAKER_MAX_PAYLOAD_IN_MB",
        description="Default of MAX_BODY_BYTES in batch transform, in MiB; 0 means the maximum, 100.",
    )
    max_texts: int = Field(
        default=10_000,
        ge=1,
        le=100_000_000,
        validation_alias="MAX_TEXTS",
        description="Maximum number of texts in one request; in batch transform 1,000,000.",
    )
    max_text_chars: int = Field(
        default=100_000,
        ge=1,
        le=MAX_BODY_LIMIT_BYTES,
        validation_alias="MAX_TEXT_CHARS",
        description="Maximum length of a text, in characters; tokenising 1 MB takes half a second and 80 MB of memory.",
    )
    batch: bool = Field(
        default=False,
        validation_alias="SAGEMAKER_BATCH",
        description="Whether this is a batch transform, where an invalid record gets an error line.",
    )
    batch_strategy: Literal["MultiRecord", "SingleRecord", "MULTI_RECORD", "SINGLE_RECORD"] = Field(
        default="MULTI_RECORD",
        validation_alias="SAGEMAKER_BATCH_STRATEGY",
        description="Batch strategy that `/execution-parameters` recommends to batch transform.",
    )
    cache_size: int = Field(
        default=20_000,
        ge=0,
        le=10_000_000,
        validation_alias=AliasChoices("CACHE_SIZE", "CACHE_TEXTS"),
        description="Texts per worker whose output is cached, about 0.4 kB each; 0 disables the cache.",
    )
    api_token: SecretStr | None = Field(
        default=None,
        validation_alias="API_TOKEN",
        description="When set, every route except health checks requires `Authorization: Bearer` with this token.",
    )
    csv_column: str | None = Field(
        default=None,
        validation_alias="CSV_COLUMN",
        description="CSV: column of the texts if the request does not name it: a name in the header, a position from "
        "1, or both, as in `review,2`; `text` when unset.",
    )
    log_texts: bool = Field(
        default=False,
        validation_alias="LOG_TEXTS",
        description="Whether texts and their labels are logged.",
    )
    scratch_dir: Path = Field(
        default=Path("/tmp"),  # noqa: S108 - the only folder that is writable on every platform
        validation_alias=AliasChoices("SCRATCH_DIR", "TMPDIR"),
        description="Folder in which the server creates its private folder; several servers may share it.",
    )

    @property
    def request_threads(self) -> int:
        """Threads of one worker: one per admitted request, and a few for health checks and rejections."""
        return (self.threads or 1) + self.max_queue + SPARE_THREADS

    @property
    def connections(self) -> int:
        """Idle connections that nginx keeps open to gunicorn."""
        return self.request_threads * (self.workers or 1)

    @property
    def sockets(self) -> list[Path]:
        """The socket of each worker; with a shared socket, the busiest worker would take most connections."""
        return [self.scratch_dir / f"{number}.sock" for number in range(self.workers or 1)]

    @property
    def retry_socket(self) -> Path:
        """The socket shared by all workers, for requests whose own worker died."""
        return self.scratch_dir / "retry.sock"

    @property
    def worker_logs(self) -> list[Path]:
        """The pipe for each worker's standard output."""
        return [self.scratch_dir / f"worker-{number}.log" for number in range(self.workers or 1)]

    @property
    def gunicorn_log(self) -> Path:
        """The pipe for the standard output of gunicorn's main process."""
        return self.scratch_dir / "gunicorn.log"

    @property
    def access_log(self) -> Path:
        """The pipe for nginx's access log."""
        return self.scratch_dir / "access.log"

    @property
    def metrics_dir(self) -> Path:
        """The folder of the workers' metrics."""
        return self.scratch_dir / "metrics"

    @property
    def proxy_timeout_s(self) -> int:
        """Seconds after which nginx times out; longer than the application's own deadline."""
        return self.request_timeout_s + 2

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_batch_transform(cls, values: dict[str, Any]) -> dict[str, Any]:
        defaults: dict[str, Any] = {}
        if str(values.get("SAGEMAKER_BATCH", "")).lower() in ("true", "1", "yes", "on", "t", "y"):
            defaults |= BATCH_DEFAULTS
        if (mebibytes := str(values.get("SAGEMAKER_MAX_PAYLOAD_IN_MB", ""))).isdecimal():
            defaults["MAX_BODY_BYTES"] = (int(mebibytes) or MAX_PAYLOAD_MB) * MEBIBYTE
        return defaults | values

    @field_validator("api_token")
    @classmethod
    def _usable_token(cls, token: SecretStr | None) -> SecretStr | None:
        if token is None:
            return None
        secret = token.get_secret_value().strip()  # a secret created with echo ends with a line break
        if len(secret) < 16:
            raise ValueError("the token must have at least 16 characters")
        return SecretStr(secret)

    @field_validator("csv_column")
    @classmethod
    def _valid_column(cls, column: str | None) -> str | None:
        try:
            Column.parse(column)
        except RequestError as problem:
            raise ValueError(problem.message) from None
        return column

    @classmethod
    def of(cls, **settings: Any) -> "ServingConfig":
        """Return settings by field name; the others have their defaults, and the environment is ignored."""
        if unknown := settings.keys() - cls.model_fields.keys():
            raise TypeError(f"There is no setting {', '.join(sorted(unknown))}.")
        return cls.model_construct(**{name: field.get_default() for name, field in cls.model_fields.items()} | settings)

    @classmethod
    def from_environment(cls) -> "ServingConfig":
        """Read the settings.

        Raises:
            ConfigurationError: variables have invalid values; the message names each of them.
        """
        try:
            return cls()
        except ValidationError as problem:
            errors = "; ".join(
                f"{cls._variable_set(str(error['loc'][0]))}: {error['msg']}" for error in problem.errors()
            )
            raise ConfigurationError(f"Fix these environment variables: {errors}.") from None

    @classmethod
    def variables(cls) -> set[str]:
        """Return the names of the environment variables of all settings."""
        aliases = [setting.validation_alias for setting in cls.model_fields.values()]
        return {
            str(name) for alias in aliases for name in (alias.choices if isinstance(alias, AliasChoices) else [alias])
        }

    @classmethod
    def name_warnings(cls, names: Iterable[str]) -> list[str]:
        """Return a warning for each of `names` that is the old name of a setting or probably a misspelt one."""
        given, known = {*names}, cls.variables()
        old = [
            f"{name} is now called {RENAMED[name]}; version 1.0 removes the old name."
            for name in sorted(RENAMED.keys() & given)
        ]
        # A short name such as PORT resembles many unrelated variables.
        long = [name for name in known - RENAMED.keys() if len(name) > len("PORT")]
        nearest = {name: difflib.get_close_matches(name, long, n=1, cutoff=0.9) for name in sorted(given - known)}
        return old + [f"there is no setting {name}; did you mean {near[0]}?" for name, near in nearest.items() if near]

    @classmethod
    def _variable_set(cls, first: str) -> str:
        """Return the variable that a setting was read from and its value, unless the value is secret.

        pydantic names only the first of a setting's variables.
        """
        name = first
        for setting in cls.model_fields.values():
            alias = setting.validation_alias
            if isinstance(alias, AliasChoices) and first in alias.choices:
                name = next((str(choice) for choice in alias.choices if os.environ.get(str(choice))), first)
        return name if name == "API_TOKEN" else f"{name}={os.environ.get(name)!r}"
