"""All arms under several protocols in one table, against means and deviations by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from xaibench.analysis.arm import Arm
from xaibench.analysis.overview import overview
from xaibench.report.overview_page import formatted

CARD = SimpleNamespace(title="Guidance")
ACCURACY = {"plain": [0.5, 0.7, 0.6, 0.6, 0.6], "guided": [1.0] * 5}


def study(judge, scores, higher=True, seconds=False):
    """A study of two arms; scores: by arm, (trainings, images, 2) of ixg and a control."""
    arms = {
        name: Arm(name, np.array(values, float), ("ixg", "random"), ("method", "control"), ("a", "b"))
        for name, values in scores.items()
    }
    rows = [
        {"arm": name, "training": n, "accuracy": ACCURACY[name][n]} | ({"epoch_seconds": 2.0 + n} if seconds else {})
        for name, arm in arms.items() for n in range(arm.trainings)
    ]  # fmt: skip
    return SimpleNamespace(card=CARD, protocol_label=judge, arms=arms, summary=pd.DataFrame(rows), dataset="critters",
                           higher_is_better=higher)  # fmt: skip


@pytest.fixture
def found():
    epg = {"plain": [[[0.1, 9], [0.3, 9]], [[0.2, 9], [0.6, 9]]], "guided": [[[0.5, 9], [0.7, 9]]]}
    deletion = {"plain": [[[1, 9], [1, 9]], [[3, 9], [3, 9]]], "guided": [[[2, 9], [4, 9]]]}
    return overview([study("epg", epg, seconds=True), study("deletion", deletion, higher=False)])


def test_means_over_trainings_and_their_deviation(found):
    plain, guided = found.table.to_dict("records")
    assert (plain["arm"], plain["method"], plain["trainings"], guided["trainings"]) == ("plain", "ixg", 2, 1)
    assert plain["epg"] == pytest.approx(0.3) and guided["epg"] == pytest.approx(0.6)
    assert plain["deletion"] == pytest.approx(2) and plain["epoch_seconds"] == pytest.approx(2.5)
    assert found.deviations.loc[0, "epg"] == pytest.approx(np.std([0.2, 0.4], ddof=1))
    assert found.deviations.loc[0, "accuracy"] == pytest.approx(np.std([0.5, 0.7], ddof=1))
    assert np.isnan(found.deviations.loc[1, "epg"]) and found.lower == ("deletion",)


def test_words_say_shares_in_per_cent_and_deviations_where_there_are_some(found):
    words = formatted(found).to_dict("records")
    assert words[0]["accuracy"] == "60.0 ± 14.1 %" and words[1]["accuracy"] == "100.0 %"
    assert words[0]["epg"] == "0.300 ± 0.141" and words[1]["deletion"] == "3.000"
    text, markdown = found.to_text(), found.to_markdown()
    assert "lower is better in deletion" in " ".join(text.split()) and "| plain | ixg | 2 |" in markdown


def test_few_trainings_make_no_claim(found):
    assert "No claim about a design: that takes 5 trainings of each arm" in " ".join(found.to_text().split())
    many = overview([study("epg", {"plain": np.ones((5, 2, 2)), "guided": np.ones((5, 2, 2))})])
    assert "No claim" not in many.to_text()


def test_a_judge_that_lacks_a_method_leaves_its_place_empty():
    scores = {"plain": [[[0.1, 9], [0.3, 9]], [[0.1, 9], [0.3, 9]]], "guided": [[[0.5, 9], [0.7, 9]]]}
    first, second = study("epg", scores), study("sch", scores)
    lacking = second.arms["guided"]
    second.arms["guided"] = Arm("guided", lacking.scores[..., 1:], ("random",), ("control",), ("a", "b"))
    words = formatted(overview([first, second]))
    assert words["sch"].tolist() == ["0.200 ± 0.000", ""] and words["epg"].tolist() == ["0.200 ± 0.000", "0.600"]
