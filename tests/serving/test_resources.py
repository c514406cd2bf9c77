"""Cores, memory, workers and threads: from cgroup trees of every kind, on this machine, and in a real container."""

import json
import math
import os
import subprocess
from pathlib import Path

import pytest

from bert_textclassification.serving.resources import Plan, available_cores, memory_limit_bytes, plan
from tests.conftest import PATIENCE_S, ROOT

IMAGE = "python:3.11-slim-bookworm"
MIB = 2**20
UNLIMITED_V1 = "9223372036854771712"  # version 1's value for "no limit"
PHYSICAL = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def tree(root: Path, own: str | None, **files: str) -> Path:
    """Write `own` to `/proc/self/cgroup`, and `files` by their paths below /sys/fs/cgroup."""
    contents = {f"sys/fs/cgroup/{name}": content for name, content in files.items()}
    if own is not None:
        contents["proc/self/cgroup"] = own
    for name, content in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content + "\n")
    return root


def quota_v1(folder: str, quota: int | str, period: int | str = 100_000) -> dict[str, str]:
    return {f"{folder}/cpu.cfs_quota_us": str(quota), f"{folder}/cpu.cfs_period_us": str(period)}


V1 = "4:memory:/docker/1f\n3:cpu,cpuacct:/docker/1f\n1:name=systemd:/docker/1f"
CORES = {
    "v2 in a cgroup namespace": ("0::/", {"cpu.max": "150000 100000"}, 1.5),
    "v2 with the path of the host": ("0::/kube/pod", {"kube/pod/cpu.max": "50000 100000"}, 0.5),
    "v2, max means none": ("0::/", {"cpu.max": "max 100000"}, 8),
    "v2, the own limit is tighter": ("0::/a/b", {"a/cpu.max": "400000 100000", "a/b/cpu.max": "200000 100000"}, 2),
    "v2, a parent is tighter": ("0::/a/b", {"a/cpu.max": "100000 100000", "a/b/cpu.max": "200000 100000"}, 1),
    "v2, the own has none but its parent": ("0::/a/b", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000"}, 3),
    "v2, a neighbour does not count": ("0::/a/b", {"a/c/cpu.max": "100000 100000"}, 8),
    "v2, hidden path": ("0::/kube/pod", {"cpu.max": "250000 100000"}, 2.5),
    "v2, path outside the namespace": ("0::/../other", {"cpu.max": "250000 100000"}, 2.5),
    "v2, another period": ("0::/", {"cpu.max": "10000 20000"}, 0.5),
    "v1": (V1, quota_v1("cpu,cpuacct/docker/1f", 150_000), 1.5),
    "v1, controllers in the other order": ("2:cpuacct,cpu:/a", quota_v1("cpuacct,cpu/a", 150_000), 1.5),
    "v1, -1 means none": (V1, quota_v1("cpu/docker/1f", -1), 8),
    "v1, a parent is tighter": (V1, quota_v1("cpu/docker", 50_000) | quota_v1("cpu/docker/1f", 150_000), 0.5),
    "v1, hidden path": (V1, quota_v1("cpu", 50_000), 0.5),
    "v1, hidden path, both controllers": (V1, quota_v1("cpu,cpuacct", 50_000), 0.5),
    "v1, no file with the period": (V1, {"cpu/cpu.cfs_quota_us": "50000"}, 8),
    "hybrid, limit in v1": ("3:cpu:/a\n0::/", quota_v1("cpu/a", 250_000) | {"unified/cgroup.procs": ""}, 2.5),
    "hybrid, limit in v2": ("3:cpuset:/\n0::/a", {"unified/a/cpu.max": "250000 100000"}, 2.5),
    "hybrid, the tighter of both": ("3:cpu:/\n0::/", quota_v1("cpu", 200_000) | {"cpu.max": "300000 100000"}, 2),
    "no list of own cgroups": (None, {"cpu.max": "50000 100000"}, 0.5),
    "malformed list of own cgroups": ("what\n1:2", {"cpu.max": "50000 100000"}, 0.5),
    "malformed line before the good one": ("what\n\n0::/a", {"a/cpu.max": "50000 100000"}, 0.5),
    "nothing at all": (None, {}, 8),
    "a quota above the affinity": ("0::/", {"cpu.max": "6400000 100000"}, 8),
}
MEMORY = {
    "v2": ("0::/a", {"a/memory.max": "4096"}, 4096),
    "v2, max means none": ("0::/", {"memory.max": "max"}, PHYSICAL),
    "v2, a parent is tighter": ("0::/a/b", {"a/memory.max": "4096", "a/b/memory.max": "8192"}, 4096),
    "v1": (V1, {"memory/docker/1f/memory.limit_in_bytes": "4096"}, 4096),
    "v1, the largest number means none": (V1, {"memory/memory.limit_in_bytes": UNLIMITED_V1}, PHYSICAL),
    "v1, a parent is tighter": (
        V1,
        {"memory/docker/memory.limit_in_bytes": "4096", "memory/docker/1f/memory.limit_in_bytes": UNLIMITED_V1},
        4096,
    ),
    "v1, hidden path": (V1, {"memory/memory.limit_in_bytes": "4096"}, 4096),
    "hybrid": ("4:memory:/a\n0::/", {"memory/a/memory.limit_in_bytes": "4096"}, 4096),
    "nothing at all": (None, {}, PHYSICAL),
    "malformed beside a good one": (V1, {"memory.max": "4 GB", "memory/memory.limit_in_bytes": "4096"}, 4096),
}


@pytest.mark.parametrize(("own", "files", "cores"), CORES.values(), ids=CORES)
def test_the_tightest_cpu_quota_is_found(tmp_path, own, files, cores):
    assert available_cores(tree(tmp_path, own, **files), affinity=8) == cores


@pytest.mark.parametrize(("own", "files", "limit"), MEMORY.values(), ids=MEMORY)
def test_the_tightest_memory_limit_is_found(tmp_path, own, files, limit):
    assert memory_limit_bytes(tree(tmp_path, own, **files)) == limit


@pytest.mark.parametrize("content", ["", "many", "1.5 2", "1 2 3", "50000", "50000 0", "0 100000", "-5 100000"])
def test_a_malformed_quota_is_ignored_in_favour_of_the_others(tmp_path, content):
    root = tree(tmp_path, "0::/a/b", **{"a/cpu.max": "300000 100000", "a/b/cpu.max": content})
    assert available_cores(root, affinity=8) == 3


def test_bytes_that_are_no_text_are_ignored(tmp_path):
    root = tree(tmp_path, "0::/", **{"cpu.max": "", **quota_v1("cpu", 100_000)})
    (root / "sys/fs/cgroup/cpu.max").write_bytes(b"\xff\xfe 100000")
    (root / "proc/self/cgroup").write_bytes(b"0::/\xff\n")
    assert available_cores(root, affinity=8) == 1


def test_a_folder_where_a_file_should_be_is_ignored(tmp_path):
    root = tree(tmp_path, "0::/", **{"memory.max/file": ""})
    assert memory_limit_bytes(root) == PHYSICAL


def test_the_affinity_of_this_process_bounds_the_cores(tmp_path):
    assert available_cores(tmp_path) == len(os.sched_getaffinity(0))


def test_this_machine_has_cores_and_memory_for_a_plan():
    cores, memory = available_cores(), memory_limit_bytes()
    assert 0 < cores <= len(os.sched_getaffinity(0))
    assert 64 * MIB < memory <= PHYSICAL
    planned = plan(cores, memory, worker_bytes=1)
    assert planned.workers * planned.threads >= math.floor(cores)


@pytest.mark.parametrize(
    ("cores", "expected"),
    [
        (0.1, Plan(1, 1)),
        (1, Plan(1, 1)),
        (1.5, Plan(1, 1)),
        (2, Plan(1, 2)),
        (3.9, Plan(1, 3)),
        (4, Plan(1, 4)),
        (5, Plan(2, 3)),
        (8, Plan(2, 4)),
        (9, Plan(3, 3)),
        (64, Plan(16, 4)),
    ],
)
def test_every_four_cores_get_a_worker_and_every_core_a_thread(cores, expected):
    assert plan(cores, memory_bytes=10**12, worker_bytes=1) == expected


@pytest.mark.parametrize(
    ("memory_bytes", "expected"),
    [
        (1000, Plan(4, 4)),  # 4 x 200 are just 80 %
        (999, Plan(3, 6)),
        (500, Plan(2, 8)),
        (499, Plan(1, 16)),
        (100, Plan(1, 16)),  # not even one fits: that is not decided here
    ],
)
def test_workers_fit_in_80_percent_of_the_memory_and_threads_make_up_for_them(memory_bytes, expected):
    assert plan(16, memory_bytes, worker_bytes=200) == expected


@pytest.mark.parametrize(
    ("workers", "threads", "expected"),
    [
        (1, None, Plan(1, 8)),
        (3, None, Plan(3, 3)),
        (8, None, Plan(8, 1)),
        (20, None, Plan(20, 1)),
        (None, 1, Plan(5, 1)),  # eight wanted, five fit the memory
        (None, 3, Plan(3, 3)),
        (None, 8, Plan(1, 8)),
        (None, 99, Plan(1, 99)),
        (7, 5, Plan(7, 5)),
    ],
)
def test_a_given_number_is_taken_and_the_other_derived_from_it(workers, threads, expected):
    assert plan(8, memory_bytes=1300, worker_bytes=200, workers=workers, threads=threads) == expected


@pytest.fixture(scope="module")
def image() -> str:
    if subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True).returncode != 0:
        pytest.skip(f"the image {IMAGE} is not here")
    return IMAGE


@pytest.mark.container
@pytest.mark.parametrize("cpus", [0.5, 1.5])
def test_a_container_finds_its_own_quota_and_memory_limit(image, cpus):
    code = (
        "import json; from bert_textclassification.serving.resources import available_cores, memory_limit_bytes;"
        "print(json.dumps([available_cores(), memory_limit_bytes()]))"
    )
    options = ["--rm", "--network", "none", "--cpus", str(cpus), "-m", "300m", "-v", f"{ROOT}/src:/src:ro"]
    command = ["docker", "run", *options, "-e", "PYTHONPATH=/src", image, "python", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [cpus, 300 * MIB]
