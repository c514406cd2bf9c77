"""Read YAML strictly: mistakes that PyYAML ignores, or raises other errors for, are YAMLErrors here."""

from pathlib import Path
from typing import Any

import yaml

from bert_textclassification.errors import ConfigurationError

MAX_BYTES = 1_000_000
MAX_VALUES = 100_000  # including the values that aliases repeat: nine lines of aliases can expand to billions


def read_yaml_file(path: str | Path) -> Any:
    """Return the content of the YAML file `path`, None if it is empty.

    Raises:
        ConfigurationError: the file is missing, unreadable, larger than MAX_BYTES, not UTF-8, or `read_yaml` fails; the
            message is one sentence with the path and the line.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ConfigurationError(f"{path} has more than {MAX_BYTES:,} bytes; give a shorter YAML file.")
        return read_yaml(content.decode("utf-8"))
    except OSError as problem:
        raise ConfigurationError(f"{path} cannot be read ({problem.strerror}); give a YAML file.") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} cannot be read: it is not UTF-8; save it as UTF-8.") from None
    except yaml.YAMLError as problem:
        mark, reason = getattr(problem, "problem_mark", None), getattr(problem, "problem", None) or problem
        line = f" line {mark.line + 1}" if mark else ""
        sentence = " ".join(str(reason).split())
        raise ConfigurationError(
            f"{path}{line} cannot be read: it is not valid YAML ({sentence}); correct it."
        ) from None


def read_yaml(text: str) -> Any:
    """Return the content of `text`, None if it is empty.

    Raises:
        yaml.YAMLError: it is not valid YAML, has a duplicate key or an impossible value, such as the date 2024-13-45,
            contains itself, or has more than MAX_VALUES values.
    """
    try:
        content = yaml.load(text, _StrictLoader)  # noqa: S506 - it is a SafeLoader
        _reject_endless(content)
    except RecursionError:
        raise yaml.MarkedYAMLError(problem="it contains itself or is nested too deeply") from None
    return content


class _StrictLoader(yaml.SafeLoader):
    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Compose a mapping and reject duplicate keys; mappings that `<<` refers to are merged later."""
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"the key {key.value!r} is given twice", problem_mark=key.start_mark
                    )
                seen.add((key.tag, key.value))
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Construct a value; PyYAML does not catch the errors of Python's conversions."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError, AttributeError, OverflowError):
            raise yaml.MarkedYAMLError(
                problem=f"{node.value!r} is not a valid value of its type, put it in quotes if it is a text",
                problem_mark=node.start_mark,
            ) from None


def _reject_endless(content: Any) -> None:
    """Reject content whose traversal is endless or too long: a value inside itself, or nested aliases."""
    waiting: list[tuple[Any, tuple[int, ...]]] = [(content, ())]
    for _ in range(MAX_VALUES):
        if not waiting:
            return
        value, above = waiting.pop()
        if id(value) in above:
            raise yaml.MarkedYAMLError(problem="it contains itself")
        children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        waiting += [(child, (*above, id(value))) for child in children]
    raise yaml.MarkedYAMLError(problem=f"it has more than {MAX_VALUES:,} values")
