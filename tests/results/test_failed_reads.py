"""A read that the machine refused is no damage: nobody is told to remove rows that may be sound."""

from __future__ import annotations

import errno
import os

import pyarrow as pa
import pytest

from xaibench.errors import XaibenchError
from xaibench.results import shard_files
from xaibench.results.schema import row_table
from xaibench.results.store import Store
from xaibench.results.validate import validate

REFUSED = {
    **{
        errno.errorcode[number]: OSError(number, os.strerror(number))
        for number in (errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE, errno.ESTALE, errno.ENOMEM, errno.ETIMEDOUT)
    },
    "malloc": pa.ArrowException("malloc of size 3276800000 failed: out of memory"),
    "threads": OSError("Resource temporarily unavailable"),
    "files": OSError("Too many open files"),
}
DAMAGED = {
    "no Parquet": pa.ArrowInvalid("Parquet magic bytes not found in footer."),
    "a page": OSError("Couldn't deserialize thrift: TProtocolException: Invalid data"),
}


def failing(monkeypatch, error: Exception) -> None:
    def refuse(*args: object, **settings: object) -> None:
        raise error

    monkeypatch.setattr(shard_files.pq, "ParquetFile", refuse)


@pytest.mark.parametrize("cause", REFUSED)
def test_what_the_machine_refuses_is_kept(cause, store, cell, row, monkeypatch):
    path = store.append(row_table([row(cell, "a")]))
    store.register([cell])
    failing(monkeypatch, REFUSED[cause])
    for read in (Store.open(store.root).rows, lambda: Store(store.root).done([cell.key])):
        with pytest.raises(XaibenchError, match=r"cannot be read now: .*may be sound, so keep it") as caught:
            read()
        assert path.name in str(caught.value) and "remov" not in str(caught.value)
    (problem,) = validate(store.root)
    assert problem.kind == "unreadable" and "cannot be read now, its rows may be sound" in problem.text


@pytest.mark.parametrize("cause", DAMAGED)
def test_damage_is_called_damage(cause, store, cell, row, monkeypatch):
    store.append(row_table([row(cell, "a")]))
    store.register([cell])
    failing(monkeypatch, DAMAGED[cause])
    with pytest.raises(XaibenchError, match=r"is not a whole Parquet file; .*after removing them"):
        Store.open(store.root).rows()
    assert "not a whole Parquet file" in validate(store.root)[0].text


def test_memory_that_runs_out_stays_what_it_is(store, cell, row, monkeypatch):
    store.append(row_table([row(cell, "a")]))
    failing(monkeypatch, pa.ArrowMemoryError("malloc of size 64 failed"))
    with pytest.raises(MemoryError):
        Store.open(store.root).rows()
    assert "may be sound" in validate(store.root)[0].text
