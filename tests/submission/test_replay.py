"""A real run is packed and replayed: honest rows are equal, a changed one is found, and code runs only with trust."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from xaibench import registry
from xaibench.datasets.open import open_dataset
from xaibench.errors import XaibenchError
from xaibench.evaluation.api import run
from xaibench.submission.archive import unpacked
from xaibench.submission.check import check
from xaibench.submission.pack import submit
from xaibench.submission.replay import Limits, Where, replay

pytestmark = pytest.mark.slow
PLUGIN = """import xaibench


@xaibench.method("mine")
def mine(evidence):
    \"\"\"Input times gradient.\"\"\"
    {body}
    return evidence.inputs * evidence.gradient()
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """Random weights of a small network."""
    torch.manual_seed(0)
    card = registry.card("model", "critters_cnn")
    net = registry.load(card)(len(open_dataset(registry.card("dataset", "critters"), None, {}).classes))
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_file(net.state_dict(), path)
    return path


@pytest.fixture
def submitted(weights, tmp_path, monkeypatch):
    """submitted(body): a submission, whose method has this line in it, as a folder."""

    def call(body: str = "") -> Path:
        (tmp_path / "plugin_mine.py").write_text(PLUGIN.format(body=body))
        with monkeypatch.context() as patch:
            patch.setattr(registry, "_decorated", dict(registry._decorated))
            run("sds", model="critters_cnn", dataset="critters", weights=str(weights),
                methods=("mine", "ixg", "random"),
                images=4, out=tmp_path / "results", plugins=(tmp_path / "plugin_mine.py",), device="cpu")  # fmt: skip
        submit(tmp_path / "results", tmp_path / "plugin_mine.py", tmp_path / "mine")
        return tmp_path / "mine"

    return call


def replayed(path: Path, weights: Path, count: int | None = None, **more) -> dict:
    with unpacked(path) as root:
        found = check(root)
        assert not found.problems
        return replay(root, found.submission, count, where=Where(weights=weights), hidden=(path,), **more)


def test_honest_rows_are_equal_and_a_changed_one_is_found(submitted, weights, relisted):
    mine = submitted()
    record = replayed(mine, weights, trust=True)
    assert record["equal"] and record["results"] == record["replayed"] == 12 and len(record["rows"]) >= 12
    assert set(record["found"].values()) == {1.0}  # all of it was replayed
    assert not any(one["verified"] or one["public_weights"] for one in record["cells"].values())
    assert json.loads(json.dumps(record)) == record
    with pytest.raises(XaibenchError, match="say --trust"):
        replayed(mine, weights)

    forged = next(
        path for path in mine.glob("rows/*/*/*.parquet") if "mine" in pq.read_table(path)["method"].to_pylist()
    )
    table = pq.read_table(forged)
    place, scores = table.schema.get_field_index("score"), table["score"].to_pylist()
    scores[0] = scores[0] + (0.01 if scores[0] < 0.5 else -0.01)
    pq.write_table(table.set_column(place, table.schema.field(place), [scores]), forged)
    relisted(mine)
    record = replayed(mine, weights, trust=True)
    (row,) = [row for row in record["rows"] if not row["equal"]]
    assert (
        not record["equal"]
        and row["submitted"] == scores[0]
        and abs(row["replayed"] - scores[0]) == pytest.approx(0.01)
    )


def test_code_that_looks_for_the_rows_or_for_more_than_its_limits_is_stopped(submitted, weights, tmp_path):
    mine = submitted("import os, time; os.environ.get('XAIBENCH_TEST_SLEEP') or time.sleep(4)")
    with pytest.raises(XaibenchError, match="took more than 2 s"):
        replayed(mine, weights, trust=True, limits=Limits(seconds=2))
    shutil.rmtree(tmp_path / "results")
    shutil.rmtree(mine)
    mine = submitted(f"import pathlib; [path.read_bytes() for path in pathlib.Path({str(mine)!r}).glob('*.json')]")
    with pytest.raises(XaibenchError, match="reads the rows of its own submission"):
        replayed(mine, weights, trust=True)
