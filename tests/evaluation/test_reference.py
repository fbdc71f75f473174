"""Runs that compare two models: rows, keys, what the second model costs, and what is refused."""

from __future__ import annotations

import json
import shlex

import numpy as np
import pytest
import torch

import xaibench
from xaibench import registry
from xaibench.datasets.open import open_dataset
from xaibench.errors import XaibenchError
from xaibench.models.open import build_model, load_weights, model_card
from xaibench.models.state import read_state
from xaibench.results.store import Store
from xaibench.training.find import WeightsRequest, find_weights

pytestmark = pytest.mark.process  # whole runs or large networks: not in the fast tier

SIMILARITY = "model-similarity"


def run(protocols=SIMILARITY, out="a", **changes):
    arguments = {"model": "tiny", "dataset": "mini", "methods": "ixg,grad-cam", "images": 8, "quiet": True}
    return xaibench.run(protocols, out=out, **(arguments | changes))


def scores(results, metric="softmax-difference"):
    return results.rows.query("metric == @metric").sort_values("image_id")["score"]


@pytest.fixture
def otherwise_encoded(home):
    """The network `tiny` under another name, whose images are encoded otherwise."""
    path = home / "cards" / "models" / "pale.toml"
    path.write_text((home / "cards" / "models" / "tiny.toml").read_text() + "mean = [0, 0, 0]\nstd = [1, 0.5, 2]\n")
    yield "pale"
    path.unlink()


def network(name: str, weights: str):
    """A model with the weights that runs on `mini` use."""
    card, data = model_card(name), registry.card("dataset", "mini")
    model = build_model(card, 10, data.geometry)
    source = find_weights(model_card("tiny"), data, WeightsRequest(weights), download=False)
    return load_weights(model, read_state(source), weights, card)


def chances(model, results) -> np.ndarray:
    """The softmax of the labels, by direct passes."""
    data = open_dataset(registry.card("dataset", "mini"), None, {})
    samples = [data.load(i) for i in sorted(results.images)]
    with torch.no_grad():
        logits = model.net.eval()(model.encoding(np.stack([s.image for s in samples])))
    return logits.softmax(1)[range(len(samples)), [s.label for s in samples]].numpy()


def test_a_model_against_itself_scores_0(home):
    results = run(reference_model="tiny", reference_weights="plain")
    assert results.computed == 8 and set(results.rows["metric"]) == {"softmax-difference", "grad-cam-difference"}
    assert set(results.rows["score"].dropna()) == {0.0} and (scores(results) == 0).all()
    assert set(results.rows["reference_model"]) == {"tiny"} and results.rows["method"].isna().all()
    assert run(reference_weights="plain").cells == run(reference_model="tiny").cells == results.cells
    assert run(reference_weights="plain").computed == 0, "either option alone takes the other from the model itself"


def test_plain_against_aligned_are_the_differences_of_direct_passes(home):
    results = run(weights="plain", reference_weights="aligned")
    expected = np.abs(chances(network("tiny", "plain"), results) - chances(network("tiny", "aligned"), results))
    assert scores(results).tolist() == pytest.approx(expected.tolist(), abs=1e-6) and (scores(results) > 0).all()
    back = run(weights="aligned", reference_weights="plain")
    assert scores(back).tolist() == pytest.approx(scores(results).tolist()) and back.cells != results.cells
    assert scores(results, "grad-cam-difference").max() > 0


def test_a_fine_tuned_network_is_compared_with_the_one_it_started_from(home):
    with pytest.raises(XaibenchError, match="leave it out, or ask for --weights aligned"):
        run(weights="plain", reference_weights="aligned", recipe={"start": "plain"}, out="b")
    run("sds", images=1)  # trains the plain weights
    before = set((home / "models").iterdir())
    results = run(weights="aligned", reference_weights="plain", recipe={"start": "plain", "epochs": 1}, out="b")
    (tuned,) = set((home / "models").iterdir()) - before  # the plain weights are not trained on from themselves
    card, data = model_card("tiny"), registry.card("dataset", "mini")
    after = load_weights(build_model(card, 10, data.geometry), read_state(tuned / "weights.safetensors"), "plain", card)
    expected = np.abs(chances(after, results) - chances(network("tiny", "plain"), results))
    assert scores(results).tolist() == pytest.approx(expected.tolist(), abs=1e-6) and (scores(results) > 0).all()


def test_the_second_model_sees_images_by_its_own_encoding(home, otherwise_encoded):
    run(reference_weights="aligned", images=1)  # trains
    file = str(find_weights(model_card("tiny"), registry.card("dataset", "mini"), WeightsRequest("plain"), False))
    results = run(weights=file, reference_model=otherwise_encoded, reference_weights=file)
    expected = np.abs(chances(network("tiny", "plain"), results) - chances(network("pale", "plain"), results))
    assert expected.max() > 1e-3 and scores(results).tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    assert set(results.rows["model"]) == {"tiny"} and set(results.rows["reference_model"]) == {"pale"}


def test_only_protocols_that_compare_have_the_second_model_in_their_key(home):
    alone = run("sds", out="alone", weights="plain")
    both = run(f"sds,{SIMILARITY}", weights="plain", reference_weights="aligned")
    cells = Store.open("a").cells()
    contexts = {cell.context["protocol"]["name"]: cell.context for cell in cells.values()}
    assert set(alone.cells) < set(both.cells) and len(both.cells) == len(alone.cells) + 1
    assert "reference" not in contexts["sds"] and contexts[SIMILARITY]["reference"]["name"] == "tiny"
    rows = both.rows
    assert rows.query("protocol == 'sds'")["reference_model"].isna().all()
    assert (rows.query("protocol == @SIMILARITY")["reference_model"] == "tiny").all()
    first = alone.rows.sort_values(["method", "image_id"])["score"]
    assert first.tolist() == rows.query("protocol == 'sds'").sort_values(["method", "image_id"])["score"].tolist()


def test_the_key_tells_second_models_apart_and_its_words_do_not(home):
    from xaibench.results.cells import Cell

    plain, aligned = run(reference_weights="plain"), run(reference_weights="aligned")
    assert not set(plain.cells) & set(aligned.cells)
    cell = Store.open("a").cells()[aligned.cells[0]]
    context = json.loads(json.dumps(cell.context))
    assert context["reference"]["weights"]["alignment"]["grid"] == 4
    context["reference"]["label"] = context["model"]["label"] = "in other words"
    assert Cell(context, None).key == cell.key
    assert "label" not in context["reference"]["weights"], "these words would be a part of the key"


def test_the_context_of_other_runs_is_as_it_was(home):
    results = run("sds", weights="plain", methods="ixg")
    context = Store.open("a").cells()[results.cells[0]].context
    assert set(context) == {"protocol", "dataset", "model", "weights", "profile", "seed", "precision"}
    assert context["model"] | {"label": ""} == {
        "name": "tiny", "version": 1, "source": context["model"]["source"], "cam_layer": "4", "cam_grid": [8, 8],
        "notes": [], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "label": "",
    }  # fmt: skip


def test_the_title_says_both_models(home):
    board = run(weights="plain", reference_weights="aligned").leaderboard()
    assert "tiny (plain, last map 8x8) against tiny (aligned, last map 8x8)" in board.title
    assert board.title.startswith("model-similarity (label, logit)")


def test_what_the_second_model_costs_is_counted(home):
    assert run(reference_weights="aligned").manifest.forward_equivalents == 2 * (1 + 1 + 2)  # logits, and Grad-CAM
    together = run(f"sds,{SIMILARITY}", out="b", weights="plain", reference_weights="aligned", methods="grad-cam")
    assert together.manifest.forward_equivalents == 16 + 2 * (1 + 1 + 2), "Grad-CAM of the method is that of the score"


def test_batches_do_not_matter(home):
    whole, cut = (
        scores(run(out=f"{batch}", batch_size=batch, precision="float64", reference_weights="aligned"))
        for batch in (8, 3)
    )
    assert whole.tolist() == pytest.approx(cut.tolist(), rel=1e-9)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", SIMILARITY], "model-similarity compares two models; name the second by --reference-model or --ref"),
        (["run", f"sds,{SIMILARITY}"], "protocol model-similarity compares two models"),
        (
            ["run", "sds", "--reference-weights", "plain"],
            "none of sds compares two models; leave out --reference-model",
        ),
        (["run", SIMILARITY, "--reference-weights", "gone.pth"], "--reference-weights gone.pth is neither plain, nor"),
        (["run", SIMILARITY, "--reference-model", "tinny"], "unknown model 'tinny'"),
    ],
)
def test_one_line_refusals(home, command, words, message):
    status, out, err = command(*words, "--model", "tiny", "--dataset", "mini")
    assert status == 2 and message in err and err.count("\n") == 1 and not out


def test_models_of_other_classes_are_refused(home):
    from xaibench.models.state import save_state

    card = registry.card("dataset", "mini")
    save_state(build_model(model_card("tiny"), 9, card.geometry).net, home / "nine.safetensors", {})
    with pytest.raises(
        XaibenchError, match=r"second model .*weights .*nine.safetensors are for 9 classes, mini has 10"
    ):
        run(reference_weights=str(home / "nine.safetensors"))
    with pytest.raises(XaibenchError, match=r"--reference-model tiny tells 9 classes apart, tiny 10"):
        run(reference_weights=str(home / "nine.safetensors"), settings={"target": "prediction"})


def test_the_command_of_status_finishes_the_run(home, command, monkeypatch):
    from xaibench.datasets.critters import Critters

    words = ["run", SIMILARITY, "--model", "tiny", "--dataset", "mini", "--images", "6", "--batch-size", "2"]
    words += ["--reference-model", "tiny", "--reference-weights", "aligned", "--quiet"]
    whole = run(images=6, batch_size=2, out="whole", reference_model="tiny", reference_weights="aligned")
    load, loaded = Critters.load, []

    def stop(self, image_id):
        loaded.append(image_id)
        if len(loaded) == 4:
            raise KeyboardInterrupt
        return load(self, image_id)

    monkeypatch.setattr(Critters, "load", stop)
    assert command(*words)[0] != 0
    monkeypatch.setattr(Critters, "load", load)
    status, out, _ = command("status")
    line = out.partition("to finish:\n")[2].strip()
    assert status == 0 and "--reference-model tiny --reference-weights aligned" in line
    status, out, _ = command(*shlex.split(line)[1:])
    assert status == 0 and "computed 4 images" in out and "against tiny (aligned" in out
    assert command("status")[1].endswith("nothing is missing\n")
    rows = Store.open("results").rows()
    assert sorted(rows["score"].dropna()) == sorted(whole.rows["score"].dropna())


def test_the_recorded_command_of_a_call_names_the_second_model(home):
    recorded = run(images=2, reference_weights="aligned").manifest.command
    assert "--reference-weights aligned" in recorded and "--reference-model" not in recorded
    assert "--reference" not in run("sds", images=2, weights="plain").manifest.command
