"""One set of maps under many protocols: rows per class and metric, protocols without a method, boards of a metric."""

from __future__ import annotations

import pytest

import xaibench
from xaibench.datasets.critters import Critters
from xaibench.errors import XaibenchError

pytestmark = pytest.mark.process  # whole runs or large networks: not in the fast tier

PLUGIN = """
from dataclasses import dataclass
import torch, xaibench

@xaibench.protocol("mass", metric="mass", range=(-9, 9), higher_is_better=True, undefined_cost=0, further={further})
@dataclass(frozen=True)
class Mass(xaibench.Protocol):
    \"\"\"The mean of the map, and of its square.\"\"\"
    target: str = "label"
    def prepare(self, e):
        return None
    def score(self, prepared, maps):
        bad = torch.zeros(len(maps), dtype=torch.bool)
        square = xaibench.status_of(maps.square().mean((1, 2, 3)).double(), bad, bad)
        return xaibench.Scores(maps.mean((1, 2, 3)).double(), ["ok"] * len(maps), {{"square-1": square}})
"""


def run(protocols, out="results", **changes):
    arguments = {"model": "tiny", "dataset": "mini", "methods": "ixg,random,oracle", "images": 10, "quiet": True}
    return xaibench.run(protocols, out=out, **(arguments | changes))


def labels(image_id: str) -> list[int]:
    return list(Critters("test", 40, 32).annotate(image_id).labels)


def test_protocols_of_every_class_have_a_row_for_each_class_and_metric(home):
    rows = run("epg", images=40).rows
    for (image_id, method), found in rows.groupby(["image_id", "method"]):
        main = found[found["metric"] == "epg"]
        assert main["target"].tolist() == labels(image_id), method
        assert set(found["unit"]) == {"class"} and set(found["metric"]) == {"epg", "epg-alpha", "box-pixels"}
    assert max(len(labels(i)) for i in rows["image_id"].unique()) > 1, "no image with several classes proves nothing"
    oracle = rows[(rows["method"] == "oracle") & (rows["metric"] == "epg")]
    assert oracle["score"].tolist() == pytest.approx([1.0] * len(oracle))


def test_images_that_a_protocol_cannot_ask_about_have_a_row_that_says_so(home):
    results = run("mosu", methods="ixg")
    rows = results.rows.query("metric == 'kl-area-salience'")
    boxes = {i: Critters("test", 40, 32).annotate(i).box_labels.tolist() for i in results.images}
    several = {i for i in results.images if any(boxes[i].count(c) > 1 for c in boxes[i])}
    assert set(rows["image_id"]) == set(results.images)
    assert {i for i, status in zip(rows["image_id"], rows["status"], strict=True) if status == "ok"} == several
    assert results.leaderboard().n_reference == len(results.images) - len(several)


def test_together_and_alone_give_the_same_rows(home):
    together = run("epg,obey,sds,deletion,ses", methods="ixg,grad-cam").rows
    for protocol in ("epg", "obey", "sds", "deletion", "ses"):
        alone = run(protocol, out=protocol, methods="ixg,grad-cam").rows
        columns = ["image_id", "method", "target", "metric"]
        pair = [
            t.sort_values(columns)[[*columns, "score", "status"]].reset_index(drop=True)
            for t in (together[together["protocol"] == protocol], alone)
        ]
        assert pair[0].equals(pair[1]), protocol


@pytest.mark.slow
def test_a_run_costs_less_than_its_protocols_one_by_one(home):
    """Maps are computed once, for pairs that several protocols ask about too: what remains is each one's own work."""
    protocols = ("ids", "insertion", "deletion", "epg", "seg-epg", "obey")
    methods = {"methods": "ixg,ig-u,rise,grad-cam", "images": 4}
    alone = [run(p, out=p, **methods).manifest.forward_equivalents for p in protocols]
    together = run(",".join(protocols), **methods).manifest.forward_equivalents
    maps = min(alone)  # the localisation protocols need nothing but maps
    assert max(alone) < together <= sum(alone) - (len(alone) - 1) * maps + 20


def test_a_protocol_without_a_method_has_one_row_an_image(home):
    results = run("sds-accuracy,sds", methods="ixg")
    rows = results.rows.query("protocol == 'sds-accuracy'")
    assert rows["method"].isna().all() and len(rows) == 2 * 10
    intact = rows[rows["metric"] == "accuracy"]["score"].sum()
    assert intact == results.manifest.accuracy["correct"]
    board = results.leaderboard("sds-accuracy").table
    assert len(board) == 1 and board["mean"][0] <= intact / 10
    assert run("sds-accuracy,sds", methods="ixg").computed == 0


def test_boards_of_further_metrics_have_their_own_direction(home):
    run("obey", methods="ixg,grad-cam,random")
    board = xaibench_board("obey", "iou")
    assert board.metric == "iou" and board.table["rank"].notna().sum() == 2
    described = xaibench_board("obey", "intensity")
    assert described.table["rank"].isna().all() and any("no better end" in note for note in described.notes)
    with pytest.raises(XaibenchError, match="no metric 'mass' is stored for obey; there are intensity, iou, wiou"):
        xaibench_board("obey", "mass")


def xaibench_board(protocol, metric):
    from xaibench.analysis.leaderboard import open_leaderboard

    return open_leaderboard("results", protocol, metric=metric)


def test_metrics_are_declared_by_name_or_pattern(home, tmp_path):
    path = tmp_path / "mass.py"
    path.write_text(PLUGIN.format(further={}))
    with pytest.raises(XaibenchError, match="gave the score 'square-1', which its card does not list as further"):
        run("mass", plugins=[path], methods="ixg")
    path.write_text(PLUGIN.format(further={"square-*": {"higher_is_better": False, "range": (0, 5)}}))
    run("mass", plugins=[path], methods="ixg,random")
    board = xaibench_board("mass", "square-1")
    assert not board.higher_is_better and board.table["mean"].is_monotonic_increasing


def test_a_data_set_that_lacks_what_a_protocol_needs_is_named(home, photos):
    with pytest.raises(XaibenchError, match="protocol epg needs boxes, which data set imagefolder does not have"):
        run("epg", dataset="imagefolder", data_root=photos)
    with pytest.raises(XaibenchError, match=r"target is .* 'everything'"):
        run("epg", settings={"target": "everything"})


def test_a_method_that_fails_at_one_protocols_images_goes_on_under_the_others(home, tmp_path):
    from xaibench.evaluation.api import MethodFailed

    path = tmp_path / "picky.py"
    path.write_text(
        "import xaibench\n@xaibench.method('picky')\ndef picky(e):\n"
        "    if e.annotations is None:\n        raise ValueError('another image')\n    return e.gradient()\n"
    )
    with pytest.raises(MethodFailed, match="method picky under ses failed: ValueError: another image") as caught:
        run("ses,sds,epg", plugins=[path], methods="ixg,picky")
    rows = caught.value.results.rows
    assert set(rows[rows["method"] == "picky"]["protocol"]) == {"sds", "epg"}
    assert set(rows[rows["method"] == "ixg"]["protocol"]) == {"ses", "sds", "epg"}
