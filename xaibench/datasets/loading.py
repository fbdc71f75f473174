"""Images loaded ahead, if requested by other processes: the same code for evaluation, training and validation.

Loading processes leave Ctrl-C, and the signals by which batch systems end all processes of a job, to the process that
started them, and return their errors to it, so that neither prints tracebacks on the terminal.
"""

from __future__ import annotations

import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch.utils.data import DataLoader, default_collate
from torch.utils.data import Dataset as TorchDataset

from xaibench.datasets.base import Dataset, Sample
from xaibench.datasets.lost_processes import end_if_being_started, lost_process
from xaibench.errors import XaibenchError, one_line
from xaibench.signals import ENDING

MOST_A_CORE = 4  # loading processes
SECONDS_TO_END = 3  # of a loading process, for the one that started it to store what is done
_END = object()


class _Groups(TorchDataset):
    """Groups of image ids as lists of samples."""

    def __init__(self, dataset: Dataset):
        self.dataset = dataset

    def __getitem__(self, image_ids: Sequence[str]) -> list[Sample]:
        return [load_sample(self.dataset, image_id) for image_id in image_ids]


def load_sample(dataset: Dataset, image_id: str) -> Sample:
    """The sample of an id; every error of a plug-in's data set becomes one line with the name of the data set."""
    try:
        return dataset.load(image_id)
    except Exception as error:
        if isinstance(error, XaibenchError) or type(dataset).__module__.startswith("xaibench."):
            raise
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise XaibenchError(f"data set {dataset.name} failed at {image_id}: {reason}") from error


class _Handing(TorchDataset):
    """A data set that returns errors for the user as items, so that they can be passed between processes."""

    def __init__(self, data: TorchDataset):
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Any:
        try:
            return self.data[index]
        except XaibenchError as error:
            return error


class _Collate:
    """The result of a function for the items of a batch, or the first error among them."""

    def __init__(self, collate: Callable):
        self.collate = collate

    def __call__(self, items: Any) -> Any:
        errors = [item for item in (items if isinstance(items, list) else [items]) if isinstance(item, XaibenchError)]
        return errors[0] if errors else self.collate(items)


class Groups:
    """Batches in order, which can be iterated several times; see `load_groups`."""

    def __init__(self, loader: DataLoader):
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        return batches(self.loader)


def load_groups(
    dataset: Dataset,
    groups: Iterable[Sequence[str]],
    workers: int,
    collate: Callable | None = None,
    generator: torch.Generator | None = None,
) -> Groups:
    """A list of samples for each group of image ids, in order, or what `collate` makes of the list.

    groups may be a generator: its next group is taken only shortly before it is loaded. workers: processes that load
    ahead; 0 loads in this process. generator: torch seeds these processes from it, by default from its global one.
    Iterating raises XaibenchError for an image that cannot be loaded.
    """
    how = {"batch_size": None, "sampler": groups, "generator": generator}
    return Groups(make_loader(_Groups(dataset), workers, collate or _same, **how))


def make_loader(data: TorchDataset, workers: int, collate: Callable = default_collate, **how: Any) -> DataLoader:
    """A loader for `batches`; how: batch_size, sampler, ... as in torch.

    More processes than a machine can use are not started, since their number changes no result.
    """
    if workers:
        end_if_being_started()
    workers = min(workers, MOST_A_CORE * (os.cpu_count() or 1))
    with warnings.catch_warnings(action="ignore"):  # torch advises on the number of processes
        return DataLoader(
            _Handing(data), num_workers=workers, collate_fn=_Collate(collate), worker_init_fn=_leave_signals, **how
        )


def batches(loader: DataLoader) -> Iterator[Any]:
    """The batches of a loader of `make_loader`; raises the XaibenchError of an item in its place, and an XaibenchError
    where a loading process could not be started or was killed."""
    with _ctrl_c_held_back() if loader.num_workers else nullcontext():
        with _lost_processes_named():
            iterator = iter(loader)
        batch = _next(iterator)  # loaders of Accelerate start their processes only here
    try:
        while batch is not _END:
            if isinstance(batch, XaibenchError):
                raise batch
            yield batch
            batch = _next(iterator)
    finally:
        del iterator  # ends its processes now: as a part of an error's traceback it would be collected too late


@contextmanager
def _lost_processes_named() -> Iterator[None]:
    """Names the cause where processes could not be started or were lost."""
    try:
        yield
    except Exception as error:  # starting and losing processes raises many kinds
        lost = lost_process(error)
        if lost is None:
            raise
        raise lost from error


def _next(iterator: Iterator[Any]) -> Any:
    with _lost_processes_named():
        return next(iterator, _END)


def _same(items: list) -> list:
    return items


def _leave_signals(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in ENDING:
        if signal.getsignal(number) != signal.SIG_IGN:  # as `nohup` leaves it
            signal.signal(number, _end_later)


def _end_later(number: int, frame: object) -> None:
    """Ends this process in a while: it dies with the one that started it, which got the signal too, and is ended by
    this where it alone got it."""
    if hasattr(signal, "alarm"):
        signal.alarm(SECONDS_TO_END)
    else:
        os._exit(128 + number)


@contextmanager
def _ctrl_c_held_back() -> Iterator[None]:
    """Delays Ctrl-C and the like while processes start, when Python would lose it or leave them incomplete; a second
    one is not delayed."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *ENDING)}
    before = {number: handler for number, handler in before.items() if callable(handler)}
    if threading.current_thread() is not threading.main_thread() or not before:
        yield
        return
    pressed: list[tuple] = []

    def note(*press: Any) -> None:
        pressed.append(press)
        if len(pressed) > 1:
            before[press[0]](*press)

    for number in before:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if pressed:
        before[pressed[0][0]](*pressed[0])
