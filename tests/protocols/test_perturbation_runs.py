"""Every protocol that perturbs something, in one run of a tiny network: rows, controls, costs."""

from __future__ import annotations

from dataclasses import fields

import pytest

import xaibench
from xaibench import registry
from xaibench.protocols.api import make_protocol

SETTINGS = {
    "deletion": {"steps": 4}, "insertion": {"steps": 4}, "combined": {"steps": 4}, "ids": {"steps": 4},
    "srg": {"steps": 4}, "part-deletion": {}, "sds-accuracy": {}, "road": {"steps": 3},
    "infidelity": {"samples": 4}, "sensitivity-n": {"sets": 5}, "max-sensitivity": {"samples": 2}, "sparseness": {},
    "randomization": {"stages": 3}, "f-fidelity": {"steps": 3, "samples": 2}, "average-drop": {}, "average-gain": {},
    "adcc": {"baseline": "black"}, "arcc": {"steps": 2}, "saco": {"groups": 4}, "efficient-mprt": {"bins": 20},
    "random-logit": {"other": "second"},
}  # fmt: skip
SLOW = {"average-drop", "average-gain", "arcc", "saco", "efficient-mprt", "random-logit"}  # so the suite stays short
METHODS = ["ixg", "grad-cam", "random", "constant", "oracle"]


@pytest.mark.parametrize("name", SETTINGS)
def test_cards_list_every_setting_with_its_default(name):
    card = registry.card("protocol", name)
    assert make_protocol(card, {}) == registry.load(card)()
    assert set(card.parameters) == {field.name for field in fields(registry.load(card))}
    assert card.paper.url.startswith("https://arxiv.org/abs/") and card.notes
    assert card.weights == ("aligned" if name in ("part-deletion", "f-fidelity") else "plain")
    worst = card.range[0] if card.higher_is_better else card.range[1]
    best = card.range[1] if card.higher_is_better else card.range[0]
    assert card.undefined_cost != best and (card.undefined_cost in (0.0, worst) or name == "max-sensitivity")


@pytest.mark.process
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in SETTINGS]
)
def test_a_run_fills_its_rows(name, home):
    results = xaibench.run(name, model="tiny", dataset="mini", methods=METHODS, out="a", settings=SETTINGS[name])
    card, rows = registry.card("protocol", name), results.rows
    main = rows[rows["metric"] == card.metric]
    alone = name == "sds-accuracy"
    methods = {None} if alone else set(METHODS) - (set() if name == "part-deletion" else {"oracle"})
    assert len(main) == 8 * len(methods) and main["image_id"].nunique() == 8
    fine = main[main["status"] == "ok"]["score"]
    assert len(fine) and fine.between(*card.range).all()
    if not alone:
        assert set(main[main["method"] == "constant"]["status"]) <= {"undefined-map", "undefined-reference"}
    if name == "part-deletion":
        oracle = main[(main["method"] == "oracle") & (main["status"] == "ok")]["score"]
        assert oracle.tolist() == pytest.approx([1] * len(oracle))
