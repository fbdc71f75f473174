"""Masks of the tiny data set, and networks of Segment Anything that were never trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from xaibench.masks.make import Made, make_masks


@pytest.fixture
def slic(home, tmp_path) -> Callable[..., Made]:
    """slic(images=..., segments=...): superpixels of the data set `mini` in the folder `masks`."""

    def make(images: int | None = 8, out: Path = tmp_path / "masks", **settings) -> Made:
        return make_masks("slic", dataset="mini", images=images, out=out, settings=settings, quiet=True)

    return make


@pytest.fixture(scope="session")
def networks(tmp_path_factory) -> dict[str, Path]:
    """Folders with a SAM and a SAM 2 for images of 64 pixels, with random weights that are large enough for masks."""
    transformers = pytest.importorskip("transformers")
    square = {"height": 64, "width": 64}
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "mlp_dim": 16}
    small |= {"iou_head_hidden_dim": 8, "iou_head_depth": 2}
    prompts = {"image_size": 64, "mask_input_channels": 4}
    sam = transformers.SamConfig(
        vision_config={
            "hidden_size": 16, "output_channels": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 64,
            "patch_size": 8, "mlp_dim": 32, "window_size": 4, "global_attn_indexes": [0], "num_pos_feats": 4,
        },
        prompt_encoder_config=prompts | {"hidden_size": 8, "patch_size": 8},
        mask_decoder_config=small,
    )  # fmt: skip
    backbone = {
        "model_type": "sam2_hiera_det_model", "hidden_size": 8, "image_size": [64, 64],
        "blocks_per_stage": [1, 1, 2, 1], "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 1, 1, 1], "window_size_per_stage": [4, 2, 2, 2],
        "global_attention_blocks": [3], "window_positional_embedding_background_size": [4, 4],
    }  # fmt: skip
    sam2 = transformers.Sam2Config(
        vision_config={
            "backbone_config": backbone, "backbone_channel_list": [64, 32, 16, 8],
            "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]], "fpn_hidden_size": 16,
        },
        prompt_encoder_config=prompts | {"hidden_size": 16, "patch_size": 16},
        mask_decoder_config=small | {"hidden_size": 16},
    )  # fmt: skip
    processors = {
        "sam": transformers.SamImageProcessor(
            size={"longest_edge": 64}, pad_size=square, mask_size={"longest_edge": 16},
            mask_pad_size={"height": 16, "width": 16},
        ),
        "sam2": transformers.Sam2ImageProcessor(size=square, mask_size={"height": 16, "width": 16}),
    }  # fmt: skip
    made, folders = {"sam": (transformers.SamModel, sam), "sam2": (transformers.Sam2Model, sam2)}, {}
    for name, (network, settings) in made.items():
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(7)  # both find masks of many sizes
            drawn = network(settings)
            for parameter in drawn.parameters():
                if parameter.ndim > 1:
                    parameter.normal_(0, 1)
        folders[name] = tmp_path_factory.mktemp(name)
        drawn.save_pretrained(folders[name])
        processors[name].save_pretrained(folders[name])
    return folders
