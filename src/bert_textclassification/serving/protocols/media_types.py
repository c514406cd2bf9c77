"""Media types of texts and predictions, and the character sets of their bodies."""

import codecs
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from bert_textclassification.errors import RequestError

JSON = "application/json"
JSON_LINES = "application/jsonlines"
CSV = "text/csv"
TEXT = "text/plain"


class TextFormat(NamedTuple):
    """A format of texts and predictions.

    Attributes:
        name: its name on the command line.
        suffixes: suffixes of files in this format.
        aliases: other media types with the same meaning.
    """

    name: str
    suffixes: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()


# By media type, the preferred response type first. `formats.FORMATS` has the reader and writer of each except JSON.
TEXT_FORMATS = {
    JSON: TextFormat("json", (".json",)),
    JSON_LINES: TextFormat(
        "jsonl", (".jsonl", ".ndjson"), ("application/x-ndjson", "application/jsonl", "application/x-jsonlines")
    ),
    CSV: TextFormat("csv", (".csv",)),
    TEXT: TextFormat("text"),
}

# Python's codec names. Its other codecs are rare, slow, or not character sets.
_CODECS = {
    "utf-8", "ascii", "utf-16", "utf-16-le", "utf-16-be", "iso8859-1", "iso8859-2", "iso8859-5", "iso8859-7",
    "iso8859-9", "iso8859-15", "cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1256", "koi8-r", "shift_jis",
    "euc_jp", "euc_kr", "gb18030", "gbk", "big5",
}  # fmt: skip
UTF_8 = {"utf-8", "ascii"}


def codec_of(charset: str) -> str | None:
    """Return Python's codec name for any name of a character set; None if it is not supported."""
    try:
        name = codecs.lookup(charset).name
    except (LookupError, ValueError):  # ValueError: the name has a null character
        return None
    return name if name in _CODECS else None


@dataclass(frozen=True)
class MediaType:
    """A supported media type, its parameters, and the character set of the body."""

    name: str
    parameters: Mapping[str, str]
    charset: str


def decoded(body: bytes, charset: str, errors: str = "strict") -> str:
    """Return the text of a body, without byte order marks.

    Raises:
        RequestError: the bytes are invalid in that character set, and `errors` names no replacement.
    """
    try:
        return body.decode(charset, errors).lstrip("\ufeff")
    except UnicodeDecodeError as problem:
        name = charset.removesuffix("-sig").upper()
        raise RequestError("invalid_encoding", f"The body is not {name} at byte {problem.start}.") from None


def unsupported(message: str) -> RequestError:
    """Return the error for a body of an unsupported type, character set or encoding (415)."""
    return RequestError("unsupported_media_type", message, "Content-Type", status=415)
