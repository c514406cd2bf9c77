"""Every setting of the server, once: name, environment variables in order of precedence, default, bounds, meaning."""

import os
from pathlib import Path

from pydantic import AliasChoices, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from bert_textclassification.errors import ConfigurationError


def _available_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class ServingConfig(BaseSettings):
    """Settings of the server, read from the environment.

    Timeouts and body limits of nginx and gunicorn are derived from this one object, so they cannot disagree.
    """

    model_config = SettingsConfigDict(env_ignore_empty=True, frozen=True, populate_by_name=True, extra="ignore")

    model_dir: Path = Field(
        default=Path("/opt/ml/model"),
        validation_alias=AliasChoices("MODEL_DIR", "AZUREML_MODEL_DIR", "AIP_STORAGE_URI"),
        description="Folder of the model artifact.",
    )
    port: int = Field(
        default=8080,
        ge=1,
        le=65535,
        validation_alias=AliasChoices("SAGEMAKER_BIND_TO_PORT", "AIP_HTTP_PORT", "PORT"),
        description="Port that nginx listens on.",
    )
    variant: str | None = Field(
        default=None,
        validation_alias="MODEL_VARIANT",
        description="Variant to serve; the artifact's default when unset.",
    )
    workers: int = Field(default=1, ge=1, le=256, validation_alias="SERVING_WORKERS", description="gunicorn processes.")
    threads: int = Field(
        default_factory=lambda: max(4, 2 * _available_cpus()),
        ge=1,
        le=256,
        validation_alias="SERVING_THREADS",
        description="Requests that one worker handles at a time; each computes on one core.",
    )
    request_timeout_s: int = Field(
        default=55,
        ge=1,
        le=3600,
        validation_alias="REQUEST_TIMEOUT_S",
        description="Longest time for one request, in seconds; SageMaker gives up after 60.",
    )
    drain_timeout_s: int = Field(
        default=8,
        ge=1,
        le=3600,
        validation_alias="DRAIN_TIMEOUT_S",
        description="Time to finish accepted requests after SIGTERM, in seconds; Cloud Run kills after 10.",
    )
    max_body_bytes: int = Field(
        default=6 * 1024 * 1024,
        ge=1024,
        validation_alias="MAX_BODY_BYTES",
        description="Largest request body, in bytes; SageMaker sends up to 6 MB.",
    )
    max_texts: int = Field(default=10_000, ge=1, validation_alias="MAX_TEXTS", description="Most texts in one request.")
    scratch_dir: Path = Field(
        default=Path("/tmp"),  # noqa: S108 - the one writable folder that every platform gives
        validation_alias=AliasChoices("SCRATCH_DIR", "TMPDIR"),
        description="The one folder the server writes to.",
    )

    @classmethod
    def from_environment(cls) -> "ServingConfig":
        """Read the settings.

        Raises:
            ConfigurationError: a variable has a value outside its bounds; the message names each.
        """
        try:
            return cls()
        except ValidationError as problem:
            wrong = "; ".join(
                f"{cls._variable_set(str(error['loc'][0]))}={error.get('input')!r}: {error['msg']}"
                for error in problem.errors()
            )
            raise ConfigurationError(f"Mend these environment variables: {wrong}.") from None

    @classmethod
    def _variable_set(cls, first: str) -> str:
        """Return the variable that a setting was read from, given its first one, the only one pydantic names."""
        for setting in cls.model_fields.values():
            alias = setting.validation_alias
            if isinstance(alias, AliasChoices) and first in alias.choices:
                return next((str(name) for name in alias.choices if os.environ.get(str(name))), first)
        return first
