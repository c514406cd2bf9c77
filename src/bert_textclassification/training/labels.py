"""What a label is and which of the two is the positive one, by the same rules for every format of the data."""

import re
from collections.abc import Mapping
from numbers import Number
from typing import Any

from bert_textclassification.errors import DataError

_WHOLE = re.compile(r"([-+]?(?:0|[1-9][0-9]{0,15}))(?:\.0*)?")  # Python writes larger ones as 1e+16
_NUMBER = re.compile(r"[-+]?[0-9]+(?:\.[0-9]+)?")
_TOKEN = re.compile(r"[0-9]+|[^\W\d_]+")
_CAMEL_CASE = re.compile(r"(?<=[a-z])(?=[A-Z])")

# The rules of `expected_positive`. A word stands in a list only if it keeps its meaning beside any other label.
_DETECTED = frozenset((
    "positivo", "positiva", "positif", "positiv", "positief",
    "yes", "true", "positive", "pos", "ja", "oui", "si", "sí", "sim", "spam", "toxic", "hate", "hateful", "offensive",
    "abuse", "abusive", "insult", "obscene", "threat", "harassment", "bullying", "cyberbullying", "profanity",
    "racist", "sexist", "violent", "violence", "fraud", "fraudulent", "scam", "phishing", "malware", "malicious",
    "harmful", "unsafe", "nsfw", "fake", "misinformation", "clickbait", "irony", "ironic", "sarcasm", "sarcastic",
    "anomaly", "anomalous", "abnormal", "attack", "defect", "defective", "malignant", "urgent", "emergency",
    "inappropriate",
))  # fmt: skip
_ABSENT = frozenset((
    "negativo", "negativa", "négatif", "negatif", "negativ", "negatief",
    "false", "negative", "neg", "none", "nothing", "nein", "não", "nao", "ham", "legit", "legitimate", "genuine",
    "authentic", "real", "benign", "harmless", "clean", "ok", "normal", "neutral", "other", "others", "rest",
    "background", "safe", "sfw", "healthy",
))  # fmt: skip
_NEGATIONS = frozenset({"no", "not", "non", "without"})
_NEGATING_PREFIXES = ("non", "not", "no", "un", "in", "im", "ir", "dis")
_OPPOSITES = frozenset((  # (negative, positive): words that tell nothing beside another one
    ("n", "y"), ("f", "t"), ("-", "+"), ("zero", "one"), ("off", "on"), ("down", "up"), ("low", "high"),
    ("bad", "good"), ("sad", "happy"), ("absent", "present"), ("against", "favor"), ("against", "favour"),
    ("reject", "accept"), ("rejected", "accepted"),
))  # fmt: skip


def label_of(cell: Any) -> str:
    """Return the label that a cell of any format holds, empty where it holds none.

    A number or a boolean becomes the text that Python writes for it (`0.5`, `True`). A text loses the blanks around it.
    In both, a whole number with a plus or a decimal point is that whole number: `1.0`, `1.` and `+1` are `1`. True and
    false, in any case, are `True` and `False`. Any other text stays as it is, such as `007`, `1.50`, `1e3` and `v1.0`.

    Raises:
        ValueError: the cell holds a list, an object or bytes that are not UTF-8; the message names it.
    """
    cell = plain(cell)
    if cell is None or cell != cell:  # NaN
        return ""
    if isinstance(cell, (list, dict, bytes)):
        raise ValueError(named(cell))
    text = str(cell).strip()
    if text.lower() in ("true", "false"):
        return text.capitalize()
    whole = _WHOLE.fullmatch(text)
    return text if whole is None else str(int(whole[1]))


def plain(cell: Any) -> Any:
    """Return a cell as a built-in type: numpy's values as Python's, UTF-8 bytes as text, sequences as a list."""
    if hasattr(cell, "tolist"):  # numpy's scalars and arrays; settings are checked where numpy is not installed
        cell = cell.tolist()
    if isinstance(cell, bytes):
        try:
            return cell.decode("utf-8")
        except UnicodeDecodeError:
            return cell
    return list(cell) if isinstance(cell, (tuple, set, frozenset)) else cell


def named(cell: Any) -> str:
    """Return what a cell holds in words, such as `the number 7` or `a list`."""
    if isinstance(cell, bool):
        return f"the boolean {cell}"
    if isinstance(cell, Number):
        return f"the number {cell}"
    words: dict[type, str] = {list: "a list", dict: "an object", bytes: "bytes that are not UTF-8"}
    return words.get(type(cell), f"a {type(cell).__name__}")


def positive_label(counts: Mapping[str, int], given: str | None) -> tuple[str, str]:
    """Return the positive one of two labels, and why it is.

    It is the one given; else the one that `expected_positive` returns; else the rarer one; else the last one in
    alphabetical order. `given` is read as the labels are: 1.0 is 1, and case matters only where labels differ in it
    alone.

    Args:
        counts: rows of train by label.

    Raises:
        DataError: `given` is neither label.
    """
    first, second = sorted(counts)
    if given is not None:
        return _match(given, first, second), "set by positive_label"
    expected = expected_positive(first, second)
    if expected is not None:
        return expected, "by the meaning of the two names; positive_label can change it"
    if counts[first] == counts[second]:
        return second, "the names do not tell and both are equally frequent: the last one; positive_label can change it"
    rarer = min(first, second, key=lambda label: counts[label])
    return rarer, "the names do not tell: the rarer one in train; positive_label can change it"


def expected_positive(first: str, second: str) -> str | None:
    """Return the label that a person expects to be positive, whatever its frequency; None where the names do not tell.

    Upper and lower case are the same. The rules, in order:

    - the larger one of two numbers, also behind the same name: 1 of -1 and 1, LABEL_1 of LABEL_0 and LABEL_1;
    - of opposites the affirming one: y of n and y, good review of bad review and good review;
    - the name of what is detected or affirmed (yes, true, positive, spam, toxic) before any other, and any other before
      the name of its absence (no, false, negative, ham, normal, other); `not`, `non` or `no` in a name turns it round;
    - the name without a negating prefix: relevant of irrelevant and relevant.
    """
    for rule in (_value, _affirmation, _meaning, _lack_of_prefix):
        ranks = rule(first, second), rule(second, first)
        if ranks[0] != ranks[1]:
            return first if ranks[0] > ranks[1] else second
    return None


def _value(label: str, other: str) -> float:
    if _NUMBER.fullmatch(label) and _NUMBER.fullmatch(other):
        return float(label)
    tokens, others = _tokens(label), _tokens(other)
    if len(tokens) != len(others) or tokens[:-1] != others[:-1]:
        return 0
    numbers = "".join(tokens[-1:] + others[-1:])
    return float(tokens[-1]) if numbers.isdecimal() else 0


def _affirmation(label: str, other: str) -> int:
    pairs = [(other.casefold(), label.casefold())]
    words, others = _tokens(label), _tokens(other)
    if len(words) == len(others):
        differing = [pair for pair in zip(others, words, strict=True) if pair[0] != pair[1]]
        pairs += differing if len(differing) == 1 else []  # bad review, good review
    return int(any(pair in _OPPOSITES for pair in pairs))


def _meaning(label: str, other: str) -> int:
    words = set(_tokens(label))
    meaning = -1 if words & _ABSENT else int(bool(words & _DETECTED))
    return (-meaning or -1) if words & _NEGATIONS else meaning


def _lack_of_prefix(label: str, other: str) -> int:
    return int("".join(_tokens(other)) in {prefix + "".join(_tokens(label)) for prefix in _NEGATING_PREFIXES})


def _tokens(label: str) -> list[str]:
    return _TOKEN.findall(_CAMEL_CASE.sub(" ", label).casefold())


def _match(given: str, first: str, second: str) -> str:
    wanted = label_of(given)
    if wanted in (first, second):
        return wanted
    alike = [label for label in (first, second) if label.casefold() == wanted.casefold()]
    if len(alike) != 1:
        raise DataError(f"positive_label is {given!r} but the labels are {first!r} and {second!r}; choose one.")
    return alike[0]
