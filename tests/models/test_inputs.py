"""Colour and grey images: which a network is shown, how they are encoded, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.transforms.functional import normalize, rgb_to_grayscale

import xaibench
from xaibench.cards import Geometry, ModelCard
from xaibench.errors import XaibenchError
from xaibench.models.base import Encoding
from xaibench.models.open import build_model

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)


def net(channels: int, classes: int = 2) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes)
    ).eval()


def opened(network, **fields):
    from xaibench import registry

    registry.register(ModelCard(name="own", title="Own", **fields), network)
    return build_model(registry.card("model", "own"), 2, Geometry(resize=32, crop=32))


def test_grey_pixels_are_the_luma_of_pillow_and_of_torchvision():
    found = Encoding((0.25,), (0.5,))(PIXELS)
    assert found.shape == (4, 1, 32, 32)
    grey = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in PIXELS])
    pillow = (torch.tensor(grey)[:, None] / 255 - 0.25) / 0.5
    assert (found - pillow).abs().max() <= 0.5 / 255 / 0.5 + 1e-6  # which rounds to 8 bits
    pixels = torch.tensor(PIXELS).permute(0, 3, 1, 2) / 255
    vision = normalize(rgb_to_grayscale(pixels), [0.25], [0.5])
    torch.testing.assert_close(found, vision, rtol=0, atol=1e-3)  # its first factor is 0.2989
    same = np.repeat(PIXELS[..., :1], 3, 3)
    torch.testing.assert_close(
        Encoding((0.25,), (0.5,))(same)[:, 0], (torch.tensor(same[..., 0]) / 255 - 0.25) / 0.5, rtol=0, atol=1e-6
    )


def test_grey_images_of_b_cos_networks_have_two_channels():
    encoding = Encoding((0.0,), (1.0,), complement=True)
    found = encoding(PIXELS)
    assert encoding.channels == 2 and encoding.zero.tolist() == [0.0, 1.0]
    torch.testing.assert_close(found.sum(1), torch.ones(4, 32, 32))
    pixels = torch.rand(2, 1, 4, 4)
    torch.testing.assert_close(encoding.of_pixels(pixels)[:, :1], pixels)  # grey already


@pytest.mark.parametrize(
    ("channels", "mean", "std", "expected"),
    [
        (3, (0.5,), (0.25,), Encoding((0.5,) * 3, (0.25,) * 3)),
        (3, (0.1, 0.2, 0.3), (0.25,), Encoding((0.1, 0.2, 0.3), (0.25,) * 3)),
        (1, (0.5,), (0.25,), Encoding((0.5,), (0.25,))),
        (1, (0.5,) * 3, (0.25,) * 3, Encoding((0.5,), (0.25,))),
        (1, (0.5,), (0.25,) * 3, Encoding((0.5,), (0.25,))),
    ],
)
def test_one_number_is_that_of_all_colours_or_of_grey(channels, mean, std, expected):
    model = opened(net(channels), mean=mean, std=std)
    assert model.encoding == expected
    assert model.notes == (("grey images",) if channels == 1 else ()) and ("grey images" in model.label) == (
        channels == 1
    )


@pytest.mark.parametrize("channels", [2, 4, 6])
def test_other_channels_are_refused_in_one_line(channels):
    with pytest.raises(
        XaibenchError, match=rf"takes images of {channels} channels; it can be shown 3 .* or 1"
    ) as error:
        opened(net(channels), mean=(0.5,), std=(0.5,))
    assert "\n" not in str(error.value)


def test_a_mean_for_each_colour_of_grey_images_is_refused():
    with pytest.raises(XaibenchError, match="takes grey images, but has a mean and std for each colour"):
        opened(net(1))


@pytest.mark.parametrize("count", [0, 2, 4])
def test_other_numbers_of_means_are_refused(home, count):
    data = [(torch.rand(3, 32, 32), 0), (torch.rand(3, 32, 32), 1)]
    with pytest.raises(XaibenchError, match=r"mean (has|is)"):
        xaibench.run("sds", model=net(3), dataset=data, mean=(0.5,) * count, methods="ixg", quiet=True)
    with pytest.raises(ValueError, match=f"std has {count} numbers"):
        ModelCard(name="x", title="x", std=(0.5,) * count)


def run(network, data, out, **fields):
    results = xaibench.run(
        "sds", model=network, dataset=data, methods=["ixg", "grad-cam", "ig-u", "random"], out=out, quiet=True, **fields
    )
    rows = results.rows.set_index(["image_id", "method"]).sort_index()
    return rows["score"], results


def test_a_network_of_grey_images_scores_as_the_same_network_of_colours(home):
    """The weights of the grey network, times 0.299, 0.587 and 0.114, are those of a network of colour images."""
    grey, colour = net(1), net(3)
    colour.load_state_dict(
        grey.state_dict() | {"0.weight": grey[0].weight * torch.tensor([0.299, 0.587, 0.114])[:, None, None]}
    )
    data = [(torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(n)), n % 2) for n in range(4)]
    for name, fields in {"plain": {}, "normalised": {"mean": (0.5,), "std": (0.25,)}}.items():
        found, results = run(grey, data, f"grey-{name}", **fields)
        wanted, other = run(colour, data, f"colour-{name}", **fields)
        same = [key for key in found.index if key[1] != "ig-u"]  # its baseline is drawn for each channel
        assert len(same) == 12 and results.manifest.accuracy == other.manifest.accuracy
        np.testing.assert_allclose(found[same].astype(float), wanted[same].astype(float), atol=1e-6)
        assert "grey images" in results.leaderboard().title


@pytest.mark.slow
def test_grey_data_sets_are_shown_to_networks_of_either(home):
    """Tensors (1, H, W), arrays (H, W) and (H, W, 1) and images of Pillow give one score."""
    drawn = [
        torch.randint(0, 256, (1, 32, 32), generator=torch.Generator().manual_seed(n), dtype=torch.uint8)
        for n in range(4)
    ]
    kinds = {
        "tensors": [(image, n % 2) for n, image in enumerate(drawn)],
        "floats": [(image / 255, n % 2) for n, image in enumerate(drawn)],
        "arrays": [(image[0].numpy(), n % 2) for n, image in enumerate(drawn)],
        "channels": [(image[0].numpy()[..., None], n % 2) for n, image in enumerate(drawn)],
        "pillow": [(Image.fromarray(image[0].numpy()), n % 2) for n, image in enumerate(drawn)],
        "colours": [(image.expand(3, -1, -1), n % 2) for n, image in enumerate(drawn)],
    }
    for network in (net(1), net(3), net(1, classes=1)):
        found = {
            name: run(network, data, f"{name}-{id(network)}", mean=(0.5,), std=(0.5,))[0]
            for name, data in kinds.items()
        }
        for name, scores in found.items():
            np.testing.assert_array_equal(scores.astype(float), found["colours"].astype(float), err_msg=name)


def test_explain_and_cards_of_grey_networks(home, tmp_path, photos, command):
    (tmp_path / "grey.py").write_text(
        "import torch\nfrom torch import nn\nimport xaibench\n"
        "@xaibench.model('grey', mean=(0.5,), std=(0.25,))\n"
        "def make():\n    torch.manual_seed(0)\n"
        "    body = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
        "    return nn.Sequential(*body, nn.Linear(8, 2))\n"
    )
    photo = photos / "ape" / "1.png"
    (seen,) = xaibench.explain(
        photo, model="grey", plugins=["grey.py"], dataset="imagefolder", data_root=photos, methods="ixg"
    )
    torch.manual_seed(0)
    own = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)).eval()
    inputs = (torch.tensor(seen.image) / 255 @ torch.tensor([0.299, 0.587, 0.114]) - 0.5) / 0.25
    chances = own(inputs[None, None]).softmax(1)[0].tolist()
    assert max(chances) == pytest.approx(seen.prediction.probability, abs=1e-6) and "grey images" in seen.model
    code, out, _ = command("show", "model", "grey", "--plugin", "grey.py")
    assert code == 0 and "grey pixels (0.299 R + 0.587 G + 0.114 B)" in " ".join(out.split())
