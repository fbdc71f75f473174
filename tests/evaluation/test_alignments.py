"""Weights for protocols that delete: which are trained or looked for, which are refused, what boards call them."""

from __future__ import annotations

import pytest

import xaibench
from xaibench import registry
from xaibench.cards import Alignment
from xaibench.errors import XaibenchError
from xaibench.evaluation.resolve import choose_alignment
from xaibench.models.trained import trained_weights
from xaibench.protocols.api import make_protocol


def chosen(*names: str, dataset: str = "critters", **settings):
    cards = [registry.card("protocol", name) for name in names]
    made = [make_protocol(card, {k: v for k, v in settings.items() if k in card.parameters}) for card in cards]
    return choose_alignment(cards, made, registry.card("dataset", dataset))


def test_protocols_that_refuse_other_weights_decide():
    cell = Alignment(grid=8, baseline="blur", probability=0.5)
    assert chosen("sds", "epg") is None
    assert chosen("idsds", "epg", grid=8, baseline="blur").suits(cell)
    assert chosen("part-deletion").kind == "parts" and chosen("part-deletion", "idsds").kind == "cell"
    assert chosen("f-fidelity", beta=0.3) == Alignment(kind="pixels", baseline="zero", probability=0.3)
    assert chosen("part-deletion", dataset="imagefolder") is None, "photos cannot be drawn without parts"


def test_two_that_refuse_each_others_weights_are_not_run_together():
    with pytest.raises(XaibenchError, match=r"idsds and f-fidelity judge weights .* one after the other"):
        chosen("idsds", "f-fidelity")


@pytest.mark.parametrize(
    ("name", "alignment", "words"),
    [
        ("f-fidelity", {"kind": "pixels", "baseline": "zero", "probability": 0.1}, "trained on random masks"),
        pytest.param(
            "part-deletion",
            {"kind": "parts", "probability": 0.2},
            "trained on dropped parts",
            marks=pytest.mark.process,
        ),
    ],
)
def test_a_run_trains_the_weights_that_its_protocol_wants(name, alignment, words, home):
    settings = {"steps": 3, "samples": 1} if name == "f-fidelity" else {}
    results = xaibench.run(name, model="tiny", dataset="mini", methods=["ixg", "random"], out="a", settings=settings)
    assert words in results.leaderboard(name).title
    headers = [w.header for w in trained_weights("tiny", "mini")]
    mine = next(key_fields for key_fields in headers if key_fields["alignment"] == alignment)
    assert mine["train"].get("drop_parts") == (0.2 if name == "part-deletion" else None)
    assert "drop_parts" not in mine["validation"], "epochs are chosen by intact images"
    assert len(results.rows) and set(results.rows["status"]) <= {"ok", "undefined-reference"}


def test_plain_weights_are_judged_by_part_deletion_and_refused_by_f_fidelity(home):
    results = xaibench.run(
        "part-deletion", model="tiny", dataset="mini", methods=["ixg"], weights="plain", images=2, out="a"
    )
    assert "(plain" in results.leaderboard("part-deletion").title
    with pytest.raises(XaibenchError, match=r"f-fidelity needs .* xaibench train random-masks --model tiny"):
        xaibench.run("f-fidelity", model="tiny", dataset="mini", methods=["ixg"], weights="plain", images=2, out="a")


@pytest.mark.process
def test_train_verbs_make_weights_and_name_what_judges_them(home, command):
    common = ("--model", "tiny", "--dataset", "mini", "--quiet", "--epochs", "1")
    status, printed, _ = command("train", "random-masks", "--share", "0.3", "--baseline", "blur", *common)
    assert status == 0 and "xaibench run f-fidelity" in printed and "--baseline blur --setting beta=0.3" in printed
    status, printed, _ = command("train", "part-deletion", "--probability", "0.4", *common)
    assert status == 0 and "xaibench run part-deletion" in printed
    for verb, option, value in (("random-masks", "--share", "0"), ("part-deletion", "--probability", "2")):
        status, _, error = command("train", verb, option, value, *common)
        assert status and error.startswith(f"xaibench: {option}:") and error.count("\n") == 1
    status, _, error = command("train", "part-deletion", "--model", "tiny", "--dataset", "imagefolder", "--quiet")
    assert status and "cannot draw its training images without parts" in error


def test_an_alignment_says_what_it_lacks():
    with pytest.raises(ValueError, match="deletion of cell needs a grid"):
        Alignment(baseline="zero", probability=0.5)
    with pytest.raises(ValueError, match="deletion of parts has no baseline"):
        Alignment(kind="parts", baseline="zero", probability=0.5)
    assert Alignment(grid=4, baseline="zero", probability=0.5).key_fields == {
        "grid": 4, "baseline": "zero", "probability": 0.5,
    }  # fmt: skip
