"""Media types that texts and predictions are written in, and the character sets of their bodies."""

from collections.abc import Mapping
from dataclasses import dataclass

from bert_textclassification.errors import RequestError

JSON = "application/json"
JSON_LINES = "application/jsonlines"
CSV = "text/csv"
TEXT = "text/plain"
# Python knows more, some of them slow or no character sets at all.
_CHARSETS = {
    "utf-8", "utf8", "ascii", "us-ascii", "utf-16", "utf-16le", "utf-16be", "latin1", "iso-8859-1", "iso-8859-2",
    "iso-8859-5", "iso-8859-7", "iso-8859-9", "iso-8859-15", "windows-1250", "windows-1251", "windows-1252",
    "windows-1253", "windows-1254", "windows-1256", "koi8-r", "shift_jis", "euc-jp", "euc-kr", "gb18030", "gbk", "big5",
}  # fmt: skip


@dataclass(frozen=True)
class MediaType:
    """A media type that is read here, its parameters, and the character set of the body."""

    name: str
    parameters: Mapping[str, str]
    charset: str


def decoded(body: bytes, charset: str, errors: str = "strict") -> str:
    """Return the text of a body, without byte order marks.

    Raises:
        RequestError: the bytes are none of that character set, unless `errors` says what stands for them.
    """
    try:
        return body.decode(charset, errors).lstrip("\ufeff")
    except UnicodeDecodeError as problem:
        named = charset.removesuffix("-sig").upper()
        raise RequestError("invalid_encoding", f"The body is not {named} at byte {problem.start}.") from None


def _unsupported(message: str) -> RequestError:
    return RequestError("unsupported_media_type", message, "Content-Type", status=415)
