"""Transfer: weights of other classes with a new head, and epochs in which the head learns alone."""

from __future__ import annotations

import hashlib
import math
import os

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from xaibench import registry
from xaibench.datasets.open import open_dataset
from xaibench.errors import XaibenchError
from xaibench.models.base import Encoding, Model
from xaibench.models.build import build_network
from xaibench.models.download import address, stored_at
from xaibench.models.open import build_model
from xaibench.models.state import file_digest, read_header, read_state, save_state
from xaibench.seeds import derive
from xaibench.training.adversarial import Adversarial
from xaibench.training.api import plan_training
from xaibench.training.config import TrainingConfig
from xaibench.training.head import HeadStage, head_of
from xaibench.training.loop import fit
from xaibench.training.recipe import Recipe
from xaibench.training.resources import TrainingResources
from xaibench.training.task import Objective
from xaibench.training.transfer import load_start, transferred_weights

pytestmark = pytest.mark.process  # whole runs or large networks: not in the fast tier

QUIET = TrainingResources(quiet=True)


def plan(model, dataset, given=None, **fields):
    """The training of a request; given: an object in the place of its task."""
    return plan_training(TrainingConfig(model=model, dataset=dataset, **fields), given)


ENCODING = Encoding((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
HEADS = {
    "resnet18": ("fc.weight", "fc.bias"),
    "vgg16_bn": ("classifier.6.weight", "classifier.6.bias"),
    "densenet121": ("classifier.weight", "classifier.bias"),
    "squeezenet1_0": ("classifier.1.weight", "classifier.1.bias"),
    "bagnet17": ("fc.weight", "fc.bias"),
    "vit_tiny_patch8_64": ("head.weight", "head.bias"),
    "timm:regnety_002": ("head.fc.weight", "head.fc.bias"),
    "x_critters_cnn": None,
    "bcos_resnet18": ("fc.linear.weight",),
    "bcos_densenet121": ("classifier.linear.weight",),
}

CLASSES = [f"class {n}" for n in range(10)]


def data():
    return registry.card("dataset", "mini")


def seven(path, prefix="", seed=5, **changes):
    """A file of weights of the network `tiny` for seven classes, and what is in it."""
    torch.manual_seed(seed)
    tensors = build_network(registry.card("model", "tiny"), 7).state_dict()
    tensors["2.running_mean"].normal_()
    tensors |= changes
    torch.save({"state_dict": {prefix + k: v for k, v in tensors.items()}}, path)
    return tensors


@pytest.mark.parametrize("name", HEADS)
def test_heads_are_found(name):
    from xaibench.models.open import model_card

    if name.startswith("bcos"):
        pytest.importorskip("bcos")
    card = model_card(name)
    with torch.device("meta"):
        net = build_network(card, 10)
        head = head_of(card, Model(name, net, ENCODING, "", (0, 0), 10))
    shapes = {k: net.state_dict()[k].shape[0] for k in head}
    assert set(shapes.values()) == {10} and HEADS[name] in (None, head)


def test_finding_the_head_draws_nothing(home):
    card = registry.card("model", "tiny")
    model = build_model(card, 10, data().geometry)
    torch.manual_seed(3)
    head_of(card, model)
    drawn = torch.rand(3)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(3))


@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_body_is_the_files_and_the_head_is_fresh(home, tmp_path, prefix):
    card, given = registry.card("model", "tiny"), seven(tmp_path / "w.pth", prefix)
    model = build_model(card, 10, data().geometry)
    before = {k: v.clone() for k, v in model.net.state_dict().items()}
    assert load_start(model, tmp_path / "w.pth", card, head_of(card, model), CLASSES, "mine") == ["7.weight", "7.bias"]
    for name, value in model.net.state_dict().items():
        assert torch.equal(value, (before if name.startswith("7.") else given)[name]), name


def test_weights_of_another_network_are_refused_and_change_nothing(home, tmp_path):
    card = registry.card("model", "tiny")
    model = build_model(card, 10, data().geometry)
    before = {k: v.clone() for k, v in model.net.state_dict().items()}
    for changes, words in (
        ({"0.weight": torch.zeros(8, 3, 5, 5)}, r"do not fit tiny \(0.weight is \(8, 3, 5, 5\), not \(8, 3, 3, 3\)\)"),
        ({"0.bias": torch.zeros(7)}, r"\(0.bias is \(7,\), not \(8,\)\)"),
        ({"7.weight": torch.zeros(7, 32)}, r"\(7.weight is \(7, 32\), not \(10, 16\)\)"),
        ({"8.weight": torch.zeros(3)}, "unexpected 8.weight"),
    ):
        seven(tmp_path / "w.pth", **changes)
        with pytest.raises(XaibenchError, match=words):
            load_start(model, tmp_path / "w.pth", card, head_of(card, model), CLASSES, "mine")
    assert all(torch.equal(v, before[k]) for k, v in model.net.state_dict().items())
    seven(tmp_path / "w.pth")
    with pytest.raises(XaibenchError, match=r"for 7 classes, the data set has 10; start from .* start=transfer"):
        load_start(model, tmp_path / "w.pth", card, None, CLASSES, "mine")


def test_weights_of_other_classes_in_the_same_number_are_refused(home, tmp_path):
    card = registry.card("model", "tiny")
    model = build_model(card, 10, data().geometry)
    path = tmp_path / "w.safetensors"
    save_state(model.net, path, {"alignment": None, "classes": CLASSES})
    assert load_start(model, path, card, None, CLASSES, "mine") == []
    for others, words in (
        ([*CLASSES[:3], "bird", *CLASSES[4:]], "class 3 is 'class 3' there, 'bird' here"),
        (CLASSES[::-1], "class 0 is 'class 0' there, 'class 9' here"),
        (CLASSES[:9], "class 9 is 'class 9' there, none here"),
    ):
        with pytest.raises(XaibenchError, match=words):
            load_start(model, path, card, None, others, "mine")


def test_the_header_of_a_training_names_its_classes_and_a_run_on_others_is_refused(home, command, tmp_path):
    words = ("--model", "tiny", "--dataset", "mini", "--device", "cpu", "--quiet")
    assert command("train", "classifier", *words, "--name", "known")[0] == 0
    path = home / registry.card("model", "known").plain.file
    before, state = path.read_bytes(), read_state(path)
    assert state.header["classes"] == list(open_dataset(data(), None, {}).classes)
    model = build_model(registry.card("model", "tiny"), 10, data().geometry)
    asked = ("run", "sds", "--dataset", "mini", "--methods", "ixg", "--images", 2, "--quiet", "--out", tmp_path / "r")
    try:
        save_state(model.net, path, state.header | {"classes": CLASSES})
        status, _, err = command(*asked, "--model", "known")
        assert status == 2 and "were trained on other classes than those of mini: class 0 is 'class 0' there" in err
        assert command(*asked, "--model", "tiny", "--weights", path)[0] == 0  # a file that is named
    finally:
        path.write_bytes(before)
    assert command(*asked, "--model", "known")[0] == 0


def test_published_weights_of_any_data_set_are_taken_where_they_are_here(home, monkeypatch, tmp_path):
    monkeypatch.setenv("XAIBENCH_HOME", str(tmp_path / "own"))
    card = registry.card("model", "resnet18")
    with pytest.raises(
        XaibenchError, match=r"published plain weights of resnet18 on imagenet .* by --download"
    ) as caught:
        plan("resnet18", "critters", recipe={"start": "transfer"})
    assert "\n" not in str(caught.value)
    path = stored_at(address(card.plain)[0])
    path.parent.mkdir(parents=True)
    path.write_bytes(b"any")
    with pytest.raises(XaibenchError, match="its hash is another"):
        plan("resnet18", "critters", recipe={"start": "transfer"})
    sha256 = hashlib.sha256(b"any").hexdigest()
    monkeypatch.setattr("xaibench.models.published.address", lambda weights: (address(weights)[0], sha256))
    training = plan("resnet18", "critters", recipe={"start": "transfer"})
    assert training.start == path and training.key_fields["start"] == file_digest(path)
    assert training.key_fields["recipe"]["start"] == "transfer"
    with pytest.raises(XaibenchError, match="critters_cnn has no published plain weights to transfer; name a file"):
        transferred_weights(registry.card("model", "critters_cnn"), "plain", True)
    with pytest.raises(XaibenchError, match=r"--weights nowhere\.pth is neither"):
        plan("resnet18", "critters", recipe={"start": "transfer"}, weights="nowhere.pth")
    with pytest.raises(XaibenchError, match="start=transfer for weights of other classes"):
        plan("resnet18", "imagefolder")


def test_what_a_model_needs_from_scratch_is_left_out(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"any")
    changes = {"start": "transfer", "milestones": [4, 6]}
    found = plan("x_resnet50", "imagenet", weights=str(tmp_path / "w.pth"), recipe=changes).recipe
    assert found == Recipe(**changes)


@pytest.mark.parametrize("model", ["tiny", "x_critters_cnn"])
@pytest.mark.parametrize("weights", ["w.pth", "nowhere.pth", "aligned"])
def test_weights_for_a_training_from_scratch_are_refused(model, weights, home, tmp_path, monkeypatch):
    """They would have no effect: recipes of drawn data sets start from scratch."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.pth").write_bytes(b"any")
    with pytest.raises(XaibenchError, match=f"--weights {weights}: this training starts from scratch .*start=plain"):
        plan(model, "mini", weights=weights)
    assert plan(model, "mini").start is None
    assert plan(model, "mini", weights="w.pth", recipe={"start": "plain"}).start.name == "w.pth"


def test_milestones_go_with_their_schedule():
    def recipe(**changes):
        return plan("critters_cnn", "critters", given=Adversarial(), recipe={"start": "scratch"} | changes).recipe

    assert recipe().milestones == (4, 6) and recipe(milestones=[2]).milestones == (2,)
    assert recipe(schedule="cosine").milestones == () and recipe(step_epochs=3).milestones == ()
    with pytest.raises(XaibenchError, match="milestones need schedule=step, not one-cycle"):
        plan("critters_cnn", "critters", recipe={"milestones": [2]})


def test_command_says_what_is_fresh(home, command, tmp_path):
    given = seven(tmp_path / "w.pth")
    words = (
        "train", "classifier", "--model", "tiny", "--dataset", "mini", "--device", "cpu", "--workers", "0",
        "--weights", tmp_path / "w.pth", "--recipe", "start=transfer", "--recipe", "head_epochs=1", "--epochs", "1",
        "--recipe", "milestones=[4,6]", "--recipe", "schedule=step", "--name", "moved",
    )  # fmt: skip
    status, out, err = command(*words)
    assert status == 0 and "new head: 7.weight, 7.bias\n" in err, err
    path = out.split("weights: ")[1].splitlines()[0]
    assert read_header(path)["fresh"] == ["7.weight", "7.bias"]
    trained = read_state(type(home)(path)).tensors
    torch.manual_seed(derive(0, "initial weights"))
    fresh = build_network(registry.card("model", "tiny"), 10).state_dict()
    for name, value in trained.items():
        if name.startswith("7."):
            assert not torch.equal(value, fresh[name]) and (value - fresh[name]).abs().max() < 0.3, "learnt from there"
        else:
            assert torch.equal(value, given[name]), name
    moved = plan("moved", "critters", recipe={"start": "transfer"})
    assert moved.start == type(home)(path), "a named model on other data, too"


def test_with_the_same_classes_transfer_is_plain(home, tmp_path):
    torch.manual_seed(9)
    save_state(build_network(registry.card("model", "tiny"), 10), tmp_path / "w.safetensors", {})
    results = []
    for start in ("plain", "transfer"):
        training = plan("tiny", "mini", weights=str(tmp_path / "w.safetensors"), recipe={"start": start, "epochs": 1})
        results.append(read_state(training.run(resources=QUIET)))
    assert "fresh" not in results[1].header and results[0].path != results[1].path
    assert all(torch.equal(v, results[1].tensors[k]) for k, v in results[0].tensors.items())


# the stage of the head, in the loop


def network():
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 2), nn.BatchNorm1d(2)
    )


HEAD = ("4.weight", "4.bias", "5.weight", "5.bias", "5.running_mean", "5.running_var")
BODY = ("0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked")
RECIPES = {
    "sgd": Recipe(epochs=4, head_epochs=2, batch_size=8, learning_rate=0.1, weight_decay=0.1),
    "adam": Recipe(epochs=4, head_epochs=2, milestones=[1], batch_size=8, learning_rate=0.02, optimizer="adam"),
    "adamw": Recipe(epochs=4, head_epochs=2, batch_size=8, optimizer="adamw", weight_decay=0.1, gradient_clip=0.1),
}


def points():
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    return TensorDataset(x, (x @ torch.tensor([1.0, -2.0, 0.5, 0.0]) > 0).long())


def loss(net, batch):
    return {"loss": nn.functional.cross_entropy(net(batch[0]), batch[1])}


def train(folder, recipe, loss=loss, net=None):
    """The network after a training, and its states after each epoch."""
    net, states = net or network(), []

    def evaluate(plain):
        plain.eval()
        states.append({k: v.clone() for k, v in plain.state_dict().items()})
        return {"accuracy": 0.0}  # the last epoch is kept

    stage = HeadStage(net, HEAD, recipe.head_epochs)
    fit(Objective(net, loss, points(), evaluate), recipe, folder, title="points", resources=QUIET, before_epoch=stage)
    return net, states


@pytest.mark.parametrize("name", RECIPES)
def test_the_head_learns_alone_and_then_all_layers(tmp_path, name):
    first = {k: v.clone() for k, v in network().state_dict().items()}
    _, states = train(tmp_path, RECIPES[name])
    for epoch, state in enumerate(states):
        for key in BODY:
            assert torch.equal(state[key], first[key]) == (epoch < 2), (epoch, key)
        assert not any(torch.equal(state[key], first[key]) for key in HEAD)


def test_the_stage_is_logistic_regression_on_fixed_features(tmp_path):
    """Without dropout and momentum: the head's weights are those of gradient descent on the features of the first
    network in evaluation mode."""
    net = nn.Sequential(*network()[:3], nn.Linear(16, 2))
    net[1].running_mean.normal_()
    body, head = nn.Sequential(*net[:3]), nn.Linear(16, 2).double()
    head.load_state_dict({k: v.double() for k, v in net[3].state_dict().items()})
    recipe = Recipe(
        epochs=2, head_epochs=2, batch_size=64, learning_rate=0.3, momentum=0, weight_decay=0, schedule="constant"
    )
    features = body.eval()(points().tensors[0]).detach().double()
    stage = HeadStage(net, ("3.weight", "3.bias"), 2)
    fit(
        Objective(net, loss, points(), lambda net: {"accuracy": 0.0}), recipe, tmp_path, title="points",
        resources=QUIET, before_epoch=stage,
    )  # fmt: skip
    for _ in range(2):
        head.zero_grad()
        nn.functional.cross_entropy(head(features), points().tensors[1]).backward()
        with torch.no_grad():
            for p in head.parameters():
                p -= 0.3 * p.grad
    torch.testing.assert_close(net[3].weight.double(), head.weight, atol=1e-6, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_killed_training_ends_in_the_same_weights(tmp_path, after, name):
    """Killed within the stage of the head, at its end, and within that of all layers."""
    whole, _ = train(tmp_path / "whole", RECIPES[name])
    calls = []

    def killed(net, batch):
        calls.append(1)
        if len(calls) == after * 8 + 4:
            raise KeyboardInterrupt
        return loss(net, batch)

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", RECIPES[name], killed)
    resumed, _ = train(tmp_path / "killed", RECIPES[name])
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_only_what_learns_is_let_go_again():
    net = network()
    net[0].bias.requires_grad_(False)  # by the task, for good
    stage = HeadStage(net, HEAD, 1)
    for epoch in (0, 1):
        net.train()
        stage(epoch)
        learning = {name for name, p in net.named_parameters() if p.requires_grad}
        assert learning == (
            {"4.weight", "4.bias", "5.weight", "5.bias"} | ({"0.weight", "1.weight", "1.bias"} if epoch else set())
        )
        assert net.training and net[3].training and net[5].training and net[1].training == bool(epoch)
    with pytest.raises(XaibenchError, match="it has no head; leave out head_epochs"):
        HeadStage(net, (), 1)


@pytest.mark.slow
def test_squeezenet_of_imagenet_moves_to_voc(real, home, command):
    path = real / "weights" / "squeezenet1_0_imagenet.safetensors"
    status, out, err = command(
        "train", "classifier", "--model", "squeezenet1_0", "--dataset", "voc2012", "--data-root", real,
        "--dataset-option", "split=trainval", "--weights", path, "--recipe", "start=transfer", "--epochs", "2",
        "--recipe", "head_epochs=1", "--image-size", "64", "--batch-size", "20", "--device", "cpu", "--workers", "0",
        "--learning-rate", "0.01",
    )  # fmt: skip
    assert status == 0, err
    assert "new head: classifier.1.weight, classifier.1.bias" in err and "validation F1 " in out
    header = read_header(out.split("weights: ")[1].splitlines()[0])
    assert header["metrics"]["map"] > 0 and not math.isnan(header["metrics"]["f1"])
    assert header["start"] == file_digest(path) and os.fspath(path) not in str(header)
