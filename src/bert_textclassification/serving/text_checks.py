"""Validation of texts, for Python callers and every protocol."""

from collections.abc import Sequence

from bert_textclassification.errors import RequestError


def check_texts(texts: Sequence[str]) -> None:
    """Check each text; see `check_text`. The error's field is `instances[INDEX]`."""
    for index, text in enumerate(texts):
        check_text(text, f"instances[{index}]")


def check_text(text: str, field: str, max_chars: int | None = None) -> None:
    """Check that a text can be classified.

    Args:
        text: the value of a caller.
        field: its place in the request.
        max_chars: maximum number of characters; None for no limit.

    Raises:
        RequestError: the text is not a string, has too many characters (413), is empty, or is not valid Unicode.
    """
    if not isinstance(text, str):
        raise RequestError("not_a_string", f"A text must be a string, not {type(text).__name__}.", field)
    if max_chars is not None and len(text) > max_chars:
        message = f"The text has {len(text)} characters, and the limit is {max_chars}; send it in parts."
        raise RequestError("text_too_large", message, field, status=413)
    if not text or text.isspace():
        raise RequestError("empty_text", "The text is empty; omit it or send some words.", field)
    if not is_valid_unicode(text):
        message = "The text is not valid Unicode: it has half of a surrogate pair; send UTF-8."
        raise RequestError("invalid_unicode", message, field)


def is_valid_unicode(text: str) -> bool:
    """Whether UTF-8 can encode the text; it cannot encode half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
