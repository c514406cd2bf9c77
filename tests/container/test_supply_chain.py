"""The images have tested versions with hashes, and a complete bill of materials."""

import json
import re
import tomllib
from importlib.metadata import requires

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bert_textclassification import __version__
from tests.conftest import ROOT
from tests.container.conftest import docker

both_extras = pytest.mark.parametrize("extra", ["serve", "train"])
both_images = pytest.mark.parametrize("tag", ["serve", "latest"])
OWN = {"bert-textclassification": __version__}
TORCH = ("torch", "triton", "cuda", "nvidia")  # installed without hashes, after everything else


def text_of(extra: str) -> str:
    return (ROOT / f"container/requirements-{extra}.txt").read_text(encoding="utf-8")


def pins(text: str) -> dict[str, str]:
    return {canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.M)}


def names_in(extra: str) -> set[str]:
    """Return the names of the package's requirements with an extra, including nested extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {canonicalize_name(Requirement(requirement).name) for requirement in project["dependencies"]}
    for requirement in map(Requirement, project["optional-dependencies"][extra]):
        own = requirement.name == "bert-textclassification"
        names |= set().union(*map(names_in, requirement.extras)) if own else {canonicalize_name(requirement.name)}
    return names


@both_extras
def test_every_requirement_is_pinned(extra):
    assert names_in(extra) - {"torch"} <= set(pins(text_of(extra)))


@both_extras
def test_the_pins_are_the_versions_tested_together(extra):
    constraints = pins((ROOT / "container/constraints.txt").read_text())
    assert pins(text_of(extra)).items() <= constraints.items()


@both_extras
def test_every_pin_has_a_sha256(extra):
    entries = re.split(r"^(?=[\w.-]+==)", text_of(extra), flags=re.MULTILINE)[1:]
    assert [entry for entry in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry)] == []


@both_extras
def test_the_requirements_name_no_host(extra):
    assert re.findall(r".*(?:://|--(?:extra-)?index-url|--find-links).*", text_of(extra)) == []


def test_torch_and_what_its_cuda_builds_need_are_left_to_the_index():
    assert [name for name in pins(text_of("train")) if name.startswith(TORCH)] == []


def test_what_every_build_of_torch_needs_has_a_hash():
    needed = {canonicalize_name(Requirement(line).name) for line in requires("torch") if "extra ==" not in line}
    assert {name for name in needed if not name.startswith(TORCH)} <= set(pins(text_of("train")))


def test_an_image_that_is_told_no_version_has_that_of_a_tree_without_git():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    fallback = project["tool"]["setuptools_scm"]["fallback_version"]
    assert f"\nARG VERSION={fallback}\n" in (ROOT / "container/Dockerfile").read_text()
    assert f'__version__ = "{fallback}"' in (ROOT / "src/bert_textclassification/__init__.py").read_text()


def bill_of_materials(image: str) -> str:
    done = docker("run", "--rm", image, "cat", "/opt/program/sbom.json")
    assert done.returncode == 0, done.stderr
    return done.stdout


def installed(image: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the versions of the image's Python and Debian packages, from their own metadata."""
    there = json.loads(docker("run", "--rm", image, "python", "-c", _INSTALLED).stdout)
    return {canonicalize_name(name): version for name, version in there["python"].items()}, there["debian"]


def versions(bill: str, kind: str) -> dict[str, str]:
    packages = [PackageURL.from_string(component["purl"]) for component in json.loads(bill)["components"]]
    return {package.name: package.version for package in packages if package.type == kind}


@pytest.mark.container
@both_images
def test_the_bill_of_materials_is_valid_cyclonedx(images, tag):
    bill = bill_of_materials(f"{images}:{tag}")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill) is None
    subject = json.loads(bill)["metadata"]["component"]
    assert {subject["name"]: subject["version"]} == OWN


@pytest.mark.container
@both_images
def test_the_bill_of_materials_lists_what_is_installed(images, tag):
    bill = bill_of_materials(f"{images}:{tag}")
    python, debian = installed(f"{images}:{tag}")
    assert python.items() <= (versions(bill, "pypi") | OWN).items()
    assert versions(bill, "deb") == debian
    assert {"flask", "gunicorn", "onnxruntime", "nginx"} <= python.keys() | debian.keys()


@pytest.mark.container
def test_the_serve_image_has_the_pinned_versions_and_nothing_else(images):
    python, _ = installed(f"{images}:serve")
    assert python == pins(text_of("serve")) | OWN


@pytest.mark.container
@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        # Omitted on purpose: tokenizers needs it only for downloads, and it would bring an HTTP client.
        ("serve", r"tokenizers \S+ requires huggingface-hub, which is not installed\.\n"),
        ("latest", r"No broken requirements found\.\n"),
    ],
)
def test_no_package_misses_another(images, tag, expected):
    pip = ["/usr/local/bin/python", "-m", "pip", "--no-cache-dir", "--python", "/opt/venv/bin/python", "check"]
    assert re.fullmatch(expected, docker("run", "--rm", f"{images}:{tag}", *pip).stdout)


@pytest.mark.container
@both_images
def test_the_images_hold_no_tools_of_the_build(images, tag):
    there = json.loads(docker("run", "--rm", f"{images}:{tag}", "python", "-c", _TOOLS).stdout)
    assert there == {"commands": [], "modules": [], "files": []}


@pytest.mark.container
def test_importing_the_engine_says_nothing_and_calls_nobody(images):
    """ONNX Runtime's official builds send telemetry unless an environment variable disables it."""
    done = docker("run", "--rm", "--read-only", f"{images}:serve", "python", "-c", "import onnxruntime")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.container
def test_the_serve_image_runs_without_a_shell_and_without_root(images):
    config = json.loads(docker("inspect", "--format", "{{json .Config}}", f"{images}:serve").stdout)
    assert (config["Cmd"], config.get("Entrypoint"), config["User"]) == (["serve"], None, "10001")
    assert config["StopSignal"] == "SIGTERM"
    assert config["Labels"]["org.opencontainers.image.version"] == __version__


@pytest.mark.container
def test_the_serve_image_is_under_450_megabytes(images):
    assert int(docker("inspect", "--format", "{{.Size}}", f"{images}:serve").stdout) < 450e6


_INSTALLED = """
import json, subprocess
from importlib.metadata import distributions
listed = subprocess.run(["dpkg-query", "--show"], capture_output=True, text=True, check=True).stdout
debian = {name.partition(":")[0]: version for name, version in map(str.split, listed.splitlines())}
print(json.dumps({"python": {package.name: package.version for package in distributions()}, "debian": debian}))
"""
_TOOLS = """
import importlib.util, json, pathlib, shutil
commands = [name for name in ("cc", "gcc", "c++", "ld", "make", "git", "curl", "uv") if shutil.which(name)]
modules = [name for name in ("pip", "cyclonedx") if importlib.util.find_spec(name)]
files = [str(path) for name in ("sbom.py", "*.txt") for path in pathlib.Path("/opt/program").glob(name)]
print(json.dumps({"commands": commands, "modules": modules, "files": files}))
"""
