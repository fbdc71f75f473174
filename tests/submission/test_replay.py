"""A real run is packed and replayed: honest rows are equal, a changed one is found, and code runs only with trust."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from xaibench import registry
from xaibench.cards import PublishedWeights
from xaibench.datasets.open import open_dataset
from xaibench.errors import XaibenchError
from xaibench.evaluation.api import run
from xaibench.hashing import sha256_of
from xaibench.models.published import known_places
from xaibench.submission.archive import unpacked
from xaibench.submission.check import check
from xaibench.submission.draw import Draw
from xaibench.submission.pack import submit
from xaibench.submission.process import Limits, Where, run_limited
from xaibench.submission.replay import replay

PLUGIN = """import os
import pathlib

import xaibench

TRICK = pathlib.Path({trick!r})


@xaibench.method("mine")
def mine(evidence):
    \"\"\"Input times gradient; and, where there is such a file, what is in it.\"\"\"
    if TRICK.is_file():
        exec(TRICK.read_text())
    return evidence.inputs * evidence.gradient()
"""
GIVEN = """import atexit, sys
from xaibench.files import read_json, write_json
atexit.register(lambda p=pathlib.Path(sys.argv[2]), r=read_json, w=write_json: w(p, {}))
"""
TRICKS = {
    "reads the rows of its own submission": "[path.read_bytes() for path in pathlib.Path({mine!r}).glob('rows/*/*/*')]",
    "its code asks for socket.connect": "import socket; socket.create_connection(('127.0.0.1', 9))",
    "its code asks for subprocess.Popen": "import subprocess; subprocess.run(['true'])",
    "its code asks for os.system": "os.system('true')",
    "its code asks for os.fork": "os.fork()",
    "changes files outside of its own folder": "pathlib.Path({mine!r}).with_name('outside').write_text('x')",
    "outside of its own folder$": "os.rename({mine!r} + '-no', {mine!r} + '-moved')",
    "gave something else than rows": GIVEN.format("[dict(row, score='high') for row in r(p)]"),
    "gave rows that were not drawn": GIVEN.format("[dict(row, image_id='test/000000') for row in r(p)]"),
    r"method mine failed: ValueError: .*x \(plugin_mine.py, line": "raise ValueError(chr(27) + '[2J' + chr(10) + 'x')",
    "took more than 30 s": "import time; time.sleep(600)",
    "(?i)memory": "len(bytearray(5 << 30))",
    "File too large": "open('big', 'wb').write(bytes(2 << 20))",
}
LIMITS = Limits(seconds=600, memory=4 << 30, file=1 << 20)
SHORT = Limits(seconds=30)


def weights_of(path: Path) -> Path:
    """Random weights of a small network, in a file."""
    torch.manual_seed(0)
    card = registry.card("model", "critters_cnn")
    net = registry.load(card)(len(open_dataset(registry.card("dataset", "critters"), None, {}).classes))
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(net.state_dict(), path)
    return path


def submitted(root: Path, weights: str) -> Path:
    """A submission of a method that does what a file beside it says, as a folder."""
    (root / "plugin_mine.py").write_text(PLUGIN.format(trick=str(root / "trick.txt")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_decorated", dict(registry._decorated))
        run("sds", model="critters_cnn", dataset="critters", weights=weights, methods=("mine", "ixg", "random"),
            images=4, out=root / "results", plugins=(root / "plugin_mine.py",), device="cpu")  # fmt: skip
    submit(root / "results", root / "plugin_mine.py", root / "mine")
    return root / "mine"


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> SimpleNamespace:
    """A submission of a real run, which no test changes, its weights, and the file with what its method does."""
    root = tmp_path_factory.mktemp("real")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XAIBENCH_HOME", str(root / "home"))
        weights = weights_of(root / "w.safetensors")
        return SimpleNamespace(mine=submitted(root, str(weights)), weights=weights, trick=root / "trick.txt")


def replayed(path: Path, weights: Path | None, count: int | None = None, **more) -> dict:
    with unpacked(path) as root:
        found = check(root)
        assert not found.problems
        return replay(root, found.submission, Draw(count), where=Where(weights=weights), hidden=(path,), **more)


def test_without_trust_nothing_is_replayed_whatever_is_drawn(packed):
    for count in (1, None):
        with pytest.raises(XaibenchError, match="say --trust"):
            replayed(packed.folder, None, count)


@pytest.mark.slow
def test_honest_rows_are_equal_and_a_changed_one_is_found(real, relisted, tmp_path):
    record = replayed(real.mine, real.weights, trust=True)
    assert record["equal"] and record["results"] == record["replayed"] == 12 and len(record["rows"]) >= 12
    assert set(record["found"].values()) == {1.0}  # all of it was replayed
    assert not any(one["verified"] or one["public_weights"] for one in record["cells"].values())
    assert {one["replayed"] for one in record["cells"].values()} == {4} and record["fresh_source"] == "drawn"
    assert json.loads(json.dumps(record, allow_nan=False)) == record

    mine = Path(shutil.copytree(real.mine, tmp_path / "mine"))
    forged = next(
        path for path in mine.glob("rows/*/*/*.parquet") if "mine" in pq.read_table(path)["method"].to_pylist()
    )
    table = pq.read_table(forged)
    place, scores = table.schema.get_field_index("score"), table["score"].to_pylist()
    scores[0] = scores[0] + (0.01 if scores[0] < 0.5 else -0.01)
    pq.write_table(table.set_column(place, table.schema.field(place), [scores]), forged)
    relisted(mine)
    record = replayed(mine, real.weights, trust=True)
    (row,) = [row for row in record["rows"] if not row["equal"]]
    assert not record["equal"] and row["submitted"] == scores[0]
    assert abs(row["replayed"] - scores[0]) == pytest.approx(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("words", TRICKS)
def test_code_that_asks_for_more_than_it_may_is_stopped(real, words):
    real.trick.write_text(TRICKS[words].format(mine=str(real.mine)))
    limits = SHORT if "30 s" in words else LIMITS
    try:
        with pytest.raises(XaibenchError, match=words) as error:
            replayed(real.mine, real.weights, trust=True, limits=limits)
    finally:
        real.trick.unlink()
    assert str(error.value).isprintable()  # nothing in it controls a terminal
    assert real.mine.is_dir() and not real.mine.with_name("outside").exists()


@pytest.mark.process
def test_what_a_process_starts_and_leaves_ends_with_it(tmp_path):
    code = "import os, time; pid = os.fork(); pid or time.sleep(60); open('pid', 'w').write(str(pid))"
    run_limited([sys.executable, "-c", code], tmp_path, SHORT)
    state = Path("/proc") / (tmp_path / "pid").read_text() / "stat"
    time.sleep(0.2)
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.slow
def test_code_has_a_home_of_its_own_in_which_libraries_keep_their_caches(real, tmp_path, monkeypatch):
    """Nothing of the user's home is named to it, and torch, timm and matplotlib work."""
    (tmp_path / "user").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("HF_TOKEN", "secret")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    real.trick.write_text(
        "import matplotlib, timm, torch, tempfile\n"
        "timm.create_model('resnet18'); torch.compile\n"
        "own = pathlib.Path.home()\n"
        "places = torch.hub.get_dir(), matplotlib.get_cachedir(), tempfile.gettempdir()\n"
        "assert own.name == 'home'\n"
        "for place in places:\n"
        "    assert pathlib.Path(place).is_relative_to(own.parent), place\n"
        "assert 'HF_TOKEN' not in os.environ\n"
    )
    try:
        record = replayed(real.mine, real.weights, trust=True)
    finally:
        real.trick.unlink()
    assert record["equal"]
    assert not [*(tmp_path / "temporary").iterdir()] and not [*(tmp_path / "user").iterdir()]  # ended with the process


@pytest.mark.slow
def test_with_published_weights_a_result_is_verified(tmp_path, monkeypatch):
    """A copy of the cards of xaibench in which a small network has published weights, here and in the process."""
    cards = Path(shutil.copytree(registry.shipped(), tmp_path / "cards"))
    weights = weights_of(tmp_path / "w.safetensors")
    published = PublishedWeights(dataset="critters", url="https://example.org/w.safetensors", sha256=sha256_of(weights))
    (place,) = known_places(published)
    place.parent.mkdir(parents=True)
    shutil.copy(weights, place)
    with (cards / "models" / "critters_cnn.toml").open("a") as file:
        file.write(f'\n[plain]\ndataset = "critters"\nurl = "{published.url}"\nsha256 = "{published.sha256}"\n')
    patch = f"import pathlib\nfrom xaibench import registry\nregistry.shipped = lambda: pathlib.Path({str(cards)!r})\n"
    (tmp_path / "python").mkdir()
    (tmp_path / "python" / "sitecustomize.py").write_text(patch)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'python'}:{Path(__file__).parents[2]}")
    monkeypatch.setattr(registry, "shipped", lambda: cards)
    registry._shipped_cards.cache_clear()
    try:
        # by its path: on drawn data a run for "plain" trains a network
        record = replayed(submitted(tmp_path, str(place)), None, trust=True)
        assert record["equal"] and len(record["cells"]) == 3
        assert all(one["verified"] and one["public_weights"] for one in record["cells"].values())
        place.write_bytes(weights.read_bytes() + b" ")  # another file under the same name
        with pytest.raises(XaibenchError, match="its weights"):
            replayed(tmp_path / "mine", None, trust=True)
    finally:
        registry._shipped_cards.cache_clear()
