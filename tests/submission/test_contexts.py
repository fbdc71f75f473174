"""What the check of keys accepts is what runs write, and every change of it is named: against plans of real runs."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from xaibench import registry
from xaibench.evaluation.config import RunConfig
from xaibench.evaluation.plan import make_plan
from xaibench.evaluation.resolve import resolve
from xaibench.evaluation.resources import Resources
from xaibench.evaluation.weights import open_models
from xaibench.submission.contexts import context_problems
from xaibench.submission.methods import method_problems

NOTHING_BROUGHT = SimpleNamespace(methods=(), card="source/mine.py")
PROTOCOLS = (
    "sds",
    "deletion",
    "insertion",
    "epg",
    "pointing-game",
    "obey",
    "sparseness",
    "random-logit",
    "road",
    "srg",
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    """Random weights of a small network."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_file(registry.load(registry.card("model", "critters_cnn"))(10).state_dict(), path)
    return str(path)


@pytest.fixture(scope="module")
def planned(weights):
    """planned(...): the cells of a run with this request, of which nothing is computed."""

    def call(*protocols: str, methods=("ixg", "rise", "random"), **fields):
        config = RunConfig(protocols=protocols, model="critters_cnn", weights=weights, methods=methods,
                           images=4, device="cpu", **fields)  # fmt: skip
        found = resolve(config)
        models = open_models(found, Resources.of(config), quiet=True, say=lambda text: None)
        return [job.cell for job in make_plan(found, models).jobs]

    return call


def problems(cell) -> list[str]:
    return [*context_problems(cell.context), *method_problems(cell, NOTHING_BROUGHT, None)]


def test_what_runs_write_has_no_problem(planned):
    cells = planned(*PROTOCOLS)
    assert len({cell.context["protocol"]["name"] for cell in cells}) == len(PROTOCOLS)
    assert {cell.key: problems(cell) for cell in cells} == {cell.key: [] for cell in cells}


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {"profile": "paper"},
        {"settings": {"grid": 2, "baseline": "random"}},
        {"dataset_options": {"rule": "one:beak", "count": 100, "background_correlation": 0.5}},
        {"dataset_options": {"rule": "redundant"}},  # as the card has it, and in the title all the same
        {"dataset_options": {"red_dot": 3, "red_dot_radius": 0.1}},
        {"precision": "bfloat16", "seed": 7},
        {"layer": "Final", "methods": ("ixg", "grad-cam", "random")},
    ],
    ids=str,
)
def test_what_deviates_as_runs_may_has_no_problem_and_is_in_the_title(planned, fields):
    usual, cells = planned("sds")[0], planned("sds", **fields)
    assert {cell.key: problems(cell) for cell in cells} == {cell.key: [] for cell in cells}
    if fields not in ({"profile": "quick"}, {"dataset_options": {"rule": "redundant"}}):
        assert cells[0].title != usual.title and cells[0].key != usual.key


@pytest.fixture(scope="module")
def usual(planned):
    """The cells of a plain run."""
    return planned("sds")


def test_the_oracle_of_a_protocol_is_one_and_nobody_else(planned):
    """Occlusion in the very cells of the protocol is an oracle; called a method it is not what a run writes, and the
    other way round."""
    for cell in planned("sds", methods=("ixg", "oracle", "random")):
        assert not problems(cell)
        other = copy.deepcopy(cell.method) | {"kind": "variant" if cell.kind == "oracle" else "oracle"}
        changed = SimpleNamespace(context=cell.context, method=other, kind=other["kind"])
        assert any(f"is a {cell.kind}, not a" in text for text in problems(changed))


LEAVES = [
    ("protocol", "version"), ("protocol", "source"), ("protocol", "settings"), ("protocol", "metric"),
    ("protocol", "range"), ("protocol", "higher_is_better"), ("protocol", "undefined_cost"), ("protocol", "label"),
    ("dataset", "version"), ("dataset", "source"), ("dataset", "settings"), ("dataset", "geometry"),
    ("dataset", "label"), ("model", "version"), ("model", "source"), ("model", "cam_grid"), ("model", "notes"),
    ("model", "label"), ("weights", "digest"), ("weights", "alignment"), ("weights", "label"), ("profile", "name"),
    ("profile", "overrides"), ("profile", "label"), ("seed",), ("precision",),
]  # fmt: skip


@pytest.mark.parametrize("leaf", LEAVES, ids=".".join)
def test_every_part_of_a_context_is_looked_at(usual, leaf):
    """Each field, replaced by something of another kind, removed, or beside a field that no run writes."""
    for change in ("replaced", "removed", "joined"):
        context = copy.deepcopy(usual[0].context)
        place = context
        for name in leaf[:-1]:
            place = place[name]
        if change == "replaced":
            place[leaf[-1]] = "odd"
        elif change == "removed":
            del place[leaf[-1]]
        else:
            place["bonus"] = 1
        try:
            found = list(context_problems(context))
        except (TypeError, KeyError, AttributeError, ValueError):
            continue  # `check` says that it is not what xaibench writes
        assert found, (leaf, change)
