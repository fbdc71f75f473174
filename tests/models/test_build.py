"""Networks of users: builders in files, decorated builders, finished networks, and what is said of mistakes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import xaibench
from xaibench import registry
from xaibench.cards import Geometry
from xaibench.errors import XaibenchError
from xaibench.models.build import brings_weights
from xaibench.models.open import build_model, model_card

FILE = """
import torch
from torch import nn


def make(num_classes):
    \"\"\"A small network.

    More words.
    \"\"\"
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(4, num_classes))

def first(classes, width=4):
    return make(classes)

def sized(width=4, *, num_classes=5):
    return make(num_classes)

def ready(pretrained=True):
    torch.manual_seed(1)
    return make(6)

class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.net = make(num_classes)
    def forward(self, x):
        return self.net(x)

finished = ready()
number = 3

def fails(num_classes):
    raise RuntimeError("no such\\nlayer")

def nothing(num_classes):
    pass

def maps(num_classes):
    return nn.Conv2d(3, num_classes, 1)

def several(num_classes):
    class Two(nn.Module):
        def forward(self, x):
            return x, x
    return Two()

def other(num_classes):
    return make(num_classes + 1)

def narrow(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(3, num_classes))

def attends(num_classes):
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches, self.look = nn.Conv2d(3, 8, 8, 8), nn.MultiheadAttention(8, 2, batch_first=True)
            self.head = nn.Linear(8, num_classes)
        def forward(self, x):
            x = self.patches(x).flatten(2).mT
            return self.head(self.look(x, x, x)[0].mean(1))
    return Tokens()
"""
SQUARE = Geometry(resize=32, crop=32)


@pytest.fixture
def file(tmp_path):
    (tmp_path / "nets.py").write_text(FILE)
    return tmp_path / "nets.py"


def model(file, name, classes=7):
    return build_model(model_card(f"{file}:{name}"), classes, SQUARE)


@pytest.mark.parametrize("name", ["make", "first", "sized", "Net"])
def test_builders_are_told_the_number_of_classes(file, name):
    built = model(file, name)
    assert built.classes == 7 and built.net(torch.zeros(1, 3, 32, 32)).shape == (1, 7)
    assert built.name == f"nets.py:{name}" and built.source and not built.net.training
    assert not brings_weights(model_card(f"{file}:{name}"))
    assert model_card(f"{file}:make").title == "A small network."


@pytest.mark.parametrize("name", ["ready", "finished"])
def test_finished_networks_keep_their_classes_and_weights(file, name):
    built = model(file, name)
    torch.manual_seed(1)
    expected = nn.Conv2d(3, 4, 3, 2, 1).weight
    assert built.classes == 6 and torch.equal(built.net[0].weight, expected)
    assert brings_weights(model_card(f"{file}:{name}"))


def test_a_network_in_a_file_is_copied_before_it_is_changed(file):
    card = model_card(f"{file}:finished")
    built = build_model(card, 6, SQUARE, min_cam_grid=32)
    assert built.net[0].stride == (1, 1) and registry.load(card)[0].stride == (2, 2)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mak", r"nets\.py has no 'mak'; did you mean make"),
        ("number", "is int, not a function, class or network that makes a model"),
        ("fails", r"model nets\.py:fails cannot be built: RuntimeError: no such layer"),
        ("nothing", "gives NoneType, not a torch.nn.Module"),
        ("maps", r"gives shape \(1, 7, 32, 32\) for one image, not logits"),
        ("several", "gives tuple for one image, not logits"),
        ("other", "gives 8 logits where it was built for 7 classes"),
        ("narrow", "cannot take images of 32x32 pixels: RuntimeError"),
    ],
)
def test_mistakes_are_one_line_with_the_models_name(file, name, message):
    with pytest.raises(XaibenchError, match=message) as caught:
        model(file, name)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing_or_broken_is_named(tmp_path):
    with pytest.raises(XaibenchError, match=r"nowhere\.py does not exist"):
        model_card(f"{tmp_path}/nowhere.py:make")
    (tmp_path / "broken.py").write_text("import no_such_module_anywhere")
    with pytest.raises(XaibenchError, match=r"broken\.py failed while loading: ModuleNotFoundError"):
        model_card(f"{tmp_path}/broken.py:make")


def test_the_cam_layer_before_attention_is_the_last_map(file):
    assert model(file, "make").cam_layer == "1" and model(file, "attends").cam_layer == "patches"


def test_decorated_builders_say_encoding_and_layer(file):
    @xaibench.model("mine", mean=(0, 0, 0), std=(1, 1, 1), cam_layer="0", probability="sigmoid", width=5)
    def mine(num_classes, width):
        """My net."""
        return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(num_classes))

    built = build_model(registry.card("model", "mine"), 4, SQUARE)
    assert (built.cam_layer, built.probability, built.encoding.mean, built.classes) == ("0", "sigmoid", (0, 0, 0), 4)
    assert built.net[0].out_channels == 5
    xaibench.model("staged", stages={"Mid1": "0", "Final": "1"})(lambda num_classes: mine(num_classes, 5))
    assert build_model(registry.card("model", "staged"), 4, SQUARE).stages == {"Mid1": "0", "Final": "1"}
    xaibench.model("off", stages={"Final": "layer9"})(lambda num_classes: mine(num_classes, 5))
    with pytest.raises(XaibenchError, match="model off has no layer 'layer9', which its stages name"):
        build_model(registry.card("model", "off"), 4, SQUARE)
    with pytest.raises(XaibenchError, match=r"model 'wrong': stages.* 'Mid1', 'Mid2', 'Mid3' or 'Final'"):
        xaibench.model("wrong", stages={"Last": "1"})(lambda num_classes: None)
    xaibench.model("lost", cam_layer="layer9")(lambda num_classes: nn.Sequential(nn.Flatten(), nn.LazyLinear(4)))
    with pytest.raises(XaibenchError, match="model lost has no layer 'layer9'"):
        build_model(registry.card("model", "lost"), 4, SQUARE)
    with pytest.raises(XaibenchError, match="model 'wrong': probability: Input should be 'softmax' or 'sigmoid'"):
        xaibench.model("wrong", probability="half")(lambda num_classes: None)


def test_an_edited_file_is_another_source(file):
    before = model_card(f"{file}:make").source
    assert model_card(f"{file}:Net").source != before, "another builder of the same file"
    file.write_text(FILE.replace("3, 2, 1", "3, 1, 1"))
    assert model_card(f"{file}:make").source != before
