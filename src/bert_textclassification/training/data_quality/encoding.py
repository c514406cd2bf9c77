"""Texts that an earlier step has damaged: wrong encodings, HTML that was not converted to text."""

import re
from collections.abc import Callable
from html.entities import html5

import pandas as pd

from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data.issues import Suspects, suspects

_LATIN_1_PUNCTUATION = "\xa0»›…”’“‘–—•™"  # often follows a capital: CAFÉ…
_HIGH = "".join(bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in range(0x80, 0xC0))
_NEXT = f"[{re.escape(_HIGH)}\x80-\x9f]"  # continuation bytes of UTF-8, as cp1252 or Latin-1 shows them
_AS_CP1252 = re.compile(
    rf"[ÂÃ](?:(?![{_LATIN_1_PUNCTUATION}]){_NEXT}|(?<![A-ZÀ-Þ].)[{_LATIN_1_PUNCTUATION}])"
    rf"|â{_NEXT}{{2}}|ð{_NEXT}{{3}}|(?:[ÎÏÐÑ]{_NEXT}){{2,}}|ï(?:»¿|¿½)"
)
_AS_GBK = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]+")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_BYTE_ORDER_MARK = re.compile("\ufeff|\ufffe")  # the second one is the first with its bytes swapped
_ENTITY = re.compile(r"&(#\d+|#x[\da-f]+|[a-z]\w*);", re.IGNORECASE)
_TAG = re.compile(
    r"</?(?:a|b|blockquote|body|br|center|code|div|em|font|h[1-6]|head|hr|html|i|img|li|ol|p|pre|script|small|span|"
    r"strong|style|sub|sup|table|td|th|title|tr|u|ul)(?:\s[^<>]*)?/?>",
    re.IGNORECASE,
)


def wrong_encoding(rows: pd.DataFrame, config: TrainingConfig) -> Suspects | None:
    """Return the rows with U+FFFD, U+FEFF, control characters, or UTF-8 that was read as another encoding."""
    message = "Texts were decoded wrongly somewhere: read them from their source again as UTF-8, or mend them."
    return _damaged(message, rows, wrongly_decoded)


def html_remains(rows: pd.DataFrame, config: TrainingConfig) -> Suspects | None:
    """Return the rows with HTML entities or tags."""
    message = "Texts hold HTML: unescape entities and strip tags, here and in what is sent to the model alike."
    return _damaged(message, rows, markup)


def wrongly_decoded(text: str) -> str:
    """Return what shows that `text` was decoded wrongly, and what it should be; empty where nothing does."""
    if "\ufffd" in text:
        return "holds U+FFFD, a character that is lost"
    for pattern, codec in ((_AS_CP1252, "cp1252"), (_AS_GBK, "gbk")):
        for match in pattern.finditer(text):
            if (meant := _meant(match[0], codec)) is not None:
                return f"{match[0]} should be {meant}: UTF-8 that was read as {codec}"
    if mark := _BYTE_ORDER_MARK.search(text):
        return f"holds U+{ord(mark[0]):04X}, a byte order mark inside the text"
    control = _CONTROL.search(text)
    return f"holds the control character U+{ord(control[0]):04X}" if control else ""


def markup(text: str) -> str:
    """Return the first HTML entity or tag of `text`; empty where there is none."""
    entities = (match[0] for match in _ENTITY.finditer(text) if match[1][0] == "#" or f"{match[1]};" in html5)
    tag = _TAG.search(text)
    return next(entities, tag[0] if tag else "")


def _damaged(message: str, rows: pd.DataFrame, damage: Callable[[str], str]) -> Suspects | None:
    """Return the rows whose text has some damage, with it as the note."""
    rows = rows.assign(note=rows["text"].map(damage))
    return suspects(message, rows[rows["note"] != ""])


def _meant(run: str, codec: str) -> str | None:
    """Return `run` read as UTF-8, or None where it is not UTF-8; what GBK gives must become Latin text.

    Bytes that cp1252 leaves undefined are those of Latin-1.
    """
    try:
        raw = b"".join(char.encode("latin-1" if "\x80" <= char <= "\x9f" else codec) for char in run)
        meant = raw.decode("utf-8")
    except UnicodeError:
        return None
    readable = codec == "cp1252" or all(char < "\u0250" or "\u2000" <= char <= "\u206f" for char in meant)
    return meant if readable else None
