"""Comparisons from stored rows: arms that were trained for a task are found by the records of their trainings."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from xaibench import registry
from xaibench.analysis.stored import StoredResults
from xaibench.comparison.config import ComparisonConfig
from xaibench.comparison.steps import steps
from xaibench.comparison.stored import StoredStep, is_lacking, stored_comparison
from xaibench.comparison.stored_training import StoredTrainings, group_of, of_one_network
from xaibench.errors import XaibenchError
from xaibench.evaluation.config import RunConfig
from xaibench.training.api import fields_without_start
from xaibench.training.arm import arm_fields
from xaibench.training.subject import Subject

PUBLISHED = Path(__file__).parents[2] / "leaderboards" / "trainings"
REQUEST = {"protocols": ["epg"], "model": "critters_cnn", "dataset": "critters-spurious", "images": 500}


def board(key: str, digest: str, training: dict, **changes):
    """A board of one run, as far as it is looked at."""
    config = {**REQUEST, "weights": "PATH/weights.safetensors", **changes}
    run = SimpleNamespace(status="complete", images={"count": 500}, config=config, training=training)
    context = {"protocol": {"name": "epg"}, "weights": {"digest": digest}}
    return SimpleNamespace(key=key, context=context, is_current=True, runs=[run], run=run)


@pytest.fixture
def stored(home):
    """stored(*boards): the key of the board found for training 1 of the arm Energy of `guidance`, and the note."""
    card = registry.card("comparison", "guidance")
    todo, _ = steps(card, ComparisonConfig(comparison="guidance", trainings=2))
    (step,) = [step for step in todo if step.description == "Energy, training 1"]

    def find(*boards, others=()):
        results = SimpleNamespace(boards=list(boards), stores=())
        asked = [(each, RunConfig.parse(REQUEST)) for each in (step, *others)]
        found = StoredTrainings(results, card.title).boards_of(asked)
        answers = [(board and board.key, note) for board, note in found]
        return answers if others else answers[0]

    find.others = [each for each in todo if each.training and each.number == 1 and each is not step]
    find.header = arm_fields(step.training)
    find.baseline = fields_without_start(Subject(step.training, step.baseline_recipe).baseline_config(1))
    return find


def test_the_header_of_an_arm_is_known_without_weights(stored):
    header = json.loads(json.dumps(stored.header))
    assert header["seed"] == 1 and header["recipe"]["start"] == "plain" and header["recipe"]["epochs"] == 5
    assert header["task"]["name"] == "guided" and header["task"]["lambda"] == [5e-3] and "start" not in header
    assert stored.baseline["recipe"]["epochs"] == 12 and "task" not in stored.baseline


@pytest.mark.parametrize(
    "change",
    [{"seed": 0}, {"model": "x_critters_cnn"}, {"dataset_version": 99}, {"recipe": {}}, {"task": {"name": "guided"}},
     {"train": {}}],
)  # fmt: skip
def test_another_training_is_not_taken(stored, change):
    header = {**stored.header, "start": "a", "metrics": {"accuracy": 1.0}, "chosen": {}}
    note = "Energy: the weights it starts from are not stored, and taken for the baseline of the comparison"
    assert stored(board("k", "b", header)) == ("k", note)
    assert stored(board("k", "b", {**header, **change})) == (None, "")
    assert stored(board("k", "b", header, settings={"alpha": 1.0})) == (None, "")
    assert stored() == (None, "")


def test_a_training_starts_from_the_baseline_that_is_stored(stored):
    ours, other = ({**stored.header, "start": start} for start in ("mine", "another"))
    baseline = board("base", "mine", {**stored.baseline, "start": None}, weights="plain")
    assert stored(board("o", "x", other), board("k", "b", ours), baseline) == ("k", "")
    assert stored(board("o", "x", other), baseline) == (None, "")
    key, note = stored(board("o", "x", other), board("k", "b", ours))  # the newest of as many
    assert key == "o" and "not stored" in note
    epochs = {**stored.baseline, "recipe": {**stored.baseline["recipe"], "epochs": 3}, "start": None}
    key, note = stored(board("o", "x", other), board("s", "another", epochs))  # other weights, of another recipe
    assert key == "o" and "not stored" in note


def test_arms_of_one_seed_start_from_one_baseline(stored):
    """Of two baselines the one from which more arms were trained, whichever boards are newer."""
    headers = [stored.header, *(json.loads(json.dumps(arm_fields(each.training))) for each in stored.others)]
    assert len(headers) == 3 and len({json.dumps(header, sort_keys=True) for header in headers}) == 3
    first = [board(f"a{k}", f"wa{k}", {**header, "start": "a"}) for k, header in enumerate(headers[:1])]
    second = [board(f"b{k}", f"wb{k}", {**header, "start": "b"}) for k, header in enumerate(headers[:2])]
    found = stored(*first, *second, others=stored.others)
    assert [key for key, _ in found] == ["b0", "b1", None]
    assert all("taken for the baseline" in note for key, note in found if key) and found[2][1] == ""
    baseline = board("base", "a", {**stored.baseline, "start": None}, weights="plain")
    assert stored(*first, *second, baseline, others=stored.others) == [("a0", ""), (None, ""), (None, "")]


def test_arms_that_differ_in_settings_alone_are_of_one_network():
    """Rows of one training on two machines are of two networks, whose difference is none of the arms."""
    config = ComparisonConfig(comparison="softmax", trainings=2)
    todo, _ = steps(registry.card("comparison", "softmax"), config)
    asked = []
    for step in todo:
        arguments = step.run_arguments | {"protocols": ["idsds"], "training_seed": step.number or None}
        asked.append((step, RunConfig.parse(arguments)))
    logit, probability, both = (request for step, request in asked if step.number == 0)

    def of(request, digest):
        made = board(f"{digest}-{len(request.settings)}", digest, {}, **request.changed())
        made.context["protocol"] = {"name": "idsds"}
        made.run.config = {key: value for key, value in made.run.config.items() if key in request.changed()}
        return made

    def found(*boards):
        return [one and one.context["weights"]["digest"] for one in of_one_network(asked, boards)][:3]

    assert found(of(logit, "a"), of(probability, "b"), of(both, "b")) == [None, "b", "b"]
    assert found(of(logit, "a"), of(logit, "b"), of(probability, "b"), of(both, "b")) == ["b", "b", "b"]
    assert found(of(logit, "a"), of(probability, "a"), of(both, "b")) == ["a", "a", None]
    assert found() == [None, None, None]
    assert len({group_of(step) for step in todo}) == 2  # a group for each training


def test_what_is_lacking_is_run_with_the_arms_of_its_baseline(home, monkeypatch):
    config = ComparisonConfig(comparison="guidance", trainings=2)
    todo, _ = steps(registry.card("comparison", "guidance"), config)
    (judge, *_) = registry.card("comparison", "guidance").judges

    def found(config, results):
        yield judge, [StoredStep(step, results.get(step.description), "", 1.0) for step in todo]

    monkeypatch.setattr("xaibench.comparison.stored.stored_steps", found)
    every = {step.description: "a board" for step in todo}
    assert not any(map(is_lacking(config, every), todo))
    wanted = is_lacking(config, every | {"Energy, training 1": None})
    assert {step.number for step in todo if wanted(step)} == {1}
    assert all(wanted(step) for step in todo if step.number == 1)


@pytest.mark.slow
@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published boards are in the repository only")
@pytest.mark.parametrize(
    ("name", "options"),
    [("cgc", {}), ("adversarial", {}), ("guidance-stage", {"models": ("x_critters_cnn",)}), ("guidance", {})],
)
def test_published_comparisons_of_trained_arms_come_from_their_rows_again(name, options):
    root = PUBLISHED
    results = StoredResults(root, newest=registry.shipped_version)
    published = {
        one["title"]: one for one in (json.loads(p.read_text()) for p in (root / "comparisons").glob("*.json"))
    }
    found = list(stored_comparison(ComparisonConfig(comparison=name, trainings=5, **options), results))
    assert len(found) == len(registry.card("comparison", name).choose_protocols(()))
    wanted = {title for title, one in published.items() if one["comparison"] == name}
    for model in options.get("models", ()):
        wanted = {title for title in wanted if f" ({model}) " in title}
    assert wanted and {study.title for study in found} >= wanted
    for study in (study for study in found if study.title in published):  # cards have more protocols than then
        then = published[study.title]
        for pair, before in zip(study.pairs, then["pairs"], strict=True):
            assert (pair.before, pair.after) == (before["before"], before["after"])
            assert (pair.change, pair.low, pair.high) == pytest.approx((before["change"], *before["interval"]))
            assert list(pair.trainings) == before["trainings"]
        seconds = {(row["arm"], row["training"]): row.get("epoch_seconds") for row in then["trainings"]}
        for arm in study.arms.values():
            assert list(arm.seconds) == pytest.approx(
                [seconds[arm.name, number] or float("nan") for number in range(arm.trainings)], nan_ok=True
            )


def test_what_is_not_stored_names_the_command(home, tmp_path):
    from xaibench.results.store import Store

    results = StoredResults(Store.create(tmp_path / "empty"))
    with pytest.raises(
        XaibenchError, match=r"no two arms of the comparison lico under ses and sch and .*; make them with"
    ) as error:
        list(stored_comparison(ComparisonConfig(comparison="lico"), results))
    assert "\n" not in str(error.value)
