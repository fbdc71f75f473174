"""F-Fidelity: hand-computed removals, a loop in plain Python, fair draws, and what it asks of weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from xaibench.cards import Alignment
from xaibench.errors import XaibenchError
from xaibench.protocols.base import UNDEFINED_MAP
from xaibench.protocols.faithfulness.f_fidelity import FFidelity, first_in_range, removals


def sigmoid(value: float) -> float:
    return 1 / (1 + np.exp(-value))


def test_how_much_goes_by_hand():
    assert removals(16, 4, 0.5, 0.25) == [(4, 2, 4), (8, 4, 4), (12, 4, 2)]
    assert removals(100, 2, 0.5, 0.1) == [(50, 10, 10)], "beta is the most that ever goes"
    assert removals(4, 4, 0.1, 0.1) == [(1, 1, 1), (2, 1, 1), (3, 1, 1)], "at least one pixel goes"


def test_all_of_the_explanation_goes_where_alpha_and_beta_are_one(linear, evidence):
    """The logit is the sum of 16 pixels, 4, 3, 2, 1 in each row; a map that is the image removes the largest first."""
    image = torch.tensor([4.0, 3, 2, 1], dtype=torch.float64).repeat(4).view(1, 1, 4, 4) / 10
    e = evidence(linear(torch.ones(1, 4, 4, dtype=torch.float64)), image, [0], zero=torch.zeros(1))
    protocol = FFidelity(alpha=1, beta=1, steps=4, samples=2)
    scores = protocol.score(protocol.prepare(e), image)
    # four pixels are a quarter: without the columns of 4, of 4 and 3, of 4, 3 and 2
    left, rest = [2.4, 1.2, 0.4], [1.6, 2.8, 3.6]
    assert float(scores.values) == pytest.approx(np.mean([sigmoid(4.0) - sigmoid(v) for v in left]), abs=1e-12)
    assert float(scores.also["ffid-minus"].values) == pytest.approx(
        np.mean([sigmoid(4.0) - sigmoid(v) for v in rest]), abs=1e-12
    )


def test_scores_are_those_of_a_plain_loop(net, images, labels, maps, evidence):
    protocol = FFidelity(alpha=0.4, beta=0.2, steps=3, samples=2, baseline="blur")
    e = evidence(net, images, labels)
    scores, orders = protocol.score(protocol.prepare(e), maps), protocol._orders(e)
    from xaibench.protocols.curves import tie_order
    from xaibench.protocols.patches import blur

    with torch.no_grad():
        for i, image in enumerate(images):
            ties = tie_order(e, image[0].numel())[i].argsort()
            values = maps[i].flatten().tolist()
            ranked = sorted(range(len(values)), key=lambda u, v=values, t=ties: (-v[u], int(t[u])))
            intact = float(net(image[None]).softmax(1)[0, labels[i]])
            falls = {"plus": [], "minus": []}
            for top, of_it, of_rest in removals(len(ranked), 3, 0.4, 0.2):
                for name, part, count in (("plus", ranked[:top], of_it), ("minus", ranked[top:], of_rest)):
                    for order in orders[i]:
                        gone = sorted(part, key=lambda u, o=order: int(o[u]))[:count]
                        changed = image.clone().flatten(1)
                        changed[:, gone] = blur(image[None])[0].flatten(1)[:, gone]
                        score = net(changed.view_as(image)[None]).softmax(1)[0, labels[i]]
                        falls[name].append(intact - float(score))
            assert float(scores.values[i]) == pytest.approx(np.mean(falls["plus"]), abs=1e-12)
            assert float(scores.also["ffid-minus"].values[i]) == pytest.approx(np.mean(falls["minus"]), abs=1e-12)


def test_every_pixel_of_the_set_goes_equally_often():
    places = torch.arange(20).expand(2000, -1)
    order = torch.rand(2000, 20, generator=torch.Generator().manual_seed(0)).argsort(1).argsort(1)
    gone = first_in_range(places, order, 5, 15, 3)
    assert (gone.sum(1) == 3).all() and not gone[:, :5].any() and not gone[:, 15:].any()
    assert chisquare(gone[:, 5:15].sum(0).numpy()).pvalue > 0.01


def test_draws_are_bound_to_the_image_and_shared_by_methods(net, images, labels, maps, evidence):
    protocol = FFidelity(steps=3, samples=2)
    together = protocol.score(protocol.prepare(evidence(net, images, labels)), maps).values
    e = evidence(net, images[3:], labels[3:], [f"photo {i}" for i in range(3, 6)])
    torch.testing.assert_close(protocol.score(protocol.prepare(e), maps[3:]).values, together[3:], atol=1e-12, rtol=0)
    other = evidence(net, images, labels, seed=1)
    assert not torch.equal(protocol.score(protocol.prepare(other), maps).values, together)


def test_a_constant_map_is_undefined(net, images, labels, evidence):
    protocol = FFidelity(steps=2, samples=1)
    scores = protocol.score(protocol.prepare(evidence(net, images, labels)), torch.ones(6, 1, 16, 24))
    assert set(scores.status) == {UNDEFINED_MAP} and set(scores.also["ffid-minus"].status) == {UNDEFINED_MAP}


def test_weights_must_have_been_fine_tuned_on_the_same_masks():
    protocol = FFidelity(beta=0.2, baseline="blur")
    assert protocol.check_weights(Alignment(kind="pixels", baseline="blur", probability=0.2)) is None
    assert "not trained on deletions" in protocol.check_weights(None)
    for other in (
        Alignment(kind="pixels", baseline="blur", probability=0.1),
        Alignment(kind="pixels", baseline="zero", probability=0.2),
        Alignment(grid=4, baseline="blur", probability=0.2),
    ):
        assert str(other) in protocol.check_weights(other)


@pytest.mark.parametrize("settings", [{"alpha": 0}, {"beta": 1.5}, {"steps": 1}, {"samples": 0}, {"baseline": "grey"}])
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(XaibenchError, match=next(iter(settings))):
        FFidelity(**settings)
