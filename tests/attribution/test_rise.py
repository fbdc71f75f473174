"""RISE against interpolated and cropped masks, against a plain loop, and in distribution against another RISE."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch import Tensor, nn
from torch.nn.functional import interpolate

from xaibench.attribution.rise import MaskSeeds, mask_seeds, rise
from xaibench.errors import XaibenchError
from xaibench.seeds import generator


def clamped(grid: Tensor, offset: Tensor, size: tuple[int, int]) -> Tensor:
    """A grid (s, s), bilinear to one cell more than the image and constant beyond its outer centres, cropped."""
    cells = grid.shape[-1]
    up = [(cells + 1) * math.ceil(side / cells) for side in size]
    big = interpolate(grid[None, None], up, mode="bilinear", align_corners=False)[0, 0]
    y, x = offset.tolist()
    return big[y : y + size[0], x : x + size[1]]


def mirrored(grid: Tensor, offset: Tensor, size: tuple[int, int]) -> Tensor:
    """The mask (H, W) of the published code, by SciPy in double precision: beyond its outer centres a grid goes back.

    SciPy's mode `mirror` is what scikit-image calls `reflect`.
    """
    cells, places = grid.shape[-1], []
    for side, shift in zip(size, offset.tolist(), strict=True):
        places.append((np.arange(side) + shift + 0.5) * cells / ((cells + 1) * math.ceil(side / cells)) - 0.5)
    found = map_coordinates(grid.double().numpy(), np.meshgrid(*places, indexing="ij"), order=1, mode="mirror")
    return torch.from_numpy(found).to(grid.dtype)


MASKS = {"mirror": mirrored, "clamp": clamped}


@pytest.mark.parametrize("size", [(64, 64), (224, 224), (75, 75), (33, 50)])
@pytest.mark.parametrize("cells", [8, 5, 2])
@pytest.mark.parametrize("border", MASKS)
def test_masks_are_enlarged_grids_cropped_at_their_offsets(border, size, cells):
    random = torch.Generator().manual_seed(0)
    grids = (torch.rand(2, 6, cells, cells, generator=random) < 0.4).float()
    steps = torch.tensor([math.ceil(side / cells) for side in size])
    offsets = (torch.rand(2, 6, 2, generator=random) * steps).long()
    offsets[0, 0], offsets[0, 1] = 0, steps - 1
    image, number = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 5])
    masks = MaskSeeds(grids, offsets, size, border).masks(image, number)
    assert masks.shape == (4, 1, *size)
    for mask, i, n in zip(masks, image, number, strict=True):
        assert torch.allclose(mask[0], MASKS[border](grids[i, n], offsets[i, n], size), rtol=0, atol=2e-5)


@pytest.mark.parametrize("size", [(64, 64), (224, 224), (33, 50)])
def test_masks_of_methods_are_those_of_scikit_image(size, small, evidence):
    """The published code's call of `resize`, and its crop; a clamped mask is another one near the border alone."""
    resize = pytest.importorskip("skimage.transform", reason="scikit-image is not installed").resize
    e = evidence(small, torch.zeros(1, 3, *size), [0])
    seeds, everything = mask_seeds(e, 25, 8, 0.3), (torch.zeros(25, dtype=torch.long), torch.arange(25))
    cell = [math.ceil(side / 8) for side in size]
    expected = np.empty((25, *size))
    for n in range(25):
        big = resize(
            seeds.grids[0, n].double().numpy(), [9 * c for c in cell], order=1, mode="reflect", anti_aliasing=False
        )
        y, x = seeds.offsets[0, n].tolist()
        expected[n] = big[y : y + size[0], x : x + size[1]]
    assert np.abs(seeds.masks(*everything)[:, 0].numpy() - expected).max() < 2e-5
    off = np.abs(mask_seeds(e, 25, 8, 0.3, "clamp").masks(*everything)[:, 0].numpy() - expected)
    inner = [slice(c, side - c) for c, side in zip(cell, size, strict=True)]
    assert off.max() > 0.3 and off[:, *inner].max() < 2e-5


def test_a_grid_of_one_cell_is_constant():
    seeds = MaskSeeds(torch.ones(1, 1, 1, 1), torch.tensor([[[3, 5]]]), (16, 16))
    assert torch.equal(seeds.masks(torch.tensor([0]), torch.tensor([0])), torch.ones(1, 1, 16, 16))


def test_an_unknown_border_is_refused(small, pictures, classes, evidence):
    with pytest.raises(XaibenchError, match="the border of RISE's masks is mirror or clamp, not 'wrap'"):
        rise(evidence(small, pictures, classes), masks=2, border="wrap")


def test_grids_keep_the_asked_share_and_offsets_are_uniform(small, evidence):
    e = evidence(small, torch.zeros(1, 3, 40, 64), [0])
    seeds = mask_seeds(e, 4000, 8, 0.1)
    assert set(seeds.grids.unique().tolist()) == {0.0, 1.0}
    assert float(seeds.grids.mean()) == pytest.approx(0.1, abs=0.003)
    assert float(seeds.grids.mean((0, 1)).std()) < 2 * math.sqrt(0.09 / 4000)
    for axis, step in enumerate((5, 8)):
        counts = torch.bincount(seeds.offsets[0, :, axis], minlength=step)
        assert len(counts) == step
        assert float(((counts - 4000 / step) ** 2 / (4000 / step)).sum()) < 30  # chi-square with at most 7 degrees


@pytest.mark.parametrize("name", ["rise", "rise-u", "rise-clamped"])
@pytest.mark.parametrize("probability", ["softmax", "sigmoid"])
def test_maps_agree_with_a_plain_loop(name, probability, small, pictures, classes, evidence, deviation):
    from xaibench import registry
    from xaibench.attribution.methods import method_maps

    seed, count, keep = 5, 30, 0.2
    settings = {"seed": seed, "probability": probability, "zero": torch.tensor([0.3, -0.2, 0.1])}
    e = evidence(small, pictures, classes, chunk=7, **settings)
    card = registry.card("method", name)
    ours = method_maps(card, e, card.parameters | {"masks": count, "cells": 4, "keep": keep})
    if "-u" in name:
        hidden = torch.rand(pictures.shape[1:], generator=generator(seed, "uniform baseline")).double() * 2 - 1
    else:
        hidden = settings["zero"].double()[:, None, None]
    seeds, mask_of = mask_seeds(e, count, 4, keep), clamped if "clamped" in name else mirrored
    expected = torch.zeros(4, 16, 16, dtype=torch.float64)
    for i, (image, target) in enumerate(zip(pictures, classes.tolist(), strict=True)):
        for n in range(count):
            mask = mask_of(seeds.grids[i, n], seeds.offsets[i, n], (16, 16))
            logits = small((mask * image + (1 - mask) * hidden)[None])[0]
            p = logits.softmax(0)[target] if probability == "softmax" else logits[target].sigmoid()
            expected[i] += p * mask / count / keep
    assert deviation(ours, expected[:, None]) < 1e-5


def test_the_card_asks_for_the_published_parameters():
    from xaibench import registry

    for name, baseline in (("rise", "zero"), ("rise-u", "uniform")):
        card = registry.card("method", name)
        assert card.parameters == {"masks": 1000, "cells": 8, "keep": 0.1, "baseline": baseline}
        assert card.version == 2 and "paper" in card.tags
    clamped = registry.card("method", "rise-clamped")
    assert clamped.parameters == registry.card("method", "rise").parameters | {"border": "clamp"}
    assert (clamped.version, clamped.role) == (1, "variant") and "paper" not in clamped.tags, "does not run by default"


def test_with_a_control_variate_maps_are_the_covariance_with_the_mask(small, pictures, classes, evidence, deviation):
    e, count, keep = evidence(small, pictures, classes, chunk=7, seed=3), 40, 0.3
    ours = rise(e, masks=count, cells=4, keep=keep, estimator="control-variate")
    seeds = mask_seeds(e, count, 4, keep)
    for i, (image, target) in enumerate(zip(pictures, classes.tolist(), strict=True)):
        masks = [mirrored(seeds.grids[i, n], seeds.offsets[i, n], (16, 16)).double() for n in range(count)]
        seen = [float(small((mask * image)[None])[0].softmax(0)[target]) for mask in masks]
        together = np.cov(np.c_[seen, torch.stack(masks).flatten(1).numpy()].T)[0, 1:].reshape(16, 16)
        assert deviation(ours[i, 0], torch.from_numpy(np.mean(seen) + together / keep)) < 1e-5


def test_a_control_variate_keeps_the_expectation_and_lessens_the_noise(evidence):
    """300 maps of 20 masks each, against an independent RISE; most of the noise is how often a pixel is seen."""
    e = evidence(Corner(), torch.ones(300, 3, 32, 32), [0] * 300, chunk=500, cam_layer=None)
    expected, error = other_rise(6000, 32, 8, 0.3)
    noise = {}
    for estimator in ("mean", "control-variate"):
        maps = rise(e, masks=20, keep=0.3, estimator=estimator)[:, 0].numpy()
        z = (maps.mean(0) - expected) / np.hypot(error, maps.std(0) / math.sqrt(300))
        assert np.mean(z**2) < 3, estimator
        noise[estimator] = maps.var(0).mean()
    assert noise["control-variate"] < noise["mean"] / 3


def test_a_control_variate_sees_that_a_network_answers_always_the_same(evidence):
    e = evidence(Constant(), torch.rand(2, 3, 16, 16), [0, 1], cam_layer=None)
    maps = rise(e, masks=9, estimator="control-variate")
    assert torch.allclose(maps, maps[:, :, :1, :1].expand_as(maps), atol=1e-6)
    assert maps[:, 0, 0, 0].tolist() == pytest.approx(torch.tensor([1.0, 2.0]).softmax(0).tolist())


def test_estimators_that_cannot_be_are_refused(small, pictures, classes, evidence):
    e = evidence(small, pictures, classes)
    with pytest.raises(XaibenchError, match="the estimator of RISE is mean or control-variate, not 'median'"):
        rise(e, masks=2, estimator="median")
    with pytest.raises(XaibenchError, match="RISE with a control variate needs at least two masks, not 1"):
        rise(e, masks=1, estimator="control-variate")


class Constant(nn.Module):
    """Two classes whose logits no image changes."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tensor([1.0, 2.0], dtype=x.dtype).expand(len(x), 2)


def test_the_probability_is_explained_also_where_the_logit_is(small, pictures, classes, evidence):
    maps = [rise(evidence(small, pictures, classes, output=output), masks=20) for output in ("logit", "probability")]
    assert torch.equal(*maps)
    logits_shifted = nn.Sequential(small, Shift())
    shifted = rise(evidence(logits_shifted, pictures, classes, cam_layer=None), masks=20)
    assert torch.allclose(shifted, maps[0], rtol=1e-9), "a softmax does not see a shift of all logits"


class Shift(nn.Module):
    def forward(self, logits: Tensor) -> Tensor:
        return logits + 5


class Corner(nn.Module):
    """Two classes; the logit of the first is how bright the upper left corner is."""

    def forward(self, x: Tensor) -> Tensor:
        bright = x[:, :, :10, :10].mean((1, 2, 3))
        return torch.stack([6 * bright - 2, torch.zeros_like(bright)], 1)


def other_rise(count: int, side: int, cells: int, keep: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard error (H, W) of RISE on `Corner` for a white image, with masks by SciPy and NumPy's dice."""
    dice, step = np.random.default_rng(1), math.ceil(side / cells)
    positions = (np.arange(side) + 0.5) * cells / ((cells + 1) * step) - 0.5
    shift = cells / ((cells + 1) * step)
    values = np.empty((count, side, side))
    for n in range(count):
        grid = (dice.random((cells, cells)) < keep).astype(float)
        y, x = (positions + shift * dice.integers(step) for _ in range(2))
        mask = map_coordinates(grid, np.meshgrid(y, x, indexing="ij"), order=1, mode="mirror")
        logit = 6 * mask[:10, :10].mean() - 2
        values[n] = mask / (1 + np.exp(-logit)) / keep
    return values.mean(0), values.std(0) / math.sqrt(count)


def test_agrees_in_distribution_with_an_independent_rise(evidence):
    e = evidence(Corner(), torch.ones(3, 3, 32, 32), [0, 0, 0], chunk=500, cam_layer=None)
    ours = rise(e, masks=1500, keep=0.3)[:, 0].numpy()
    expected, error = other_rise(1500, 32, 8, 0.3)
    for a, b in ((ours[0], expected), (ours[0], ours[1]), (ours[1], ours[2])):
        z = (a - b) / (math.sqrt(2) * error)
        assert np.mean(z**2) < 3
    assert np.corrcoef(ours.mean(0).ravel(), expected.ravel())[0, 1] > 0.9
    corner = ours.mean(0)[:10, :10].mean()
    assert corner > 1.2 * ours.mean(0)[16:, 16:].mean()


def test_masks_belong_to_the_image_not_to_the_pair(small, pictures, evidence, deviation):
    targets, owner = torch.tensor([1, 4, 2, 0]), torch.tensor([0, 0, 1, 1])
    e = evidence(small, pictures[:2], targets, owner=owner)
    maps, cost = rise(e, masks=12), e.runner.forwards
    assert cost == 2 * 12, "two targets of an image share its masked images"
    single = rise(evidence(small, pictures[1:2], [2], ["photo 1"]), masks=12)
    assert deviation(maps[2:3], single) < 1e-9
