"""Which methods run for which model, and plug-ins: decorated functions and files."""

from __future__ import annotations

import importlib.util

import pytest
import torch

import xaibench
from xaibench import registry
from xaibench.attribution.methods import check_parameters, choose_methods, incompatibility, merge_parameters
from xaibench.errors import XaibenchError
from xaibench.plugins import load_plugin

PAPER = {
    "ixg", "ixg-sg", "ig", "ig-u", "ig-sg", "ixg-abs", "ixg-sg-abs", "ig-abs", "ig-u-abs", "ig-sg-abs", "ig-sg-sq",
    "saliency", "rise", "rise-u", "grad-cam", "grad-cam++", "sg-cam++", "xgrad-cam", "layer-cam",
}  # fmt: skip
OTHER_MODELS = {"rollout", "chefer-lrp", "b-cos", "bagnet"}
OF_TRANSFORMERS = {"vit-grad-cam", "attn-lrp", "cp-lrp-lxt", "legrad", "legrad-clip", "grad-eclip", "grad-eclip-code"}
EXTRA = {"lrp-epsilon-plus-flat"} if importlib.util.find_spec("zennit") else set()
CONTROLS = {"random", "constant", "centre", "edges", "oracle"}
VARIANTS = {"saliency-l1", "grad-cam++-torchcam", "sg-cam++-torchcam", "rise-clamped", "rise-cv"}
FOREIGN = {
    "score-cam", "eigen-cam", "eigen-grad-cam", "hires-cam", "grad-cam-elementwise", "ablation-cam", "finer-cam",
    "full-grad", "deeplift", "guided-backprop", "deconvolution", "guided-grad-cam", "occlusion", "feature-ablation",
    "gradient-shap", "kernel-shap", "shapley-sampling", "lime",
}  # fmt: skip


def chosen(wanted=None, family="cnn", has_cam_layer=True):
    cards, skipped = choose_methods(wanted, "net", family, has_cam_layer)
    return {card.name for card in cards}, skipped


def test_a_cnn_gets_the_papers_nineteen_and_the_controls_by_default():
    names, skipped = chosen()
    assert names == PAPER | CONTROLS and set(skipped) == OTHER_MODELS
    assert skipped["rollout"] == "needs a vision transformer"


def test_all_adds_the_variants_and_the_methods_of_other_packages():
    names, skipped = chosen(["all"])
    assert names == PAPER | CONTROLS | VARIANTS | FOREIGN | EXTRA
    lacking = {"lrp-epsilon-plus-flat"} - EXTRA
    assert set(skipped) == OTHER_MODELS | OF_TRANSFORMERS | {"bagnet-own"} | lacking
    assert all(skipped[name] == "needs the package zennit: pip install 'xaibench[zennit]'" for name in lacking)


def test_a_vision_transformer_gets_its_own_methods_and_the_cams():
    names, skipped = chosen(["all"], "vit")
    cnn_only = {"full-grad", "guided-grad-cam"}
    assert names == (PAPER | CONTROLS | VARIANTS | FOREIGN | {"rollout", "chefer-lrp"} | OF_TRANSFORMERS) - cnn_only
    others = {"b-cos", "bagnet", "bagnet-own", "lrp-epsilon-plus-flat"}
    assert set(skipped) == others | cnn_only and chosen(None, "vit")[0] > {
        "rollout",
        "chefer-lrp",
    }


def test_without_a_spatial_layer_cams_are_left_out():
    names, skipped = chosen(has_cam_layer=False)
    cams = {name for name in PAPER if "cam" in name}
    assert names == (PAPER | CONTROLS) - cams
    assert {skipped[name] for name in cams} == {"needs a layer with a spatial map"}


def test_named_methods_run_once_and_in_the_order_asked_for():
    cards, skipped = choose_methods(["rise", "ig", "rise"], "net", "cnn", True)
    assert [card.name for card in cards] == ["rise", "ig"] and not skipped


@pytest.mark.parametrize(
    ("wanted", "family", "layer", "message"),
    [
        (["ig", "rollout"], "cnn", True, "method rollout needs a vision transformer; net is of the family cnn"),
        (["b-cos"], "vit", False, "method b-cos needs a B-cos network; net is of the family vit"),
        (["grad-cam"], "cnn", False, "method grad-cam needs a layer with a spatial map"),
        (["ixgg"], "cnn", True, "unknown method 'ixgg'; did you mean ixg"),
    ],
)
def test_misfits_asked_for_by_name_are_errors(wanted, family, layer, message):
    with pytest.raises(XaibenchError, match=message):
        chosen(wanted, family, layer)


def test_other_families_get_their_own_methods():
    assert incompatibility(registry.card("method", "rollout"), "vit", False) is None
    assert "b-cos" in chosen(["all"], "bcos")[0]


def test_overrides_change_only_parameters_that_a_method_has():
    ig, ixg = (registry.card("method", name) for name in ("ig", "ixg"))
    assert merge_parameters(ig, {"steps": 5, "masks": 9}) == {"baseline": "zero", "steps": 5}
    assert merge_parameters(ixg, {"steps": 5}) == {}
    assert ig.parameters["steps"] == 50


@pytest.mark.parametrize("name", sorted(PAPER | VARIANTS | CONTROLS | FOREIGN | OF_TRANSFORMERS))
def test_cards_name_parameters_that_their_functions_take(name):
    card = registry.card("method", name)
    check_parameters(card, card.parameters)
    with pytest.raises(XaibenchError, match=r"method .* has no parameter 'stepz'; it has"):
        check_parameters(card, {"stepz": 1})


def test_a_decorated_function_is_a_method(small, pictures, classes):
    @xaibench.method("mine", transform="abs", factor=2.0)
    def mine(evidence, factor):
        """Twice the gradient.

        More words.
        """
        return factor * evidence.gradient()

    saliency = xaibench.attribute(small, pictures, classes, "saliency")
    assert torch.allclose(xaibench.attribute(small, pictures, classes, "mine"), 2 * saliency)
    assert torch.allclose(xaibench.attribute(small, pictures, classes, "mine", factor=-3.0), 3 * saliency)
    card = registry.card("method", "mine")
    assert card.title == "Twice the gradient." and card.source and mine.xaibench_card is card
    assert "mine" in registry.names("method") and "mine" in chosen()[0], "plug-ins run by default"
    with pytest.raises(XaibenchError, match="no parameter 'faktor'; it has factor"):
        xaibench.attribute(small, pictures, classes, "mine", faktor=1)


@pytest.mark.parametrize("side", [1, 4, 16])
def test_plugins_may_return_any_spatial_size_and_channels(side, small, pictures, classes):
    xaibench.method("mine")(lambda e: torch.ones(len(e.targets), 7, side, side))
    maps = xaibench.attribute(small, pictures, classes, "mine")
    assert maps.shape == (4, 1, 16, 16) and maps.unique().tolist() == [7.0]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (torch.zeros(4, 16, 16), r"returned shape \(4, 16, 16\)"),
        (torch.zeros(1, 1, 16, 16), "for 4 pairs"),
        (torch.zeros(4, 1, 16, 16, dtype=torch.int32), "not floating point"),
        ("a map", "returned str"),
    ],
)
def test_wrong_returns_of_plugins_are_errors_with_their_name(returned, message, small, pictures, classes):
    xaibench.method("mine")(lambda e: returned)
    with pytest.raises(XaibenchError, match=f"method mine .*{message}"):
        xaibench.attribute(small, pictures, classes, "mine")


@pytest.mark.parametrize("name", ["ixg", "mine"])
def test_a_taken_name_is_refused(name):
    xaibench.method("mine")(lambda e: e.gradient())
    with pytest.raises(XaibenchError, match=f"method '{name}' exists already"):
        xaibench.method(name)(lambda e: e.images)


PLUGIN = """
import xaibench

@xaibench.method("from-file")
def from_file(evidence):
    return {factor} * evidence.inputs
"""


def test_plugin_files_register_and_an_edit_changes_the_source_digest(tmp_path, small, pictures, classes):
    path = tmp_path / "plugin.py"
    digests = []
    for factor in (2, 3):
        path.write_text(PLUGIN.format(factor=factor))
        load_plugin(path)
        digests.append(registry.card("method", "from-file").source)
        maps = xaibench.attribute(small, pictures, classes, "from-file")
        assert torch.allclose(maps, factor * pictures.sum(1, keepdim=True))
    assert digests[0] and digests[1] and digests[0] != digests[1]
    path.write_text(PLUGIN.format(factor=2))
    load_plugin(path)
    assert registry.card("method", "from-file").source == digests[0]


def test_two_plugin_files_of_the_same_name_live_side_by_side(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "plugin.py"
        path.write_text(PLUGIN.format(factor=2).replace("from-file", f"from-{folder}"))
        load_plugin(path)
    assert registry.names("method", "from-*") == ["from-a", "from-b"]


def test_functions_without_a_file_differ_in_their_digest_when_their_code_does():
    sources = ["lambda e: 2 * e.inputs", "lambda e: 3 * e.inputs", "lambda e: 2 * e.images"]
    digests = []
    for number, source in enumerate(sources):
        xaibench.method(f"mine-{number}")(eval(source))
        digests.append(registry.card("method", f"mine-{number}").source)
    assert len(set(digests)) == 3


def test_plugin_files_that_fail_are_errors_with_their_name(tmp_path):
    with pytest.raises(XaibenchError, match=r"plug-in .*nowhere\.py does not exist"):
        load_plugin(tmp_path / "nowhere.py")
    (tmp_path / "broken.py").write_text("import no_such_module_anywhere")
    with pytest.raises(XaibenchError, match=r"plug-in .*broken\.py failed while loading: ModuleNotFoundError"):
        load_plugin(tmp_path / "broken.py")
    (tmp_path / "taken.py").write_text(PLUGIN.format(factor=1).replace("from-file", "ig"))
    with pytest.raises(XaibenchError, match="method 'ig' exists already"):
        load_plugin(tmp_path / "taken.py")
