"""Validate requests to Google's APIs against the schemas that Google publishes (discovery documents)."""

import functools
import json
from pathlib import Path
from typing import Any

import pytest


@functools.cache
def schemas(document: str) -> dict[str, Any]:
    """Return the schemas of an API such as `run.v1`; skip the test where Google's library is not installed."""
    library = pytest.importorskip("googleapiclient", reason="`make test-clouds` runs these")
    path = Path(library.__file__).parent / "discovery_cache/documents" / f"{document}.json"
    return json.loads(path.read_text(encoding="utf-8"))["schemas"]


def problems(document: str, value: Any, schema: dict[str, Any], path: str = "") -> list[str]:
    """Return the fields of `value` that are unknown, read-only or of the wrong type."""
    if "$ref" in schema:
        return problems(document, value, schemas(document)[schema["$ref"]], path)
    kind = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}[schema["type"]]
    if type(value) is not kind:
        return [f"{path} is not of type {schema['type']}"]
    if isinstance(value, list):
        return [
            problem
            for number, item in enumerate(value)
            for problem in problems(document, item, schema["items"], f"{path}.{number}")
        ]
    if not isinstance(value, dict):
        return [] if value in schema.get("enum", [value]) else [f"{path} is none of {', '.join(schema['enum'])}"]
    messages = []
    for name, item in value.items():
        field = schema.get("properties", {}).get(name) or schema.get("additionalProperties")
        if field is None or field.get("readOnly"):
            messages.append(f"{path}.{name} is unknown")
        else:
            messages += problems(document, item, field, f"{path}.{name}")
    return messages
