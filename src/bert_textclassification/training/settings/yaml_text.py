"""Read YAML text strictly: what PyYAML takes in silence or breaks on is a YAMLError, as every other mistake is."""

from typing import Any

import yaml


def read_yaml(text: str) -> Any:
    """Return what `text` says, None where it is empty.

    Raises:
        yaml.YAMLError: it is no YAML, a key is there twice, a value cannot be what it looks like, such as the date
            2024-13-45, or it contains itself.
    """
    try:
        content = yaml.load(text, _StrictLoader)  # noqa: S506 - it is a SafeLoader
        _refuse_loops(content, ())
    except RecursionError:
        raise yaml.MarkedYAMLError(problem="it contains itself or is nested too deeply") from None
    return content


class _StrictLoader(yaml.SafeLoader):
    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Compose a mapping, before what `<<` refers to is merged into it."""
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"the key {key.value!r} is there twice", problem_mark=key.start_mark
                    )
                seen.add((key.tag, key.value))
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Construct a value; PyYAML lets the errors of Python's own conversions through."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError, AttributeError, OverflowError):
            raise yaml.MarkedYAMLError(
                problem=f"{node.value!r} is no value of its kind, put it in quotes if it is a text",
                problem_mark=node.start_mark,
            ) from None


def _refuse_loops(value: Any, above: tuple[int, ...]) -> None:
    """Refuse a list or mapping that an anchor puts into itself: whoever walks through it would never end."""
    if id(value) in above:
        raise yaml.MarkedYAMLError(problem="it contains itself")
    inside = [*value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
    for one in inside:
        _refuse_loops(one, (*above, id(value)))
