"""The notebook parameters that are not training settings, with their bounds, validated before a notebook runs."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from bert_textclassification.training.settings.wrong_values import number_or_text


class NotebookParameters(BaseModel):
    """Names and defaults are those of the notebooks; values may be text, as on a command line."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    benchmark_texts: int = Field(default=50, ge=1)
    rounds: int = Field(default=3, ge=1)
    threads: int = Field(default=1, ge=1)
    ladder_texts: int = Field(default=5, ge=0)
    serve_with: str = "../container/serve"
    requests: int = Field(default=200, ge=1)
    load_seconds: float = Field(default=2, gt=0, le=600)
    prices: str = "../ops/config/prices.yaml"
    requests_per_day: float = Field(default=10_000, gt=0)
    peak_over_mean: float = Field(default=3, ge=1)
    utilisation: float = Field(default=0.6, gt=0, lt=1)
    target: str = ""

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        return number_or_text(cls, value, info)
