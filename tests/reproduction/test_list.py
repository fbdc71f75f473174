"""The studies are the tables and figures of the five papers, all of them, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from xaibench import registry

HESSE = ["Table 3", "Table 4", "Table 5", "Table 6", "Table 7", "Figure 2", "Figure 3", "Figure 4", "Figure 5",
         "Figure 6", "Figure 7", "Figure 8", "Figure 9", "Figure 10", "text, Section 4.1"]  # fmt: skip
RAO = ["Figure 4", "Figure 5", "Figure 6", "Figure 7", "Figure 8", "Figure 10", "Figure 12", "Table 1",
       "Figure B1", "Figure B2", "Figure B3", "Figure B4", "Figure B5", "Figure B6", "Figure B7", "Figure B8",
       "Figure B9", "Table C1", "Table D1", "Table D2", "Figure X1", "Figure X2", "Figure X3", "Figure X4",
       "Figure X5", "Figure X6", "Figure X7", "Figure X8", "Figure X9", "Figure X10", "Figure X11",
       "Figure 1", "Figure 2", "Figure 9", "Figure 11", "Figure 13", "Figure A1", "Figure A2", "Figure A3",
       "Figure A4", "Figure C1"]  # fmt: skip
REPRODUCTION = ["Table 1", "Table 2", "Table 3", "Table 4", "Table 5", "Table 6", "Table 7", "Table 8", "Figure 1",
                "Figure 2", "Figure 4", "Figure 5", "Figure 6", "Figure 10", "Figure 13", "Figure 14", "Figure 16",
                "Figure 3", "Figure 12", "Figure 15", "Figure 11", "Figure 7", "Figure 8", "Figure 9", "Figure 17",
                "Figure 18", "Figure 19"]  # fmt: skip
OBEY = ["Table 1", "Table 2", "Table 3", "Table 4", "Table 5", "Table 6", "Table 7", "Table 8", "Table 9", "Table 10",
        "Table 11", "Table 12", "Table 13", "Table 14", "Figure 2", "Figure 3", "Figure 4"]  # fmt: skip
LICO = ["Table 1", "Table 2", "Table 3", "Table 4", "Table 5", "Figure 3", "Appendix A", "remark in Section 4.1"]
GALLERIES = {
    "hesse": ["Figure 10"],
    "rao": ["Figure 1", "Figure 2", "Figure 9", "Figure 11", "Figure 13", "Figure A1", "Figure A2", "Figure A3",
            "Figure A4", "Figure C1"],
    "repro": ["Table 6", "Figure 3", "Figure 12", "Figure 15"],
    "obey": ["Figure 2", "Figure 3", "Figure 4"],
    "lico": ["Figure 3"],
}  # fmt: skip
UNSEEN = [f"Figure X{number}" for number in range(2, 12)]
"""Of these only references are in the text that the cards were written from."""


@pytest.mark.parametrize(
    ("paper", "items"),
    [("hesse", HESSE), ("rao", RAO), ("repro", REPRODUCTION), ("obey", OBEY), ("lico", LICO)],
)
def test_every_table_and_figure_has_one_study(paper, items):
    cards = [registry.card("study", name) for name in registry.names("study", f"{paper}-*")]
    assert sorted(card.item for card in cards) == sorted(items)
    assert len({card.paper.title for card in cards}) == 1
    for card in cards:
        if card.item.startswith(("Table", "Figure")):
            assert card.name == f"{paper}-{card.item.lower().replace(' ', '-')}"
        assert (card.content == "gallery") == (card.item in GALLERIES[paper])
        assert (card.content == "unseen") == (paper == "rao" and card.item in UNSEEN)
        if card.content in ("facts", "unseen"):
            assert not card.claims
            continue
        paper_scale = card.scales["paper"]
        assert paper_scale.missing or (paper_scale.fetch and paper_scale.gpu_hours)
    assert registry.names("study") == sorted(
        name for known in ("hesse", "rao", "repro", "obey", "lico") for name in registry.names("study", f"{known}-*")
    )


def test_the_claims_of_the_papers_that_have_numbers_are_there():
    claims = {claim.name for name in registry.names("study") for claim in registry.card("study", name).claims}
    assert {f"R{number}" for number in range(1, 11)} <= claims
    for prefix, count in (("H", 41), ("G", 13), ("S", 19), ("O", 15), ("L", 14)):
        assert {f"{prefix}{number}" for number in range(1, count + 1)} <= claims


def test_the_page_in_the_documentation_has_every_study_and_claim():
    """`xaibench study report` writes it; a card that was added since is missing."""
    path = Path(__file__).parents[2] / "docs" / "reproduction.md"
    if not path.is_file():
        pytest.skip("the documentation is in the repository only")
    lines = path.read_text(encoding="utf-8").splitlines()
    first = {line.split(" | ")[0].removeprefix("| ") for line in lines if line.startswith("| ")}
    names = registry.names("study")
    claims = {claim.name for name in names for claim in registry.card("study", name).claims}
    assert {*names, *claims} <= first
