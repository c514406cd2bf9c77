"""The Open Inference Protocol, version 2, without its binary extension."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from pydantic import BaseModel

from bert_textclassification.errors import RequestError
from bert_textclassification.serving.predictor import Prediction
from bert_textclassification.serving.protocols.media_types import decoded
from bert_textclassification.serving.protocols.native_json import loads, texts_of
from bert_textclassification.serving.protocols.parameters import line_parameters
from bert_textclassification.serving.protocols.requests import Limits, Request, count_records, usable_records
from bert_textclassification.serving.protocols.schemas import (
    DATATYPES,
    PREDICTION_FIELDS,
    InferOutput,
    InferParameters,
    InferRequest,
    InferTensor,
    Parameters,
)
from bert_textclassification.serving.protocols.validation import reject_unknown, validated

OUTPUTS = {name: DATATYPES[kind] for name, kind in PREDICTION_FIELDS.items()}
# Parameters that client libraries send on their own: Triton's for sequences, scheduling and binary responses (which a
# server may decline), MLServer's and KServe's for content types and headers.
PROTOCOL_PARAMETERS = (
    "binary_data_output", "content_type", "headers", "priority", "sequence_end", "sequence_id", "sequence_start",
    "timeout",
)  # fmt: skip
TENSOR_PARAMETERS = ("binary_data", "content_type")
_TEXT_CODECS = ("np", "pd", "str")  # MLServer's content types that do not encode the elements of a BYTES tensor
_MAX_TENSORS = 8


@dataclass(frozen=True)
class InferenceRequest(Request):
    """A request of the Open Inference Protocol; the response repeats its id and its shape."""

    id: str | None = None
    shape: list[int] = field(default_factory=list)
    outputs: Sequence[str] = tuple(OUTPUTS)


def parse_infer(body: bytes, limits: Limits, query: str = "") -> InferenceRequest:
    """Parse a request of the Open Inference Protocol, version 2.

    Args:
        body: the decompressed body.
        limits: the request limits.
        query: parameters as a query string; those of the body override them.

    Raises:
        RequestError: the body is not JSON with one BYTES tensor whose data match its shape, or exceeds a limit.
    """
    in_query = line_parameters(query).model_dump(exclude_unset=True)
    reject_unknown(in_query, InferParameters.model_fields, "parameters")
    request = _infer_request(loads(decoded(body, "utf-8-sig")))
    tensor = request.inputs[0]
    data = _flat(tensor.data, len(tensor.shape))
    size = 1
    for length in tensor.shape:
        size *= length
    if size != len(data):
        raise RequestError(
            "invalid_shape", f"The shape {tensor.shape!r:.80} does not fit {len(data)} elements.", "inputs[0].shape"
        )
    in_body = _without_protocol(request.parameters, PROTOCOL_PARAMETERS, "parameters")
    parameters = validated(InferParameters, in_query | in_body, "parameters")
    _reject_tensor_parameters(tensor.parameters, "inputs[0].parameters")
    count_records(len(data), "inputs[0].data", limits)
    return InferenceRequest(
        usable_records(texts_of(data, "inputs[0].data"), "inputs[0].data", limits),
        Parameters(**parameters.model_dump()),
        "inputs[0].data",
        request.id,
        tensor.shape,
        _outputs(request),
    )


def _infer_request(content: Any) -> InferRequest:
    """Validate the structure of a request; an error names the first unknown key."""
    schemas: dict[str, type[BaseModel]] = {"inputs": InferTensor, "outputs": InferOutput}
    for name, schema in schemas.items() if isinstance(content, dict) else ():
        tensors = content.get(name)
        for index, tensor in enumerate(tensors[:_MAX_TENSORS] if isinstance(tensors, list) else ()):
            if isinstance(tensor, dict):
                reject_unknown(tensor, schema.model_fields, f"{name}[{index}]", "unknown_key")
    return validated(InferRequest, content, "")


def _outputs(request: InferRequest) -> Sequence[str]:
    """Return the names of the requested output tensors; the default is all."""
    names = [output.name for output in request.outputs or []]
    for index, output in enumerate(request.outputs or []):
        where = f"outputs[{index}]"
        if output.name not in OUTPUTS or output.name in names[:index]:
            message = f"Each output is one of {', '.join(OUTPUTS)}, named once; remove {output.name!r:.80}."
            raise RequestError("invalid_output", message, f"{where}.name")
        _reject_tensor_parameters(output.parameters, f"{where}.parameters")
    return names or tuple(OUTPUTS)


def _reject_tensor_parameters(parameters: Mapping[str, Any] | None, where: str) -> None:
    reject_unknown(_without_protocol(parameters, TENSOR_PARAMETERS, where), TENSOR_PARAMETERS, where)


def _without_protocol(parameters: Mapping[str, Any] | None, known: Collection[str], where: str) -> dict[str, Any]:
    """Return the parameters that the protocol does not define.

    Raises:
        RequestError: the texts are binary or encoded.
    """
    parameters = parameters or {}
    if "binary_data_size" in parameters:
        raise binary_tensors(where)
    codec = parameters.get("content_type")
    if codec is not None and codec not in _TEXT_CODECS:
        message = f"Texts with content_type {codec!r:.80} are not supported; send plain strings, with str."
        raise RequestError("invalid_parameter", message, f"{where}.content_type")
    return {name: value for name, value in parameters.items() if name not in known}


def binary_tensors(field: str) -> RequestError:
    """Return the error for tensors in Triton's binary extension of the protocol."""
    message = "Binary tensors are not supported; send the texts as JSON, in tritonclient with binary_data=False."
    return RequestError("binary_tensors", message, field)


def format_infer(
    predictions: Sequence[Prediction], request: InferenceRequest, model_name: str, model_version: str
) -> bytes:
    """Return the response of the Open Inference Protocol: the requested tensors, in the shape of the input."""
    outputs = [
        {
            "name": name,
            "datatype": OUTPUTS[name],
            "shape": request.shape,
            "data": [getattr(prediction, name) for prediction in predictions],
        }
        for name in request.outputs
    ]
    response = {"model_name": model_name, "model_version": model_version, "outputs": outputs}
    return orjson.dumps(response if request.id is None else response | {"id": request.id})


def _flat(data: list[Any], dimensions: int) -> list[Any]:
    """Return the elements of nested lists in row-major order; lists below `dimensions` levels stay lists."""
    for _ in range(dimensions - 1):
        data = [element for item in data for element in (item if isinstance(item, list) else [item])]
    return data
