"""Progress bars: frequent updates in a terminal, rare ones in a log, one line in an executed notebook."""

import subprocess
import sys

import nbformat
import pytest

from bert_textclassification.training.display import progress
from bert_textclassification.training.notebooks import run as notebook_run
from tests.training.notebooks.conftest import notebook

BARS = """
import time
from bert_textclassification.training.display.progress import progress
for _ in progress(range(30), desc="first", unit="step"):
    time.sleep(0.05)
with progress(total=3, desc="second") as bar:
    for _ in range(3):
        bar.update()
"""


def test_an_executed_notebook_keeps_one_line_of_each_bar_and_the_caller_sees_all(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(progress.INTERVAL, "0")
    notebook_run.execute(notebook(tmp_path, BARS), tmp_path / "copy.ipynb", {})
    (cell,) = nbformat.read(tmp_path / "copy.ipynb", as_version=4).cells
    (output,) = cell.outputs
    lines = output.text.strip().split("\n")
    assert [line.split(":")[0] for line in lines] == ["first", "second"]
    assert all("100%" in line and "\r" not in line.strip("\r") for line in lines)
    assert capsys.readouterr().err.count("first:") > 10


def test_a_log_gets_few_updates_and_a_kernel_many(monkeypatch):
    command = [sys.executable, "-c", BARS.replace("range(30)", "range(10)")]
    log = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=True).stderr
    assert log.count("first:") == 2  # at its beginning and its end
    monkeypatch.setitem(sys.modules, "ipykernel", object())
    assert progress.seconds_between() == progress.LIVE_SECONDS


@pytest.mark.parametrize(("asked", "wait"), [(None, progress.LOG_SECONDS), ("3", 3.0)])
def test_the_interval_can_be_set(asked, wait, monkeypatch):
    monkeypatch.delenv(progress.INTERVAL, raising=False)
    if asked:
        monkeypatch.setenv(progress.INTERVAL, asked)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    assert progress.progress(range(1)).mininterval == wait
