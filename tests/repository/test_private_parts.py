"""Only adapters use private parts of other libraries; the test of each adapter names these parts."""

import ast
from pathlib import Path

from tests.conftest import ROOT

ADAPTERS = {
    "ops/sagemaker_sdk.py": "tests/ops/test_sagemaker_sdk.py",
    "src/bert_textclassification/serving/worker.py": "tests/serving/test_worker.py",
    "src/bert_textclassification/training/fine_tuning/trainer.py": "tests/training/fine_tuning/test_trainer.py",
    "src/bert_textclassification/training/modeling/onnx.py": "tests/training/modeling/test_onnx.py",
}
PUBLIC = {"_replace", "_asdict", "_fields"}  # of named tuples


def private_parts(path: Path) -> list[str]:
    """Return the private attributes that the module uses on objects other than `self` and `cls`."""
    attributes = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Attribute)]
    return [
        f"{path.relative_to(ROOT)}:{node.lineno} {ast.unparse(node)}"
        for node in attributes
        if node.attr.startswith("_")
        and not node.attr.startswith("__")
        and node.attr not in PUBLIC
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
    ]


def test_only_adapters_use_private_parts():
    modules = [path for folder in ("src", "ops", "tools") for path in sorted((ROOT / folder).rglob("*.py"))]
    others = [path for path in modules if str(path.relative_to(ROOT)) not in ADAPTERS]
    assert [part for path in others for part in private_parts(path)] == []


def test_each_adapter_has_its_test():
    assert [name for name in [*ADAPTERS, *ADAPTERS.values()] if not (ROOT / name).is_file()] == []
