"""Detect the CPU and memory limits of this process, and plan workers and threads from them.

A container sees every core and all memory of its host; its limits are in its control groups (cgroups):
https://docs.kernel.org/admin-guide/cgroup-v2.html, https://docs.kernel.org/scheduler/sched-bwc.html (version 1).
"""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

CORES_PER_WORKER = 4  # threads scale as well as processes: 426 requests/s with two threads, 400 with two processes
MEMORY_SHARE = 0.8  # the rest is for nginx, request bodies and peaks

# Mount points below /sys/fs/cgroup, by controller. Version 2 has one hierarchy for all controllers, named "" as in
# /proc/self/cgroup; if version 1 is mounted too, it is in `unified`.
_VERSION_2 = ""
_MOUNTS = {_VERSION_2: (".", "unified"), "cpu": ("cpu", "cpu,cpuacct", "cpuacct,cpu"), "memory": ("memory",)}


@dataclass(frozen=True)
class Plan:
    """Number of worker processes, and of texts that each computes at the same time, one core each."""

    workers: int
    threads: int


def available_cores(root: Path = Path("/"), affinity: int | None = None) -> float:
    """Return the cores this process may use: the smaller of its scheduler affinity and its tightest CPU quota.

    Args:
        root: the folder that contains `proc` and `sys`.
        affinity: cores the scheduler allows; read from the operating system when None.
    """
    if affinity is None:
        affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [_numbers(folder, "cpu.max") for folder in _folders(root, _VERSION_2)]
    quotas += [_numbers(folder, "cpu.cfs_quota_us", "cpu.cfs_period_us") for folder in _folders(root, "cpu")]
    return float(min([affinity, *(numbers[0] / numbers[1] for numbers in quotas if len(numbers) == 2)]))


def memory_limit_bytes(root: Path = Path("/")) -> int:
    """Return the bytes this process may use: the smaller of the physical memory and the tightest cgroup limit.

    Version 1 writes "no limit" as a number near 2**63, which is never the minimum.

    Args:
        root: the folder that contains `proc` and `sys`.
    """
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = [_numbers(folder, "memory.max") for folder in _folders(root, _VERSION_2)]
    limits += [_numbers(folder, "memory.limit_in_bytes") for folder in _folders(root, "memory")]
    return min([physical, *(numbers[0] for numbers in limits if len(numbers) == 1)])


def plan(
    cores: float, memory_bytes: int, worker_bytes: int, workers: int | None = None, threads: int | None = None
) -> Plan:
    """Return the workers and threads that use `cores` within the memory; there is at least one worker.

    A quota of 1.5 cores gives one thread: the web layers use the rest, and two threads would be throttled.

    Args:
        cores: cores this process may use.
        memory_bytes: bytes this process may use.
        worker_bytes: bytes per worker, above 0.
        workers: overrides the number of workers, at least 1.
        threads: overrides the threads per worker, at least 1; the number of workers follows from it.
    """
    whole_cores = max(1, math.floor(cores))
    if workers is None:
        wanted = math.ceil(whole_cores / (threads or CORES_PER_WORKER))
        fitting = math.floor(MEMORY_SHARE * memory_bytes / worker_bytes)
        workers = max(1, min(wanted, fitting))
    return Plan(workers, threads or math.ceil(whole_cores / workers))


def _folders(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders whose limits apply to this process: its own cgroup and its parents, up to the mount.

    In a container the path may be the host's and not exist below the mount; then the mount is the process's own cgroup.
    """
    path = _own_path(root, controller)
    for mount in _MOUNTS[controller]:
        for part in (path, *path.parents):
            yield root / "sys/fs/cgroup" / mount / part


def _own_path(root: Path, controller: str) -> PurePosixPath:
    """Return the path of this process's cgroup below the mount, from lines such as `4:cpu,cpuacct:/docker/1f`."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    except OSError:
        return PurePosixPath()
    for line in lines:
        controllers, colon, path = line.partition(":")[2].partition(":")
        if colon and controller in controllers.split(","):
            return PurePosixPath(path.lstrip("/"))
    return PurePosixPath()


def _numbers(folder: Path, *names: str) -> list[int]:
    """Return the numbers in the files; none if a file is missing, malformed, or has `max` or -1 for "no limit"."""
    try:
        numbers = [int(word) for name in names for word in (folder / name).read_text().split()]
    except (OSError, ValueError):
        return []
    return numbers if all(number > 0 for number in numbers) else []
