"""The training commands of the pages: all of them parse and plan; those at full scale run on miniatures of their data.

The shell expands loops and variables, as in the pages. For the runs only what costs hours is replaced: the network, the
side of the images, epochs, batches and steps of attacks, and weights and text encoders that would be fetched.
"""

from __future__ import annotations

import json
import re
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
from shell_blocks import given

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="the pages' commands are for a shell")

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("train-guided.md", "train-lico.md", "train-obey.md", "training.md")
DATA = {
    "voc2007": "VOC", "voc2012": "DATA", "coco2014": "COCO", "waterbirds100": "WATERBIRDS", "imagenet-s50": "INS",
    "pet": "DATA", "cub": "DATA", "mnist": "DATA", "mnist-ml": "DATA",
}  # fmt: skip
SMALL = "critters_cnn"
VALUES = {"--epochs": "1", "--batch-size": "4", "--images": "2", "--steps": "2"}


class Planned(BaseException):
    """What a command would train, instead of training."""


def commands(page: str, folder: Path, section: str = "") -> list[list[str]]:
    """The words of every command of a page, or of the sections whose heading begins so, as a shell gives them."""
    sections = re.split(r"^## ", (DOCS / page).read_text(), flags=re.MULTILINE)
    return given("".join(text for text in sections if text.startswith(section)), folder)


def option(words: list[str], name: str) -> str | None:
    """The last value of an option."""
    values = [value for word, value in pairwise(words) if word == name]
    return values[-1] if values else None


@pytest.fixture
def plan(monkeypatch):
    """plan(words, named): what a command would train, (base model, data set, task, recipe); None for other commands,
    whose options are read. named: the models that names of earlier commands stand for."""
    import typer

    from xaibench import registry
    from xaibench.cli.app import app
    from xaibench.models.open import model_card
    from xaibench.training import api
    from xaibench.training import guidance_search as search
    from xaibench.training.classifier import Classification
    from xaibench.training.lico import clip
    from xaibench.training.lico.text import TextSource
    from xaibench.training.recipe import recipe_for

    program = typer.main.get_command(app)

    def planned(model, dataset, task, changes):
        usual = getattr(task, "recipe", {})
        raise Planned(model, dataset, task, recipe_for(model, registry.card("dataset", dataset), usual, changes))

    def go(words: list[str], named: dict[str, str]):
        def card(name: str):
            return model_card(named.get(name, name))

        def one(config):
            task = None if config.make_task() == Classification() else config.make_task()
            planned(card(config.model), config.dataset, task, config.recipe)

        def several(subject, request, *more):
            config = subject.config
            planned(card(config.model), config.dataset, request.tasks(0)[-1], config.recipe)

        monkeypatch.setenv("WORLD_SIZE", option(words, "--processes") or "1")  # each of them plans
        monkeypatch.setattr(api, "plan_training", one)
        monkeypatch.setattr(search, "guide", several)
        monkeypatch.setattr(clip, "text_source", lambda encoder, weights, download: TextSource())
        if words[0] != "train" or {"--config", "--print-config"} & set(words):
            found, rest = program, list(words)
            while hasattr(found, "commands"):
                found = found.commands[rest.pop(0)]
            found.make_context(words[0], rest)
            names = (option(words, "--model") or "").split(",")
            assert all(registry.card("model", named.get(name, name)) for name in names if name), words
            assert all(registry.card("protocol", n) for n in words[1].split(",") if words[0] == "run"), words
            return None
        with pytest.raises(Planned) as caught:
            program.main(words, "xaibench", standalone_mode=False)
        return caught.value.args

    return go


@pytest.mark.parametrize("page", PAGES)
def test_every_command_plans_a_training(page, plan, tmp_path):
    named, seen = {}, []
    for words in commands(page, tmp_path):
        found = plan(words, named)
        if found is None:
            continue
        model, dataset, task, recipe = found
        assert getattr(task, "stage", "Input") in ("Input", *model.stages), words
        assert option(words, "--epochs") in (None, str(recipe.epochs)), words
        seen.append((words[1], dataset, recipe))
        if name := option(words, "--name"):
            named[name] = model.name
    assert seen, page


def test_what_the_pages_say_of_full_scale_is_what_is_planned(plan, tmp_path):
    named = {"voc_baseline": "resnet50", "waterbirds_baseline": "resnet50", "backgrounds_baseline": "resnet50"}
    guided = [plan(w, named) for w in commands("train-guided.md", tmp_path, "Full scale") if w[1] == "guided"]
    tasks = [task for _, _, task, _ in guided]
    stages = ("Input", "Mid1", "Mid2", "Mid3", "Final")
    losses = ("energy", "l1", "ppce", "rrr")
    assert {(t.loss, t.stage) for t in tasks} >= {(loss, stage) for loss in losses for stage in stages}
    assert {t.annotations.fraction for t in tasks} == {1, 0.01, 0.09, 0.1}
    assert {t.over for t in tasks if t.annotations.fraction < 1} == {"batch"}, "the paper's lambdas are for its sum"
    numbers = {(r.optimizer, r.schedule, r.batch_size, r.weight_decay) for *_, r in guided}
    assert numbers == {("adam", "constant", 64, 0)}
    assert {r.labels for _, data, _, r in guided if data == "voc2007"} == {"several"}
    robust = [plan(w, {f"{d}_normal": "resnet18" for d in ("pet", "cub", "voc2012")} | {"mnist_normal": "mnist_cnn"})
              for w in commands("train-obey.md", tmp_path, "Full scale") if w[1] == "adversarial"]  # fmt: skip
    assert {(r.epochs, r.learning_rate, r.milestones) for *_, r in robust} == {(10, 1e-4, (4, 6))}
    sizes = {(t.norm, round(t.epsilon, 5)) for _, _, t, _ in robust}
    assert sizes == {("linf", 0.3), ("linf", 0.00784), ("l2", 0.3), ("l2", 1)}


@pytest.mark.parametrize("name", DATA)
def test_miniatures_have_every_part_of_the_data(name, roots):
    from xaibench import registry
    from xaibench.datasets.open import open_dataset

    card = registry.card("dataset", name).at_size(64)
    options = {"count": 9} if name == "mnist-ml" else {}
    parts = [open_dataset(card, roots[DATA[name]], options, part) for part in ("train", "validation", "test")]
    assert len({tuple(part.classes) for part in parts}) == 1 and all(part.ids for part in parts)
    assert not set(parts[0].ids) & {image_id for part in parts[1:] for image_id in part.ids}
    assert all(part.annotate(part.ids[0]).boxes is not None for part in parts[1:])


def shrunk(words: list[str], roots: dict[str, Path], start: Path) -> list[str]:
    """A command of a page for miniatures."""
    known = {str(place): str(path) for place, path in roots.items()} | {"resnet50": SMALL, "resnet18": SMALL}
    known |= {"head_epochs=10": "head_epochs=1"}
    less, before = [], ""
    for word in words:
        if word == "--download":
            less += ["--text-encoder", "words"] if words[1] == "lico" else []
        else:
            less.append(VALUES.get(before, known.get(word, word)))
        before = word
    if words[0] == "run":
        return [*less, "--images", "2", "--image-size", "64"]
    less += ["--weights", str(start)] if "start=transfer" in words else []
    less += ["--batch-size", "4"] if "--batch-size" not in words else []
    less += ["--epochs", "1"] if "--epochs" not in words and "under" not in words else []
    return [*less, "--image-size", "28" if "mnist" in words else "64", "--workers", "0", "--device", "cpu"]


@pytest.fixture
def carry_out(command, tmp_path, monkeypatch):
    """carry_out(commands, roots): gives them in order, and once a way of training and data set the command that its
    last line says; in a home of its own."""
    import torch
    from safetensors.torch import save_file

    from xaibench import registry
    from xaibench.models.build import build_network

    monkeypatch.setenv("XAIBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    start = tmp_path / "start.safetensors"
    save_file(build_network(registry.card("model", SMALL), 11).state_dict(), start)

    def go(shown: list[list[str]], roots: dict[str, Path]) -> None:
        judged = set()
        for words in shown:
            if words[0] == "study":
                continue  # a test of its own
            asked = shrunk(words, roots, start)
            status, out, err = command(*asked)
            nothing_chosen = "no epoch keeps the baseline's" in err  # a miniature need not be learnt
            assert status == 0 or nothing_chosen, f"{asked}\n{out}\n{err}"
            judge = re.search(r"^judge it: +xaibench (.*)$", out, re.MULTILINE)
            if judge and (kind := (words[1], option(words, "--dataset"))) not in judged:
                judged.add(kind)
                pasted = [*judge[1].split(), "--images", "2"]
                pasted += [] if "--methods" in pasted else ["--methods", "ixg"]
                status, out, err = command(*pasted)
                assert status == 0 and re.search(r"^ +1 +(ixg|b-cos) ", out, re.MULTILINE), f"{pasted}\n{out}\n{err}"
        assert {way for way, _ in judged} == {words[1] for words in shown if words[0] == "train"}

    return go


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "section"),
    [("train-guided.md", "Full scale"), ("train-lico.md", "As published"), ("train-obey.md", "Full scale")],
)
def test_full_scale_commands_run_on_miniatures(page, section, roots, carry_out, tmp_path):
    carry_out(commands(page, tmp_path, section), roots)


FURTHER = """
train classifier --model resnet50 --dataset coco2014 --data-root COCO --recipe start=transfer --name coco
train guided --model coco --dataset coco2014 --data-root COCO --annotations mixture --fraction 0.5
train classifier --model x_critters_cnn --dataset voc2007 --data-root VOC --recipe start=scratch --name x_net
train guided --model x_net --dataset voc2007 --data-root VOC --attribution intgrad --layer Mid1 --choose score
train classifier --model bcos_critters_cnn --dataset voc2007 --data-root VOC --recipe start=scratch --name bcos
train guided --model bcos --dataset voc2007 --data-root VOC --attribution b-cos --layer Mid2 --choose score
train lico --model resnet18 --dataset cifar100 --data-root CIFAR --download --name cifar_lico
train cgc --model resnet18 --dataset cifar100 --data-root CIFAR --name cifar_cgc
"""  # what the pages say in words: other data, other networks


@pytest.mark.slow
def test_further_data_and_networks_run_on_miniatures(roots, miniature_cifar100, carry_out):
    pytest.importorskip("bcos")
    carry_out([line.split() for line in FURTHER.strip().splitlines()], roots | {"CIFAR": miniature_cifar100})


OBEY = {
    '"resnet18"': f'"{SMALL}"', 'start = "transfer"': 'start = "scratch"', ", head_epochs = 10": "",
    "epochs = 20, ": "epochs = 1, batch_size = 2, ",
    'fit = "under" }, recipe = { ': 'fit = "under" }, recipe = { batch_size = 2, ', 'maker = "sam"': 'maker = "slic"',
    'level = "sam"': 'level = "slic"', ", settings = { points_per_side = 56 }": "", 'name = "O': 'name = "small-O',
}  # fmt: skip


@pytest.mark.slow
def test_a_study_makes_masks_and_networks_of_five_data_sets_in_one_folder(roots, home, command, tmp_path):
    """Table 2 of ObEy at the paper's scale, from the masks to the table, where everything that takes hours is small."""
    from xaibench import registry

    text = (DOCS.parent / "registry" / "studies" / "obey-table-2.toml").read_text()
    for old, new in OBEY.items():
        assert old in text, old
        text = text.replace(old, new)
    text = text.replace('dataset = "mnist-ml"', 'dataset = "mnist-ml", dataset_options = { count = 50 }')
    text = re.sub(r"images = \d+", "images = 4", text)
    (tmp_path / "own" / "studies").mkdir(parents=True)
    (tmp_path / "own" / "studies" / "obey-small.toml").write_text(text)
    words = ("study", "run", "obey-small", "--scale", "paper", "--cards", "own", "--data-root", roots["DATA"])
    status, out, err = command(*words, "--format", "json")
    try:
        assert status == 0, err
        (printed,) = json.loads(out)["printed"]
        assert printed["both"] >= 8  # of ten; few epochs may predict no class, and ObEy is then undefined
        assert err.count("obey-small, masks ") == 5 and err.count("obey-small, training ") == 15
    finally:
        for data in ("mnist", "mnist-ml", "pet", "cub", "voc2012"):
            for fit in ("normal", "over", "under"):
                (home / "cards" / "models" / f"{data}_{fit}.toml").unlink(missing_ok=True)
    assert "pet_over" not in registry.names("model")
