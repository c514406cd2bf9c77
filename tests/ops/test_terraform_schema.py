"""The Terraform module against the schema of the AWS provider, as CDK for Terraform published it."""

import ast
import functools
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

hcl2 = pytest.importorskip("hcl2", reason="`make test-clouds` runs these")
PROVIDER = "cdktf_cdktf_provider_aws"  # only read: to import it would start Node
OF_TERRAFORM = {"for_each", "count", "depends_on", "lifecycle", "dynamic"}
Arguments = dict[str, ast.arg]  # the attributes and blocks that a block may have, by name


def _bare(value: Any) -> Any:
    """Return the value without the quotes that the parser leaves around names."""
    if isinstance(value, dict):
        return {name.strip('"'): _bare(one) for name, one in value.items()}
    return [_bare(one) for one in value] if isinstance(value, list) else value


BLOCKS = [
    (resource if kind == "resource" else f"data_{resource}", name, block)
    for path in sorted((ROOT / "ops/terraform").glob("*.tf"))
    for kind in ("resource", "data")
    for one in _bare(hcl2.loads(path.read_text(encoding="utf-8"))).get(kind, [])
    for resource, named in one.items()
    for name, block in named.items()
    if resource.startswith("aws_")
]


@functools.cache
def classes(resource: str) -> dict[str, tuple[Arguments, set[str]]]:
    """Return what each class of the resource's module takes: every argument, and the names of those it needs."""
    found = importlib.util.find_spec(PROVIDER)
    if found is None or found.origin is None:
        pytest.skip("the schema of the provider is not installed")
    name = resource.removeprefix("aws_")
    tree = ast.parse((Path(found.origin).parent / name / "__init__.py").read_text(encoding="utf-8"))
    taken = {}
    for one in tree.body:
        for function in one.body if isinstance(one, ast.ClassDef) else []:
            if isinstance(function, ast.FunctionDef) and function.name == "__init__":
                pairs = list(zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True))
                needed = {argument.arg for argument, default in pairs if default is None}
                taken[one.name] = {argument.arg: argument for argument, _ in pairs}, needed
    return taken


def problems(resource: str, block: dict[str, Any]) -> list[str]:
    """Return what in the block the provider does not know, and what it lacks."""
    whole = max(classes(resource), key=lambda name: ("provisioners" in classes(resource)[name][0], -len(name)))
    return _problems(classes(resource), whole, block, resource)


def _problems(known: dict[str, tuple[Arguments, set[str]]], kind: str, block: dict[str, Any], path: str) -> list[str]:
    arguments, needed = known[kind]
    found, given = [], set()
    for name, value in _attributes(block):
        own = name if name in arguments else f"{name}_"  # `from` is a word of Python
        given.add(own)
        if own not in arguments:
            found.append(f"{path}.{name} is unknown")
            continue
        inner = re.search(r"\"?(\w+)\"?, typing.Dict\[", ast.unparse(arguments[own].annotation).replace("'", '"'))
        if inner and inner[1] in known:
            for one in value if isinstance(value, list) else [value]:
                found += _problems(known, inner[1], one, f"{path}.{name}")
    return found + [f"{path}.{name} is missing" for name in sorted(needed - given)]


def _attributes(block: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return name and value of each attribute and block, with what `dynamic` makes among them."""
    dynamic = [(name, one["content"]) for made in block.get("dynamic", []) for name, one in made.items()]
    return [
        (name, value)
        for name, value in [*block.items(), *dynamic]
        if name not in OF_TERRAFORM and not name.startswith("__")
    ]


@pytest.mark.parametrize(("resource", "name", "block"), BLOCKS, ids=[f"{one[0]}.{one[1]}" for one in BLOCKS])
def test_the_provider_knows_every_attribute_and_has_all_it_needs(resource, name, block):
    assert problems(resource, block) == []


def test_what_it_does_not_know_and_what_it_lacks_is_found():
    resource, _, block = next(one for one in BLOCKS if one[0] == "aws_sagemaker_endpoint_configuration")
    (variant,) = block["production_variants"]
    wrong = {"kms_key": "a", "production_variants": [variant | {"instances": 2}], "async_inference_config": [{}]}
    assert sorted(problems(resource, wrong)) == [
        f"{resource}.async_inference_config.output_config is missing",
        f"{resource}.kms_key is unknown",
        f"{resource}.production_variants.instances is unknown",
    ]


def test_every_block_of_the_module_is_looked_at():
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "ops/terraform").glob("*.tf"))
    assert len(BLOCKS) == len(re.findall(r'^(?:resource|data) "aws_', text, flags=re.MULTILINE)) > 0
