"""Hand-compiled networks equal their rules, on scenes whose features have exactly the pixels that are said."""

from itertools import product

import numpy as np
import pytest
import torch

from xaibench.datasets.critters.dice import Dice
from xaibench.errors import XaibenchError
from xaibench.judging import known_networks, make
from xaibench.judging.badges import BADGE, HIGH, LOW, MASS, SHAPES
from xaibench.judging.known import COLOURS, SHAPED, class_weights

# Written out by hand from the description of each network: the class of a state of its four features.
RULES = {
    "and": lambda r, b, m, k: int(r == 1 and b == 1),
    "or": lambda r, b, m, k: int(r == 1 or b == 1),
    "xor": lambda r, b, m, k: int(r != b),
    "background": lambda r, b, k, ground: ground,
    "shortcut": lambda r, b, m, mark: mark,
    "suppressor": lambda r, b, m, k: int(r + b - m >= 1),
}


def agreement(names, count, split):
    """Of each network the number of images on which its prediction is that of its rule; images drawn once for all."""
    networks = [make(name, split=split, count=count) for name in names]
    right = dict.fromkeys(names, 0)
    for image_id in networks[0].dataset.ids:
        for known in networks:
            state = known.dataset.state(image_id)
            logits = known.network(known.inputs([image_id]))[0]
            expected = RULES[known.name](*state) if known.name in RULES else known.dataset.label(image_id)
            assert known.target(image_id) == expected
            right[known.name] += int(logits.argmax() == expected and logits.isfinite().all())
    return right


def test_networks_equal_their_rules_on_some_images():
    assert agreement(known_networks(), 40, "test") == dict.fromkeys(known_networks(), 40)


@pytest.mark.slow
@pytest.mark.process
def test_networks_equal_their_rules_on_300_images():
    assert agreement(known_networks(), 300, "test") == dict.fromkeys(known_networks(), 300)


@pytest.mark.slow
def test_networks_equal_their_rules_on_10000_images():
    assert agreement(known_networks(), 10_000, "exactness") == dict.fromkeys(known_networks(), 10_000)


@pytest.mark.parametrize("name", ["and", "or", "xor", "shortcut", "suppressor"])
def test_every_combination_of_features_in_one_scene(name):
    """Also combinations that the data never show: the logits are +-4 (f - 1/2), with f written out by hand."""
    formulas = {
        "and": lambda r, b, m, k: r * b,
        "or": lambda r, b, m, k: max(r, b),
        "xor": lambda r, b, m, k: abs(r - b),
        "shortcut": lambda r, b, m, mark: 0.75 * mark + 0.25 * r * b,
        "suppressor": lambda r, b, m, k: r + b - m,
    }
    known = make(name)
    states = list(product((0, 1), repeat=4))
    sets = [[f for f, value in zip(known.features, state, strict=True) if value] for state in states]
    expected = [4 * (formulas[name](*state) - 0.5) for state in states]
    for image_id in known.dataset.ids[:3]:
        logits = known.logits_of(image_id, sets)
        assert logits[:, 1].tolist() == expected
        assert logits[:, 0].tolist() == [-value for value in expected]


def test_logits_of_the_background_count_its_dyed_pixels():
    known = make("background")
    for image_id in known.dataset.ids[:6]:
        pixels = known.dataset.masks(image_id, ["ground"])["ground"].sum()
        lit, dark = known.logits_of(image_id, [["ground", "red"], ["red"]])[:, 1].tolist()
        assert lit == 4 * (2 * pixels / 2048 + 0.25 - 0.5) and dark == -1


@pytest.mark.parametrize("name", ["sum", "linear", "bagnet"])
def test_weights_drawn_by_the_seed_decide_with_a_margin(name):
    for seed in range(3):
        known = make(name, seed)
        sets = [[f for f, v in zip(known.features, s, strict=True) if v] for s in product((0, 1), repeat=4)]
        logits = known.logits_of(known.dataset.ids[0], sets)
        weights, bias = class_weights(Dice(seed, "judging", f"weights of {name}"), 4)
        expected = np.array(list(product((0, 1), repeat=4))) @ weights.T + bias
        # A grey socket is 128, not 127.5: a little of a colour's evidence.
        assert logits.numpy() == pytest.approx(expected, abs=0.05 if name == "linear" else 1e-9)
        best = logits.topk(2).values
        assert (best[:, 0] - best[:, 1] > 0.4).all()
        assert set(logits.argmax(1).tolist()) == {0, 1, 2}
        assert torch.equal(logits, make(name, seed).logits_of(known.dataset.ids[0], sets))


@pytest.mark.parametrize("name", known_networks())
def test_a_feature_has_the_pixels_of_its_mask_and_no_others(name):
    known = make(name)
    for image_id in known.dataset.ids[:4]:
        image = known.dataset.load(image_id).image
        masks = known.masks(image_id)
        assert not np.any(sum(mask.astype(int) for mask in masks.values()) > 1)
        assert set(masks) == set(known.dataset.shown(image_id))
        for feature, mask in masks.items():
            changed = (known.dataset.draw(image_id, without=[feature]) != image).any(-1)
            assert np.array_equal(changed, mask)


@pytest.mark.parametrize("name", ["and", "sum"])
def test_no_pixel_of_a_scene_is_near_a_corner_of_the_colours(name):
    known = make(name)
    for image_id in known.dataset.ids[:8]:
        scene = known.dataset.show(image_id, [])
        assert scene.min() >= LOW and scene.max() <= HIGH


def test_networks_are_differentiable_and_gradients_lie_in_the_masks():
    known = make("and")
    image_id = next(i for i in known.dataset.ids if known.dataset.state(i)[:2] == (1, 1))
    images = known.inputs([image_id]).requires_grad_()
    known.network(images)[0, 1].backward()
    where = images.grad.abs().sum((0, 1)).numpy() > 0
    assert np.array_equal(where, known.masks(image_id)["red"] | known.masks(image_id)["blue"])


def test_shapes_have_32_pixels_and_no_other_place_or_shape_fits_a_template():
    """A template needs all but three of its pixels to fire, whatever the shift; pixels that do not match count below
    -1/8 of one that does."""
    for shape in SHAPES.values():
        assert shape.shape == (BADGE, BADGE) and shape.sum() == MASS
    for name, other in product(SHAPED, SHAPED):
        padded = np.zeros((3 * BADGE, 3 * BADGE), dtype=int)
        padded[BADGE : 2 * BADGE, BADGE : 2 * BADGE] = SHAPES[other]
        for y, x in product(range(2 * BADGE), repeat=2):
            overlap = (padded[y : y + BADGE, x : x + BADGE] * SHAPES[name]).sum()
            assert overlap <= MASS - 4 or (name == other and (y, x) == (BADGE, BADGE))


def test_images_depend_on_the_id_and_the_seed_alone():
    known, again, other = make("or"), make("or", count=10), make("or", seed=1)
    first = known.dataset.ids[3]
    assert np.array_equal(known.dataset.load(first).image, again.dataset.load(first).image)
    assert known.dataset.digest(first) == again.dataset.digest(first) != other.dataset.digest(first)
    assert not np.array_equal(known.dataset.load(first).image, other.dataset.load(first).image)


def test_features_are_shown_as_often_as_the_law_says():
    known = make("and", count=3000)
    shown = np.mean([known.dataset.law.draw(known.dataset._dice("features", i)) for i in known.dataset.ids], axis=0)
    assert np.all(np.abs(shown - 0.7) < 4 * np.sqrt(0.21 / 3000))


def test_unknown_names_are_refused_in_one_line():
    with pytest.raises(XaibenchError, match="xor"):
        make("xr")
    known = make("and", count=3)
    with pytest.raises(XaibenchError, match=r"no feature named 'rad'.*red"):
        known.dataset.draw(known.dataset.ids[0], ["rad"])
    with pytest.raises(XaibenchError, match="ids go from"):
        known.dataset.load("test/000004")
    assert tuple(COLOURS) == known.features
