"""The Terraform module: format, validation of its variables, and `validate` if the providers can be downloaded."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.conftest import PATIENCE_S, ROOT

MODULE = ROOT / "ops/terraform"
IMAGE = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/text-classifier:1"
MODEL = "s3://models/tickets/model.tar.gz"


def terraform(folder: Path, *arguments: str, timeout: float = PATIENCE_S) -> subprocess.CompletedProcess:
    if shutil.which("terraform") is None:
        pytest.skip("terraform is not installed")
    return subprocess.run(
        ["terraform", f"-chdir={folder}", *arguments],
        env=os.environ | {"CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> Path:
    """A module with the variables only, whose plan needs no provider."""
    return Path(shutil.copy(MODULE / "variables.tf", tmp_path_factory.mktemp("settings"))).parent


def plan(settings: Path, **values: str) -> subprocess.CompletedProcess:
    variables = {"image_uri": IMAGE, "model_url": MODEL} | values
    return terraform(
        settings, "plan", "-no-color", "-input=false", *(f"-var={name}={value}" for name, value in variables.items())
    )


def test_the_files_are_formatted():
    assert terraform(MODULE, "fmt", "-check", "-recursive").stdout == ""


def test_the_module_is_valid(tmp_path):
    copy = Path(shutil.copytree(MODULE, tmp_path / "terraform", ignore=shutil.ignore_patterns(".terraform*")))
    try:
        fetched = terraform(copy, "init", "-backend=false", "-input=false", "-no-color", timeout=60)
    except subprocess.TimeoutExpired:
        pytest.skip("Terraform's providers cannot be downloaded in a minute")
    if fetched.returncode != 0:
        pytest.skip(f"Terraform's providers cannot be downloaded: {' '.join(fetched.stderr.split())[:200]}")
    checked = terraform(copy, "validate", "-no-color")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_defaults_need_only_an_image_and_a_model(settings):
    process = plan(settings)
    assert process.returncode == 0, process.stderr


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"model_url": "s3://models/tickets"}, "Give the model as s3://BUCKET/KEY/model.tar.gz."),
        ({"name": "a_b"}, "Give a name of at most 36 letters, digits and hyphens."),
        ({"name": "a" * 37}, "Give a name of at most 36 letters, digits and hyphens."),
        ({"min_instances": "0"}, "A real-time endpoint has at least one instance."),
        ({"authorization": "OPEN"}, "Choose AWS_IAM, JWT or NONE."),
        ({"read_timeout_s": "29"}, "Give 1 to 25 seconds."),
        ({"max_body_bytes": "6000000"}, "Give 1,024 to 4,500,000 bytes."),
    ],
)
def test_an_invalid_value_is_reported_in_one_sentence(settings, values, sentence):
    process = plan(settings, **values)
    assert process.returncode == 1
    assert sentence in process.stderr


def test_every_variable_is_described_and_used():
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(MODULE.glob("*.tf")))
    names = re.findall(r'^variable "(\w+)" \{\n  description = "[A-Z].*\."$', text, flags=re.MULTILINE)
    assert len(names) == len(re.findall(r"^variable ", text, flags=re.MULTILINE))
    resources = "".join(path.read_text(encoding="utf-8") for path in MODULE.glob("*.tf") if path.stem != "variables")
    assert [name for name in names if not re.search(rf"\bvar\.{name}\b", resources)] == []


def test_the_api_is_the_one_of_the_template():
    text = (MODULE / "gateway.tf").read_text(encoding="utf-8")
    template = (ROOT / "ops/gateway/template.yaml").read_text(encoding="utf-8")
    for value in ("python3.13", "handler.handler", "POST /invocations", "ENDPOINT_NAME", "MAX_BODY_BYTES", "29000"):
        assert value in text
        assert value in template


def test_the_default_name_differs_from_those_of_the_commands():
    (name,) = re.findall(r'variable "name" \{[^}]*?default\s+= "([\w-]+)"', (MODULE / "variables.tf").read_text())
    files = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in (ROOT / "ops/config").glob("*.yaml")]
    commands = {str(values.get("name") or values.get("stack")) for values in files}
    assert {"bert-textclassification", "text-classifier-api"} <= commands
    assert not {name, f"{name}-api"} & commands
