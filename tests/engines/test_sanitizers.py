"""The kernels pass their tests when they are compiled with the address and undefined-behaviour sanitizers."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.conftest import PATIENCE_S, ROOT

SOURCES = ROOT / "src/bert_textclassification/engines/native"
MODULE = "bert_textclassification.engines.native._native"
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
# Loaded as a plugin of pytest, before anything imports the engine.
PLUGIN = """
import importlib.util, os, sys
specification = importlib.util.spec_from_file_location({module!r}, os.environ["SANITIZED_MODULE"])
sys.modules[{module!r}] = importlib.util.module_from_spec(specification)
specification.loader.exec_module(sys.modules[{module!r}])
import bert_textclassification.engines.native as package
package._native = sys.modules[{module!r}]


def pytest_unconfigure(config):
    from bert_textclassification.engines.native import engine

    print("tested:", engine._native.__file__)
"""


def library(name: str) -> str | None:
    """Return the path of a run-time library of the compiler; None if it has none."""
    path = subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True).stdout.strip()
    return path if Path(path).is_absolute() else None


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("gcc") is None or library("libasan.so") is None, reason="needs gcc with libasan"),
]


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory) -> dict[str, str]:
    """The environment variables of a Python process with kernels compiled with both sanitizers."""
    folder = tmp_path_factory.mktemp("sanitized")
    module = folder / "_native.abi3.so"
    include = f"-I{sysconfig.get_path('include')}"
    command = ["gcc", "-O1", "-g", "-shared", "-fPIC", *SANITIZERS, include, *map(str, SOURCES.glob("*.c"))]
    subprocess.run([*command, "-o", str(module), "-lm"], check=True, timeout=PATIENCE_S)
    (folder / "sanitized_kernels.py").write_text(PLUGIN.format(module=MODULE))
    return os.environ | {
        "LD_PRELOAD": f"{library('libasan.so')} {library('libstdc++.so.6') or ''}",  # Python is not linked with it
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0",  # Python itself keeps memory to its end
        "SANITIZED_MODULE": str(module),
        "PYTHONPATH": str(folder),
        "PYTEST_XDIST_WORKER": "",
    }


def test_the_sanitizers_find_a_fault_where_there_is_one(sanitized, tmp_path):
    source = tmp_path / "fault.c"
    source.write_text("#include <stdlib.h>\nint main(int n, char **a) { char *b = malloc(4); return b[n + 3]; }\n")
    subprocess.run(["gcc", *SANITIZERS, str(source), "-o", str(tmp_path / "fault")], check=True)
    done = subprocess.run([tmp_path / "fault"], capture_output=True, text=True)
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr


def test_the_kernels_pass_their_tests_under_the_sanitizers(sanitized):
    plugins = ["-p", "sanitized_kernels", "-p", "no:cacheprovider", "-p", "no:xdist"]
    command = [sys.executable, "-m", "pytest", "-q", *plugins, "tests/engines/test_native_engine.py"]
    done = subprocess.run(command, cwd=ROOT, env=sanitized, capture_output=True, text=True, timeout=3 * PATIENCE_S)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert "[100%]" in done.stdout
    assert f"tested: {sanitized['SANITIZED_MODULE']}" in done.stdout
