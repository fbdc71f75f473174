"""Scores against those of Quantus (Hedström et al., JMLR 2023) on the same arrays, where it is installed.

Its rules differ in details, which the calls below take into account: it rescales maps unless that is switched off, hits
count where any maximum lies inside, and its Gini index adds 1e-7 to each value.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from xaibench.protocols.complexity.sparseness import sparseness_score
from xaibench.protocols.energy_pointing import energy_share
from xaibench.protocols.faithfulness.infidelity import Infidelity
from xaibench.protocols.localization.pointing_game import pointing_hit
from xaibench.protocols.randomization.efficient_mprt import EfficientMprt, complexity_rise_score, histogram_entropy
from xaibench.protocols.robustness.max_sensitivity import MaxSensitivity

quantus = pytest.importorskip("quantus")

COUNT, SIDE = 64, 16
QUIET = {"disable_warnings": True, "display_progressbar": False}
AS_GIVEN = {"normalise": False, "abs": False, **QUIET}


@pytest.fixture
def random_maps() -> torch.Tensor:
    """Signed maps (P, 1, H, W) without ties."""
    return torch.randn(COUNT, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture
def regions() -> torch.Tensor:
    """Regions (P, H, W) of all sizes, none empty."""
    generator = torch.Generator().manual_seed(1)
    share = torch.rand(COUNT, 1, 1, generator=generator)
    masks = torch.rand(COUNT, SIDE, SIDE, generator=generator) < share
    masks[:, 3, 5] = True
    return masks


def quantus_scores(metric, maps: torch.Tensor, regions: torch.Tensor) -> np.ndarray:
    """What a metric of Quantus gives; it wants a model and images, and does not look at them."""
    images, labels = np.zeros((COUNT, 1, SIDE, SIDE)), np.zeros(COUNT, dtype=int)
    found = metric(model=None, x_batch=images, y_batch=labels, a_batch=maps.numpy().copy(),
                   s_batch=regions[:, None].numpy())  # fmt: skip
    return np.array(found, dtype=float)


def test_epg_is_the_relevance_mass_accuracy_of_the_positive_part(random_maps, regions):
    theirs = quantus_scores(quantus.RelevanceMassAccuracy(**AS_GIVEN), random_maps.clamp(min=0), regions)
    assert np.abs(energy_share(random_maps, regions).numpy() - theirs).max() < 1e-12


def test_pointing_game_without_ties(random_maps, regions):
    theirs = quantus_scores(quantus.PointingGame(**AS_GIVEN), random_maps, regions)
    assert 0 < theirs.mean() < 1 and np.array_equal(pointing_hit(random_maps, regions).numpy(), theirs)


def test_sparseness_is_the_gini_index(random_maps, regions):
    theirs = quantus_scores(quantus.Sparseness(normalise=False, abs=True, **QUIET), random_maps, regions)
    assert np.abs(sparseness_score(random_maps).numpy() - theirs).max() < 1e-6


@pytest.fixture
def grey(evidence):
    """A small network of one channel in float32, as Quantus calls it, and evidence about eight images."""
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 4, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(4 * SIDE * SIDE, 3))
    net = nn.Sequential(*layers).eval().requires_grad_(False)
    images = torch.randn(8, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    return net, evidence(net, images, [0, 1, 2, 0, 1, 2, 0, 1])


def input_x_gradient(net: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    images = images.detach().requires_grad_(True)
    net(images)[torch.arange(len(images)), targets].sum().backward()
    return (images * images.grad).detach()


def replayed(batches: list[torch.Tensor]):
    """A perturbation for Quantus that gives these images, one batch after the other."""
    left = iter(batches)
    return lambda arr, indices, **_: next(left).flatten(1).numpy().copy()


def test_max_sensitivity_under_the_same_perturbations(grey):
    net, e = grey
    protocol = MaxSensitivity(samples=5, radius=0.3)
    maps = input_x_gradient(net, e.images, e.targets)
    ours = protocol.score_method(e, maps, lambda changed: input_x_gradient(net, changed.images, changed.targets))
    theirs = quantus.MaxSensitivity(
        nr_samples=5, perturb_func_kwargs={},
        perturb_func=replayed([protocol.perturbed(e, sample) for sample in range(5)]),
        norm_numerator=lambda a: np.linalg.norm(a, axis=-1), norm_denominator=lambda a: np.linalg.norm(a, axis=-1),
        similarity_func=lambda a, b: a - b, **AS_GIVEN,
    )(
        model=net, x_batch=e.images.numpy(), y_batch=e.targets.numpy(), a_batch=maps.numpy(), channel_first=True,
        explain_func=lambda model, inputs, targets, **_: input_x_gradient(
            net, torch.as_tensor(np.asarray(inputs)), torch.as_tensor(np.asarray(targets))
        ).numpy(),
    )  # fmt: skip
    theirs = np.array(theirs, dtype=float)
    assert theirs.min() > 0.05 and theirs.max() < 2, "nothing that the cap at 2 would hide"
    assert np.abs(ours.values.numpy() - theirs).max() < 1e-5


def test_infidelity_raw_under_the_same_noise(grey):
    """One patch as large as the image, so that Quantus' mean over samples is ours."""
    net, e = grey
    protocol = Infidelity(samples=12, sigma=0.3)
    maps = input_x_gradient(net, e.images, e.targets)
    ours = protocol.score(protocol.prepare(e), maps).also["infidelity-raw"]
    noise = [torch.stack([protocol._noise(e, image, sample) for image in range(8)]) for sample in range(12)]
    theirs = quantus.Infidelity(
        n_perturb_samples=12, perturb_patch_sizes=[SIDE], perturb_func=replayed([e.images - drawn for drawn in noise]),
        perturb_func_kwargs={}, **AS_GIVEN,
    )(
        model=net, x_batch=e.images.numpy(), y_batch=e.targets.numpy(), a_batch=maps.numpy(), channel_first=True
    )  # fmt: skip
    theirs = np.array(theirs, dtype=float)
    assert theirs.min() > 1e-6 and np.abs(ours.values.numpy() / theirs - 1).max() < 1e-3


def test_complexity_is_the_discrete_entropy(random_maps):
    from quantus.functions.complexity_func import discrete_entropy

    theirs = [discrete_entropy(a=one.numpy(), x=one.numpy(), n_bins=100) for one in random_maps]
    assert np.abs(histogram_entropy(random_maps).numpy() - theirs).max() < 1e-12


def explain(model: nn.Module, inputs, targets, **_) -> np.ndarray:
    return input_x_gradient(model, torch.as_tensor(np.asarray(inputs)), torch.as_tensor(np.asarray(targets))).numpy()


def test_efficient_mprt_with_its_own_random_network(grey):
    """Quantus draws other weights, so its random network is taken, and the rise computed here."""
    net, e = grey
    net.requires_grad_(True)
    metric = quantus.EfficientMPRT(**AS_GIVEN)
    theirs = metric(model=net, x_batch=e.images.numpy(), y_batch=e.targets.numpy(), explain_func=explain,
                    channel_first=True)  # fmt: skip
    before, after = (torch.tensor(metric.explanation_scores_by_layer[name]) for name in list_of_two(metric))
    assert np.abs(complexity_rise_score(before, after).numpy() - theirs).max() < 1e-12
    maps = input_x_gradient(net, e.images, e.targets)
    assert np.abs(histogram_entropy(maps).numpy() - before.numpy()).max() < 1e-6
    protocol = EfficientMprt()
    ours = protocol.score_method(protocol.prepare(e), maps, lambda other: input_x_gradient(
        other.runner.net, other.inputs, other.targets))  # fmt: skip
    assert np.abs(ours.also["entropy-trained"].values.numpy() - before.numpy()).max() < 1e-6


def list_of_two(metric) -> list[str]:
    names = list(metric.explanation_scores_by_layer)
    assert names[0] == "orig" and len(names) == 2
    return names
