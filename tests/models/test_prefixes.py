"""Published weights whose names have prefixes, as those of the wrappers that they were trained in."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn

from xaibench import registry
from xaibench.models.bagnet import build as bagnet
from xaibench.models.bias_free import x_resnet50
from xaibench.models.fixup import build as fixup
from xaibench.models.state import load_state, read_state
from xaibench.models.timm_vit import build as vit


def _bcos(builder: str) -> nn.Module:
    pytest.importorskip("bcos")
    from xaibench.models.bcos_nets import build

    return build(3, builder)


NETWORKS = {
    "bcos_resnet50": lambda: _bcos("resnet50"),
    "bcos_vit_s": lambda: _bcos("simple_vit_s_patch16_224"),
    "vit_base_patch16_224": lambda: vit(3, "vit_base_patch16_224", depth=1, embed_dim=12, num_heads=2),
    "fixup_resnet50": lambda: fixup(3),
    "x_resnet50": lambda: x_resnet50(3),
    "bagnet33": lambda: bagnet(3, patch=33),
}


@functools.cache
def miniature(name: str) -> nn.Module:
    """The smaller children of the network, with the names that they have in it: enough to tell prefixes by."""
    with torch.device("meta"):
        net = NETWORKS[name]()
    weighing = [(sum(p.numel() for p in child.parameters()), path) for path, child in net.named_children()]
    small = nn.Module()
    for _, path in sorted(w for w in weighing if w[0])[:3]:
        small.add_module(path, net.get_submodule(path))
    return small.to_empty(device="cpu")


@pytest.mark.parametrize("prefix", ["", "module.", "module.model.", "model.module."])
@pytest.mark.parametrize("name", NETWORKS)
def test_prefixes_of_wrappers_are_taken_off(name, prefix, tmp_path):
    net, card = miniature(name), registry.card("model", name)
    torch.manual_seed(0)
    wanted = {
        k: torch.randn(v.shape) if v.is_floating_point() else torch.tensor(7) for k, v in net.state_dict().items()
    }
    torch.save({"state_dict": {f"{prefix}{k}": v for k, v in wanted.items()}, "epoch": 3}, tmp_path / "w.pth.tar")
    load_state(net, read_state(tmp_path / "w.pth.tar"), card.name)
    assert len(wanted) > 1 and all(torch.equal(v, wanted[k]) for k, v in net.state_dict().items())
