"""Training with a home folder that is not writable: as any user ID in a container, where HOME is /."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow


CACHES = "HF_HOME", "HF_HUB_CACHE", "HF_TOKEN_PATH", "XDG_CACHE_HOME"
READ_ONLY = "/proc/self"  # not even root makes files here
SHOW = """
import json, os
import bert_textclassification.training
import evaluate, huggingface_hub
print(json.dumps({"HF_HOME": os.environ.get("HF_HOME"), "metrics": str(evaluate.config.HF_METRICS_CACHE),
                  "hub": huggingface_hub.constants.HF_HUB_CACHE}))
"""


def test_a_home_that_can_be_written_keeps_the_caches(tmp_path):
    caches = _caches(HOME=str(tmp_path))
    assert caches["HF_HOME"] is None
    assert caches["metrics"] == str(tmp_path / ".cache/huggingface/metrics")


@pytest.mark.parametrize("where", [{"HOME": READ_ONLY}, {"XDG_CACHE_HOME": READ_ONLY}, {"HF_HOME": f"{READ_ONLY}/hf"}])
def test_caches_that_cannot_be_written_are_in_a_temporary_folder_that_goes_with_the_process(tmp_path, where):
    caches = _caches(**{"HOME": str(tmp_path), "TMPDIR": str(tmp_path)} | where)
    assert Path(caches["HF_HOME"]).parent == tmp_path
    assert caches["metrics"].startswith(caches["HF_HOME"])
    assert caches["hub"].startswith(caches["HF_HOME"])
    assert not Path(caches["HF_HOME"]).exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_models_in_a_read_only_cache_stay_in_use(tmp_path):
    (tmp_path / "hf/hub").mkdir(parents=True)
    (tmp_path / "hf").chmod(0o500)
    caches = _caches(HOME=str(tmp_path), HF_HOME=str(tmp_path / "hf"))
    assert caches["hub"] == str(tmp_path / "hf/hub")
    assert not caches["metrics"].startswith(str(tmp_path / "hf"))


def test_a_job_trains_as_any_user_without_a_home(tiny_base, tiny_data):
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        base = Path(folder)
        shutil.copytree(tiny_data, base / "input/data/train")
        shutil.copytree(tiny_base, base / "tiny-base")
        (base / "input/config").mkdir()
        settings = {"base_model": str(base / "tiny-base"), "epochs": "0.2", "max_length": "64", "exit_layers": "none"}
        (base / "input/config/hyperparameters.json").write_text(json.dumps(settings))
        for path in (base, *base.rglob("*")):
            path.chmod(0o777)
        anybody = {"user": 12345, "group": 12345, "extra_groups": []} if _others_can_run_this() else {}
        home = "/" if anybody else READ_ONLY
        result = subprocess.run(
            [sys.executable, str(ROOT / "container/train")],
            env=_environment(HOME=home, SAGEMAKER_BASE_DIR=folder),
            cwd=folder,
            capture_output=True,
            text=True,
            **anybody,
        )
        assert result.returncode == 0, result.stderr
        assert (base / "model/manifest.json").exists()


def _others_can_run_this() -> bool:
    """Whether this process may switch to another user who can read this installation."""
    if os.geteuid() != 0:
        return False
    tried = [sys.executable, "-c", "import bert_textclassification.artifact.manifest"]
    try:
        found = subprocess.run(tried, user=12345, group=12345, extra_groups=[], cwd="/", capture_output=True)
    except PermissionError:  # the interpreter lies in a folder that is closed to others
        return False
    return found.returncode == 0


def _caches(**environment: str) -> dict[str, str]:
    shown = subprocess.run(
        [sys.executable, "-c", SHOW], env=_environment(**environment), capture_output=True, check=True
    )
    return json.loads(shown.stdout)


def _environment(**changes: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in {*CACHES, "USER", "LOGNAME", "HOME"}}
    return kept | changes
