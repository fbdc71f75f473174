"""Warnings about networks that are random, depend on the batch, or give probabilities; weights that are not finite."""

from __future__ import annotations

import random
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import xaibench
from xaibench.errors import XaibenchError
from xaibench.models.outputs import two_sided
from xaibench.models.sanity import check_weights, output_warnings

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


class Changed(nn.Module):
    """A network with K outputs, and what a function makes of logits (N, K) and of the inputs."""

    def __init__(self, classes: int, change=lambda z, x: z):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head, self.change, self.calls = nn.Linear(8, classes), change, 0
        self.eval()

    def forward(self, x):
        self.calls += 1
        return self.change(self.head(self.body(x)), self)


def found(net, images=IMAGES):
    return output_warnings(net, lambda x: two_sided(net(x)), images, "model Net")


def drops(z, net):
    return F.dropout(z, 0.3)


def draws_elsewhere(z, net):
    return z + 0.1 * random.random()


def counts(z, net):
    return z * (1 + 0.01 * net.calls)


@pytest.mark.parametrize("images", [IMAGES, IMAGES[:1]])
@pytest.mark.parametrize("change", [drops, draws_elsewhere, counts])
def test_other_logits_in_a_second_pass_are_one_warning(change, images):
    (line,) = found(Changed(5, change), images)
    assert "other logits for the same image in two passes" in line and "% of their spread" in line


def test_the_difference_is_relative_to_the_spread_of_the_logits():
    net = Changed(5, lambda z, net: torch.arange(5.0).expand(len(z), 5) + (net.calls == 1) * 0.5)
    (line,) = found(net)
    assert "by up to 0.5 (11.1% of their spread)" in line  # of 0 to 4.5


def normalised(z, net):
    return F.batch_norm(z, None, None, training=True) if len(z) > 1 else z


def minus_the_mean(z, net):
    return z - 0.5 * z.mean(0)


def ranked_first(z, net):
    return torch.cat([z[:1], 2 * z[1:]])


@pytest.mark.parametrize("change", [normalised, minus_the_mean, ranked_first])
@pytest.mark.parametrize("images", [IMAGES, IMAGES[:1]])
def test_other_logits_beside_another_image_are_one_warning(change, images):
    (line,) = found(Changed(5, change), images)
    assert "for the same image alone and beside another" in line and "influence each other" in line


@pytest.mark.parametrize(
    ("classes", "function", "name"),
    [(5, lambda z, net: z.softmax(1), "softmax"), (2, lambda z, net: z.softmax(1), "softmax"),
     (5, lambda z, net: z.log_softmax(1), "log-softmax"), (5, lambda z, net: z.sigmoid(), "sigmoid"),
     (1, lambda z, net: z.sigmoid(), "sigmoid"), (5, lambda z, net: (50 * z).softmax(1), "softmax")],
)  # fmt: skip
def test_probabilities_are_one_warning(classes, function, name):
    (line,) = found(Changed(classes, function))
    assert line.endswith(f"leave out its last {name}") and f"as after a {name}," in line


def test_logits_are_no_warning():
    """Also where they are small, or positive, or constant, or differ by rounding."""
    noise = 1e-6 * torch.randn(3, 1)
    for classes in (1, 2, 5):
        for change in (
            lambda z, net: z, lambda z, net: 1e-3 * z + 0.5, lambda z, net: z.relu(),
            lambda z, net: torch.zeros_like(z), lambda z, net: z + noise[net.calls % 3], lambda z, net: z + 100,
        ):  # fmt: skip
            assert found(Changed(classes, change)) == []


def test_real_networks_are_no_warning():
    from torchvision.models import mobilenet_v3_small, resnet18

    for build in (resnet18, mobilenet_v3_small):
        for classes in (1, 10):
            torch.manual_seed(0)
            net = build(num_classes=classes).eval()
            assert found(net, torch.randn(2, 3, 64, 64)) == []


def test_the_state_of_random_numbers_is_left_as_it_was():
    net = Changed(5, drops)
    before = torch.get_rng_state()
    assert found(net)
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_that_are_not_finite_are_named():
    for path, value in (("body.0.weight", float("nan")), ("head.bias", float("inf"))):
        net = Changed(5)
        net.get_parameter(path).data.view(-1)[3] = value
        count = net.get_parameter(path).numel()
        with pytest.raises(XaibenchError, match=rf"^model Net .*: 1 of {count} values of its weight {path} are NaN"):
            found(net)
    net = Changed(5)
    net.register_buffer("scale", torch.tensor([1.0, float("nan")]))
    with pytest.raises(XaibenchError, match="1 of 2 values of its weight scale"):
        check_weights(net, "Net")
    check_weights(Changed(5), "Net")


def test_logits_that_are_not_finite_by_themselves_are_no_warning():
    assert found(Changed(5, lambda z, net: z / 0)) == []


def test_unused_weights_do_not_matter():
    net = Changed(5)
    net.unused = nn.Linear(2, 2)
    net.unused.weight.data.fill_(float("nan"))
    assert found(net) == []


def test_attribute_and_score_warn_once_for_each_network():
    targets = torch.tensor([0, 1])
    net = Changed(5, lambda z, net: z.softmax(1))
    with pytest.warns(UserWarning, match="as after a softmax") as caught:
        maps = xaibench.attribute(net, IMAGES, targets, "ixg")
    assert len(caught) == 1 and caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        xaibench.attribute(net, IMAGES, targets, "ixg")
        xaibench.score("sds", net, IMAGES, targets, maps)
    with pytest.warns(UserWarning, match="in two passes"):
        xaibench.score("sds", Changed(5, counts), IMAGES, targets, maps)


def test_attribute_and_score_name_weights_that_are_not_finite():
    net, targets = Changed(5), torch.tensor([0, 1])
    maps = xaibench.attribute(net, IMAGES, targets, "ixg")
    net.head.weight.data[2, 0] = float("nan")
    with pytest.raises(XaibenchError, match=r"values of its weight head\.weight"):
        xaibench.score("sds", net, IMAGES, targets, maps)
    net.body[0].weight.data.fill_(float("nan"))
    with pytest.raises(XaibenchError, match=r"values of its weight body\.0\.weight"):
        xaibench.attribute(net, IMAGES, targets, "ixg")
