"""Vision transformers of timm, torchvision, transformers and the package bcos: the layout of their tokens, and the
tokens that the head reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xaibench.errors import XaibenchError

BRANCHES = (  # of CrossViT, and of CoaT with parallel blocks: the head reads several grids of tokens
    ("num_branches", "patch_embed", "norm"),
    ("parallel_blocks", "aggregate"),
)
PARTS = ("patch_embed", "blocks", "num_prefix_tokens")
CLASS_BLOCKS = (
    "blocks_token_only",
    "cls_attn_blocks",
)  # of CaiT and XCiT: the class token first comes in behind blocks
OTHERS = (  # of torchvision, and of the classes of transformers: the embedding of patches, with its sizes
    ("conv_proj", "encoder", "class_token", "image_size", "patch_size"),
    ("projection", "image_size", "patch_size", "num_patches"),
)


@dataclass(frozen=True)
class Layout:
    """The layout of tokens (N, T, D): `prefix` of them (class, registers) first, then those of a grid, row by row.

    axis: that of the tokens; 2 for tokens (N, D, T).
    """

    prefix: int
    grid: tuple[int, int]
    axis: int = 1

    @property
    def count(self) -> int:
        """T, the number of tokens of an image."""
        return self.prefix + self.grid[0] * self.grid[1]

    def to_map(self, tokens: Tensor) -> Tensor:
        """The map (N, D, h, w) of the patches' tokens; the others are left out.

        Raises XaibenchError where there are more or fewer tokens than the network's patches make.
        """
        if tokens.ndim != 3 or tokens.shape[self.axis] != self.count:
            raise XaibenchError(
                f"the layer gives {tuple(tokens.shape)}, not {self.count} tokens ({self.prefix} and "
                f"{self.grid[0]}x{self.grid[1]} patches)"
            )
        tokens = tokens if self.axis == 1 else tokens.mT
        return tokens[:, self.prefix :].mT.unflatten(2, self.grid)

    def with_map(self, tokens: Tensor, patches: Tensor) -> Tensor:
        """The tokens (N, T, D) with those of the patches taken from a map (N, D, h, w)."""
        if self.axis == 2:
            return torch.cat([tokens[..., : self.prefix], patches.flatten(2)], 2)
        return torch.cat([tokens[:, : self.prefix], patches.flatten(2).mT], 1)

    def size(self, shape: Sequence[int]) -> tuple[int, int]:
        """Height and width of the grid."""
        return self.grid


def transformer_in(net: nn.Module) -> nn.Module | None:
    """The vision transformer in a network (or the network itself), found by the parts of timm's; None without one.

    Those whose class token is no token of the blocks of patches (CaiT, XCiT) are none.
    """
    found = (m for m in net.modules() if all(hasattr(m, part) for part in PARTS))
    return next((m for m in found if not any(hasattr(m, part) for part in CLASS_BLOCKS)), None)


def has_branches(net: nn.Module) -> bool:
    """Whether the head of a network reads several grids of tokens side by side, so that no layer's map tells all."""
    return any(all(getattr(m, part, None) is not None for part in parts) for m in net.modules() for parts in BRANCHES)


def plain_transformer_in(net: nn.Module) -> str:
    """The type of a plain vision transformer in a network (or of the network itself) that is one of timm, torchvision
    or transformers: all its tokens attend to each other in all its blocks; "" without one."""
    if (vit := transformer_in(net)) is not None:
        return type(vit).__name__
    if (vit := torchvision_transformer_in(net)) is not None:
        return type(vit).__name__
    for module in net.modules():
        embedding = getattr(getattr(module, "embeddings", None), "patch_embeddings", None)
        # those whose stages make patches larger (Swin, PVT) have no tokens of one grid, nor positions of it
        if all(hasattr(embedding, part) for part in OTHERS[1]) and hasattr(module, "config"):
            sizes = getattr(module.config, "depths", None) or getattr(module.config, "hidden_sizes", None)
            return "" if sizes else type(module).__name__
    return ""


def layout_of(net: nn.Module, size: tuple[int, int]) -> Layout | None:
    """The layout of a network's tokens for images of size (H, W); None for networks without a vision transformer."""
    vit = transformer_in(net)
    if vit is None:
        return _torchvision_layout(net) or _pooled_layout(net, size)
    grid = (
        vit.patch_embed.dynamic_feat_size(tuple(size))
        if getattr(vit, "dynamic_img_size", False)
        else getattr(vit.patch_embed, "grid_size", None)
    )
    return Layout(vit.num_prefix_tokens, tuple(grid)) if grid else None


def torchvision_transformer_in(net: nn.Module) -> nn.Module | None:
    """torchvision's VisionTransformer in a network (or the network itself); None without one."""
    return next((m for m in net.modules() if all(hasattr(m, part) for part in OTHERS[0])), None)


def _torchvision_layout(net: nn.Module) -> Layout | None:
    """The layout of torchvision's VisionTransformer, which has a class token and takes images of one size."""
    vit = torchvision_transformer_in(net)
    return Layout(1, (vit.image_size // vit.patch_size,) * 2) if vit is not None else None


def _pooled_layout(net: nn.Module, size: tuple[int, int]) -> Layout | None:
    """The layout of a transformer of the package bcos, which has tokens of patches only, for images of any size."""
    embedding = next((m.to_patch_embedding for m in net.modules() if hasattr(m, "to_patch_embedding")), None)
    sides = next((m.axes_lengths for m in embedding if hasattr(m, "axes_lengths")), None) if embedding else None
    return Layout(0, (size[0] // sides["p1"], size[1] // sides["p2"])) if sides else None


def token_layer(net: nn.Module) -> str:
    """The path of the first norm of a vision transformer's last block, the usual layer for class activation maps, or
    "".

    After it only attention passes information from patches to the class token, and the gradient on patches is zero.
    """
    vit = transformer_in(net)
    norm = getattr(vit.blocks[-1], "norm1", None) if vit is not None and len(vit.blocks) else None
    if vit is None and (other := torchvision_transformer_in(net)) is not None:
        norm = getattr(list(other.encoder.layers)[-1], "ln_1", None)
    return next((path for path, module in net.named_modules() if module is norm), "") if norm is not None else ""


def tokens_read(vit: nn.Module) -> slice:
    """The tokens that the head reads: the class token, or those that are pooled."""
    if getattr(vit, "global_pool", "token") == "token":
        return slice(0, 1)
    return slice(0 if getattr(vit, "pool_include_prefix", False) else vit.num_prefix_tokens, None)


def check_size(net: nn.Module, size: tuple[int, int], model: str) -> None:
    """Raises XaibenchError where a vision transformer's position embedding is for images of another size (H, W)."""
    vit = transformer_in(net)
    made = getattr(vit.patch_embed, "img_size", None) if vit is not None else None
    if made is None or getattr(vit, "dynamic_img_size", False) or tuple(made) == tuple(size):
        return
    (h, w), (rows, columns) = made, vit.patch_embed.grid_size
    hint = f"; --image-size {h} makes such images" if h == w else ""
    raise XaibenchError(
        f"model {model} takes images of {h}x{w} pixels, for which its {rows}x{columns} position embeddings are, not "
        f"{size[0]}x{size[1]}{hint}"
    )
