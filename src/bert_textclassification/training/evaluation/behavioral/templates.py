"""Texts with placeholders that are filled from lists: `{name} cannot log in`, `{text:typo}`.

A placeholder is the name of a list, alone or with a change to apply to the entry; `other` takes another entry.
"""

import difflib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from string import Formatter

import numpy as np

TEXT = "text"  # the built-in list: texts of the test split
NAMES = "name"  # the list that `renamed` takes first names from
OTHER = "other"
_INNER_LETTERS = re.compile(r"(?<=[^\W\d_])[^\W\d_]{2}(?=[^\W\d_])")
_END = re.compile(r"\s*[.!?]+\s*$")

Lists = Mapping[str, Sequence[str]]
Change = Callable[[str, Lists, np.random.Generator], str]


def fill_templates(
    templates: Sequence[str], lists: Lists, most: int, rng: np.random.Generator
) -> Iterator[tuple[str, ...]]:
    """Yield the templates filled with combinations of list entries, at most `most` of them, in random order.

    A placeholder gets the same entry in all templates.
    """
    names = sorted({name for template in templates for name, _ in placeholders(template)})
    sizes = [len(lists[name]) for name in names]
    total = math.prod(sizes)
    for number in rng.choice(total, min(total, most), replace=False).tolist():
        places = np.unravel_index(number, sizes) if names else ()
        entries = {name: int(place) for name, place in zip(names, places, strict=True)}
        yield tuple(_fill(template, entries, lists, rng) for template in templates)


def placeholders(template: str) -> list[tuple[str, str]]:
    """Return the list name and the change of each placeholder.

    Raises:
        ValueError: a brace is not matched.
    """
    return [(name, change or "") for _, name, change, _ in Formatter().parse(template) if name is not None]


def placeholder_problem(template: str, lists: Lists) -> str | None:
    """Return what is wrong with the placeholders of a template and how to fix it, or None."""
    try:
        names_and_changes = placeholders(template)
    except ValueError:
        return "has an unmatched brace; double the braces that are part of the text"
    for name, change in names_and_changes:
        if name != TEXT and not lists.get(name):
            return f"has the placeholder {{{name}}}, but there is no list {name!r}" + _suggest(name, [TEXT, *lists])
        if change and change not in (*CHANGES, OTHER):
            return f"has the unknown change {change!r}" + _suggest(change, [*CHANGES, OTHER])
        if change == OTHER and name != TEXT and len(set(lists[name])) < 2:
            return f"needs another entry of the list {name!r}, which has only one"
    return None


def typo(text: str, lists: Lists, rng: np.random.Generator) -> str:
    """Swap two neighbouring letters inside a word."""
    pairs = _INNER_LETTERS.finditer(text)
    positions = [pair.start() for pair in pairs if text[pair.start()] != text[pair.end() - 1]]
    if not positions:
        return text
    position = int(rng.choice(positions))
    return text[:position] + text[position + 1] + text[position] + text[position + 2 :]


def capitals(text: str, lists: Lists, rng: np.random.Generator) -> str:
    """Write everything in capitals."""
    return text.upper()


def lower(text: str, lists: Lists, rng: np.random.Generator) -> str:
    """Write everything in lower case."""
    return text.lower()


def spaces(text: str, lists: Lists, rng: np.random.Generator) -> str:
    """Double the spaces and add some at both ends."""
    return f"  {text.replace(' ', '  ')}  "


def full_stop(text: str, lists: Lists, rng: np.random.Generator) -> str:
    """Remove the final full stop, exclamation or question mark, or add a full stop if there is none."""
    bare = _END.sub("", text)
    if not bare:
        return text
    return bare if bare != text else f"{text}."


def renamed(text: str, lists: Lists, rng: np.random.Generator) -> str:
    """Replace each first name of the list `name` by another one."""
    names = lists.get(NAMES, [])
    if not names:
        return text
    any_name = rf"\b(?:{'|'.join(map(re.escape, names))})\b"
    return re.sub(any_name, lambda match: _other(match[0], names, rng), text)


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
    others = [candidate for candidate in entries if candidate != entry]
    return others[int(rng.integers(len(others)))] if others else entry


def _suggest(name: str, known_names: Sequence[str]) -> str:
    matches = difflib.get_close_matches(name, known_names, n=1)
    return f"; did you mean {matches[0]!r}?" if matches else f"; known are {', '.join(known_names)}"
