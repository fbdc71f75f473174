"""What the page and the figure of a comparison say of its trainings: no claim about a design below five of each arm."""

from __future__ import annotations

from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest

from xaibench.analysis.arm import Arm
from xaibench.analysis.comparison import compare
from xaibench.report.study_figure import changes_figure
from xaibench.report.study_page import headline, interval_kinds, study_caption, study_page


def study(*trainings):
    """Comparisons of two arms with these trainings each; the second one is better in method `a`, unclear in `b`."""
    rng = np.random.default_rng(0)
    pairs = []
    for number in trainings:
        scores = rng.normal(0, 0.05, (2, number, 20, 3))
        scores[1, ..., 0] += 0.5
        scores[:, ..., 2] = 1.0
        before, after = (
            Arm(name, arm, ("a", "b", "oracle"), ("method", "method", "oracle"), tuple("abcdefghijklmnopqrst"))
            for name, arm in zip(("x", "y"), scores, strict=True)
        )
        pairs.append(compare(before, after))
    return SimpleNamespace(
        pairs=pairs, metric="spearman", higher_is_better=True, title="A title", spread=None, notes=(), titles={},
        card=SimpleNamespace(name="own", question="What?", claim="", title="Own"), summary=pairs[0].table[:0],
        trained=False, table=pairs[0].table, protocol_label="sds",
    )  # fmt: skip


@pytest.mark.parametrize("trainings", [1, 4, 5])
def test_verdicts_and_headlines(trainings):
    found = study(trainings)
    enough = trainings >= 5
    assert headline(found.pairs[0]).endswith("each" if enough else "each: no claim about the design")
    page = study_page(found)
    assert page.value["pairs"][0]["enough_trainings"] == enough
    lines = [line for line in page.to_markdown().splitlines() if line.startswith(("| a |", "| b |", "| oracle |"))]
    better = "better" if enough else "better here"
    assert [line.split(" | ")[6] for line in lines] == [better, "not told apart", "not told apart"]
    assert lines[2].split(" | ")[4:6] == ["", ""], "what never varies has no interval"


def test_captions_name_the_kind_of_interval():
    over, alone = "over trainings and images", "over images for these networks alone"
    for trainings, kinds in (((1,), [alone]), ((3,), [over]), ((5, 1), [over, alone])):
        found = study(*trainings)
        assert [kind.partition(" (")[0] for kind in interval_kinds(found)] == kinds
        assert all(kind in study_caption(found) for kind in kinds)


@pytest.mark.parametrize("trainings", [(5,), (3, 1, 5, 1)])
def test_the_figure_says_so(trainings, tmp_path):
    path = changes_figure(study(*trainings), tmp_path / "changes.svg")
    texts = " ".join(node.text or "" for node in ElementTree.parse(path).iter() if node.tag.endswith("text"))
    assert ("too few trainings for a claim" in texts) == (min(trainings) < 5) and "trainings and images" in texts
