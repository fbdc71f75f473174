"""Samples in groups, loaded ahead by other processes where wanted: one way for evaluation and validation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from xaibench.datasets.base import Dataset, Sample


class _Groups(TorchDataset):
    """Groups of image ids as lists of samples, by number."""

    def __init__(self, dataset: Dataset, groups: Sequence[Sequence[str]]):
        self.dataset, self.groups = dataset, groups

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: int) -> list[Sample]:
        return [self.dataset.load(image_id) for image_id in self.groups[index]]


def load_groups(
    dataset: Dataset, groups: Sequence[Sequence[str]], workers: int, collate: Callable | None = None
) -> DataLoader:
    """A list of samples for each group of image ids, in order, or what `collate` makes of the list.

    workers: processes that load ahead; 0 loads in this one.
    """
    return DataLoader(_Groups(dataset, groups), batch_size=None, num_workers=workers, collate_fn=collate)
