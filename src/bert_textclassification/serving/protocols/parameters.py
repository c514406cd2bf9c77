"""Parameters outside the body: in the query string, and in a header of SageMaker."""

from urllib.parse import parse_qsl

from bert_textclassification.errors import RequestError
from bert_textclassification.serving.protocols.schemas import LineParameters
from bert_textclassification.serving.protocols.validation import validated


def line_parameters(query: str) -> LineParameters:
    """Parse parameters given as a query string.

    Raises:
        RequestError: a parameter is unknown, given twice, or has an invalid value.
    """
    if not query:
        return LineParameters()
    pairs = parse_qsl(_as_utf8(query), keep_blank_values=True)
    if len(dict(pairs)) < len(pairs):
        raise RequestError("invalid_parameter", "A parameter is given twice; give it once.", "parameters")
    return validated(LineParameters, dict(pairs), "parameters")


def _as_utf8(query: str) -> str:
    """Decode characters that a client did not escape; WSGI passes bytes as Latin-1."""
    try:
        return query.encode("latin-1").decode()
    except UnicodeError:
        return query


def known_attributes(header: str) -> str:
    """Return the parts of SageMaker's custom attributes that are parameters; other software may use the header too."""
    return "&".join(part for part in header.split("&") if part.partition("=")[0] in LineParameters.model_fields)
