"""Texts with placeholders, filled in from lists: `{name} cannot log in`, `{text:typo}`.

A placeholder is the name of a list, alone or with a change: of the same entry, or `other` for another entry.
"""

import difflib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from string import Formatter

import numpy as np

TEXT = "text"  # the list that needs no writing: texts of the test split
NAMES = "name"  # the list that `renamed` takes first names from
OTHER = "other"
_INNER_LETTERS = re.compile(r"(?<=[^\W\d_])[^\W\d_]{2}(?=[^\W\d_])")
_END = re.compile(r"\s*[.!?]+\s*$")

Lists = Mapping[str, Sequence[str]]
Change = Callable[[str, Lists, np.random.Generator], str]


def filled(templates: Sequence[str], lists: Lists, most: int, rng: np.random.Generator) -> Iterator[tuple[str, ...]]:
    """Yield the templates, filled in with combinations of entries in random order: all, or `most` where there are more.

    A placeholder stands for the same entry in all the templates.
    """
    names = sorted({name for template in templates for name, _ in placeholders(template)})
    sizes = [len(lists[name]) for name in names]
    total = math.prod(sizes)
    for number in rng.choice(total, min(total, most), replace=False).tolist():
        places = np.unravel_index(number, sizes) if names else ()
        entries = {name: int(place) for name, place in zip(names, places, strict=True)}
        yield tuple(_fill(template, entries, lists, rng) for template in templates)


def placeholders(template: str) -> list[tuple[str, str]]:
    """Return list and change of each placeholder.

    Raises:
        ValueError: a brace has no partner.
    """
    return [(name, change or "") for _, name, change, _ in Formatter().parse(template) if name is not None]


def problem_of(template: str, lists: Lists) -> str | None:
    """Return what is wrong with the placeholders of a template, and how to mend it."""
    try:
        found = placeholders(template)
    except ValueError:
        return "has a brace without its partner; double the braces that are part of the text"
    for name, change in found:
        if name != TEXT and not lists.get(name):
            return f"has the placeholder {{{name}}}, but there is no list {name!r}" + _near(name, [TEXT, *lists])
        if change and change not in (*CHANGES, OTHER):
            return f"has the unknown change {change!r}" + _near(change, [*CHANGES, OTHER])
        if change == OTHER and name != TEXT and len(set(lists[name])) < 2:
            return f"asks for another entry of the list {name!r}, which has only one"
    return None


def typo(text: str, lists: Lists, rng: np.random.Generator) -> str:
    """Swap two neighbouring letters inside a word."""
    places = [found.start() for found in _INNER_LETTERS.finditer(text) if text[found.start()] != text[found.end() - 1]]
    if not places:
        return text
    at = int(rng.choice(places))
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]


def capitals(text: str, lists: Lists, rng: np.random.Generator) -> str:
    """Write everything in capitals."""
    return text.upper()


def lower(text: str, lists: Lists, rng: np.random.Generator) -> str:
    """Write everything in lower case."""
    return text.lower()


def spaces(text: str, lists: Lists, rng: np.random.Generator) -> str:
    """Double the spaces and put some around."""
    return f"  {text.replace(' ', '  ')}  "


def full_stop(text: str, lists: Lists, rng: np.random.Generator) -> str:
    """Take the last full stop, exclamation or question mark away, or put a full stop where there is none."""
    bare = _END.sub("", text)
    if not bare:
        return text
    return bare if bare != text else f"{text}."


def renamed(text: str, lists: Lists, rng: np.random.Generator) -> str:
    """Put another first name for each one of the list `name`."""
    names = lists.get(NAMES, [])
    if not names:
        return text
    any_name = rf"\b(?:{'|'.join(map(re.escape, names))})\b"
    return re.sub(any_name, lambda found: _other(found[0], names, rng), text)


CHANGES: dict[str, Change] = {
    "typo": typo,
    "capitals": capitals,
    "lower": lower,
    "spaces": spaces,
    "full_stop": full_stop,
    "renamed": renamed,
}


def _fill(template: str, entries: Mapping[str, int], lists: Lists, rng: np.random.Generator) -> str:
    parts = []
    for literal, name, change, _ in Formatter().parse(template):
        parts.append(literal)
        if name is not None:
            entry = lists[name][entries[name]]
            parts.append(_other(entry, lists[name], rng) if change == OTHER else _changed(entry, change, lists, rng))
    return "".join(parts)


def _changed(entry: str, change: str | None, lists: Lists, rng: np.random.Generator) -> str:
    return CHANGES[change](entry, lists, rng) if change else entry


def _other(entry: str, entries: Sequence[str], rng: np.random.Generator) -> str:
    others = [one for one in entries if one != entry]
    return others[int(rng.integers(len(others)))] if others else entry


def _near(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"
