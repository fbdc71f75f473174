"""Several processes train what one does: they share each batch, leave one result, and end together."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from xaibench.errors import XaibenchError
from xaibench.models.state import file_digest, read_state
from xaibench.ranks import first_process, process_count, process_number
from xaibench.training.processes import (
    check_shares,
    mean_values,
    of_all,
    of_first,
    own_part,
    parts_of_all,
    process_mean,
)

sys.path.append(str(Path(__file__).parent))  # test folders are no packages
from several import CASES, launch, small_model, trained


@pytest.fixture(scope="module")
def together(tmp_path_factory) -> Path:
    """The folder where two processes have trained every case."""
    folder = tmp_path_factory.mktemp("together")
    ended = launch("several.py", "work", str(folder))
    assert ended.returncode == 0, ended.stderr
    assert (folder / "done-0").exists() and (folder / "done-1").exists()
    return folder


def rows(folder: Path) -> list[dict]:
    return pq.read_table(folder / "metrics.parquet").to_pylist()


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_two_processes_take_the_steps_of_one(name, together, tmp_path):
    alone, shared = read_state(trained(name, tmp_path)), read_state(together / name / "weights.safetensors")
    start = small_model(CASES[name][1]).net.state_dict()
    for key, value in alone.tensors.items():
        torch.testing.assert_close(shared.tensors[key], value, rtol=1e-4, atol=1e-5)
    assert (alone.tensors["3.weight"] - start["3.weight"]).abs().max() > 1e-3, "far beyond the tolerance"
    for mine, theirs in zip(rows(tmp_path / name), rows(together / name), strict=True):
        assert mine.keys() == theirs.keys()
        for key in mine.keys() - {"seconds", "train_seconds"}:
            assert theirs[key] == pytest.approx(mine[key], rel=1e-3, abs=1e-5), key


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_one_result_is_left(name, together):
    assert sorted(p.name for p in (together / name).iterdir()) == ["metrics.parquet", "weights.safetensors"]
    assert [row["epoch"] for row in rows(together / name)] == list(range(1, len(rows(together / name)) + 1))


@pytest.mark.slow
def test_processes_go_on_where_they_or_others_stopped(together, tmp_path):
    """Two processes after two, bit for bit; one after two, and the weights of both are those of one alone."""
    whole, again = (together / name / "weights.safetensors" for name in ("classifier", "again/classifier"))
    assert file_digest(again) == file_digest(whole)
    shutil.copytree(together / "halfway", tmp_path / "halfway")
    assert len(rows(tmp_path / "halfway" / "classifier")) == 1
    alone, first = read_state(trained("classifier", tmp_path / "halfway")), read_state(whole)
    for key, value in first.tensors.items():
        torch.testing.assert_close(alone.tensors[key], value, rtol=1e-4, atol=2e-6)


@pytest.mark.slow
def test_an_error_of_one_process_ends_all(tmp_path):
    ended = launch("several.py", "fail", str(tmp_path))
    assert ended.returncode != 0 and "is broken" in ended.stderr
    assert not (tmp_path / "weights.safetensors").exists()


@pytest.mark.slow
def test_processes_with_other_code_data_or_folders_are_refused(tmp_path):
    """By all of them, in the same line: each asserts it."""
    ended = launch("several.py", "differ", str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    assert {path.name for path in tmp_path.glob("done-*")} == {"done-0", "done-1"}
    assert not list(tmp_path.rglob("processes-*")), "no traces"


@pytest.mark.slow
def test_layers_that_see_the_batch_see_that_of_all_processes():
    """Values, running statistics, draws, and first and second derivatives, in double precision; see `shared.py`."""
    ended = launch("shared.py")
    assert ended.returncode == 0 and ended.stdout.count("compared") == 2, ended.stderr


def test_batches_that_processes_cannot_share():
    check_shares(64, 4)
    check_shares(4, 4, 2)
    with pytest.raises(XaibenchError, match=r"^3 processes cannot share a batch of 64 images; take a multiple"):
        check_shares(64, 3)
    with pytest.raises(XaibenchError, match=r"^it contrasts images; take a --batch-size of 2 or more$"):
        check_shares(1, 1, 2, "it contrasts images")


def test_a_process_alone_has_its_own_values(monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    total = torch.tensor(3.0, requires_grad=True)
    assert all(same(total) is total for same in (process_mean, of_all, of_first))
    assert mean_values({"loss": 0.1}, torch.device("cpu")) == {"loss": 0.1}
    assert own_part([1, 2, 3]) == [1, 2, 3] == parts_of_all([1, 2, 3])
    assert (process_number(), process_count(), first_process()) == (0, 1, True)


@pytest.mark.parametrize("names", [("RANK", "WORLD_SIZE"), ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE")])
def test_the_number_of_a_process_is_what_its_launcher_says(names, monkeypatch):
    for name, value in zip(names, ("3", "4"), strict=True):
        monkeypatch.setenv(name, value)
    assert (process_number(), process_count(), first_process()) == (3, 4, False)
    assert own_part(range(9)) == [3, 7]
