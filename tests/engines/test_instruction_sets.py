"""The table of instruction sets in C: what is registered there is compiled, tested, and a kind of processor."""

import re
import tomllib

import pytest

from bert_textclassification.engines.native import engine as native_engine
from bert_textclassification.engines.processor import KINDS
from tests.conftest import ROOT

FOLDER = ROOT / "src/bert_textclassification/engines/native"
REGISTERED = re.findall(r"ENTRY\((\w+)\)", (FOLDER / "instruction_sets.h").read_text())
PORTABLE = "portable"
needs_kernels = pytest.mark.skipif(not native_engine.instructions(), reason="the native engine is not compiled here")


@pytest.mark.parametrize("name", REGISTERED)
def test_a_registered_instruction_set_has_its_file_and_is_compiled(name):
    (extension,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["ext-modules"]
    assert f"#define INSTRUCTION_SET {name}\n" in (FOLDER / f"{name}.c").read_text()
    assert f"src/bert_textclassification/engines/native/{name}.c" in extension["sources"]


def test_every_file_of_kernels_is_registered():
    assert {path.stem for path in FOLDER.glob("*.c")} - {"module"} == set(REGISTERED)


@pytest.mark.parametrize("name", [name for name in REGISTERED if name != PORTABLE])
def test_a_registered_instruction_set_is_a_kind_of_processor(name):
    assert name in KINDS  # a manifest has measurements of it, and another processor warns of them


@needs_kernels
def test_python_sees_those_of_this_processor_fastest_first():
    names = native_engine.instructions()
    assert names == [name for name in REGISTERED if name in names]
    assert names[-1] == PORTABLE


@needs_kernels
def test_kernels_that_this_processor_lacks_never_run():
    with pytest.raises(ValueError, match="this processor has no kernels for avx1024"):
        native_engine._native.multiply("avx1024", 1)
