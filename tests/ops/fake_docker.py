"""A `docker` for tests of what comes after the push: it writes down how it was called, and knows a digest."""

import sys
from pathlib import Path

import pytest

DIGEST = "sha256:" + "5" * 64
_COMMAND = """#!/bin/sh
exec "{python}" "$0.py" "$@"
"""  # no path of Python after the #!: there it may hold no space
_PROGRAM = """
import json, sys
open({log!r}, "a").write(" ".join(sys.argv[1:]) + "\\n")
if "{{{{json .RepoDigests}}}}" in sys.argv:
    print(json.dumps([sys.argv[-1].rpartition(":")[0] + "@{digest}"]))
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put it on the PATH; return the file that has a line for each call."""
    log, program = folder / "docker.log", folder / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(_COMMAND.format(python=sys.executable))
    program.with_name("docker.py").write_text(_PROGRAM.format(log=str(log), digest=DIGEST))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    return log
