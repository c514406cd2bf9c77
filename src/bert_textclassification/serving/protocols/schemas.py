"""The shapes of requests and replies, once: they validate what comes in and are what `/openapi.json` shows."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictStr

from bert_textclassification.serving.text_checks import is_valid_unicode


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class InferParameters(_Strict):
    """What a request may ask for on every route."""

    truncation: Literal["truncate", "windows", "error"] = Field(
        default="truncate",
        description="A text longer than the model reads: read its beginning, read all of it in windows that overlap by "
        "a quarter and take the mean of their logits weighted by their tokens, or refuse it",
    )
    threshold: float | None = Field(default=None, gt=0, lt=1, description="Overrides the artifact's threshold")


class Parameters(InferParameters):
    """What a request may ask for beside the labels."""

    all_scores: bool = Field(default=False, description="Also return the score of each label")
    raw_logits: bool = Field(default=False, description="Also return the model's raw outputs")


class LineParameters(Parameters):
    """What a request without room for parameters in its body may ask for in its address."""

    model_config = ConfigDict(strict=False)

    column: str | None = Field(
        default=None,
        min_length=1,
        description="CSV: the column that holds the texts: its name in the header, its position from 1, or both, as in "
        "`review,2`; `text` when not given",
    )


def _valid_unicode(text: str) -> str:
    """Return the text if a reply can repeat it."""
    if not is_valid_unicode(text):
        raise ValueError("it holds half of a surrogate pair")
    return text


class TextInstance(_Strict):
    """One text as an object."""

    text: StrictStr


class Instances(_Strict):
    """The usual request; `inputs` or `text` instead of `instances`, one text, or a bare list are read too."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"instances": ["one text", {"text": "another"}], "parameters": {"all_scores": True}}]
        }
    )

    instances: list[StrictStr | TextInstance] = Field(min_length=1)
    parameters: Parameters | None = None


class Model(_Strict):
    """Which model answered, and how its scores become labels and decisions unless the request says otherwise."""

    version: str
    variant: str
    threshold: float = Field(gt=0, lt=1, description="Positive score from which the positive label is given")
    temperature: float = Field(gt=0, description="What calibrates the logits of the last layer")
    review_band: tuple[float, float] | None = Field(
        default=None, description="Positive scores from the first up to the second are for a person to decide"
    )


class PredictionReply(_Strict):
    """The answer to one text."""

    label: str
    score: float = Field(ge=0, le=1, description="Calibrated probability of the label")
    decision: str = Field(description="The label, or `review` where a person should decide")
    tokens: int = Field(description="Tokens the model read, special ones included")
    truncated: bool = Field(description="Whether the text was longer than what was read of it")
    windows: int | None = Field(default=None, description="With truncation `windows`: how many were read")
    layers: int | None = Field(
        default=None, description="Layers of the model it took, where an early exit answers what is clear"
    )
    scores: dict[str, float] | None = Field(default=None, description="With all_scores")
    logits: tuple[float, float] | None = Field(default=None, description="With raw_logits")


# What every prediction has, and the datatype of its tensor in the Open Inference Protocol.
ALWAYS_ANSWERED = {
    name: field.annotation for name, field in PredictionReply.model_fields.items() if field.is_required()
}
DATATYPES: dict[object, str] = {str: "BYTES", float: "FP64", int: "INT64", bool: "BOOL"}


class Predictions(_Strict):
    """One answer for each text, in order."""

    predictions: list[PredictionReply]


class InvocationReply(Predictions):
    """One answer for each text, in order, and the model that gave them."""

    model: Model


class ErrorDetail(_Strict):
    """What is wrong, where, and how to correct it."""

    code: str
    message: str
    field: str | None


class Error(_Strict):
    """The body of every refusal."""

    error: ErrorDetail


class PlatformError(_Strict):
    """The body of every refusal on the routes of KServe and the Open Inference Protocol."""

    error: str
    code: str
    field: str | None


class InferTensor(_Strict):
    """A tensor of texts: BYTES, of any shape, its data nested or flat in row-major order."""

    name: str
    shape: list[Annotated[int, Field(ge=0, lt=2**31)]] = Field(max_length=8)
    datatype: Literal["BYTES"]
    parameters: dict[str, Any] | None = Field(default=None, description="The protocol's own alone: `content_type`")
    data: list[Any]


class InferOutput(_Strict):
    """A tensor that the reply should have."""

    name: str
    parameters: dict[str, Any] | None = Field(default=None, description="The protocol's own alone: `binary_data`")


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
    model_name: str | None = Field(default=None, description="Not read: the address names the model")
    model_version: str | None = Field(default=None, description="Not read: the address names the version")
    inputs: list[InferTensor] = Field(min_length=1, max_length=1)
    outputs: list[InferOutput] | None = Field(default=None, max_length=8, description="All when none is named")
    parameters: dict[str, Any] | None = Field(
        default=None,
        description="`truncation`, `threshold`, and the protocol's own, which change nothing here: `content_type`, "
        "`headers`, `binary_data_output` (replies are JSON), `sequence_id`, `sequence_start`, `sequence_end`, "
        "`priority`, `timeout`",
    )


class OutputTensor(_Strict):
    """A tensor of answers, one element a text."""

    name: str = Field(json_schema_extra={"enum": list(ALWAYS_ANSWERED)})
    datatype: str = Field(json_schema_extra={"enum": list(DATATYPES.values())})
    shape: list[int]
    data: list[str] | list[float] | list[int] | list[bool]


class InferReply(_Strict):
    """A reply of the Open Inference Protocol, version 2."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[OutputTensor]


class Health(_Strict):
    """The server is ready, and with which model."""

    status: Literal["ready"]
    model: Model


class Facts(BaseModel):
    """What a platform asks about the server and its model."""

    model_config = ConfigDict(extra="allow")


class ExecutionParameters(_Strict):
    """What batch transform should do."""

    MaxConcurrentTransforms: int
    BatchStrategy: Literal["MULTI_RECORD", "SINGLE_RECORD"]
    MaxPayloadInMB: int
