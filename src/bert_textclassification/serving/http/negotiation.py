"""Content negotiation: the format of the request's body and of the response, from the request's headers.

Media types are parsed before they are compared: case and parameters do not matter.
"""

import zlib

from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header, parse_options_header

from bert_textclassification.errors import RequestError
from bert_textclassification.serving.protocols.media_types import (
    CSV,
    JSON,
    TEXT_FORMATS,
    UTF_8,
    MediaType,
    codec_of,
    unsupported,
)

OFFERED = tuple(TEXT_FORMATS)
_ALIASES = {alias: name for name, text_format in TEXT_FORMATS.items() for alias in text_format.aliases}


def content_type(header: str | None) -> MediaType:
    """Parse a Content-Type header; the default is JSON.

    Raises:
        RequestError: the media type or its character set is not supported (415).
    """
    name, parameters = parse_options_header(header or JSON)
    name = _ALIASES.get(name.lower(), name.lower())
    if name not in OFFERED:
        raise unsupported(f"The content type {name!r:.80} is not supported; send one of: {', '.join(OFFERED)}.")
    charset = parameters.get("charset", "utf-8").lower()
    codec = codec_of(charset)
    if codec is None or (name == JSON and codec not in UTF_8):
        raise unsupported(f"The character set {charset!r:.80} is not supported; send UTF-8.")
    if name == CSV:
        _reject_other_dialects(header or "")
    return MediaType(name, parameters, "utf-8-sig" if codec in UTF_8 else charset)


def _reject_other_dialects(header: str) -> None:
    """Reject an unknown parameter of CSV, such as a delimiter, whatever its value."""
    names = [part.partition("=")[0].strip().lower() for part in header.split(";")[1:] if "=" in part]
    if unknown := [name for name in names if name not in ("charset", "header")]:
        raise unsupported(f"{CSV} has no parameter {unknown[0]!r:.80} here; omit it, and separate fields by commas.")


def accepted(header: str | None) -> MIMEAccept:
    """Parse an Accept header; the result is empty when the client accepts anything."""
    return parse_accept_header(header if header != "*/*" else None, MIMEAccept)


def best_offer(accept: MIMEAccept, default: str) -> str:
    """Return the media type of the response: the client's preferred one, or `default` without a preference.

    Raises:
        RequestError: the client accepts none of the offered types (406).
    """
    if not accept:
        return default
    # Drop parameters such as a charset: werkzeug would treat them as part of another type.
    accept = MIMEAccept((value.partition(";")[0].strip(), quality) for value, quality in accept)
    offers = [default, *(offer for offer in OFFERED if offer != default), *_ALIASES]
    best = accept.best_match(offers)
    if best is None:
        raise RequestError("not_acceptable", f"The reply can be one of: {', '.join(OFFERED)}.", "Accept", status=406)
    return _ALIASES.get(best, best)


def decompressed(body: bytes, encoding: str | None, max_bytes: int) -> bytes:
    """Return the body without its Content-Encoding; decompression stops after `max_bytes` bytes.

    Raises:
        RequestError: the encoding is not supported (415), the data is damaged (400) or expands to more (413).
    """
    encoding = (encoding or "identity").strip().lower()
    if encoding == "identity":
        return body
    if encoding not in ("gzip", "x-gzip"):
        raise RequestError(
            "unsupported_encoding",
            f"The content encoding {encoding!r:.80} is not supported; send gzip or none.",
            "Content-Encoding",
            status=415,
        )
    return _gunzipped(body, max_bytes)


def _gunzipped(body: bytes, max_bytes: int) -> bytes:
    stream = zlib.decompressobj(wbits=31)
    try:
        expanded = stream.decompress(body, max_bytes + 1)
    except zlib.error as problem:
        raise RequestError("invalid_gzip", f"The body is not valid gzip: {problem}.", "Content-Encoding") from None
    if len(expanded) > max_bytes:
        raise RequestError(
            "body_too_large", f"The body expands to over {max_bytes} bytes; send several requests.", status=413
        )
    if not stream.eof or stream.unused_data:
        fault = "it is truncated" if not stream.eof else "data follows its end"
        raise RequestError("invalid_gzip", f"The body is not valid gzip: {fault}.", "Content-Encoding")
    return expanded
