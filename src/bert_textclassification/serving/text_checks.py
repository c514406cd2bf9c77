"""The one check of a text: Python callers and every protocol use it."""

from collections.abc import Sequence

from bert_textclassification.errors import RequestError


def check_texts(texts: Sequence[str]) -> None:
    """Check each text; see `check_text`. The field of the error is `instances[INDEX]`."""
    for index, text in enumerate(texts):
        check_text(text, f"instances[{index}]")


def check_text(text: str, field: str, max_chars: int | None = None) -> None:
    """Check that a text can be classified.

    Args:
        text: what a caller gave.
        field: where in the request it is.
        max_chars: the most characters that are allowed; None for any number.

    Raises:
        RequestError: it is not a string, has too many characters (413), is empty, or is not valid Unicode.
    """
    if not isinstance(text, str):
        raise RequestError("not_a_string", f"A text must be a string, not {type(text).__name__}.", field)
    if max_chars is not None and len(text) > max_chars:
        message = f"The text has {len(text)} characters where {max_chars} are allowed; send it in parts."
        raise RequestError("text_too_large", message, field, status=413)
    if not text or text.isspace():
        raise RequestError("empty_text", "The text is empty; leave it out or send some words.", field)
    if not is_valid_unicode(text):
        message = "The text is not valid Unicode, such as half of a surrogate pair; send UTF-8."
        raise RequestError("invalid_unicode", message, field)


def is_valid_unicode(text: str) -> bool:
    """Whether UTF-8 can encode the text; it cannot encode half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
