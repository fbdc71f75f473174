"""Small networks with random weights, images, evidence about them, and a way to say that maps agree.

`ByHand` is a vision transformer once more, in NumPy, image by image and head by head.
"""

from __future__ import annotations

import importlib.util
from copy import copy, deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import erf
from torch import Tensor, nn


@pytest.fixture(scope="session")
def oracles():
    """What lxt, torchcam and zennit gave, and the networks for which."""
    spec = importlib.util.spec_from_file_location("oracles", Path(__file__).with_name("oracles.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _randomised(net: nn.Module, seed: int) -> nn.Module:
    """The network with weights and BatchNorm statistics that make every unit and every bias matter."""
    random = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            count = module.num_features
            module.running_mean.copy_(0.3 * torch.randn(count, generator=random))
            module.running_var.copy_(0.5 + torch.rand(count, generator=random))
            module.weight.data = 0.5 + torch.rand(count, generator=random)
            module.bias.data = 0.2 * torch.randn(count, generator=random)
    return net.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def resnet() -> nn.Module:
    """torchvision's ResNet with one block a stage, half of ResNet-18, with random weights for ten classes, float32."""
    from torchvision.models.resnet import BasicBlock, ResNet

    torch.manual_seed(0)
    return _randomised(ResNet(BasicBlock, [1, 1, 1, 1], num_classes=10), 1)


@pytest.fixture(scope="session")
def exact_resnet(resnet) -> nn.Module:
    """The same ResNet in double precision: gates of ReLUs do not flip by rounding."""
    return deepcopy(resnet).double()


GAIN = 8  # so that the terms of the formulas weigh comparably


class Small(nn.Module):
    """A CNN of a few hundred weights whose head is not linear in the CAM layer `body`."""

    def __init__(self, classes: int = 5):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU()
        )
        self.head = nn.Sequential(
            nn.Conv2d(8, 6, 3, padding=1), nn.Softplus(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


@pytest.fixture(scope="session")
def exact_small() -> nn.Module:
    """A tiny CNN for five classes in double precision; its CAM layer is `body`."""
    torch.manual_seed(2)
    net = Small().double().eval().requires_grad_(False)
    net.head[-1].weight *= GAIN
    return net


@pytest.fixture
def small(exact_small) -> nn.Module:
    """A copy of the tiny CNN that a test may change."""
    return deepcopy(exact_small)


@pytest.fixture
def pictures() -> Tensor:
    """Four encoded images of 16 x 16 pixels in double precision."""
    return torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@pytest.fixture
def classes() -> Tensor:
    """A target for each of the pictures."""
    return torch.tensor([1, 4, 0, 3])


@pytest.fixture(scope="session")
def photos64() -> Tensor:
    """Eight encoded images of 64 x 64 pixels, float32: smooth blobs, so that neighbouring pixels agree."""
    coarse = torch.randn(8, 3, 12, 12, generator=torch.Generator().manual_seed(4))
    return nn.functional.interpolate(coarse, (64, 64), mode="bicubic")


def _deviation(ours, reference) -> float:
    """The largest difference between maps (P, ...), relative to the largest value of each reference map."""
    ours, reference = (
        np.asarray(torch.as_tensor(v).detach(), np.float64).reshape(len(v), -1) for v in (ours, reference)
    )
    assert ours.shape == reference.shape and np.isfinite(ours).all()
    size = np.abs(reference).max(1)
    assert (size > 0).mean() > 0.5, "references that are zero prove nothing"
    return float((np.abs(ours - reference).max(1) / np.where(size > 0, size, size.max())).max())


@pytest.fixture(scope="session")
def deviation():
    """deviation(ours, reference): the largest difference relative to each reference map's largest value."""
    return _deviation


# Vision transformers -------------------------------------------------------------------------------------------------

VITS = {
    "class token": {},
    "pooled": {"class_token": False, "global_pool": "avg"},
    "registers": {"reg_tokens": 4, "no_embed_class": True},
    "all tokens pooled": {"reg_tokens": 2, "global_pool": "avg", "pool_include_prefix": True},
    "largest pooled": {"class_token": False, "global_pool": "max"},
    "mean and largest pooled": {"class_token": False, "global_pool": "avgmax", "fc_norm": False},
    "norms": {
        "qk_norm": True, "init_values": 0.5, "pre_norm": True, "scale_attn_norm": True, "scale_mlp_norm": True,
        "fc_norm": True,
    },
    "norms after": {"after": True},
}  # fmt: skip


@pytest.fixture(scope="session")
def vit():
    """vit(kind="class token", width=12): a vision transformer of three blocks and two heads for images of 16 x 24
    pixels in patches of 8, three classes, random weights in double precision."""
    from timm.models.vision_transformer import Block, ResPostBlock, VisionTransformer

    def make(kind: str = "class token", width: int = 12) -> nn.Module:
        changes = dict(VITS[kind])
        block = ResPostBlock if changes.pop("after", False) else Block
        net = VisionTransformer(
            (16, 24), 8, num_classes=3, embed_dim=width, depth=3, num_heads=2, mlp_ratio=2, block_fn=block, **changes
        )
        random = torch.Generator().manual_seed(5)
        for parameter in net.parameters():
            noise = torch.randn(parameter.shape, generator=random)
            parameter.data = (0.4 * noise + (1 if parameter.ndim == 1 and parameter.data.std() == 0 else 0)).double()
        net.patch_embed.proj.weight.data *= 0.2
        return net.double().eval().requires_grad_(False)

    return make


@pytest.fixture
def vit_photos() -> Tensor:
    """Five encoded images of 16 x 24 pixels in double precision."""
    return torch.randn(5, 3, 16, 24, generator=torch.Generator().manual_seed(6), dtype=torch.float64)


@pytest.fixture
def vit_classes() -> Tensor:
    """A target for each of them."""
    return torch.tensor([2, 0, 1, 1, 2])


def _normalised(x: np.ndarray, norm: nn.Module) -> np.ndarray:
    """LayerNorm over the last axis; anything without weights is the identity."""
    if not isinstance(norm, nn.LayerNorm):
        return x
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + norm.eps) * norm.weight.numpy() + norm.bias.numpy()


def _linear(x: np.ndarray, layer: nn.Linear) -> np.ndarray:
    return x @ layer.weight.numpy().T + layer.bias.numpy()


class ByHand:
    """The pass of one image (C, H, W) through a vision transformer, with everything on the way.

    blocks holds a dictionary of arrays per block.
    """

    def __init__(self, net: nn.Module, image: Tensor):
        self.net, self.blocks = net, []
        x = self._embedded(image.numpy())
        for block in net.blocks:
            x, seen = self._block(x, block)
            self.blocks.append(seen)
        self._end(x)

    def _end(self, x: np.ndarray) -> None:
        net = self.net
        self.tokens = _normalised(x, net.norm)
        self.pooled = self._pooled(self.tokens)
        self.read = _normalised(self.pooled, net.fc_norm)
        self.logits = _linear(self.read, net.head)

    def _embedded(self, image: np.ndarray) -> np.ndarray:
        net, patches = self.net, []
        for row in range(2):
            for column in range(3):
                patch = image[:, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
                weight, bias = net.patch_embed.proj.weight.numpy(), net.patch_embed.proj.bias
                patches.append(np.array([(w * patch).sum() for w in weight]) + (0 if bias is None else bias.numpy()))
        prefix = [t.numpy()[0] for t in (net.cls_token, net.reg_token) if t is not None]
        position = net.pos_embed.numpy()[0]
        if net.no_embed_class:
            x = np.concatenate([*prefix, np.array(patches) + position])
        else:
            x = np.concatenate([*prefix, np.array(patches)]) + position
        return _normalised(x, net.norm_pre)

    def _block(self, x: np.ndarray, block: nn.Module, attention: np.ndarray | None = None) -> tuple[np.ndarray, dict]:
        """What a block gives, and what is in it; attention replaces its maps (heads, T, T)."""
        after = type(block).__name__ == "ResPostBlock"
        seen = {"x": x, "qkv_in": x if after else _normalised(x, block.norm1)}
        parts = _linear(seen["qkv_in"], block.attn.qkv).reshape(len(x), 3, 2, 6)
        seen["q"] = _normalised(parts[:, 0], block.attn.q_norm).transpose(1, 0, 2)
        seen["k"] = _normalised(parts[:, 1], block.attn.k_norm).transpose(1, 0, 2)
        seen["v"] = parts[:, 2].transpose(1, 0, 2)
        seen["map"] = attention
        if attention is None:
            powers = [np.exp(q @ k.T / np.sqrt(6)) for q, k in zip(seen["q"], seen["k"], strict=True)]
            seen["map"] = np.stack([p / p.sum(1, keepdims=True) for p in powers])
        mixed = np.concatenate([m @ v for m, v in zip(seen["map"], seen["v"], strict=True)], 1)
        seen["proj_in"] = _normalised(mixed, block.attn.norm)
        seen["attended"] = self._branch(_linear(seen["proj_in"], block.attn.proj), block, after, 1)
        y = x + seen["attended"]
        seen["fc1_in"] = y if after else _normalised(y, block.norm2)
        hidden = _linear(seen["fc1_in"], block.mlp.fc1)
        seen["fc2_in"] = _normalised(hidden * (1 + erf(hidden / np.sqrt(2))) / 2, block.mlp.norm)
        seen["told"] = self._branch(_linear(seen["fc2_in"], block.mlp.fc2), block, after, 2)
        return y + seen["told"], seen

    def _branch(self, x: np.ndarray, block: nn.Module, after: bool, which: int) -> np.ndarray:
        """A branch as it meets the skip connection: normalised, or scaled per channel."""
        if after:
            return _normalised(x, getattr(block, f"norm{which}"))
        scale = getattr(block, f"ls{which}")
        return x * scale.gamma.numpy() if hasattr(scale, "gamma") else x

    def _pooled(self, x: np.ndarray) -> np.ndarray:
        net = self.net
        if net.global_pool == "token":
            return x[0]
        x = x if net.pool_include_prefix else x[net.num_prefix_tokens :]
        kinds = {"avg": x.mean(0), "max": x.max(0), "avgmax": (x.mean(0) + x.max(0)) / 2}
        return kinds[net.global_pool]

    def gradient(self, number: int, target: int) -> np.ndarray:
        """Of a logit on the attention map (heads, T, T) of a block, by central differences."""
        attention, step = self.blocks[number]["map"], 1e-5
        found = np.zeros_like(attention)
        for place in np.ndindex(*attention.shape):
            for sign in (1, -1):
                changed = attention.copy()
                changed[place] += sign * step
                other = copy(self)
                x, _ = self._block(self.blocks[number]["x"], self.net.blocks[number], changed)
                for block in self.net.blocks[number + 1 :]:
                    x, _ = self._block(x, block)
                other._end(x)
                found[place] += sign * other.logits[target] / (2 * step)
        return found


@pytest.fixture(scope="session")
def by_hand():
    """The class that passes an image through a vision transformer in NumPy."""
    return ByHand


@pytest.fixture(scope="session")
def attention_by_hand():
    """attention_by_hand(net, image, target): the last block's maps and gradients (heads, T, T)."""

    def make(net: nn.Module, image: Tensor, target: int) -> tuple[np.ndarray, np.ndarray]:
        seen = ByHand(net, image)
        return seen.blocks[-1]["map"], seen.gradient(len(net.blocks) - 1, target)

    return make
