"""Infidelity, sensitivity-n, max-sensitivity and sparseness: captum, SciPy and double loops as oracles."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.metrics import infidelity, sensitivity_max
from scipy.stats import pearsonr
from torch import Tensor

from xaibench.errors import XaibenchError
from xaibench.protocols.base import OK, UNDEFINED_MAP, UNDEFINED_REFERENCE
from xaibench.protocols.complexity.sparseness import Sparseness, sparseness_score
from xaibench.protocols.faithfulness.infidelity import Infidelity, infidelity_score
from xaibench.protocols.faithfulness.sensitivity_n import SensitivityN, sensitivity_n_score
from xaibench.protocols.robustness.max_sensitivity import MaxSensitivity, max_sensitivity_score
from xaibench.protocols.statistics import pearson
from xaibench.seeds import generator

ZERO = torch.tensor([0.4, -0.3, 0.2])
NAN = float("nan")


# Infidelity ----------------------------------------------------------------------------------------------------------


def test_hand_computed_infidelity():
    foretold, drops = torch.tensor([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]]), torch.tensor([[3.0, 6.0], [-3, -6], [2, 1]])
    # fits with b = 3; would fit with b = -3, which does not count; b = 4/5: residual (6/5)² + (3/5)² of 5
    assert infidelity_score(foretold, drops).tolist() == pytest.approx([0, 1, 1.8 / 5], abs=1e-6)
    assert infidelity_score(torch.zeros(1, 2), drops[:1]).tolist() == [1]
    assert infidelity_score(foretold[:1], torch.zeros(1, 2)).isnan().all()
    assert torch.equal(infidelity_score(1e6 * foretold, drops) > 0.5, infidelity_score(foretold, drops) > 0.5)


def noise_of(image_ids, samples, seed=0, sigma=0.1, size=(16, 24)):
    """(B, samples, 1, H, W), one image at a time."""
    draw = lambda i, s: torch.randn(1, *size, generator=generator(seed, f"infidelity {s}", i))  # noqa: E731
    return sigma * torch.stack([torch.stack([draw(i, s) for s in range(samples)]) for i in image_ids]).double()


def test_infidelity_is_captums(net, images, labels, evidence):
    e = evidence(net, images, labels, chunk=13)
    gradients = e.gradient().sum(1, keepdim=True)
    maps, protocol = gradients + 0.2 * gradients.std() * torch.randn(6, 1, 16, 24), Infidelity(samples=9)
    scores = protocol.score(protocol.prepare(e), maps)
    noise = noise_of(e.image_ids, 9)

    def perturb(inputs: Tensor) -> tuple[Tensor, Tensor]:
        taken = noise.flatten(0, 1).expand_as(inputs)
        return taken, inputs - taken

    # captum wants an attribution for every channel; noise is the same on all, so the map shared out does
    spread = (maps / 3).expand_as(images).contiguous()
    theirs = infidelity(net, perturb, images, spread, target=labels, n_perturb_samples=9, normalize=True)
    raw = infidelity(net, perturb, images, spread, target=labels, n_perturb_samples=9)
    drops = protocol.prepare(e)[1]
    np.testing.assert_allclose(scores.values.numpy(), (theirs / drops.square().mean(1)).numpy(), rtol=1e-6)
    np.testing.assert_allclose(scores.also["infidelity-raw"].values.numpy(), raw.numpy(), rtol=1e-6)
    assert ((scores.values > 0) & (scores.values < 1)).all() and scores.status == [OK] * 6


def test_the_gradient_of_a_linear_model_has_no_infidelity(evidence, linear):
    weights = torch.randn(3, 16, 24, dtype=torch.float64)
    e = evidence(linear(weights), torch.randn(2, 3, 16, 24).double(), [0, 0])
    maps = weights.sum(0)[None, None].expand(2, 1, 16, 24)
    protocol = Infidelity(samples=8)
    scores = protocol.score(protocol.prepare(e), maps)
    assert scores.values.abs().max() < 1e-9 and scores.also["infidelity-raw"].values.abs().max() < 1e-9
    assert protocol.score(protocol.prepare(e), 7 * maps).values.abs().max() < 1e-9, "maps have no unit"
    assert protocol.score(protocol.prepare(e), -maps).values.tolist() == [1, 1]


# Sensitivity-n -------------------------------------------------------------------------------------------------------


def test_correlations_are_scipys():
    x, y = torch.randn(4, 9), torch.randn(4, 9)
    expected = [pearsonr(a, b).statistic for a, b in zip(x.numpy(), y.numpy(), strict=True)]
    np.testing.assert_allclose(pearson(x, y).numpy(), expected, atol=1e-6)
    assert sensitivity_n_score(x, 3 * x + 1).tolist() == pytest.approx([1] * 4)
    assert pearson(torch.ones(1, 4), x[:1, :4]).isnan().all()


def test_sensitivity_n_agrees_with_a_plain_loop(net, images, labels, maps, evidence):
    e = evidence(net, images, labels, zero=ZERO, seed=2, chunk=17)
    protocol = SensitivityN(grid=4, share=0.3, sets=7)
    sets, drops = protocol.prepare(e)
    assert sets.shape == (6, 7, 16) and (sets.sum(2) == 5).all()
    scores = protocol.score((sets, drops), maps)
    for i in range(6):
        sums, expected = [], []
        for chosen in sets[i]:
            deleted, total = images[i].clone(), 0.0
            for cell in chosen.nonzero()[:, 0].tolist():
                rows, columns = slice(cell // 4 * 4, cell // 4 * 4 + 4), slice(cell % 4 * 6, cell % 4 * 6 + 6)
                deleted[:, rows, columns] = ZERO.double()[:, None, None]
                total += float(maps[i, 0, rows, columns].sum())
            sums.append(total)
            expected.append(float((net(images[i : i + 1]) - net(deleted[None]))[0, labels[i]]))
        np.testing.assert_allclose(drops[i].numpy(), expected, rtol=1e-7)
        assert float(scores.values[i]) == pytest.approx(pearsonr(sums, expected).statistic, abs=1e-9)


def test_sets_belong_to_the_image_and_are_shared(net, images, labels, evidence):
    protocol = SensitivityN(grid=4, sets=5)
    e = evidence(net, images, labels)
    sets, drops = protocol.prepare(e)
    assert e.runner.forwards == 6 * 6
    protocol.prepare(e), SensitivityN(grid=4, sets=5, drop_output="probability").prepare(e)
    assert e.runner.forwards == 6 * 6
    alone = protocol.prepare(evidence(net, images[3:4], labels[3:4], ["photo 3"]))
    assert torch.equal(alone[0][0], sets[3]) and torch.allclose(alone[1][0], drops[3], rtol=1e-9)
    assert not torch.equal(sets[0], sets[1]) and not torch.equal(sets[0, 0], sets[0, 1])
    assert not torch.equal(protocol.prepare(evidence(net, images, labels, seed=1))[0], sets)
    other = SensitivityN(grid=4, sets=5, share=0.5).prepare(e)[0]
    assert (other.sum(2) == 8).all(), "another setting, another memo"


def test_contributions_of_a_linear_model_score_one(evidence, linear):
    weights, images = torch.randn(1, 16, 16, dtype=torch.float64), torch.randn(3, 1, 16, 16, dtype=torch.float64)
    e, protocol = evidence(linear(weights), images, [0, 0, 0]), SensitivityN(grid=8, sets=20)
    assert protocol.score(protocol.prepare(e), weights * images).values.tolist() == pytest.approx([1] * 3)


@pytest.mark.parametrize("protocol", [Infidelity(samples=6), SensitivityN(grid=4, sets=6)])
def test_undefined_maps_references_and_batches(protocol, net, images, labels, maps, evidence, linear):
    together = protocol.score(protocol.prepare(evidence(net, images, labels)), maps).values
    ids = [f"photo {i}" for i in reversed(range(6))]
    flipped = evidence(net, images.flip(0), labels.flip(0), ids, chunk=5)
    assert torch.allclose(protocol.score(protocol.prepare(flipped), maps.flip(0)).values.flip(0), together, rtol=1e-9)
    owner = torch.tensor([2, 2, 4])
    pairs = evidence(net, images, labels).explaining(labels[owner], owner)
    assert torch.allclose(protocol.score(protocol.prepare(pairs), maps[owner]).values, together[owner], rtol=1e-9)
    maps[0], maps[1, 0, 3, 3], maps[2, 0, 0, 0] = 0.1, NAN, float("inf")
    scores = protocol.score(protocol.prepare(evidence(net, images, labels)), maps)
    assert scores.status == [UNDEFINED_MAP] * 3 + [OK] * 3 and torch.equal(scores.values[3:], together[3:])
    blind = evidence(linear(torch.zeros(3, 16, 24).double()), images, [0] * 6)
    assert protocol.score(protocol.prepare(blind), maps).status == [UNDEFINED_REFERENCE] * 6


# Max-sensitivity -----------------------------------------------------------------------------------------------------


def gradient(e):
    return e.gradient()


def test_max_sensitivity_is_captums(net, images, labels, evidence):
    e = evidence(net, images, labels)
    protocol = MaxSensitivity(radius=0.3, samples=4)
    found = protocol.score_method(protocol.prepare(e), gradient(e), gradient)
    perturbed = torch.stack([protocol.perturbed(e, sample) for sample in range(4)], 1).flatten(0, 1)
    moved = perturbed - images.repeat_interleave(4, 0)
    assert moved.abs().max() <= 0.3 and moved.min() < -0.29 and moved.max() > 0.29 and abs(moved.mean()) < 0.01

    def explain(inputs: tuple[Tensor] | Tensor, target: Tensor) -> tuple[Tensor]:
        return (gradient(evidence(net, inputs[0] if isinstance(inputs, tuple) else inputs, target)),)

    theirs = sensitivity_max(explain, images, lambda inputs: perturbed, n_perturb_samples=4, target=labels)
    np.testing.assert_allclose(found.values.numpy(), theirs.numpy(), rtol=1e-9)
    assert found.status == [OK] * 6 and (found.values > 0).all() and (found.values < 2).all()


def test_hand_computed_sensitivity():
    maps = torch.tensor([3.0, 4.0]).view(1, 1, 1, 2).repeat(4, 1, 1, 1)
    changed = torch.stack([maps, maps * torch.tensor([1.0, -1, 1.5, 9]).view(4, 1, 1, 1)])
    assert max_sensitivity_score(maps, changed).tolist() == pytest.approx([0, 2, 0.5, 2])


def test_max_sensitivity_belongs_to_the_image(net, images, labels, evidence):
    protocol = MaxSensitivity(samples=2, radius=0.5)
    e = evidence(net, images, labels)
    together = protocol.score_method(e, gradient(e), gradient).values
    one = evidence(net, images[4:5], labels[4:5], ["photo 4"])
    assert torch.allclose(protocol.score_method(one, gradient(one), gradient).values, together[4], rtol=1e-9)
    with pytest.raises(XaibenchError, match="it needs the method"):
        protocol.score(e, gradient(e))


def test_maps_that_break_under_a_perturbation_are_undefined(net, images, labels, maps, evidence):
    protocol, calls = MaxSensitivity(samples=3), []

    def again(e):
        changed = maps.clone()
        calls.append(1)
        if len(calls) == 2:
            changed[5, 0, 0, 0] = NAN
        return changed

    maps[0] = 0.5
    scores = protocol.score_method(evidence(net, images, labels), maps, again)
    assert scores.status == [UNDEFINED_MAP] + [OK] * 4 + [UNDEFINED_MAP] and scores.values[1:5].tolist() == [0] * 4


# Sparseness ----------------------------------------------------------------------------------------------------------


def test_gini_indices_are_those_of_a_double_loop(maps):
    signed = maps - 0.3
    for ours, attribution in zip(sparseness_score(signed).tolist(), signed, strict=True):
        values = attribution.abs().flatten()
        differences = sum(float((value - values).abs().sum()) for value in values)
        assert ours == pytest.approx(differences / (2 * len(values) ** 2 * float(values.mean())), rel=1e-9)


def test_hand_computed_gini_index():
    one = torch.zeros(3, 1, 2, 2)
    one[0, 0, 1, 1], one[1], one[2] = -5, 2, torch.tensor([[1.0, -1.0], [3.0, 3.0]])
    assert sparseness_score(one).tolist() == pytest.approx([0.75, 0, 0.25])
    protocol = Sparseness()
    assert protocol.score(protocol.prepare(None), one).status == [OK, UNDEFINED_MAP, OK]
    one[2, 0, 0, 0] = NAN
    assert protocol.score(None, one).status == [OK, UNDEFINED_MAP, UNDEFINED_MAP]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Infidelity(samples=1), "samples is a whole number of at least 2, not 1"),
        (lambda: Infidelity(sigma=0), "sigma is a number above 0, not 0"),
        (lambda: SensitivityN(share=1.0), "share is a number between 0 and 1"),
        (lambda: SensitivityN().check((12, 12)), "do not divide into 8x8"),
        (lambda: MaxSensitivity(radius=-1), "radius is a number above 0"),
        (lambda: Sparseness(target="labels"), "target is label or prediction"),
    ],
)
def test_settings_that_do_not_exist_are_refused(make, message):
    with pytest.raises(XaibenchError, match=message):
        make()
