"""What methods cost: hand-counted passes, methods run alone, and shares that add up to all the work."""

from __future__ import annotations

import pytest

from xaibench import registry
from xaibench.attribution.costs import Cost, CostLedger, MethodCost
from xaibench.attribution.methods import merge_parameters, method_maps

FEW = {"steps": 3, "masks": 6, "samples": 2}
IMAGES = 4
BY_HAND = {  # forward-equivalents an image, 3 for a gradient: one forward pass, and a backward pass that counts as two
    "saliency": 3, "ixg": 3, "grad-cam": 3, "layer-cam": 3, "ig": 3 * 3, "ig-abs": 3 * 3, "ig-sg": 2 * 3 * 3,
    "rise": 6, "sg-cam++": 3 * 3, "random": 0,
}  # fmt: skip
SHARED_BY_HAND = {  # saliency and ixg share a gradient; ig and ig-abs a path; the pass without noise three CAMs
    "saliency": 1.5, "ixg": 1.5, "grad-cam": 1, "layer-cam": 1, "ig": 4.5, "ig-abs": 4.5, "ig-sg": 18,
    "rise": 6, "sg-cam++": 1 + 2 * 3, "random": 0,
}  # fmt: skip


def draw(e, *names: str) -> tuple[dict[str, MethodCost], float]:
    """The costs of methods for one batch, and its forward-equivalents."""
    costs: dict[str, MethodCost] = {}
    with e.runner.counting_costs(costs, "cpu"):
        for name in names:
            card = registry.card("method", name)
            with e.runner.ledger.drawing(name, IMAGES, IMAGES):
                method_maps(card, e, merge_parameters(card, FEW))
    return costs, e.runner.forward_equivalents


def test_passes_are_those_counted_by_hand(small, pictures, classes, evidence):
    costs, total = draw(evidence(small, pictures, classes), *BY_HAND)
    found = {name: cost.per_image() for name, cost in costs.items()}
    assert {name: cost["forward_equivalents_alone"] for name, cost in found.items()} == BY_HAND
    assert {name: cost["forward_equivalents_shared"] for name, cost in found.items()} == SHARED_BY_HAND
    assert sum(SHARED_BY_HAND.values()) * IMAGES == total
    assert all(cost["seconds_alone"] >= cost["seconds_shared"] > 0 for cost in found.values())


def test_the_cost_alone_is_that_of_a_run_of_the_method_alone(small, pictures, classes, evidence):
    names = ["saliency", "grad-cam++", "xgrad-cam", "ig-u", "ixg-sg", "rise", "sg-cam++"]
    together, _ = draw(evidence(small, pictures, classes), *names, *reversed(names))
    for name in names:
        _, alone = draw(evidence(small, pictures, classes), name)
        assert together[name].alone.forward_equivalents == 2 * alone, name
        assert together[name].images == 2 * IMAGES


def test_preparing_the_network_for_a_library_is_no_methods_cost(small, pictures, classes, evidence):
    e = evidence(small, pictures, classes)
    first, both = draw(e, "ablation-cam")
    second, _ = draw(e, "ablation-cam")
    assert first["ablation-cam"].alone.forward_equivalents == second["ablation-cam"].alone.forward_equivalents > 0
    assert both > first["ablation-cam"].alone.forward_equivalents, "nothing was prepared, which proves nothing"


def test_work_that_no_method_asked_for_is_nobodys(small, pictures, classes, evidence):
    e, costs = evidence(small, pictures, classes), {}
    with e.runner.counting_costs(costs, "cpu"):
        e.logits()  # as for the predictions of the rows
        e.gradient()  # as what a protocol prepares
        with e.runner.ledger.drawing("ixg", IMAGES, IMAGES):
            e.gradient()
        with pytest.raises(ZeroDivisionError), e.runner.ledger.drawing("broken", IMAGES, IMAGES):
            e.gradient(), 1 / 0
    assert costs.keys() == {"ixg"} and costs["ixg"].per_image()["forward_equivalents_shared"] == 3
    assert e.runner.ledger is None


def test_other_targets_of_the_same_images_share_what_no_target_changes(small, pictures, classes, evidence):
    e, costs = evidence(small, pictures, classes), {}
    with e.runner.counting_costs(costs, "cpu"):
        for each in (e, e.explaining(classes.flip(0))):
            with e.runner.ledger.drawing("both", IMAGES, IMAGES):
                each.logits(), each.gradient()
    assert costs["both"].alone.forward_equivalents == 2 * IMAGES * (1 + 3)
    assert costs["both"].share.forward_equivalents == IMAGES * (1 + 3 + 3)


def test_parts_inside_of_parts_by_hand():
    """outer = 10 of its own + inner 2; A asks for outer, B for inner and 5 besides; a clock of 0.1 a pass."""
    passed = [0.0]
    ledger = CostLedger(lambda: passed[0], lambda: passed[0] / 10)
    parts: dict[str, object] = {}

    def work(passes: float) -> None:
        passed[0] += passes

    def outer() -> None:
        work(4)
        _, parts["inner"] = ledger.shared(lambda: work(2))
        work(6)

    with ledger.drawing("A", 1, 1):
        ledger.shared(outer)
    with ledger.drawing("B", 1, 2):
        work(5)
        ledger.use(parts["inner"])
    costs: dict[str, MethodCost] = {}
    ledger.add_to(costs)
    assert costs["A"].alone == Cost(12, pytest.approx(1.2)) and costs["B"].alone == Cost(7, pytest.approx(0.7))
    assert costs["A"].share == Cost(11, pytest.approx(1.1)) and costs["B"].share == Cost(6, pytest.approx(0.6))
    assert (costs["B"].images, costs["B"].maps) == (1, 2)
