"""The hosts of one training job: who they are, how they find each other, and what they agree on.

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
RESOLVED_WITHIN_S = 300.0  # names of hosts may not resolve at first
LOST_AFTER_S = 300.0  # a host that does not answer for so long is lost


@dataclass(frozen=True)
class Hosts:
    """The hosts of a job, one process each; the first of them writes the model."""

    own: str = "algo-1"
    names: tuple[str, ...] = ("algo-1",)
    interface: str | None = None

    @classmethod
    def of(cls, path: Path) -> "Hosts":
        """Read SageMaker's `resourceconfig.json`; without one there is a single host.

        Raises:
            ConfigurationError: the file is no JSON object with `current_host` and `hosts`.
        """
        if not path.exists():
            return cls()
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            own, names = content["current_host"], tuple(content["hosts"])
        except (ValueError, KeyError, TypeError):
            raise ConfigurationError(
                f'{path} must be an object such as {{"current_host": "algo-1", "hosts": ["algo-1", "algo-2"]}}.'
            ) from None
        if own not in names:
            raise ConfigurationError(f"{path}: current_host {own!r} is not one of the hosts {', '.join(names)}.")
        return cls(own, names, content.get("network_interface_name"))

    @property
    def rank(self) -> int:
        """The place of this host among them, from 0."""
        return self.names.index(self.own)

    @property
    def is_first(self) -> bool:
        """Whether this host writes the model."""
        return self.rank == 0

    def join(self) -> None:
        """Wait for the other hosts and form a process group; nothing to do for a single host.

        Raises:
            HostError: a host has no address, or does not come.
        """
        if len(self.names) == 1:
            return
        wait_for_address(self.names[0], RESOLVED_WITHIN_S)
        os.environ.update(self._environment())
        on_gpu = torch.cuda.is_available()
        try:
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=datetime.timedelta(seconds=LOST_AFTER_S)
            )
        except (RuntimeError, ValueError) as problem:
            raise HostError(
                f"{self.own}: not all of {', '.join(self.names)} came together in {LOST_AFTER_S:.0f} s ({problem}); "
                f"see the logs of the others, and whether they reach {self.names[0]} on port {PORT}."
            ) from problem

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Name a lost host as the reason where the others break off.

        Raises:
            HostError: the connection to another host broke.
        """
        try:
            yield
        except RuntimeError as problem:
            if len(self.names) == 1 or not _is_of_the_network(problem):
                raise
            raise HostError(
                f"{self.own} lost the connection to another host of {', '.join(self.names)}; start the job again, it "
                f"goes on from the last checkpoint. ({str(problem).splitlines()[0]})"
            ) from problem

    def require_same_data(self, fingerprints: dict[str, str]) -> None:
        """Check that every host has the same splits, given the fingerprint of each.

        Raises:
            HostError: one has others.
        """
        everyone = zip(self.names, gather(fingerprints), strict=True)  # at once: not all may have the same splits
        others = {name: theirs for name, theirs in everyone if theirs != fingerprints}
        if others:
            splits = sorted({split for theirs in others.values() for split, _ in theirs.items() ^ fingerprints.items()})
            raise HostError(
                f"{self.own} has other texts than {', '.join(others)} in {', '.join(splits)}; give every host all "
                "files of every channel (FullyReplicated)."
            )

    def _environment(self) -> dict[str, str]:
        found = {
            "MASTER_ADDR": self.names[0],
            "MASTER_PORT": str(PORT),
            "RANK": str(self.rank),
            "WORLD_SIZE": str(len(self.names)),
            "LOCAL_RANK": "0",
            "LOCAL_WORLD_SIZE": "1",
        }
        if self.interface and self.interface in {name for _, name in socket.if_nameindex()}:
            found |= {"GLOO_SOCKET_IFNAME": self.interface, "NCCL_SOCKET_IFNAME": self.interface}
        return found


def wait_for_address(name: str, seconds: float) -> None:
    """Return when the host `name` has an address.

    Raises:
        HostError: it has none after `seconds`.
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
    """Return how many hosts train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def gather(value: Any) -> list[Any]:
    """Return what each host has, in the order of the hosts; all of them must call this."""
    if count() == 1:
        return [value]
    found: list[Any] = [None] * count()
    dist.all_gather_object(found, value)
    return found


def any_of(asked: bool) -> bool:
    """Return whether this is so on any host; all of them must call this."""
    if count() == 1:
        return asked
    flag = torch.tensor([int(asked)])
    dist.all_reduce(flag, dist.ReduceOp.MAX)
    return bool(flag.item())


def part() -> None:
    """Leave the process group, where there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _is_of_the_network(problem: RuntimeError) -> bool:
    words = ("gloo", "connection", "timed out", "nccl", "broken pipe", "socket")
    return isinstance(problem, dist.DistError) or any(word in str(problem).lower() for word in words)
