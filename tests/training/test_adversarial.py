"""Attacks against closed forms on linear models and captum's PGD, and the training that uses them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from xaibench.cards import Geometry
from xaibench.datasets.critters import Critters
from xaibench.errors import XaibenchError
from xaibench.models.base import Encoding, Model
from xaibench.models.state import read_header
from xaibench.seeds import generator
from xaibench.training.adversarial import Adversarial, Attacked, in_evaluation, pixels_of, summed_loss
from xaibench.training.api import plan_training
from xaibench.training.config import TrainingConfig
from xaibench.training.pgd import attack, lengths, project, random_change, steepest
from xaibench.training.recipe import Recipe
from xaibench.training.task import Split


def plan(model, dataset, given=None, **fields):
    """The training of a request; given: an object in the place of its task."""
    return plan_training(TrainingConfig(model=model, dataset=dataset, **fields), given)


ENCODING = Encoding((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
COMPLEMENT = Encoding((0, 0, 0), (1, 1, 1), complement=True)


@pytest.fixture
def random() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def middle(random) -> torch.Tensor:
    """Images far from 0 and 1."""
    return 0.4 + 0.2 * torch.rand(5, 3, 4, 4, generator=random, dtype=torch.float64)


@pytest.fixture
def weights(random) -> torch.Tensor:
    return torch.randn(3, 4, 4, generator=random, dtype=torch.float64)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_on_a_linear_loss_the_attack_reaches_the_best_point_of_the_ball(norm, middle, weights):
    found = attack(lambda x: (x * weights).sum(), middle, norm=norm, epsilon=0.05, steps=7, step_size=2.5 * 0.05 / 7)
    best = weights.sign() if norm == "linf" else weights / weights.norm()
    torch.testing.assert_close(found, middle + 0.05 * best.expand_as(middle), rtol=1e-9, atol=1e-12)


def test_corners_of_the_range_are_respected(weights):
    """At black and white pixels only the changes that stay in [0, 1] are made, also from a start outside."""
    pixels = (torch.arange(48).reshape(1, 3, 4, 4) % 2).double()
    start = torch.full_like(pixels, 0.2)
    found = attack(
        lambda x: (x * weights).sum(), pixels, norm="linf", epsilon=0.1, steps=30, step_size=0.1, start=start
    )
    up = weights > 0
    expected = torch.where(pixels == 0, torch.where(up, 0.1, 0.0), torch.where(up, 1.0, 0.9)).double()
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("epsilon", [0.0, 2 / 255, 0.3, 5.0])
def test_attacked_images_stay_in_the_ball_and_in_the_range(norm, epsilon, random):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Tanh(), nn.Flatten(), nn.Linear(8 * 36, 10))
    pixels, labels = torch.rand(6, 3, 8, 8, generator=random).round(decimals=1), torch.arange(6)
    epsilon = min(epsilon, 1.0) if norm == "linf" else epsilon
    start = torch.stack([random_change((3, 8, 8), norm, epsilon, random) for _ in range(6)])
    wrong = summed_loss("cross-entropy", labels)
    found = attack(
        lambda x: wrong(net(x)), pixels, norm=norm, epsilon=epsilon, steps=5, step_size=epsilon / 2, start=start
    )
    change = found.double() - pixels.double()
    size = change.abs().amax((1, 2, 3)) if norm == "linf" else change.flatten(1).norm(dim=1)
    assert found.min() >= 0 and found.max() <= 1 and (size <= epsilon * (1 + 1e-6) + 1e-7).all()
    assert epsilon == 0 or wrong(net(found)) > wrong(net(pixels))
    assert epsilon > 0 or torch.equal(found, pixels)
    assert not found.requires_grad and all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_projection_is_the_nearest_point_of_the_ball(norm, random):
    """Against the optimum that SciPy finds, and points of the ball stay where they are."""
    from scipy.optimize import minimize

    change = torch.randn(2, 1, 2, 2, generator=random, dtype=torch.float64)
    found = project(change, norm, 0.5)
    for mine, asked in zip(found, change, strict=True):
        limit = {
            "l2": {"constraints": {"type": "ineq", "fun": lambda x: 0.25 - (x**2).sum()}},
            "linf": {"bounds": [(-0.5, 0.5)] * 4},
        }[norm]
        goal = asked.flatten().numpy()
        best = minimize(lambda x, goal=goal: ((x - goal) ** 2).sum(), 0.1 * goal, method="SLSQP", **limit).x
        torch.testing.assert_close(mine.flatten(), torch.from_numpy(best), atol=1e-4, rtol=0)
    assert torch.equal(project(found * 0.9, norm, 0.5), found * 0.9)
    assert torch.equal(project(torch.zeros(1, 3, 2, 2), norm, 0.0), torch.zeros(1, 3, 2, 2))


def test_no_gradient_no_step():
    flat = attack(lambda x: 0 * x.sum(), torch.full((2, 3, 2, 2), 0.5), norm="l2", epsilon=0.3, steps=3, step_size=0.1)
    assert torch.equal(flat, torch.full((2, 3, 2, 2), 0.5)) and torch.equal(steepest(0 * flat, "l2"), 0 * flat)


def test_linf_is_captums(random):
    captum = pytest.importorskip("captum.robust")
    torch.manual_seed(1)
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 16), nn.Softplus(), nn.Linear(16, 5)).double()
    pixels = torch.rand(6, 3, 4, 4, generator=random, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 3, 4, 0])
    reference = captum.PGD(net, nn.CrossEntropyLoss(reduction="none"), lower_bound=0.0, upper_bound=1.0)
    theirs = reference.perturb(pixels, radius=0.1, step_size=0.03, step_num=6, target=labels, norm="Linf")
    wrong = summed_loss("cross-entropy", labels)
    mine = attack(lambda x: wrong(net(x)), pixels, norm="linf", epsilon=0.1, steps=6, step_size=0.03)
    torch.testing.assert_close(mine, theirs)


def test_starts_fill_the_ball_evenly(random):
    draws = torch.stack([random_change((1, 1, 2), "l2", 2.0, random) for _ in range(4000)])
    radius = lengths(draws).flatten()
    assert radius.max() <= 2 and (radius < math.sqrt(2)).float().mean() == pytest.approx(0.5, abs=0.03)  # half the area
    box = torch.stack([random_change((1, 1, 2), "linf", 2.0, random) for _ in range(2000)])
    assert box.abs().max() <= 2 and box.std() == pytest.approx(4 / math.sqrt(12), rel=0.03)


@pytest.mark.parametrize("encoding", [ENCODING, COMPLEMENT], ids=["normalised", "complement"])
def test_pixels_come_back_from_the_encoding(encoding, random):
    images = torch.randint(0, 256, (2, 6, 6, 3), generator=random, dtype=torch.uint8)
    found = pixels_of(encoding(images.numpy()), encoding)
    torch.testing.assert_close(found, images.permute(0, 3, 1, 2) / 255, atol=1e-6, rtol=0)
    torch.testing.assert_close(encoding.of_pixels(found), encoding(images.numpy()), atol=1e-5, rtol=0)


class Normalised(nn.Module):
    """A linear network behind a BatchNorm, whose mode and inputs are noted."""

    def __init__(self, channels=3):
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.head = nn.BatchNorm2d(channels), nn.Linear(channels * 32 * 32, 10)
        self.norm.running_mean.normal_()
        self.modes = []

    def forward(self, x):
        self.modes.append(self.training)
        return self.head(self.norm(x).flatten(1))


def test_an_images_attack_does_not_depend_on_its_batch():
    task, net = Adversarial("l2", 0.5, 3), Normalised()
    net.train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    attacked = Attacked(task, net, ENCODING, "cross-entropy", seed=0)
    inputs = ENCODING.of_pixels(torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    ids, labels = [f"train/{i}" for i in range(4)], torch.arange(4)
    together = attacked(inputs, labels, ids, 0)
    for i in range(4):
        alone = attacked(inputs[i : i + 1], labels[i : i + 1], ids[i : i + 1], 0)
        torch.testing.assert_close(alone[0], together[i], atol=2e-5, rtol=0)
    assert net.training and not any(net.modes)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items()), "no statistics are gathered"
    assert not torch.allclose(attacked(inputs, labels, ids, 1), together, atol=1e-3), "each epoch starts elsewhere"


def test_mode_comes_back_after_an_error():
    net = Normalised().train()
    net.norm.eval()
    with pytest.raises(RuntimeError), in_evaluation(net):
        assert not net.training and not net.head.training
        raise RuntimeError
    assert net.training and net.head.training and not net.norm.training, "each module as it was"


def test_training_learns_from_attacked_images_only_and_reports_both_accuracies():
    net = Normalised()
    model = Model("small", net, ENCODING, "", (0, 0), 10)
    split = Split(Critters("train", 8, 32), Critters("val", 20, 32), Geometry(resize=32, crop=32))
    task = Adversarial("linf", 0.1, 3)
    made = task.objective(model, split, Recipe(augmentation="flip", batch_size=8), 0, 0)
    inputs, labels, ids = zip(*(made.data[i] for i in range(8)), strict=True)
    inputs, labels = torch.stack(inputs), torch.tensor(labels)
    net.train()
    twin = Normalised().train()
    changed = Attacked(task, twin, ENCODING, "cross-entropy", 0)(inputs, labels, ids, 0)
    terms = made.loss(net, (inputs, labels, ids))
    assert net.modes == [False] * 3 + [True], "attacks in evaluation mode, the step in training mode"
    torch.testing.assert_close(terms["loss"], F.cross_entropy(twin(changed), labels), rtol=1e-4, atol=1e-5)
    assert terms["loss"] > F.cross_entropy(twin(inputs), labels)
    metrics = made.evaluate(net)
    assert made.monitor == "robust_accuracy" and set(metrics) == {"accuracy", "robust_accuracy"}
    assert metrics == made.evaluate(net), "the same attack every time"


def test_several_labels_are_attacked_by_their_binary_cross_entropy(random):
    logits, truth = torch.randn(3, 4, generator=random), torch.eye(4)[:3]
    truth[0, 3] = 1
    by_hand = sum(
        math.log(1 + math.exp(-z if t else z))
        for z, t in zip(logits.flatten().tolist(), truth.flatten().tolist(), strict=True)
    )
    assert summed_loss("binary-cross-entropy", truth)(logits).item() == pytest.approx(by_hand, rel=1e-5)
    labels = torch.tensor([1, 2, 0])
    one_hot = F.one_hot(labels, 4).float()
    assert summed_loss("binary-cross-entropy", labels)(logits) == summed_loss("binary-cross-entropy", one_hot)(logits)


def test_facts_hold_the_attack_and_its_default_step():
    assert Adversarial("linf", 2 / 255, 7).key_fields == {
        "norm": "linf", "epsilon": 2 / 255, "steps": 7, "step_size": pytest.approx(5 / 255 / 7)
    }  # fmt: skip
    assert Adversarial("l2", 0.3, 10, 0.1).key_fields["step_size"] == 0.1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("l1",), "--norm l1 is none of linf, l2"),
        (("linf", -0.1), "--epsilon -0.1 is out of range"),
        (("linf", 1.5), "give 0 to 1"),
        (("linf", float("nan")), "--epsilon nan is out of range"),
        (("l2", 0.3, 0), "--steps 0 is no attack"),
        (("l2", 0.3, 5, 0.0), "--step-size 0 goes nowhere"),
    ],
)
def test_what_is_no_attack_is_refused(arguments, words):
    with pytest.raises(XaibenchError, match=words):
        Adversarial(*arguments)


WORDS = ("--model", "tiny", "--dataset", "mini", "--device", "cpu", "--workers", "0", "--quiet", "--epochs", "1")


def weights_of(printed: str) -> Path:
    """The file that a training says it has left."""
    return Path(printed.split("weights: ")[1].splitlines()[0])


@pytest.fixture
def start(home, command) -> tuple[str, ...]:
    """The options that name plain weights, of which other tests may have left others."""
    status, out, err = command("train", "classifier", *WORDS)
    assert status == 0, err
    return "--weights", str(weights_of(out))


@pytest.mark.process
def test_command_trains_on_from_plain_weights(start, command):
    words = (*WORDS, *start)
    status, out, err = command("train", "adversarial", *words, "--epsilon", "8/255", "--steps", "2")
    assert status == 0, err
    assert out.startswith("validation robust accuracy ") and "%, validation accuracy " in out
    recipe = plan("tiny", "mini", weights=start[1], given=Adversarial()).recipe
    assert (recipe.start, recipe.optimizer, recipe.epochs, recipe.learning_rate) == ("plain", "adam", 10, 1e-4)
    assert [recipe.rate_at(epoch, 10) for epoch in range(10)] == pytest.approx([1e-4] * 4 + [1e-5] * 2 + [1e-6] * 4)
    for wrong in ("--epsilon=two", "--epsilon=1/0", "--step-size=x"):
        status, _, err = command("train", "adversarial", *words, wrong)
        assert (status, err.strip().count("\n")) == (2, 0) and "is no number; give one such as 0.3 or 2/255" in err


@pytest.mark.parametrize(("norm", "epsilon", "number"), [("linf", "2/255", 2 / 255), ("l2", "0.3", 0.3)])
def test_header_of_the_weights_holds_the_attack_and_both_accuracies(norm, epsilon, number, start, command):
    attack_of = ("--norm", norm, "--epsilon", epsilon, "--steps", "7")
    status, out, err = command("train", "adversarial", *WORDS, *start, *attack_of)
    assert status == 0, err
    header = read_header(weights_of(out))
    assert header["task"] == {
        "name": "adversarial", "norm": norm, "epsilon": pytest.approx(number), "steps": 7,
        "step_size": pytest.approx(2.5 * number / 7),
    }  # fmt: skip
    assert {"accuracy", "robust_accuracy", "train_accuracy"} < set(header["metrics"])
    assert 0 <= header["metrics"]["robust_accuracy"] <= 1 and header["monitor"] == "robust_accuracy"


def test_generators_of_ids_are_apart():
    draws = {random_change((1,), "linf", 1, generator(0, "attack", f"a/{i}", 0)).item() for i in range(50)}
    assert len(draws) == 50
