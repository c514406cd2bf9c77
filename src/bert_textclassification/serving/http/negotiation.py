"""What a request's headers say of its body, and what they ask of the reply. Media types are compared as such."""

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
    """Parse a Content-Type header; JSON when there is none.

    Raises:
        RequestError: the media type or its character set is not read here (415).
    """
    name, parameters = parse_options_header(header or JSON)
    name = _ALIASES.get(name.lower(), name.lower())
    if name not in OFFERED:
        raise unsupported(f"The content type {name!r:.80} is not read here; send one of: {', '.join(OFFERED)}.")
    charset = parameters.get("charset", "utf-8").lower()
    codec = codec_of(charset)
    if codec is None or (name == JSON and codec not in UTF_8):
        raise unsupported(f"The character set {charset!r:.80} is not read here; send UTF-8.")
    if name == CSV:
        _refuse_other_dialects(header or "")
    return MediaType(name, parameters, "utf-8-sig" if codec in UTF_8 else charset)


def _refuse_other_dialects(header: str) -> None:
    """Refuse a parameter of CSV that is not known here, such as a delimiter, whatever its value."""
    names = [part.partition("=")[0].strip().lower() for part in header.split(";")[1:] if "=" in part]
    if unknown := [name for name in names if name not in ("charset", "header")]:
        raise unsupported(f"{CSV} has no parameter {unknown[0]!r:.80} here; leave it out, and separate by commas.")


def accepted(header: str | None) -> MIMEAccept:
    """Parse an Accept header; empty when the client does not mind."""
    return parse_accept_header(header if header != "*/*" else None, MIMEAccept)


def best_offer(accept: MIMEAccept, first: str) -> str:
    """Return the media type to reply in: the client's favourite, `first` when it does not mind.

    Raises:
        RequestError: the client accepts nothing that can be given (406).
    """
    if not accept:
        return first
    # Parameters such as a charset choose no other reply; werkzeug would take them for another type.
    accept = MIMEAccept((value.partition(";")[0].strip(), quality) for value, quality in accept)
    offers = [first, *(offer for offer in OFFERED if offer != first), *_ALIASES]
    best = accept.best_match(offers)
    if best is None:
        raise RequestError("not_acceptable", f"The reply can be one of: {', '.join(OFFERED)}.", "Accept", status=406)
    return _ALIASES.get(best, best)


def decompressed(body: bytes, encoding: str | None, most: int) -> bytes:
    """Return the body without its Content-Encoding, never holding more than `most` bytes of it.

    Raises:
        RequestError: the encoding is not read here (415), the data is damaged (400) or expands to more (413).
    """
    encoding = (encoding or "identity").strip().lower()
    if encoding == "identity":
        return body
    if encoding not in ("gzip", "x-gzip"):
        raise RequestError(
            "unsupported_encoding",
            f"The content encoding {encoding!r:.80} is not read here; send gzip or none.",
            "Content-Encoding",
            status=415,
        )
    return _gunzipped(body, most)


def _gunzipped(body: bytes, most: int) -> bytes:
    stream = zlib.decompressobj(wbits=31)
    try:
        expanded = stream.decompress(body, most + 1)
    except zlib.error as problem:
        raise RequestError("invalid_gzip", f"The body is not valid gzip: {problem}.", "Content-Encoding") from None
    if len(expanded) > most:
        raise RequestError(
            "body_too_large", f"The body expands to over {most} bytes; send several requests.", status=413
        )
    if not stream.eof or stream.unused_data:
        fault = "ends in the middle" if not stream.eof else "goes on after its end"
        raise RequestError("invalid_gzip", f"The body is not valid gzip: it {fault}.", "Content-Encoding")
    return expanded
