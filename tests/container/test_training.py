"""`docker run IMAGE train` as SageMaker runs it: folders, signals, several hosts, and failures."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from bert_textclassification.artifact.store import Artifact
from bert_textclassification.training.fine_tuning.checkpoints import COMPLETE
from tests.conftest import wait_until
from tests.container.conftest import BASE, TINY, docker, laid_out

pytestmark = pytest.mark.container


def start(image: str, base: Path, tiny_base: Path, *options: str) -> str:
    """Start a job in the background; its data are mounted read-only, as in FastFile mode."""
    mounts = (f"{base}:/opt/ml", f"{base / 'input'}:/opt/ml/input:ro", f"{tiny_base}:{BASE}:ro")
    volumes = [f"--volume={mount}" for mount in mounts]
    run = docker("run", "--detach", "--env=OMP_NUM_THREADS=1", *volumes, *options, f"{image}:latest", "train")
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def ended(job: str) -> tuple[int, str, str]:
    """Wait for a job; return its status, stdout and stderr."""
    status = docker("wait", job).stdout.strip()
    logs = docker("logs", job)
    docker("rm", "--force", job)
    return int(status), logs.stdout, logs.stderr


def has_checkpoint(base: Path) -> bool:
    return any((base / "checkpoints").rglob(COMPLETE))


@pytest.fixture
def base(tiny_data, tmp_path):
    return laid_out(tmp_path / "ml", tiny_data, TINY)


def test_the_full_image_trains_an_artifact(images, tiny_data, tmp_path):
    for split in ("train", "validation", "test"):
        (tmp_path / "input/data" / split).mkdir(parents=True)
        rows = pd.read_csv(tiny_data / f"{split}.csv").head(40 if split == "train" else 20)
        rows.to_csv(tmp_path / "input/data" / split / f"{split}.csv", index=False)
    (tmp_path / "input/config").mkdir()
    (tmp_path / "input/config/hyperparameters.json").write_text('{"epochs": "1", "batch_size": "16"}')
    done = docker("run", "--rm", "--network", "none", "--volume", f"{tmp_path}:/opt/ml", f"{images}:latest", "train")
    assert done.returncode == 0, done.stderr
    artifact = Artifact.load(tmp_path / "model")
    assert artifact.manifest.base_model.name == "sentence-transformers/all-MiniLM-L6-v2"
    assert "validation_accuracy=" in done.stdout


def test_a_refused_job_ends_with_status_1_and_a_failure_file(images, tmp_path):
    (tmp_path / "input/data/train").mkdir(parents=True)
    done = docker("run", "--rm", "--volume", f"{tmp_path}:/opt/ml", f"{images}:latest", "train")
    assert done.returncode == 1
    assert "/opt/ml/input/data holds no training data" in (tmp_path / "output/failure").read_text()


def test_docker_stop_leaves_a_checkpoint_and_the_next_start_resumes(images, base, tiny_base):
    long = TINY | {"epochs": "10", "early_stopping_patience": "100"}
    (base / "input/config/hyperparameters.json").write_text(json.dumps(long))
    job = start(images, base, tiny_base)
    wait_until(lambda: has_checkpoint(base))
    docker("stop", "--time", "120", job)
    status, _, errors = ended(job)
    assert status == 0, errors
    assert "stopped by SIGTERM" in errors
    assert not (base / "model/manifest.json").exists()
    status, output, errors = ended(start(images, base, tiny_base))
    assert status == 0, errors
    assert "test_accuracy=" in output
    steps = [row["step"] for row in json.loads((base / "output/data/fine_tuned/training.json").read_text())["history"]]
    assert steps == sorted(steps)


def test_a_full_disk_is_a_clear_failure(images, base, tiny_base):
    small = ("--mount", "type=tmpfs,destination=/opt/ml/checkpoints,tmpfs-size=1m,tmpfs-mode=1777")
    status, _, errors = ended(start(images, base, tiny_base, *small))
    assert status == 1, errors
    assert (base / "output/failure").read_text().startswith("The disk is full")


@pytest.fixture
def network(images) -> Iterator[str]:
    name = f"training-{uuid.uuid4().hex[:8]}"
    assert docker("network", "create", name).returncode == 0
    yield name
    docker("network", "rm", name)


@pytest.fixture
def bases(tiny_data, tmp_path):
    """The folders of two hosts."""
    folders = []
    for name in ("algo-1", "algo-2"):
        folder = laid_out(tmp_path / name, tiny_data, TINY)
        config = {"current_host": name, "hosts": ["algo-1", "algo-2"], "network_interface_name": "eth0"}
        (folder / "input/config/resourceconfig.json").write_text(json.dumps(config))
        folders.append(folder)
    return folders


def on(network: str, name: str) -> tuple[str, ...]:
    return ("--network", network, "--network-alias", name, "--hostname", name)


def losses(base: Path) -> list[float]:
    record = json.loads((base / "output/data/fine_tuned/training.json").read_text())
    return [row["eval_loss"] for row in record["history"] if "eval_loss" in row]


def test_two_containers_train_one_model(images, network, bases, base, tiny_base):
    second = start(images, bases[1], tiny_base, *on(network, "algo-2"))  # the other host name does not resolve yet
    first = start(images, bases[0], tiny_base, *on(network, "algo-1"))
    results = [ended(job) for job in (first, second)]
    assert [status for status, _, _ in results] == [0, 0], results
    assert Artifact.load(bases[0] / "model").manifest.training["epochs"] == 3
    assert not any((bases[1] / "model").iterdir())
    status, _, errors = ended(start(images, base, tiny_base))
    assert status == 0, errors
    assert losses(bases[0]) == pytest.approx(losses(base), rel=0.1)


def test_a_container_that_is_lost_ends_the_job_of_the_other(images, network, bases, tiny_base):
    for folder in bases:
        (folder / "input/config/hyperparameters.json").write_text(json.dumps(TINY | {"epochs": "100"}))
    first, second = (
        start(images, folder, tiny_base, *on(network, name))
        for folder, name in zip(bases, ("algo-1", "algo-2"), strict=True)
    )
    wait_until(lambda: has_checkpoint(bases[0]))
    docker("kill", second)
    status, _, errors = ended(first)
    docker("rm", "--force", second)
    assert status == 1, errors
    assert "algo-1 lost the connection to another host" in (bases[0] / "output/failure").read_text()
