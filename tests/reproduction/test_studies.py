"""Studies of papers: cards, printed numbers, and one from a run to its page; stored rows are enough to repeat it."""

from __future__ import annotations

import csv
import json
import shlex
from itertools import product
from pathlib import Path

import pytest

from xaibench import registry
from xaibench.analysis.boards import boards
from xaibench.analysis.stored import StoredResults
from xaibench.cards import StudyCard
from xaibench.comparison.config import ComparisonConfig
from xaibench.comparison.steps import steps
from xaibench.comparison.stored import stored_comparison
from xaibench.datasets.waterbirds import GROUPS
from xaibench.errors import XaibenchError
from xaibench.evaluation.config import RunConfig
from xaibench.evaluation.stored import stored_board
from xaibench.masks.store import Masks
from xaibench.models.state import file_digest, read_header
from xaibench.reproduction import reported
from xaibench.reproduction.claims import claims_of
from xaibench.reproduction.describe import describe, describe_scale
from xaibench.reproduction.measure import comparison_requests, models_beside_runs, run_requests
from xaibench.reproduction.needs import check_data
from xaibench.reproduction.prepare import masks_requests, training_requests, untrained
from xaibench.reproduction.printed import quantity_of
from xaibench.reproduction.reproduce import named_at
from xaibench.results.store import Store
from xaibench.training.recipe import recipe_for

PUBLISHED = Path(__file__).parents[2] / "leaderboards" / "critters"
STUDIES = registry.names("study")
MINI = """
title = "A small study"
paper = { title = "A paper", year = 2024 }
item = "Table 9"
content = "numbers"
shows = "Scores of two methods."
printed = [{ file = "mini.csv", key = ["method"], value = "score", run = "one", ours = { "I x G" = "ixg" } }]

[[claims]]
name = "T1"
text = "Gradients alone are worse."
statistic = "better"
run = "one"
pairs = [["ixg", "saliency"]]

[[claims]]
name = "T2"
text = "Five trainings would tell."
statistic = "change"
comparison = "two"

[scales.embedded.runs]
one = { protocols = ["sds"], model = "tiny", dataset = "mini", images = 8, methods = ["ixg", "saliency", "random"] }

[scales.embedded.comparisons.two]
comparison = "own"
protocols = ["sds"]
dataset = "mini"
images = 8
trainings = 1
methods = ["ixg", "saliency", "random"]

[scales.real]
missing = "nothing of the kind is there"

[scales.paper]
fetch = [{ what = "the data", url = "https://example.org/data", gigabytes = 3.5 }]
forward_equivalents = 1e6
gpu_hours = 2
runs = { one = { protocols = ["sds"], model = "tiny", dataset = "imagefolder" } }
"""
PREPARED = """
title = "A study of networks that are trained first"
paper = { title = "A paper", year = 2024 }
item = "Table 1"
content = "numbers"
shows = "Nothing."

[scales.embedded.runs.plain]
protocols = ["obey"]
model = "first_plain"
dataset = "mini"
images = 6
methods = ["ixg"]
masks = "a masks"
settings = { level = "slic" }

[scales.embedded.runs.robust]
protocols = ["obey"]
model = "first_robust"
dataset = "mini"
images = 6
methods = ["ixg"]

[scales.embedded.masks]
"a masks" = { maker = "slic", dataset = "mini", images = 6 }
"others" = { maker = "slic", dataset = "mini" }

[scales.embedded.trainings]
first_plain = { task = "classifier", model = "tiny", dataset = "mini", task_options = { fit = "under" } }
first_unused = { model = "tiny", dataset = "mini", recipe = { schedule = "step", milestones = [1, 2] } }
first_robust = { task = "adversarial", model = "first_plain", dataset = "mini", task_options = { steps = 1 } }

[scales.real]
missing = "nothing of the kind is there"

[scales.paper]
missing = "it is no paper"
"""
OWN = """
title = "Seeds of a recipe"
question = "Does it matter?"
pairs = [["short", "long"]]

[arms]
short = { model = "tiny", recipe = { epochs = 1 } }
long = { model = "tiny" }
"""


@pytest.fixture
def mini(home, tmp_path, monkeypatch):
    """The study `mini` with its comparison and printed numbers."""
    own = tmp_path / "cards"
    for kind, name, text in (("studies", "mini", MINI), ("comparisons", "own", OWN)):
        (own / kind).mkdir(parents=True)
        (own / kind / f"{name}.toml").write_text(text)
    numbers = tmp_path / "printed"
    numbers.mkdir()
    (numbers / "mini.csv").write_text(
        "item,method,score\nTable 9,I x G,0.5\nTable 9,Saliency,0.25\nTable 9,Random,0.0\nTable 1,Other,9\n"
    )
    monkeypatch.setattr(reported, "reported", lambda: numbers)
    return own


@pytest.mark.process
def test_a_study_runs_what_is_missing_and_is_repeated_from_stored_rows(mini, command, monkeypatch):
    words = ("study", "run", "mini", "--cards", mini, "--format", "json")
    status, out, err = command(*words)
    assert status == 0, err
    found = json.loads(out)
    assert "mini, run 1/1: one" in err and "figure: results/figures/study-mini-embedded.png" in err
    assert Path("results/figures/study-mini-embedded.png").stat().st_size > 10_000
    (printed,) = found["printed"]
    asked = ("sds", "--model", "tiny", "--dataset", "mini", "--images", 8, "--methods", "ixg,saliency,random")
    assert command("run", *asked)[0] == 0  # the same board, which is then the newest
    board = json.loads(command("leaderboard", "sds", "--out", "results", "--format", "json")[1])
    means = {row["method"]: row["mean"] for row in board["rows"]}
    ours = {row["name"]: row["ours"] for row in printed["rows"]}
    assert ours == pytest.approx({"I x G": means["ixg"], "Saliency": means["saliency"], "Random": means["random"]})
    farthest = max(printed["rows"], key=lambda row: abs(row["ours"] - row["printed"]))
    assert printed["both"] == 3 and printed["farthest"] == farthest["name"]
    assert printed["largest_difference"] == pytest.approx(farthest["ours"] - farthest["printed"])
    first, second = found["claims"]
    assert first["claim"] == "T1" and "ixg" in first["why"]
    assert second["state"] == "cannot be told" and "1 of the 5 trainings" in second["why"]

    def nothing(*_, **__):
        raise AssertionError("something was computed")

    with monkeypatch.context() as patch:
        patch.setattr("xaibench.evaluation.api.run", nothing)
        patch.setattr("xaibench.comparison.run.prepare", nothing)
        again = json.loads(command(*words, "--stored")[1])
    assert again == found
    with monkeypatch.context() as patch:
        patch.setattr("xaibench.evaluation.api.run", nothing)
        patch.setattr("xaibench.comparison.run.prepare", nothing)
        elsewhere = json.loads(command(*words, "--with", "results", "--out", "other")[1])
        assert elsewhere["claims"] == found["claims"] and not Path("other/rows").exists()
    path = mini / "studies" / "mini.toml"
    path.write_text(MINI.replace("trainings = 1", "trainings = 2"))
    fewer = ("--with", "results", "--out", "fewer", "--trainings", 1)
    assert "sds: 2 of 2 stored" in command(*words[:-2], *fewer, "--dry-run")[1]
    assert "sds: 2 of 4 stored" in command(*words[:-2], "--with", "results", "--dry-run", "--out", "fewer")[1]
    with monkeypatch.context() as patch:
        patch.setattr("xaibench.comparison.run.prepare", nothing)
        assert json.loads(command(*words, *fewer)[1])["claims"] == found["claims"]
    status, out, err = command(*words, "--stored", "--trainings", 1)
    assert status == 2 and "leave out --trainings" in err
    status, out, err = command(*words, "--with", "results", "--out", "more")
    assert status == 0 and "training 0" not in err and "short, training 1" in err and "long, training 1" in err
    assert "2 of the 5 trainings" in json.loads(out)["claims"][1]["why"]
    path.write_text(MINI)
    counted = json.loads(command(*words, "--stored", "--with", "results", "--out", "more")[1])
    assert "2 of the 5 trainings" in counted["claims"][1]["why"]  # the card has one
    assert not any("not stored" in note for note in counted["notes"])
    hint = "    does not decide T2: such claims take 5 trainings of each arm (--trainings 5)"
    for words_of, hints in (((), 1), (("--trainings", 2), 1), (("--trainings", 5), 0)):
        planned = command(*words[:-2], "--with", "results", "--out", "more", *words_of, "--dry-run")[1].splitlines()
        assert planned.count(hint) == hints and any(f"sds: {2 * 2 if words_of else 2} of" in line for line in planned)
    planned = command("study", "run", "mini", "--cards", mini, "--dry-run")[1]
    assert "run one, stored (3 methods, 8 images): xaibench run sds" in planned and "sds: 2 of 2 stored" in planned
    shown = command("study", "show", "mini", "--cards", mini, "--out", "results")[1]
    registry.add_folder(mini)  # as --cards does within a command
    shown_here = claims_of(StoredResults("results"))
    assert shown_here[["claim", "text", "state", "why"]].to_dict("records") == found["claims"]
    assert set(shown_here["scale"]) == {"embedded"} and set(shown_here["paper"]) == {"A paper (2024)"}
    assert planned.splitlines()[1:3] == shown.split("scale embedded:\n")[1].splitlines()[:2]
    before = {path.name for path in Path("results/rows").rglob("*.parquet")}
    assert command(*words)[0] == 0
    assert {path.name for path in Path("results/rows").rglob("*.parquet")} == before


@pytest.mark.process
def test_a_study_makes_masks_and_trains_networks_that_its_runs_take(home, command, tmp_path, monkeypatch):
    (tmp_path / "cards" / "studies").mkdir(parents=True)
    card, words = tmp_path / "cards" / "studies" / "prepared.toml", ("study", "run", "prepared", "--cards", "cards")
    card.write_text(PREPARED.replace('"first_robust"\ndataset = "mini"', '"first_robust"\ndataset = "imagefolder"'))
    status, _, err = command(*words)
    assert status == 2 and "imagefolder needs --data-root" in err and not Path("a masks").exists()
    card.write_text(PREPARED)
    status, out, _ = command(*words, "--dry-run")
    lines = [line.removeprefix("  first ").partition(": ") for line in out.splitlines() if line.startswith("  first ")]
    first = {what: shlex.split(asked) for what, _, asked in lines}
    models = ["first_plain, missing", "first_unused, missing", "first_robust, missing"]
    assert status == 0 and list(first) == ["masks a masks", "masks others", *models]
    assert first["masks a masks"][-2:] == ["--out", "a masks"]
    assert first["first_plain, missing"][-2:] == ["--fit", "under"]
    assert "milestones=[1, 2]" in first["first_unused, missing"]
    status, _, err = command(*words)
    assert status == 0, err
    steps_made = [line for line in err.splitlines() if line.startswith("prepared, ")]
    assert steps_made == [
        "prepared, masks 1/1: a masks", "prepared, training 1/2: first_plain", "prepared, training 2/2: first_robust",
        "prepared, run 1/2: plain", "prepared, run 2/2: robust",
    ]  # fmt: skip
    names = {name for name in registry.names("model") if name.startswith("first_")}
    try:
        assert names == {"first_plain", "first_robust"} and not Path("others").exists()
        header = read_header(home / registry.card("model", "first_robust").plain.file)
        assert header["start"] == file_digest(home / registry.card("model", "first_plain").plain.file)
        assert header["task"]["name"] == "adversarial"
        assert Masks("a masks").header.maker == "slic" and len(Masks("a masks").entries) == 6
        scored = {board.context["model"]["name"] for board in boards(Store("results"))}
        assert scored == names
        for name in ("train_named", "make_masks_of"):
            monkeypatch.setattr(f"xaibench.reproduction.prepare.{name}", None)
        assert command(*words)[0] == 0  # nothing is made again
        card.write_text(PREPARED.replace("{ steps = 1 }", "{ steps = 1, step_size = 0.01 }"))
        status, _, err = command(*words)
        otherwise = f"first_robust was trained otherwise than the study asks: task: step_size {5 / 255}, not 0.01; give"
        assert status == 2 and otherwise in err
    finally:
        for name in names:
            (home / "cards" / "models" / f"{name}.toml").unlink()
    assert command(*words, "--with", "results", "--out", "elsewhere")[0] == 0  # scores that are there need no networks


def test_a_stored_board_answers_its_own_request_alone(home, command):
    asked = ("run", "sds", "--model", "tiny", "--dataset", "mini", "--methods", "ixg", "--quiet")
    assert command(*asked, "--images", 6)[0] == 0
    found = boards(Store.open("results"))
    request = {"protocols": ["sds"], "model": "tiny", "dataset": "mini", "images": 6}

    def answer(**changes):
        return stored_board(found, RunConfig.parse(request | changes))

    assert answer().key == found[0].key == answer(images=4, device="cpu", out="x", methods=["saliency"]).key
    others = ({"images": 7}, {"training_seed": 1}, {"settings": {"grid": 2}}, {"recipe": {"epochs": 1}}, {"seed": 1},
              {"protocols": ["idsds"]}, {"dataset": "critters"}, {"profile": "paper"})  # fmt: skip
    assert not any(answer(**other) for other in others)
    assert command(*asked, "--images", 50)[0] == 0  # there are 40
    found = boards(Store.open("results"))
    assert answer(images=50) and answer(images=41) and not answer(images=51)
    assert command(*asked, "--images", 50, "--seed", 3, "--shard", "1/2")[0] == 0
    found = boards(Store.open("results"))
    assert not answer(images=50, seed=3)  # half of them


@pytest.mark.slow
@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published boards are in the repository only")
def test_a_published_comparison_comes_from_its_rows_again():
    config = ComparisonConfig(comparison="depth-18-50", trainings=5, images=16)
    (study,) = stored_comparison(config, StoredResults(PUBLISHED))
    name = "Depth-ResNet-18-against-ResNet-50-idsds-critters-64-px.json"
    (published,) = json.loads((PUBLISHED / "comparisons" / name).read_text())["pairs"]
    (pair,) = study.pairs
    assert (pair.change, pair.low, pair.high) == pytest.approx((published["change"], *published["interval"]))
    assert pair.trainings == (5, 5) and pair.enough and pair.count == published["methods"]


@pytest.mark.slow
@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published boards are in the repository only")
def test_weights_that_exist_once_are_one_training_however_many_are_asked_for():
    config = ComparisonConfig(
        comparison="efficientnet-lite", dataset="imagenet", images=32, profile="quick", trainings=5
    )
    root = PUBLISHED.with_name("real")
    (study,) = stored_comparison(config, StoredResults(root))
    (path,) = (root / "comparisons").glob("EfficientNet-Lite*.json")
    for pair, published in zip(study.pairs, json.loads(path.read_text())["pairs"], strict=True):
        assert pair.trainings == (1, 1) and not pair.enough
        assert (pair.change, pair.low, pair.high) == pytest.approx((published["change"], *published["interval"]))


def test_what_cannot_run_says_what_to_fetch(mini, command):
    status, _, err = command("study", "run", "mini", "--cards", mini, "--scale", "paper")
    assert status == 2 and err.count("\n") == 1
    assert "needs --data-root DIR: fetch the data (3.5 GB, https://example.org/data)" in err
    assert "about 1e+06 forward-equivalents, 2 hours of an H200 GPU" in err
    status, _, err = command("study", "run", "mini", "--cards", mini, "--scale", "real")
    assert status == 2 and "nothing of the kind is there; it runs at the scale embedded, paper" in err
    status, out, _ = command("study", "show", "mini", "--cards", mini)
    assert status == 0 and "xaibench run sds --model tiny --dataset mini" in out and "T2: Five trainings" in out
    assert "xaibench compare own --trainings 1" in out
    status, out, _ = command("study", "ls", "mini", "--cards", mini)
    assert out == "mini  Table 9: A small study  [embedded, paper]\n"
    assert command("study", "run", "absent")[0] == 2


def test_several_studies_share_what_they_lack_and_one_that_fails_stops_no_other(mini, command, monkeypatch):
    (mini / "studies" / "mini-twin.toml").write_text(MINI.replace("T1", "T3").replace("T2", "T4"))
    scales = "".join(f'[scales.{name}]\nmissing = "nothing"\n' for name in ("embedded", "real", "paper"))
    none = MINI.split("printed = ")[0] + scales
    (mini / "studies" / "mini-none.toml").write_text(none)
    words = ("study", "run", "mini*", "mini", "--cards", mini)
    status, out, err = command(*words, "--dry-run")
    assert (status, err) == (0, "") and out.count("scale embedded:") == 2  # `mini-none` has nothing to run
    assert out.splitlines()[-1] == "together: 1 runs and 2 trainings of arms are missing"
    status, out, _ = command("study", "run", "mini", "mini-twin", "--scale", "paper", "--dry-run", "--cards", mini)
    lacked = "together: 1 runs and 0 trainings of arms are missing; at most 4 hours"
    assert status == 0 and out.splitlines()[-1].startswith(lacked)
    status, _, err = command(*words, "--format", "json")
    assert status == 2 and "take table, md or html" in err
    carried = []

    def one(name, *_):
        carried.append(name)
        if name == "mini":
            raise XaibenchError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("xaibench.cli.study_run._one", one)
        status, _, err = command(*words)
    assert carried == ["mini", "mini-twin"] and status == 2
    assert [line.split(": ", 1) for line in err.splitlines()] == [
        ["study 1/2", "mini"], ["mini", "the disk is full"], ["study 2/2", "mini-twin"],
        ["xaibench", "1 of 2 studies were not carried out: mini"],
    ]  # fmt: skip
    answers = {"mini-none": "nothing", "absent": "unknown study", "absent*": "study ls", "mini-n*": "at the scale"}
    for name, answer in answers.items():
        status, _, err = command("study", "run", "mini", name, "--cards", mini)
        assert status == 2 and answer in err and "study 1/2" not in err


@pytest.mark.slow
def test_the_page_of_all_studies_has_every_claim(home, command, tmp_path):
    store = Store.create(tmp_path / "empty")
    status, _, err = command("study", "report", "--out", store.root, "--to", tmp_path / "page.md")
    assert status == 0, err
    text = (tmp_path / "page.md").read_text()
    for name in STUDIES:
        card = registry.card("study", name)
        assert f"| {name} | " in text and all(f"| {claim.name} | " in text for claim in card.claims)
    assert "| shows |" not in text and "does not show |" not in text  # of nothing


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('statistic = "better"\n', 'statistic = "best"\n'), "statistic"),
        (('run = "one"\npairs', 'pairs'), "the statistic 'better' needs run"),
        (("gpu_hours = 2\n", ""), "say what to fetch"),
        (('missing = "nothing of the kind is there"', ""), "scale real: give runs"),
        (("gigabytes = 3.5", "gigabytes = -1"), "gigabytes"),
        (('item = "Table 9"\n', 'item = "Table 9"\ntabel = 1\n'), "no such field"),
    ],
)  # fmt: skip
def test_mistakes_in_a_card_are_one_line(home, tmp_path, change, message):
    path = tmp_path / "studies" / "bad.toml"
    path.parent.mkdir()
    path.write_text(MINI.replace(*change))
    assert path.read_text() != MINI
    with pytest.raises(XaibenchError, match=message) as error:
        registry.add_folder(tmp_path)
        registry.card("study", "bad")
    assert "\n" not in str(error.value)


def test_mistakes_in_printed_numbers_are_one_line(mini, tmp_path):
    registry.add_folder(mini)
    card = registry.card("study", "mini")
    path = tmp_path / "printed" / "mini.csv"
    assert reported.numbers(card, card.printed[0]) == {"I x G": 0.5, "Saliency": 0.25, "Random": 0.0}
    for text, message in (("item,method\nTable 9,a\n", "no column score"), ("item,method,score\n", "no column"),
                          ("item,method,score\nTable 1,a,1\n", "no row of Table 9"),
                          ("item,method,score\nTable 9,a,1\nTable 9,a,2\n", "two numbers of a"),
                          ("item,method,score\nTable 9,a,x\n", "'x' is no number")):  # fmt: skip
        path.write_text(text)
        with pytest.raises(XaibenchError, match=message):
            reported.numbers(card, card.printed[0])
    path.write_text("item,method,score\nTable 9,a,\nTable 9,b,1\n")
    assert reported.numbers(card, card.printed[0]) == {"b": 1.0}  # a is illegible
    path.unlink()
    with pytest.raises(XaibenchError, match="cannot be read"):
        reported.rows_of(card, card.printed[0])


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_names_what_exists(name):
    card = registry.card("study", name)
    assert isinstance(card, StudyCard) and describe(card)
    for printed in card.printed:
        assert reported.rows_of(card, printed)
        if printed.value:
            assert reported.numbers(card, printed)
    for one in card.scales.values():
        runs, comparisons = run_requests(one), comparison_requests(one)
        for request in runs.values():
            assert len(request.protocols) == 1
            registry.card("protocol", request.protocols[0])
            registry.card("dataset", request.dataset)
            if request.model not in one.trainings and ":" not in request.model:
                registry.card("model", request.model)
            for method in request.methods or ():
                registry.card("method", method)
        for request in comparisons.values():
            comparison = registry.card("comparison", request.comparison)
            if not set(request.models) & set(one.trainings):
                steps(comparison, request)
    scales = [one for one in card.scales.values() if one.runs_something]
    for claim in card.claims:
        for field, named in (("runs", claim.run), ("runs", claim.other), ("comparisons", claim.comparison)):
            assert not named or any(named in getattr(one, field) for one in scales), (claim.name, named)


def test_names_of_claims_are_unique():
    names = [claim.name for study in STUDIES for claim in registry.card("study", study).claims]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", STUDIES)
def test_every_scale_says_its_command_what_to_fetch_and_what_it_costs(home, name):
    card = registry.card("study", name)
    for scale in ("embedded", "real", "paper"):
        one = card.scales.get(scale)
        if one is None:
            assert card.content in ("facts", "unseen")
            continue
        lines = [*describe_scale(card, scale)]
        text = "\n".join(lines)
        if not one.runs_something:
            assert f"cannot run: {one.missing}" in text and len(one.missing) > 20
            with pytest.raises(XaibenchError, match="cannot run at the scale") as error:
                check_data(card, scale, None)
            assert one.missing in str(error.value) and "\n" not in str(error.value)
            continue
        assert f"xaibench study run {name} --scale {scale}" in lines[1]
        requests = [*run_requests(one).values(), *comparison_requests(one).values()]
        assert sum(line.lstrip().startswith(("run ", "comparison ")) for line in lines) == len(requests)
        assert scale == "real" or "forward-equivalents" in text
        for request in requests:  # data that is not embedded is fetched, and so are masks
            data = request.dataset or registry.card("comparison", request.comparison).dataset
            assert one.fetch or "embedded" in registry.card("dataset", data).tags, (scale, data)
        for it in one.fetch:
            assert f"{it.what} ({it.gigabytes:g} GB, {it.url})" in text and it.url.startswith("http")
        if scale == "paper":
            assert "hours of an H200 GPU" in text
            with pytest.raises(XaibenchError, match="needs --data-root DIR: fetch"):
                check_data(card, scale, None)
        for trained in one.trainings:
            assert f"first {trained}, missing: xaibench train " in text
        _check_what_is_made_first(one)


def _check_what_is_made_first(one):
    """Everything that is made first is used; masks are those of the images of their runs; an underfitted network has
    one epoch; a training has the weights that it starts from, and a rate above 0 to its end."""
    runs, masks, trained = run_requests(one), masks_requests(one), training_requests(one)
    assert {str(run.masks) for run in runs.values() if run.masks} == set(masks)
    for run in runs.values():
        if run.masks:
            made = masks[str(run.masks)]
            assert (made.dataset, made.images, made.dataset_options) == (run.dataset, run.images, run.dataset_options)
            assert made.maker == run.settings["level"] and any("masks make" in it.what for it in one.fetch)
    models = [*(run.model for run in runs.values()), *models_beside_runs(one)]
    assert untrained(one, models) == list(one.trainings)
    for request in trained.values():
        if request.task_options.get("fit") == "under":
            assert request.recipe.get("epochs", 1) == 1
        if request.model not in trained and request.task in ("classifier", "patch-deletion"):
            model, data = registry.card("model", request.model), registry.card("dataset", request.dataset)
            recipe = recipe_for(model, data, {}, request.recipe)
            assert recipe.start != "plain" or model.plain.dataset == request.dataset
            if recipe.schedule == "step" and not recipe.milestones:  # it still learns in its last epochs
                assert recipe.step_factor ** ((recipe.epochs - 1) // recipe.step_epochs) >= 1e-3, request
    for run in runs.values():
        if not registry.card("dataset", run.dataset).recipe:  # which a run trains nothing for
            _check_weights(run, trained)


def _check_weights(run, trained):
    """Protocols of aligned networks are handed some that are aligned with what they delete."""
    assert run.training_seed is None
    if run.weights or registry.card("protocol", run.protocols[0]).weights != "aligned" or ":" in run.model:
        return
    own = trained.get(run.model)
    alignment = own.make_task().alignment if own else registry.card("model", run.model).aligned.alignment
    asked = {"grid": 4, "baseline": "zero"} | {key: run.settings[key] for key in {"grid", "baseline"} & {*run.settings}}
    assert {key: getattr(alignment, key) for key in asked} == asked


def test_printed_numbers_of_a_study_are_told_apart():
    """Their names are titles of tables and labels of columns of the figure, which is not drawn with one twice."""
    for study in STUDIES:
        card = registry.card("study", study)
        found = [quantity_of(card, one) for one in card.printed if one.value]
        assert len(found) == len(set(found)), study

    def names(study):
        card = registry.card("study", study)
        return [quantity_of(card, one) for one in card.printed if one.value]

    assert names("hesse-figure-2") == ["score, Table 4", "score, Table 6"]
    assert names("lico-table-4") == ["ses", "sch", "mosu"]
    assert names("hesse-table-3")[::3] == ["uncorrupted pre", "corrupted post"]


def test_a_name_of_a_network_is_the_same_training_in_all_studies():
    """A second study would refuse the network of the first one that was trained otherwise under its name."""
    found: dict[str, dict] = {}
    for study in STUDIES:
        for one in registry.card("study", study).scales.values():
            for name, request in one.trainings.items():
                assert found.setdefault(name, request) == request, (study, name)
    assert len(found) > 20


def test_the_data_of_every_scale_have_one_of_the_groups_that_are_named():
    """A group that a data set does not have would leave a claim open, and a panel empty, for ever."""
    groups = {"Critters": {"own-background", "other-background"}, "Waterbirds": set(GROUPS.values())}
    found = set()
    for study in STUDIES:
        card = registry.card("study", study)
        named = [(one.comparison, one.group) for one in (*card.claims, *card.figure) if one.group]
        for scale, one in card.scales.items():
            for comparison, names in named:
                if comparison in one.comparisons and names != ("all images",):
                    request = ComparisonConfig.model_validate(one.comparisons[comparison])
                    data = request.dataset or registry.card("comparison", request.comparison).dataset
                    kind = registry.card("dataset", data).target.rpartition(":")[2]
                    assert len(groups[kind] & set(names)) == 1, (study, scale, names)
                    found.add(kind)
    assert found == set(groups)


def test_lambdas_where_few_images_are_annotated_go_with_what_the_mean_is_over():
    """Table D2's are meant for the sum over a batch, in which images without a box are 0; a mean over annotated images
    is as strong as if all had one, so it goes with Table D1's."""
    printed = {"annotated": "rao2023_tableD1_lambda.csv", "batch": "rao2023_tableD2_lambda_limited.csv"}
    ranges = {}
    for over, file in printed.items():
        with (reported.reported() / file).open(encoding="utf-8", newline="") as table:
            for row in csv.DictReader(table):
                ranges[over, row["loss"].lower()] = [float(row[name]) for name in row if name.startswith("lambda")]
    seen = set()
    for name in registry.names("comparison"):
        for arm, one in registry.card("comparison", name).arms.items():
            if one.way == "guided" and one.options.get("fraction", 1) < 1:
                over = one.options.get("over", "annotated")
                known = ranges[over, one.options.get("match") or one.options.get("loss", "energy")]
                assert min(known) <= one.options["lambda"] <= max(known), (name, arm)
                seen.add(over)
    assert seen == set(printed)


def test_every_printed_number_has_one_of_ours_on_the_papers_data():
    """A name that no request makes would leave the paper's tables without a number beside theirs."""
    compared, without = 0, set()
    for study in STUDIES:
        card, one = named_at(registry.card("study", study), "paper"), registry.card("study", study).scales.get("paper")
        for printed in card.printed if one and one.runs_something else ():
            for name in reported.numbers(card, printed) if printed.value else ():
                ours, made = printed.ours.get(name, name.lower()), set(one.runs)
                if printed.comparison:
                    request = ComparisonConfig.parse(one.comparisons[printed.comparison])
                    made = set(_arms_and_pairs(registry.card("comparison", request.comparison), request, one)[0])
                    assert not printed.group or {*printed.group} & set(GROUPS.values()), (study, printed.group)
                elif not printed.accuracy:
                    ours = ours.partition("@")[2].partition(":")[0] or printed.run
                compared += 1
                if ours not in made:
                    without.add((study, name))
    assert without == {("lico-appendix-a", "deletion of the marked class")}  # a claim compares it with the others
    assert compared > 400


def test_claims_about_one_board_name_a_run_of_their_scale():
    for study in STUDIES:
        for scale in ("embedded", "paper"):
            card = named_at(registry.card("study", study), scale)
            for claim in card.claims if scale in card.scales and card.scales[scale].runs else ():
                assert not claim.run or claim.why or claim.run in card.scales[scale].runs, (study, scale, claim.name)


def test_claims_are_about_arms_that_their_comparisons_make_at_every_scale():
    """A pair that no comparison makes would be `not run` for ever."""
    for name in STUDIES:
        for scale, one in registry.card("study", name).scales.items():
            for claim in named_at(registry.card("study", name), scale).claims:
                if claim.comparison not in one.comparisons:
                    continue
                request = ComparisonConfig.parse(one.comparisons[claim.comparison])
                comparison = registry.card("comparison", request.comparison)
                names, pairs = _arms_and_pairs(comparison, request, one)
                models = request.models or comparison.models
                for before, after in claim.pairs:
                    named = any(before.startswith(f"{model}: ") for model in models)
                    wanted = {(before, after)} if named or len(models) < 2 else {
                        (f"{model}: {before}", f"{model}: {after}") for model in models}  # fmt: skip
                    made = set(product(names, names)) if claim.statistic == "across" else pairs
                    assert wanted <= made, (claim.name, scale, wanted - made)
                labels = [
                    p for one in comparison.choose_protocols(request.protocols) for p in (one.protocol, one.description)
                ]
                for protocol in filter(None, (claim.protocol, claim.other_protocol)):
                    assert protocol in labels, (claim.name, protocol, labels)


def _arms_and_pairs(comparison, request, one):
    """Those of a request; of models that are trained under names first, as those of their architectures."""
    built = {name: one.trainings.get(name, {"model": name})["model"] for name in request.models}
    names = {model: name for name, model in built.items()}
    made, pairs = steps(comparison, request.model_copy(update={"models": tuple(built.values())}))

    def named(arm):
        model, colon, rest = arm.rpartition(": ")
        return f"{names.get(model, model)}{colon}{rest}"

    return {named(step.name) for step in made}, {(named(first), named(second)) for first, second in pairs}
