"""Cards: what ships, what a user adds, and what is said of mistakes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import xaibench
import xaibench.cards
from xaibench import registry
from xaibench.attribution.methods import check_parameters, lacking_package, merge_parameters
from xaibench.cards import CARD_TYPES, KINDS, read_card
from xaibench.errors import XaibenchError
from xaibench.importing import load_file
from xaibench.kinds import PLURALS

METHODS = [
    "ixg", "ixg-sg", "ig", "ig-u", "ig-sg", "ixg-abs", "ixg-sg-abs", "ig-abs", "ig-u-abs", "ig-sg-abs", "ig-sg-sq",
    "saliency", "rise", "rise-u", "grad-cam", "grad-cam++", "sg-cam++", "xgrad-cam", "layer-cam", "rollout",
    "chefer-lrp", "b-cos", "bagnet",
]  # fmt: skip
MODELS = [
    "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "wide_resnet50_2", "vgg11", "vgg13", "vgg16",
    "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn", "densenet121", "squeezenet1_0", "mobilenet_v2",
    "convnext_tiny", "bagnet9", "bagnet17", "bagnet33", "fixup_resnet50", "x_resnet50", "x_vgg16", "mnist_cnn",
    "mnist_ml_cnn", "vit_base_patch16_224", "vit_small_patch16_224", "deit_small_patch16_224", "vit_tiny_patch8_64",
    "bcos_resnet18", "bcos_resnet50", "bcos_densenet121", "bcos_vit_s",
]  # fmt: skip
CARDS = [(kind, name) for kind in KINDS for name in registry.names(kind)]


@pytest.fixture(autouse=True)
def empty_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XAIBENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def own_card(empty_home):
    """own_card(kind, name, text): a card of the user's."""

    def make(kind: str, name: str, text: str):
        path = empty_home / "cards" / f"{kind}s" / f"{name}.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return make


@pytest.mark.parametrize(("kind", "name"), CARDS)
def test_every_card_loads_and_its_target_imports(kind, name):
    card = registry.card(kind, name)
    assert card.name == name and card.kind == kind and card.title and not card.source
    if kind == "method" and (reason := lacking_package(card)):
        pytest.skip(reason)
    assert callable(registry.load(card)) if kind not in ("comparison", "recipe", "study") else not card.target


def test_the_papers_methods_and_the_issues_models_exist():
    assert set(METHODS) <= set(registry.names("method")) and len(METHODS) == 23
    papers = [name for name in registry.names("method") if "paper" in registry.card("method", name).tags]
    assert sorted(papers) == sorted(METHODS)
    assert set(MODELS) <= set(registry.names("model"))
    assert {"critters", "imagenet", "imagefolder"} <= set(registry.names("dataset"))
    assert {"idsds", "sds"} <= set(registry.names("protocol"))


def test_controls_are_unranked_roles():
    roles = {name: registry.card("method", name).role for name in ("random", "constant", "centre", "edges", "oracle")}
    assert roles == dict.fromkeys(["random", "constant", "centre", "edges"], "control") | {"oracle": "oracle"}


def test_variants_of_published_code_are_not_the_default():
    for name in ("grad-cam++-torchcam", "sg-cam++-torchcam", "saliency-l1", "rise-clamped", "rise-cv"):
        card = registry.card("method", name)
        assert card.role == "variant" and "paper" not in card.tags


@pytest.mark.parametrize("name", METHODS)
def test_parameters_are_the_papers(name):
    card, expected = registry.card("method", name), {}
    if name.startswith("ig"):
        expected = {"baseline": "uniform" if name.startswith("ig-u") else "zero", "steps": 50}
    if "-sg" in name:
        expected |= {"samples": 4, "sigma": 1.0}
    if name == "ig-sg-sq":
        expected |= {"power": 2}
    if name == "sg-cam++":
        expected = {"samples": 4, "sigma": 0.3}
    if name.startswith("rise"):
        baseline = "uniform" if name == "rise-u" else "zero"
        expected = {"masks": 1000, "cells": 8, "keep": 0.1, "baseline": baseline}
    if name in ("rollout", "chefer-lrp"):
        expected = {"first": 2}
    assert card.parameters == expected
    assert card.resize == ("nearest" if name == "rollout" else "bilinear")
    assert card.transform == ("abs" if name.endswith("-abs") or name == "saliency" else "raw")
    assert ("cam-layer" in card.needs) == ("cam" in name)


def test_photos_are_resized_and_cropped_as_the_paper_does():
    for name in ("imagenet", "imagefolder"):
        card = registry.card("dataset", name)
        assert (card.geometry.resize, card.geometry.crop) == (256, 224) and card.min_cam_grid == 0
        name, profile = card.profile(None)
        assert name == "paper" and profile.overrides == {} and profile.images is None


def test_profiles_by_name():
    card = registry.card("dataset", "critters")
    name, profile = card.profile(None)
    assert name == "quick" and profile.overrides and profile.images >= 32
    assert card.profile("paper")[1].overrides == {}, "the papers' own parameters"
    with pytest.raises(XaibenchError, match="data set critters has no profile 'slow'; it has fast, paper, quick"):
        card.profile("slow")


def test_the_fast_profile_names_parameters_that_methods_have():
    _, fast = registry.card("dataset", "imagenet").profile("fast")
    changed = {}
    for name in registry.names("method"):
        card = registry.card("method", name)
        parameters = merge_parameters(card, fast.overrides)
        if parameters != card.parameters:
            check_parameters(card, parameters)
            changed[name] = set(parameters.items()) - set(card.parameters.items())
    masks, steps = {("masks", 400), ("estimator", "control-variate")}, {("steps", 16)}
    assert changed == {"rise": masks, "rise-u": masks, "ig-sg": steps, "ig-sg-abs": steps, "ig-sg-sq": steps}
    assert sum(map(len, changed.values())) == len(fast.overrides), "each value is taken"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ('title = "x"\ntargett = "a:b"\n', 2, "targett: no such field; fields: name, title"),
        ('title = "x"\nversion = 0\n', 2, "version: Input should be greater than or equal to 1"),
        ('title = "x"\n\n# transform\ntransform = "square"\n', 4, "transform: Input should be 'raw' or 'abs'"),
        ('title = "x"\nneeds = ["cam-layer", "magic"]\n', 2, "needs.1: Input should be"),
        ('title = "x"\npaper = { title = "y", yaer = 2020 }\n', 2, "paper.y.*: "),
        ('target = "a:b"\n', 1, "title: Field required"),
        ('title = "x"\ntags = ["a"]\nnotes = ""\ntag = "b"\n', 4, "tag: no such field"),
    ],
)  # fmt: skip
def test_mistakes_in_a_card_name_file_line_and_field(text, line, message, own_card):
    path = own_card("method", "mine", text)
    with pytest.raises(XaibenchError, match=rf"mine\.toml:{line}: {message}") as caught:
        registry.card("method", "mine")
    assert str(caught.value).startswith(str(path))


def test_what_is_not_toml_names_file_and_line(own_card):
    own_card("method", "mine", 'title = "x"\ntarget = \n')
    with pytest.raises(XaibenchError, match=r"mine\.toml: not valid TOML: .*line 2"):
        registry.card("method", "mine")


def test_a_broken_card_does_not_hide_the_others(own_card):
    own_card("method", "mine", "nonsense")
    assert "mine" in registry.names("method") and registry.card("method", "ig").name == "ig"


@pytest.mark.parametrize("kind", KINDS)
def test_cards_say_only_what_their_kind_may(kind, tmp_path):
    path = tmp_path / "x.toml"
    path.write_text('title = "x"\nfavourite_colour = "blue"\n')
    with pytest.raises(XaibenchError, match=r"x\.toml:2: favourite_colour: no such field|Field required"):
        read_card(kind, path)
    assert CARD_TYPES[kind].model_config["extra"] == "forbid"


@pytest.mark.parametrize(
    ("kind", "name", "near"),
    [
        ("method", "gradcam", "grad-cam"),
        ("method", "IG", "ig"),
        ("method", "zzzzzz", None),
        ("model", "resnet-50", "resnet50"),
        ("dataset", "criters", "critters"),
        ("protocol", "isds", "idsds or sds"),
        ("loss", "engy", "energy"),
        ("recipe", "zzzzzz", None),
    ],
)
def test_unknown_names_get_the_nearest(kind, name, near):
    with pytest.raises(XaibenchError) as caught:
        registry.card(kind, name)
    message = str(caught.value)
    assert message.startswith(f"unknown {kind} {name!r}; ") and message.endswith(
        f"`xaibench ls {PLURALS[kind]}` lists all"
    )
    assert ("did you mean" in message) == (near is not None) and (near or "") in message


def test_globs_choose_names():
    assert registry.names("method", "ig-u*") == ["ig-u", "ig-u-abs"]
    assert registry.names("model", "vgg1?_bn") == ["vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"]
    assert registry.names("model", "VGG*") == []


def test_cards_of_the_user_are_part_of_the_registry(own_card):
    text = 'title = "Mine"\ntarget = "xaibench.attribution.gradients:gradient"\ntransform = "abs"\n'
    own_card("method", "my-saliency", text)
    assert registry.names("method", "my-*") == ["my-saliency"]
    card = registry.card("method", "my-saliency")
    assert registry.load(card).__name__ == "gradient" and not registry.plugged_in(card)


def test_a_name_defined_twice_is_an_error_that_names_both_places(own_card):
    path = own_card("method", "ig", 'title = "Mine"\n')
    with pytest.raises(XaibenchError, match="method 'ig' is defined twice") as caught:
        registry.card("method", "rise")
    assert str(path) in str(caught.value) and str(registry.shipped() / "methods" / "ig.toml") in str(caught.value)


# Looked up once ------------------------------------------------------------------------------------------------------

MINE = 'title = "{title}"\ntarget = "xaibench.attribution.gradients:gradient"\n'


@pytest.fixture
def counted(monkeypatch):
    """The folders that are listed, how often entry points are asked for and the cards that are read."""
    for cached in (registry._shipped_cards, registry._installed, registry._card_in_file):
        cached.cache_clear()
    seen = {"listed": [], "asked": [], "read": []}
    listing, asking, reading = registry._cards_in, registry.entry_points, xaibench.cards.read_card

    def count(name, function, pick):
        def counting(*arguments, **keywords):
            seen[name].append(pick(*arguments, **keywords))
            return function(*arguments, **keywords)

        return counting

    monkeypatch.setattr(registry, "_cards_in", count("listed", listing, lambda folder, kind: folder))
    monkeypatch.setattr(registry, "entry_points", count("asked", asking, lambda: "all groups"))
    monkeypatch.setattr(xaibench.cards, "read_card", count("read", reading, lambda kind, path: path))
    return seen


def test_what_cannot_change_is_looked_up_once(counted):
    names = registry.names("method")
    assert len(names) >= 50
    for name in names * 2:
        registry.card("method", name)
    assert counted["listed"].count(registry.shipped()) == 1
    assert counted["asked"] == ["all groups"]
    assert len(counted["read"]) == len(set(counted["read"])) == len(names)


def test_a_card_is_read_again_when_its_file_has_changed(counted, own_card):
    path = own_card("method", "mine", MINE.format(title="One"))
    first = registry.card("method", "mine")
    assert first.title == "One" and registry.card("method", "mine") is first
    path.write_text(MINE.format(title="Another"))
    assert registry.card("method", "mine").title == "Another"
    other = path.with_name("other")
    other.write_text(MINE.format(title="Replaced"))
    other.replace(path)
    assert registry.card("method", "mine").title == "Replaced" and len(counted["read"]) == 3


def test_cards_that_appear_and_go_are_seen_at_once(own_card, tmp_path, monkeypatch):
    assert registry.names("method", "new-*") == []
    first, second = (own_card("method", f"new-{n}", MINE.format(title="x")) for n in (1, 2))
    assert registry.names("method", "new-*") == ["new-1", "new-2"]
    first.unlink()
    assert registry.names("method", "new-*") == ["new-2"]
    added = tmp_path / "added"
    (added / "methods").mkdir(parents=True)
    second.rename(added / "methods" / "new-3.toml")
    assert registry.names("method", "new-*") == []
    registry.add_folder(added)
    xaibench.method("new-4")(lambda evidence: evidence.inputs)
    assert registry.names("method", "new-*") == ["new-3", "new-4"]
    assert all(registry.plugged_in(registry.card("method", name)) for name in ("new-3", "new-4"))
    own_card("method", "new-5", MINE.format(title="x"))
    monkeypatch.setenv("XAIBENCH_HOME", str(tmp_path / "elsewhere"))
    assert registry.names("method", "new-*") == ["new-3", "new-4"]


@pytest.mark.parametrize("target", ["no_such_module:x", "xaibench.seeds:no_such_name", "xaibench.seeds", ""])
def test_targets_that_cannot_be_imported_are_errors(target, own_card):
    own_card("method", "mine", f'title = "x"\ntarget = "{target}"\n')
    with pytest.raises(XaibenchError, match=f"method mine: target '{target}' cannot be imported"):
        registry.load(registry.card("method", "mine"))


ENTRY_POINT = """
import xaibench
from xaibench.cards import MethodCard

card = MethodCard(name="packaged-card", title="A card", target="packaged_methods:plain")

def plain(evidence):
    return evidence.inputs

@xaibench.method("packaged")
def packaged(evidence):
    return evidence.inputs

@xaibench.model("packaged-net")
def net(num_classes):
    pass

@xaibench.dataset("packaged-data", geometry={"resize": 8, "crop": 8})
class Data(xaibench.Dataset):
    pass

@xaibench.protocol("packaged-score", metric="m", range=(0, 1), higher_is_better=True, undefined_cost=0)
class Score(xaibench.Protocol):
    pass

@xaibench.guidance_loss("packaged-loss")
def loss(maps, masks):
    return maps.sum((1, 2))

@xaibench.schedule("packaged-schedule")
def falling(progress):
    return 1 - progress.fraction

@xaibench.recipe("packaged-recipe")
def quick():
    return {"epochs": 1}
"""
OTHER_KINDS = {
    "model": ("packaged-net", "net"), "dataset": ("packaged-data", "Data"), "protocol": ("packaged-score", "Score"),
    "loss": ("packaged-loss", "loss"), "schedule": ("packaged-schedule", "falling"),
    "recipe": ("packaged-recipe", "quick"),
}  # fmt: skip


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package with two entry points of the group xaibench.methods."""
    info = tmp_path / "site" / "packaged_methods-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: packaged-methods\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[xaibench.methods]\npackaged-card = packaged_methods:card\npackaged = packaged_methods:packaged\n"
        + "".join(
            f"[xaibench.{PLURALS[k]}]\n{name} = packaged_methods:{thing}\n" for k, (name, thing) in OTHER_KINDS.items()
        )
    )
    (tmp_path / "site" / "packaged_methods.py").write_text(ENTRY_POINT)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    yield
    sys.modules.pop("packaged_methods", None)


def test_entry_points_are_listed_without_being_imported(package):
    assert registry.names("method", "packaged*") == ["packaged", "packaged-card"]
    assert "packaged_methods" not in sys.modules


@pytest.mark.parametrize("name", ["packaged", "packaged-card"])
def test_entry_points_give_cards_and_decorated_functions(name, package):
    for _ in range(2):
        card = registry.card("method", name)
        assert card.name == name and callable(registry.load(card))
    assert registry.names("method", "packaged*") == ["packaged", "packaged-card"]


@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_entry_points_of_the_other_kinds(kind, package):
    name, thing = OTHER_KINDS[kind]
    assert name in registry.names(kind)
    for _ in range(2):
        card = registry.card(kind, name)
        assert card.name == name and registry.load(card).__name__ == thing and registry.source(card)


def _printed(code: str) -> list[str]:
    """The lines that code prints in a process of its own."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.process
def test_listing_names_imports_nothing_heavy():
    code = (
        "import sys; from xaibench import registry; registry.names('method'); registry.names('model');"
        "print([m for m in ('torch', 'numpy', 'pandas', 'pydantic', 'timm') if m in sys.modules])"
    )
    assert _printed(code) == ["[]"]


@pytest.mark.process
def test_ls_imports_nothing_heavy():
    code = (
        "import sys; from xaibench.cli import main; sys.argv = ['xaibench', 'ls', 'methods', 'ig'];"
        "main(); print([m for m in ('torch', 'numpy', 'pandas', 'xaibench.configuration', 'rich') if m in sys.modules])"
    )
    assert _printed(code) == ["ig", "[]"]


def test_public_names_are_there_and_others_are_not():
    for name in xaibench.__all__:
        assert getattr(xaibench, name)
    with pytest.raises(AttributeError, match="no attribute 'atribute'"):
        _ = xaibench.atribute


def test_a_file_that_is_edited_within_a_second_runs_as_it_is_now(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = tmp_path / "quick.py"
    for value in (1, 2):
        path.write_text(f"VALUE = {value}\n")
        os.utime(path, (10**9, 10**9))
        assert value == load_file(path, again=True).VALUE


def test_a_card_of_ones_own_moves_with_the_cards_of_its_function():
    """Its numbers do, so its source, which is part of every key, names the version of xaibench's card."""
    shipped = {name: registry.card("method", name) for name in ("rise", "rise-clamped", "ig")}
    assert {registry.source(card) for card in shipped.values()} == {""}
    own = {name: registry.source(card.model_copy(update={"name": f"my-{name}"})) for name, card in shipped.items()}
    rise = "xaibench.attribution.rise:rise 2"
    assert own == {
        "rise": rise, "rise-clamped": rise, "ig": "xaibench.attribution.gradients:integrated_gradients",
    }  # fmt: skip
    insertion = registry.card("protocol", "insertion-gaussian").model_copy(update={"name": "mine"})
    assert registry.source(insertion) == f"{insertion.target} {registry.card('protocol', 'insertion').version}"
