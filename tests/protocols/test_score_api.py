"""`xaibench.attribute` and `xaibench.score` together, for any network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import xaibench
from xaibench import registry
from xaibench.errors import XaibenchError
from xaibench.protocols.api import make_protocol
from xaibench.protocols.faithfulness.sds import SingleDeletion


def test_the_default_is_grid_4_zero_label_logit(net, images, labels, maps, evidence):
    protocol = SingleDeletion(4, "zero", "label", "logit", "logit")
    assert make_protocol(registry.card("protocol", "sds"), {}) == protocol
    assert make_protocol(registry.card("protocol", "idsds"), {}) == protocol
    expected = protocol.score(protocol.prepare(evidence(net, images, labels)), maps).values
    assert torch.equal(xaibench.score("sds", net, images, labels, maps), expected)
    assert expected.shape == (6,) and expected.dtype == torch.float64


@pytest.mark.parametrize(
    "settings", [{"grid": 2}, {"grid": 8}, {"baseline": "random"}, {"baseline": "blur"}, {"drop_output": "probability"}]
)
def test_settings_override_the_card(settings, net, images, labels, maps, evidence):
    ids = list("uvwxyz")
    protocol = SingleDeletion(**settings)
    expected = protocol.score(protocol.prepare(evidence(net, images, labels, ids, seed=9)), maps).values
    ours = xaibench.score("sds", net, images, labels, maps, seed=9, image_ids=ids, chunk=4, **settings)
    assert torch.allclose(ours, expected) and not torch.equal(ours, xaibench.score("sds", net, images, labels, maps))


def test_maps_of_attribute_go_straight_into_score(net, images, labels):
    maps = xaibench.attribute(net, images, labels, "ixg")
    scores = xaibench.score("sds", net, images, labels, maps)
    assert scores.isfinite().all() and (scores.abs() <= 1).all()
    assert torch.allclose(xaibench.score("sds", net, images, labels, -maps), -scores)


def test_networks_that_return_a_dict_are_scored_by_a_picker(net, images, labels, maps):
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net
            self.eval()

        def forward(self, x):
            return {"logits": self.net(x)}

    expected = xaibench.score("sds", net, images, labels, maps)
    ours = xaibench.score("sds", Wrapped(), images, labels, maps, output=lambda out: out["logits"])
    assert torch.equal(ours, expected)
    with pytest.raises(XaibenchError, match="returns dict, not logits"):
        xaibench.score("sds", Wrapped(), images, labels, maps)


def test_undefined_scores_are_nan(net, images, labels, maps):
    maps[2] = 1.0
    assert xaibench.score("sds", net, images, labels, maps).isnan().tolist() == [i == 2 for i in range(6)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"protocol": "sd"}, "unknown protocol 'sd'; did you mean sds"),
        ({"gird": 2}, "protocol sds has no setting 'gird'; it has grid, baseline"),
        ({"grid": 5}, "do not divide into 5x5"),
        ({"maps": torch.zeros(6, 16, 24)}, r"maps are \(B, 1, H, W\) = \(6, 1, 16, 24\), not \(6, 16, 24\)"),
        ({"maps": torch.zeros(5, 1, 16, 24)}, r"not \(5, 1, 16, 24\)"),
        ({"maps": torch.zeros(6, 3, 16, 24)}, r"not \(6, 3, 16, 24\)"),
        ({"maps": torch.zeros(6, 1, 8, 8)}, r"not \(6, 1, 8, 8\)"),
        ({"targets": torch.tensor([1])}, "6 class indices"),
        ({"image_ids": ["a"]}, "6 images but 1 image ids"),
    ],
)
def test_score_says_what_is_wrong(change, message, net, images, labels, maps):
    arguments = {"protocol": "sds", "inputs": images, "targets": labels, "maps": maps} | change
    with pytest.raises(XaibenchError, match=message):
        xaibench.score(model=net, **arguments)


def test_a_network_in_training_mode_is_refused(net, images, labels, maps):
    with pytest.raises(XaibenchError, match=r"model\.eval\(\)"):
        xaibench.score("sds", net.train(), images, labels, maps)
