"""Predictions for the texts of a file, in the formats of the server."""

from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

from bert_textclassification.errors import RequestError
from bert_textclassification.serving.predictor import Predictor
from bert_textclassification.serving.protocols import formats
from bert_textclassification.serving.protocols.media_types import TEXT_FORMATS, MediaType
from bert_textclassification.serving.protocols.requests import Limits

MEDIA_TYPES = {text_format.name: media_type for media_type, text_format in TEXT_FORMATS.items()}
_NAMES = {suffix: text_format.name for text_format in TEXT_FORMATS.values() for suffix in text_format.suffixes}
_NO_LIMITS = Limits(texts=2**31, chars=10_000_000)


class FilePredictions(NamedTuple):
    """The predictions of a file in its own format, and the number of rejected records."""

    body: bytes
    rejected: int


def format_of(path: Path | None) -> str:
    """Return the name of a file's format by its suffix; the default is one text per line."""
    return _NAMES.get(path.suffix.lower(), "text") if path else "text"


def predict_file(predictor: Predictor, body: bytes, format_name: str, **parameters: str | float) -> FilePredictions:
    """Return the predictions for the texts in `body`, in the same format.

    Args:
        predictor: the loaded model.
        body: the content of the file.
        format_name: one of MEDIA_TYPES.
        parameters: the server's parameters: `threshold`, `truncation`, `column`.

    Raises:
        RequestError: the content or a parameter is invalid. An invalid record gets an error line instead; in JSON it
            rejects the whole file.
    """
    media_type = MediaType(MEDIA_TYPES[format_name], {}, charset="utf-8-sig")
    is_part = format_name != "json"
    request = formats.parse(body, media_type, _NO_LIMITS, urlencode(parameters), is_part=is_part)
    request = request if is_part else request.strict()
    truncation, threshold = request.parameters.truncation, request.parameters.threshold
    outcomes = request.predict_each(lambda texts: predictor.predict(texts, truncation=truncation, threshold=threshold))
    model = {"version": predictor.artifact.version, "variant": predictor.variant_name}
    rejected = sum(isinstance(outcome, RequestError) for outcome in outcomes)
    return FilePredictions(formats.format_response(media_type.name, outcomes, request.parameters, model), rejected)
