"""Protocols that are fitted on held-out images: the threshold of box-iou, its record, its key, and resumed runs."""

from __future__ import annotations

import pytest

import xaibench
from xaibench.errors import XaibenchError
from xaibench.protocols.localization.box_iou import CANDIDATES
from xaibench.results.manifest import load_runs
from xaibench.results.store import Store

pytestmark = pytest.mark.process  # whole runs or large networks: not in the fast tier

METHODS = ["ixg", "grad-cam", "centre", "constant"]
FIT = {"threshold": "fit", "held_out": 6}


def run(images: int = 4, out: str = "a", **settings):
    return xaibench.run(
        "box-iou", model="tiny", dataset="mini", methods=METHODS, weights="plain", images=images, out=out,
        settings=settings,
    )  # fmt: skip


def scores(results, metric="iou"):
    rows = results.rows[results.rows["metric"] == metric]
    return rows.set_index(["method", "image_id", "target"])["score"].sort_index()


@pytest.mark.slow
def test_the_threshold_is_the_best_of_all_on_held_out_images(home):
    """The oracle is a search by hand: box-iou at each candidate on the validation part, as a data set of its own."""
    fitted = run(**FIT)
    used = scores(fitted, "threshold").groupby("method").first()
    means = {}
    for candidate in CANDIDATES:
        results = xaibench.run(
            "box-iou", model="tiny", dataset="mini", methods=METHODS, weights=fitted_weights(), images=6, out="search",
            settings={"threshold": candidate}, dataset_options={"split": "val", "count": 16},
        )  # fmt: skip
        rows = results.rows[(results.rows["metric"] == "iou")]
        for method, part in rows.groupby("method"):
            means.setdefault(method, []).append(part["score"].mean())
    for method in METHODS:
        best = max(means[method])
        lowest = next(c for c, mean in zip(CANDIDATES, means[method], strict=True) if mean >= best - 1e-12)
        assert used[method] == lowest, method
    assert used.nunique() > 1, "each method has its own"


def fitted_weights() -> str:
    from xaibench.models.trained import trained_weights

    return str(next(w.path for w in trained_weights("tiny", "mini") if w.header["alignment"] is None))


@pytest.mark.slow
def test_scores_are_those_of_the_threshold_that_was_fitted(home):
    fitted = run(**FIT)
    used = scores(fitted, "threshold").groupby("method").first()
    for method in METHODS:
        fixed = xaibench.run(
            "box-iou", model="tiny", dataset="mini", methods=[method], weights="plain", images=4, out="b",
            settings={"threshold": float(used[method])},
        )  # fmt: skip
        assert scores(fixed).xs(method).dropna().to_dict() == scores(fitted).xs(method).dropna().to_dict()


def test_the_record_holds_it_and_a_longer_run_keeps_it(home, monkeypatch):
    run(4, **FIT)
    first = load_runs(Store("a"))[-1].fitted
    assert len(first) == len(METHODS) and all(set(chosen) == {"threshold"} for chosen in first.values())

    def never(*arguments):
        raise AssertionError("fitted again")

    monkeypatch.setattr("xaibench.protocols.localization.box_iou._best", never)
    results = run(8, **FIT)
    assert load_runs(Store("a"))[-1].fitted == first and results.computed == 4


def test_other_held_out_images_are_another_board(home):
    boards = {run(2, **settings).leaderboard("box-iou").board for settings in ({}, FIT, FIT | {"held_out": 7})}
    assert len(boards) == 3


def test_held_out_images_are_never_evaluated_ones(home, command):
    settings = ("--setting", "threshold=fit", "--setting", "held_out=17", "--out", "a", "--quiet")
    status, _, error = command(
        "run", "box-iou", "--model", "tiny", "--dataset", "mini", "--weights", "plain", "--methods", "ixg", *settings
    )
    assert status and "17 held-out images are needed" in error and error.count("\n") == 1
    part = {"split": "val", "count": 16}  # what is evaluated is the validation part
    with pytest.raises(XaibenchError, match="held-out images are evaluated too"):
        xaibench.run(
            "box-iou", model="tiny", dataset="mini", methods=["ixg"], weights=fitted_weights(), images=12, out="a",
            settings=FIT, dataset_options=part,
        )  # fmt: skip
    few = xaibench.run(
        "box-iou", model="tiny", dataset="mini", methods=["ixg"], weights=fitted_weights(), images=10, out="a",
        settings=FIT, dataset_options=part,
    )  # fmt: skip
    assert few.computed == 10


def test_without_a_run_the_threshold_has_to_be_a_number():
    import torch

    from xaibench.protocols.localization.box_iou import BoxIoU

    with pytest.raises(XaibenchError, match="fit` the protocol first"):
        BoxIoU(threshold="fit").score(torch.ones(1, 4, 4, dtype=torch.bool), torch.ones(1, 1, 4, 4))
