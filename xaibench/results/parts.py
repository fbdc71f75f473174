"""The rows of a folder a few results at a time, so that a folder of any size needs bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

import pandas as pd

from xaibench.results.shard_files import open_shard, reading
from xaibench.results.store import Store

TOGETHER = 1_500_000  # rows of several results that are read together, about half a gigabyte


def groups(sizes: Mapping[str, int], most: int) -> Iterator[set[str]]:
    """Keys that come one after another and have at most so many rows together; one with more is alone.

    sizes: of each key the number of its rows.
    """
    group: set[str] = set()
    size = 0
    for key, rows in sizes.items():
        if group and size + rows > most:
            yield group
            group, size = set(), 0
        group.add(key)
        size += rows
    if group:
        yield group


class Parts:
    """The rows of a folder with a file for each result, `rows/<protocol>/<model>/<cell>.parquet`: of a submission or a
    board.

    keys: the results whose rows are looked at; None: all. empty: whether there is no row. Raises XaibenchError where a
    file cannot be read.
    """

    def __init__(self, store: Store, keys: Collection[str] | None = None):
        self._store, sizes = store, Counter[str]()
        for path in store.shards(keys):
            with reading(path, store.root), open_shard(path)[0] as file:
                sizes[path.stem] += file.metadata.num_rows
        self._sizes = sizes
        self.empty = not sizes.total()

    def read(self, columns: Sequence[str], keys: Collection[str] | None = None) -> Iterator[pd.DataFrame]:
        """The rows as `Store.rows` gives them, a few results at a time, each whole; of these keys alone, if given."""
        wanted = {key: size for key, size in self._sizes.items() if keys is None or key in keys}
        for group in groups(wanted, TOGETHER):
            yield self._store.rows(group, columns)
