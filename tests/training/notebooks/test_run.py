"""Executing one notebook: its kernel, and the outcome when a cell fails, the kernel dies or the run is interrupted."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import nbformat
import pytest

from bert_textclassification.errors import UserError
from bert_textclassification.training.notebooks.run import execute
from tests.training.notebooks.conftest import notebook


def shown(copy: Path) -> str:
    return "".join(
        output.get("text", "") for cell in nbformat.read(copy, as_version=4).cells for output in cell.get("outputs", [])
    )


def test_the_kernel_is_of_this_interpreter_whatever_jupyter_calls_python3(tmp_path, monkeypatch):
    foreign = tmp_path / "jupyter/kernels/python3"
    foreign.mkdir(parents=True)
    (foreign / "kernel.json").write_text(json.dumps({"argv": ["/nowhere/python"], "display_name": "Python 3"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    source = notebook(tmp_path, "import os, sys\nprint(sys.executable, os.getcwd(), sep=chr(10))")
    execute(source, tmp_path / "copy.ipynb", {})
    assert shown(tmp_path / "copy.ipynb").splitlines() == [sys.executable, str(tmp_path)]


@pytest.mark.slow
def test_nothing_is_said_about_the_connection_of_the_kernel(tmp_path):
    script = (
        "import sys\nfrom pathlib import Path\nfrom bert_textclassification.training.notebooks.run import execute\n"
    )
    script += "execute(Path(sys.argv[1]), Path(sys.argv[2]), {})"
    source = notebook(tmp_path, "print('done')")
    done = subprocess.run(
        [sys.executable, "-c", script, source, tmp_path / "copy.ipynb"], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""


def test_a_failed_cell_is_one_sentence_and_leaves_the_copy(tmp_path):
    source = notebook(tmp_path, "raise ValueError('the text is empty')", "print('never')")
    with pytest.raises(UserError, match="source stopped at ValueError: the text is empty"):
        execute(source, tmp_path / "copy.ipynb", {})
    assert "never" not in shown(tmp_path / "copy.ipynb")


def test_a_kernel_that_dies_is_one_sentence(tmp_path):
    source = notebook(tmp_path, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(UserError, match="kernel of source died, most likely because it ran out of memory"):
        execute(source, tmp_path / "copy.ipynb", {})


@pytest.fixture
def heeds_interruptions():
    """Handle SIGINT as in a terminal: jobs in the background of a shell ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interruption_ends_the_kernel_and_lets_it_clean_up(tmp_path, heeds_interruptions):
    ready, cleaned = tmp_path / "ready", tmp_path / "cleaned"
    os.mkfifo(ready)
    source = notebook(
        tmp_path,
        f"import atexit, os, pathlib, time\natexit.register(pathlib.Path({str(cleaned)!r}).touch)\n"
        f"pathlib.Path({str(ready)!r}).write_text(str(os.getpid()))\ntime.sleep(3600)",
    )
    pid = []

    def interrupt():
        pid.append(int(ready.read_text()))  # waits for the cell
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        execute(source, tmp_path / "copy.ipynb", {})
    assert cleaned.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid[0], 0)
