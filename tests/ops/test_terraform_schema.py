"""The Terraform module against the schema of the AWS provider that CDK for Terraform publishes."""

import ast
import functools
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

hcl2 = pytest.importorskip("hcl2", reason="`make test-clouds` runs these")
PROVIDER = "cdktf_cdktf_provider_aws"  # its source is parsed, because an import would start Node
OF_TERRAFORM = {"for_each", "count", "depends_on", "lifecycle", "dynamic"}
Arguments = dict[str, ast.arg]  # the attributes and blocks that a block may have, by name


def _bare(value: Any) -> Any:
    """Return the value without the quotes that the parser keeps around names."""
    if isinstance(value, dict):
        return {name.strip('"'): _bare(item) for name, item in value.items()}
    return [_bare(item) for item in value] if isinstance(value, list) else value


BLOCKS = [
    (resource if kind == "resource" else f"data_{resource}", name, block)
    for path in sorted((ROOT / "ops/terraform").glob("*.tf"))
    for kind in ("resource", "data")
    for declared in _bare(hcl2.loads(path.read_text(encoding="utf-8"))).get(kind, [])
    for resource, named in declared.items()
    for name, block in named.items()
    if resource.startswith("aws_")
]


@functools.cache
def classes(resource: str) -> dict[str, tuple[Arguments, set[str]]]:
    """Return the arguments of each class in the module of the resource, and the names of the required ones."""
    spec = importlib.util.find_spec(PROVIDER)
    if spec is None or spec.origin is None:
        pytest.skip("the schema of the provider is not installed")
    name = resource.removeprefix("aws_")
    tree = ast.parse((Path(spec.origin).parent / name / "__init__.py").read_text(encoding="utf-8"))
    signatures = {}
    for node in tree.body:
        for function in node.body if isinstance(node, ast.ClassDef) else []:
            if isinstance(function, ast.FunctionDef) and function.name == "__init__":
                pairs = list(zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True))
                required = {argument.arg for argument, default in pairs if default is None}
                signatures[node.name] = {argument.arg: argument for argument, _ in pairs}, required
    return signatures


def problems(resource: str, block: dict[str, Any]) -> list[str]:
    """Return the unknown attributes of the block, and the missing ones."""
    whole = max(classes(resource), key=lambda name: ("provisioners" in classes(resource)[name][0], -len(name)))
    return _problems(classes(resource), whole, block, resource)


def _problems(known: dict[str, tuple[Arguments, set[str]]], kind: str, block: dict[str, Any], path: str) -> list[str]:
    arguments, required = known[kind]
    messages, present = [], set()
    for name, value in _attributes(block):
        argument = name if name in arguments else f"{name}_"  # `from` is a keyword of Python
        present.add(argument)
        if argument not in arguments:
            messages.append(f"{path}.{name} is unknown")
            continue
        inner = re.search(r"\"?(\w+)\"?, typing.Dict\[", ast.unparse(arguments[argument].annotation).replace("'", '"'))
        if inner and inner[1] in known:
            for item in value if isinstance(value, list) else [value]:
                messages += _problems(known, inner[1], item, f"{path}.{name}")
    return messages + [f"{path}.{name} is missing" for name in sorted(required - present)]


def _attributes(block: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return name and value of each attribute and block, including the content of `dynamic` blocks."""
    dynamic = [(name, body["content"]) for blocks in block.get("dynamic", []) for name, body in blocks.items()]
    return [
        (name, value)
        for name, value in [*block.items(), *dynamic]
        if name not in OF_TERRAFORM and not name.startswith("__")
    ]


@pytest.mark.parametrize(
    ("resource", "name", "block"), BLOCKS, ids=[f"{resource}.{name}" for resource, name, _ in BLOCKS]
)
def test_every_attribute_is_known_and_every_required_one_is_present(resource, name, block):
    assert problems(resource, block) == []


def test_unknown_and_missing_attributes_are_found():
    resource, _, block = next(block for block in BLOCKS if block[0] == "aws_sagemaker_endpoint_configuration")
    (variant,) = block["production_variants"]
    wrong = {"kms_key": "a", "production_variants": [variant | {"instances": 2}], "async_inference_config": [{}]}
    assert sorted(problems(resource, wrong)) == [
        f"{resource}.async_inference_config.output_config is missing",
        f"{resource}.kms_key is unknown",
        f"{resource}.production_variants.instances is unknown",
    ]


def test_every_block_of_the_module_is_checked():
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "ops/terraform").glob("*.tf"))
    assert len(BLOCKS) == len(re.findall(r'^(?:resource|data) "aws_', text, flags=re.MULTILINE)) > 0
