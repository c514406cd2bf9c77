"""The hosts of one training job: their names, the process group, and values that they share.

hosts = Hosts.of(folders.resource_config)
hosts.join()                  # a process group of torch: gloo on CPUs, nccl on GPUs
hosts.require_same_data(...)  # by fingerprints
"""

import contextlib
import datetime
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from bert_textclassification.errors import ConfigurationError, HostError

PORT = 29500
RESOLVE_TIMEOUT_S = 300.0  # names of hosts may not resolve at first
LOST_AFTER_S = 300.0  # timeout after which a host counts as lost


@dataclass(frozen=True)
class Hosts:
    """The hosts of a job, with one process each; the first host writes the model.

    Attributes:
        current: the name of this host.
        names: all hosts.
        interface: network interface, None for the default.
    """

    current: str = "algo-1"
    names: tuple[str, ...] = ("algo-1",)
    interface: str | None = None

    @classmethod
    def of(cls, path: Path) -> "Hosts":
        """Read SageMaker's `resourceconfig.json`; without the file there is a single host.

        Raises:
            ConfigurationError: the file is not a JSON object with `current_host` and `hosts`.
        """
        if not path.exists():
            return cls()
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            current, names = content["current_host"], tuple(content["hosts"])
        except (ValueError, KeyError, TypeError):
            raise ConfigurationError(
                f'{path} must be an object such as {{"current_host": "algo-1", "hosts": ["algo-1", "algo-2"]}}.'
            ) from None
        if current not in names:
            raise ConfigurationError(f"{path}: current_host {current!r} is not one of the hosts {', '.join(names)}.")
        return cls(current, names, content.get("network_interface_name"))

    @property
    def rank(self) -> int:
        """The index of this host, from 0."""
        return self.names.index(self.current)

    @property
    def is_first(self) -> bool:
        """Whether this host writes the model."""
        return self.rank == 0

    def join(self) -> None:
        """Wait for the other hosts and form a process group; does nothing for a single host.

        Raises:
            HostError: a host has no address, or does not connect.
        """
        if len(self.names) == 1:
            return
        wait_for_address(self.names[0], RESOLVE_TIMEOUT_S)
        os.environ.update(self._environment())
        on_gpu = torch.cuda.is_available()
        try:
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=datetime.timedelta(seconds=LOST_AFTER_S)
            )
        except (RuntimeError, ValueError) as problem:
            raise HostError(
                f"{self.current}: not all of {', '.join(self.names)} connected in {LOST_AFTER_S:.0f} s ({problem}); "
                f"check the logs of the other hosts, and that they reach {self.names[0]} on port {PORT}."
            ) from problem

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Convert network errors of torch to an error that names the hosts.

        Raises:
            HostError: the connection to another host was lost.
        """
        try:
            yield
        except RuntimeError as problem:
            if len(self.names) == 1 or not _is_network_error(problem):
                raise
            raise HostError(
                f"{self.current} lost the connection to another host of {', '.join(self.names)}; start the job again, "
                f"and it resumes from the last checkpoint. ({str(problem).splitlines()[0]})"
            ) from problem

    def require_same_data(self, fingerprints: dict[str, str]) -> None:
        """Check that every host has the same splits, given the fingerprint of each split.

        Raises:
            HostError: a host has different splits.
        """
        by_host = zip(self.names, gather(fingerprints), strict=True)  # one call: hosts may have different split names
        others = {name: theirs for name, theirs in by_host if theirs != fingerprints}
        if others:
            splits = sorted({split for theirs in others.values() for split, _ in theirs.items() ^ fingerprints.items()})
            raise HostError(
                f"{self.current} and {', '.join(others)} have different texts in {', '.join(splits)}; give every host "
                "all files of every channel (FullyReplicated)."
            )

    def _environment(self) -> dict[str, str]:
        variables = {
            "MASTER_ADDR": self.names[0],
            "MASTER_PORT": str(PORT),
            "RANK": str(self.rank),
            "WORLD_SIZE": str(len(self.names)),
            "LOCAL_RANK": "0",
            "LOCAL_WORLD_SIZE": "1",
        }
        if self.interface and self.interface in {name for _, name in socket.if_nameindex()}:
            variables |= {"GLOO_SOCKET_IFNAME": self.interface, "NCCL_SOCKET_IFNAME": self.interface}
        return variables


def wait_for_address(name: str, seconds: float) -> None:
    """Wait until the host `name` has an address.

    Raises:
        HostError: it has no address after `seconds`.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.getaddrinfo(name, PORT)
        except socket.gaierror as problem:
            if time.monotonic() > deadline:
                raise HostError(f"The host {name} has no address after {seconds:.0f} s ({problem}).") from None
            time.sleep(1)
        else:
            return


def count() -> int:
    """Return the number of hosts that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def gather(value: Any) -> list[Any]:
    """Return the value of each host, in the order of the hosts; every host must call this."""
    if count() == 1:
        return [value]
    values: list[Any] = [None] * count()
    dist.all_gather_object(values, value)
    return values


def any_host(condition: bool) -> bool:
    """Return whether the condition holds on any host; every host must call this."""
    if count() == 1:
        return condition
    flag = torch.tensor([int(condition)])
    dist.all_reduce(flag, dist.ReduceOp.MAX)
    return bool(flag.item())


def leave() -> None:
    """Leave the process group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _is_network_error(problem: RuntimeError) -> bool:
    words = ("gloo", "connection", "timed out", "nccl", "broken pipe", "socket")
    return isinstance(problem, dist.DistError) or any(word in str(problem).lower() for word in words)
