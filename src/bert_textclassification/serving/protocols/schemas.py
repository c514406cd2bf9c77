"""Schemas of requests and responses. They validate requests, and `/openapi.json` is generated from them."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictStr

from bert_textclassification.serving.text_checks import is_valid_unicode


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class InferParameters(_Strict):
    """Parameters of every prediction route."""

    truncation: Literal["truncate", "windows", "error"] = Field(
        default="truncate",
        description="For a text longer than the model's maximum length: `truncate` it, classify overlapping `windows` "
        "(a quarter overlap; the logits are averaged, weighted by tokens), or return an `error`",
    )
    threshold: float | None = Field(default=None, gt=0, lt=1, description="Overrides the artifact's threshold")


class Parameters(InferParameters):
    """Parameters of the JSON routes."""

    all_scores: bool = Field(default=False, description="Also return the score of each label")
    raw_logits: bool = Field(default=False, description="Also return the model's raw outputs")


class LineParameters(Parameters):
    """Query parameters, for bodies that have no parameters."""

    model_config = ConfigDict(strict=False)

    column: str | None = Field(
        default=None,
        min_length=1,
        description="CSV: the column of the texts: its name in the header, its position from 1, or both, as in "
        "`review,2`; the default is `text`",
    )


def _valid_unicode(text: str) -> str:
    """Return the text if a response can repeat it."""
    if not is_valid_unicode(text):
        raise ValueError("it has half of a surrogate pair")
    return text


class TextInstance(_Strict):
    """One text as an object."""

    text: StrictStr


class Instances(_Strict):
    """The usual request; `inputs` or `text` instead of `instances`, one text, or a bare list are accepted too."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"instances": ["one text", {"text": "another"}], "parameters": {"all_scores": True}}]
        }
    )

    instances: list[StrictStr | TextInstance] = Field(min_length=1)
    parameters: Parameters | None = None


class Model(_Strict):
    """The model, and how its scores become labels and decisions unless the request overrides it."""

    version: str
    variant: str
    threshold: float = Field(gt=0, lt=1, description="Minimum positive score for the positive label")
    temperature: float = Field(gt=0, description="Divisor that calibrates the logits of the last layer")
    review_band: tuple[float, float] | None = Field(
        default=None, description="A person should decide positive scores from the first up to the second"
    )


class PredictionReply(_Strict):
    """The prediction for one text."""

    label: str
    score: float = Field(ge=0, le=1, description="Calibrated probability of the label")
    decision: str = Field(description="The label, or `review` if a person should decide")
    tokens: int = Field(description="Tokens that the model read, including special tokens")
    truncated: bool = Field(description="Whether a part of the text was not read")
    windows: int | None = Field(default=None, description="With truncation `windows`: their number")
    layers: int | None = Field(default=None, description="With an early-exit variant: the layers that ran")
    scores: dict[str, float] | None = Field(default=None, description="With all_scores")
    logits: tuple[float, float] | None = Field(default=None, description="With raw_logits")


# The fields of every prediction, and the datatypes of their tensors in the Open Inference Protocol.
PREDICTION_FIELDS = {
    name: field.annotation for name, field in PredictionReply.model_fields.items() if field.is_required()
}
DATATYPES: dict[object, str] = {str: "BYTES", float: "FP64", int: "INT64", bool: "BOOL"}


class Predictions(_Strict):
    """One prediction for each text, in order."""

    predictions: list[PredictionReply]


class InvocationReply(Predictions):
    """One prediction for each text, in order, and the model that made them."""

    model: Model


class ErrorDetail(_Strict):
    """What is wrong, where, and how to fix it."""

    code: str
    message: str
    field: str | None


class Error(_Strict):
    """The body of every error response."""

    error: ErrorDetail


class PlatformError(_Strict):
    """The body of every error response on the routes of KServe and the Open Inference Protocol."""

    error: str
    code: str
    field: str | None


class InferTensor(_Strict):
    """A BYTES tensor of texts, of any shape; its data are nested, or flat in row-major order."""

    name: str
    shape: list[Annotated[int, Field(ge=0, lt=2**31)]] = Field(max_length=8)
    datatype: Literal["BYTES"]
    parameters: dict[str, Any] | None = Field(default=None, description="Only the protocol's own: `content_type`")
    data: list[Any]


class InferOutput(_Strict):
    """A requested output tensor."""

    name: str
    parameters: dict[str, Any] | None = Field(default=None, description="Only the protocol's own: `binary_data`")


class InferRequest(_Strict):
    """A request of the Open Inference Protocol, version 2, without its binary extension."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "1",
                    "inputs": [{"name": "text", "shape": [2], "datatype": "BYTES", "data": ["one text", "another"]}],
                    "outputs": [{"name": "label"}, {"name": "score"}],
                    "parameters": {"threshold": 0.5},
                }
            ]
        }
    )

    id: Annotated[str, AfterValidator(_valid_unicode)] | None = None
    model_name: str | None = Field(default=None, description="Ignored: the path names the model")
    model_version: str | None = Field(default=None, description="Ignored: the path names the version")
    inputs: list[InferTensor] = Field(min_length=1, max_length=1)
    outputs: list[InferOutput] | None = Field(default=None, max_length=8, description="Default: all outputs")
    parameters: dict[str, Any] | None = Field(
        default=None,
        description="`truncation`, `threshold`, and the protocol's own, which have no effect: `content_type`, "
        "`headers`, `binary_data_output` (responses are JSON), `sequence_id`, `sequence_start`, `sequence_end`, "
        "`priority`, `timeout`",
    )


class OutputTensor(_Strict):
    """An output tensor, one element per text."""

    name: str = Field(json_schema_extra={"enum": list(PREDICTION_FIELDS)})
    datatype: str = Field(json_schema_extra={"enum": list(DATATYPES.values())})
    shape: list[int]
    data: list[str] | list[float] | list[int] | list[bool]


class InferReply(_Strict):
    """A response of the Open Inference Protocol, version 2."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[OutputTensor]


class Health(_Strict):
    """The server is ready with this model."""

    status: Literal["ready"]
    model: Model


class Facts(BaseModel):
    """Metadata of the server and its model."""

    model_config = ConfigDict(extra="allow")


class ExecutionParameters(_Strict):
    """Settings for SageMaker's batch transform."""

    MaxConcurrentTransforms: int
    BatchStrategy: Literal["MULTI_RECORD", "SINGLE_RECORD"]
    MaxPayloadInMB: int
