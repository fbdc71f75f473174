"""Networks of timm at their default layer and stages, with every method, against explanations by hand; Grad-CAM of some
against pytorch-grad-cam with the layout that each family is written with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from architectures import MORE, SWEPT, as_map, opened
from timm_sweep import examine, table

import xaibench

TABLE = Path(__file__).parents[2] / "docs" / "timm.md"


def rows_of(text: str) -> dict[str, list[str]]:
    """The cells of a table of architectures by name, without the last column, a rounding error."""
    lines = [line for line in text.splitlines() if re.match(r"\| `\w+` \| \d", line)]
    return {line.split("`")[1]: [cell.strip() for cell in line.split("|")][1:-2] for line in lines}


def test_every_architecture_is_in_the_table():
    assert list(rows_of(TABLE.read_text())) == SWEPT and len(SWEPT) >= 25


@pytest.mark.slow
@pytest.mark.parametrize("name", SWEPT)
def test_layer_stages_and_methods_are_right_and_as_in_the_table(name):
    row = examine(name)
    print(row)
    assert not row.failed
    assert rows_of(table([row]))[name] == rows_of(TABLE.read_text())[name]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["swin_tiny_patch4_window7_224", "mixer_s32_224", "vit_small_patch14_reg4_dinov2", "xcit_nano_12_p16_224",
     "convnext_atto", *MORE],
)  # fmt: skip
def test_the_default_map_is_that_of_pytorch_grad_cam(name, peer_cam):
    (model, image), target = opened(name), torch.tensor([3])
    expected = peer_cam(model.net, model.cam_layer, image, target, as_map(name))
    ours = xaibench.attribute(model, image, target, "grad-cam")
    assert expected.amax() > 0 and torch.allclose(ours, expected, rtol=1e-3, atol=1e-4 * float(expected.amax()))
