"""Ray: a connection to a cluster, or to one of this process alone, and what its nodes can do."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from xaibench.errors import XaibenchError, one_line
from xaibench.signals import ENDING

MISSING = "--engine ray needs one more package: pip install 'xaibench[ray]'"
ADVICE = "start one by `ray start --head`, see `ray status`, or leave out --address"
PROBE_SECONDS = 10.0
MOST_LOADERS = 8
NODE = "ray.io/node-id"  # the label by which Ray places tasks


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """The module ray, connected to the cluster at HOST:PORT while the block runs; None: to the cluster that RAY_ADDRESS
    names, or a new one of this machine that ends with the block. A connection that is there already is used and stays.

    Raises XaibenchError where Ray is not installed, or nothing answers.
    """
    where = _where(address)
    with _environment(own=where == "local"), _handlers_kept():  # Ray reads some of it when it is imported
        try:
            import ray
        except ImportError as error:
            raise XaibenchError(MISSING) from error
        there = ray.is_initialized()
        try:
            if not there:
                ray.init(where, include_dashboard=False, log_to_driver=False, logging_level="critical")
        except Exception as error:  # what Ray raises is often no more than that
            reason = one_line(error, 300)
            if where == "local":
                raise XaibenchError(f"Ray does not start here: {reason}; see /tmp/ray/session_latest/logs") from error
            raise XaibenchError(f"no Ray cluster at {where}: {reason}; {ADVICE}") from error
    try:
        yield ray
    finally:
        if not there:
            ray.shutdown()


def check_reachable(address: str | None) -> None:
    """Raises XaibenchError where Ray is not installed, or nothing listens at HOST:PORT: before models are opened."""
    if not find_spec("ray"):
        raise XaibenchError(MISSING)
    host, _, port = _where(address).partition(":")
    if port.isdecimal():
        try:
            socket.create_connection((host, int(port)), PROBE_SECONDS).close()
        except (OSError, OverflowError) as error:
            raise XaibenchError(f"no Ray cluster at {host}:{port}: {one_line(error)}; {ADVICE}") from error


def _where(address: str | None) -> str:
    return address or os.environ.get("RAY_ADDRESS") or "local"


@contextmanager
def _environment(own: bool) -> Iterator[None]:
    """What Ray reads at its start: no reports of its use; for a cluster of our own a secret that only this process and
    its children know, which Ray would otherwise write into the home folder."""
    wanted = {"RAY_USAGE_STATS_ENABLED": "0"}
    if own and "RAY_AUTH_MODE" not in os.environ:
        wanted |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Ray takes over SIGTERM, with another exit status; what was set before is put back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *ENDING)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class Needs:
    """What one task takes of a node: CPU cores and a part of a GPU."""

    cpus: int
    gpus: float

    def slots(self, node: dict[str, Any]) -> int:
        """How many such tasks a node of `ray.nodes()` can hold at once."""
        has = node.get("Resources", {})
        rooms = [has.get("CPU", 0.0) // self.cpus]
        if self.gpus:  # fractions of one GPU, never of two
            rooms.append(has.get("GPU", 0.0) // 1 * (1 // self.gpus))
        return int(min(rooms))

    def __str__(self) -> str:
        cores = f"{self.cpus} CPU core{'s' if self.cpus > 1 else ''}"
        return f"{cores} and {self.gpus:g} of a GPU" if self.gpus else cores


def living_nodes(ray: Any) -> dict[str, dict[str, Any]]:
    """The nodes of the cluster that live, by id."""
    return {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}


def cores_of_gpu_tasks(gpus: float, ray: Any) -> int:
    """How many CPU cores a task may have that takes so much of a GPU, so that none has to wait for cores: one, and at
    most MOST_LOADERS to load images."""
    has = [node.get("Resources", {}) for node in living_nodes(ray).values()]
    shares = [one.get("CPU", 0.0) // (one["GPU"] // 1 * (1 // gpus)) for one in has if one.get("GPU", 0.0) >= 1]
    return max(1, int(min([*shares, MOST_LOADERS + 1])))


def check_needs(needs: Needs, device: str, ray: Any) -> None:
    """Raises XaibenchError where the cluster does not fit. device: as the request says, such as `auto`."""
    nodes = living_nodes(ray).values()
    gpus = sum(node.get("Resources", {}).get("GPU", 0.0) for node in nodes)
    cores = int(max((node.get("Resources", {}).get("CPU", 0.0) for node in nodes), default=0))
    if device == "auto" and gpus and not needs.gpus:
        raise XaibenchError(
            f"the cluster has {gpus:g} GPUs and this process none; start the command on a node with a GPU, or say "
            "--device cpu"
        )
    if needs.cpus > cores:
        raise XaibenchError(
            f"a task takes {needs}, as many as this process has threads, and no node has more than {cores}; "
            f"give fewer threads, OMP_NUM_THREADS={max(1, cores)}"
        )
