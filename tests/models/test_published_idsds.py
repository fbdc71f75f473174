"""The files that the authors of IDSDS publish: checkpoints of their training script, with the names of its networks.

The script saves epoch, state dict, best accuracy, optimiser, schedule and its argparse.Namespace; networks are in
DataParallel, B-cos networks in a wrapper `model` besides. Its B-cos ResNet is a copy of B-cos v2's without the package:
a layer is a convolution, with `conv1.weight` where the package has `conv1.linear.weight`.
"""

from __future__ import annotations

import argparse

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from xaibench import registry
from xaibench.cards import Geometry
from xaibench.models.build import build_network
from xaibench.models.names import match_names
from xaibench.models.open import build_model, load_weights, model_card
from xaibench.models.state import load_state, read_state

ALIGNED = [name for name in registry.names("model") if registry.card("model", name).aligned]
CLASSES = 10


class BcosConv2d(nn.Conv2d):
    """A B-cos convolution (B = 2) whose parameter is its own: w.x |cos(w, x)| for the unit vector of its weights."""

    def forward(self, x):
        linear = F.conv2d(x, F.normalize(self.weight, dim=(1, 2, 3)), None, self.stride, self.padding)
        squares = F.conv2d(x.square().sum(1, keepdim=True), torch.ones(1, 1, *self.kernel_size), None, self.stride,
                           self.padding)  # fmt: skip
        return linear * linear.abs() / (squares + 1e-6).sqrt()


def conv(taken: int, given: int, kernel: int, stride: int = 1) -> BcosConv2d:
    return BcosConv2d(taken, given, kernel, stride, kernel // 2, bias=False)


class Norm(nn.BatchNorm2d):
    """A BatchNorm that only scales."""

    def __init__(self, channels):
        super().__init__(channels)
        self.bias = None

    def forward(self, x):
        if self.training:
            self.running_var.copy_(x.detach().var((0, 2, 3), unbiased=False))
        return x * (self.weight / (self.running_var + self.eps).sqrt())[:, None, None]


class Block(nn.Module):
    """Two 3x3 layers, or three in a bottleneck; no ReLU."""

    def __init__(self, taken, width, stride, wide):
        super().__init__()
        given = 4 * width if wide else width
        sizes = [(taken, width, 1, 1), (width, width, 3, stride), (width, given, 1, 1)]
        sizes = sizes if wide else [(taken, width, 3, stride), (width, width, 3, 1)]
        for n, size in enumerate(sizes, 1):
            self.add_module(f"conv{n}", conv(*size))
            self.add_module(f"bn{n}", Norm(size[1]))
        self.layers, self.downsample = len(sizes), None
        if stride != 1 or taken != given:
            self.downsample = nn.Sequential(conv(taken, given, 1, stride), Norm(given))

    def forward(self, x):
        out = x
        for n in range(1, self.layers + 1):
            out = getattr(self, f"bn{n}")(getattr(self, f"conv{n}")(out))
        return out + (x if self.downsample is None else self.downsample(x))


class PublishedBcos(nn.Module):
    """ResNet-18 or ResNet-50 with the parameter names of the class in the repository of IDSDS."""

    def __init__(self, wide: bool):
        super().__init__()
        self.conv1, self.bn1 = conv(6, 64, 7, 2), Norm(64)
        taken = 64
        for stage, blocks in enumerate((3, 4, 6, 3) if wide else (2, 2, 2, 2)):
            width, layers = 64 * 2**stage, []
            for n in range(blocks):
                layers.append(Block(taken, width, 2 if stage and not n else 1, wide))
                taken = 4 * width if wide else width
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
        self.fc = conv(taken, CLASSES, 1)

    def forward(self, x):
        x = F.avg_pool2d(self.bn1(self.conv1(x)), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x).mean((2, 3)) + torch.tensor(1 / (CLASSES - 1)).log()


def checkpoint(state: dict, net: nn.Module | None = None) -> dict:
    """What the authors' train.py hands to torch.save."""
    optimiser = torch.optim.SGD((net or nn.Linear(2, 2)).parameters(), 0.001, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, step_size=10, gamma=0.1)
    given = argparse.Namespace(
        data_dir="imagenet", model="bcos_resnet50", workers=8, epochs=30, batch_size=256, lr=0.001, momentum=0.9,
        weight_decay=1e-4, step_size=10, print_freq=10, evaluate=False, pretrained=True, pretrained_ckpt=None, seed=0,
        gpu=None, number_classes=1000, grid_rows_and_cols=4, baseline="zeros", store_path="./",
    )  # fmt: skip
    return {
        "epoch": 7, "state_dict": state, "best_acc1": torch.tensor(71.5), "optimizer": optimiser.state_dict(),
        "scheduler": schedule.state_dict(), "args": given,
    }  # fmt: skip


def published_state(name: str, net: nn.Module) -> dict[str, torch.Tensor]:
    """A state dict with the names that the authors' script gives, each tensor with one value of its own."""
    outer = "module.model." if name.startswith("bcos") else "module."
    names = {key.replace(".linear.weight", ".weight") if name.startswith("bcos") else key: value.shape
             for key, value in net.state_dict().items()}  # fmt: skip
    return {f"{outer}{key}": torch.tensor(float(n)).expand(shape) for n, (key, shape) in enumerate(names.items(), 1)}


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize("name", ALIGNED)
def test_every_published_file_fits_its_card(name, tmp_path):
    if name.startswith("bcos"):
        pytest.importorskip("bcos")
    card = model_card(name)
    with torch.device("meta"):
        net = build_network(card, 1000)
    state = published_state(name, net)
    path = tmp_path / card.aligned.url.rsplit("/", 1)[-1]
    torch.save(checkpoint(state), path)
    read = read_state(path)
    match = match_names(net, read.tensors)
    assert not (match.missing or match.extra or match.rivals or match.left or read.others) and match.is_usual
    values = [match.tensors[key].flatten()[0].item() for key in net.state_dict()]
    assert values == list(range(1, len(values) + 1))


def test_there_are_sixteen():
    assert len(ALIGNED) == 16


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize(("name", "wide"), [("bcos_resnet18", False), ("bcos_resnet50", True)])
def test_published_bcos_network_and_ours_give_the_same_logits(name, wide, tmp_path):
    pytest.importorskip("bcos")
    torch.manual_seed(0)
    published = PublishedBcos(wide)
    for module in published.modules():
        if isinstance(module, Norm):
            module.weight.data.uniform_(0.5, 1.5)
            module.running_mean.normal_()
    seen = torch.rand(2, 3, 64, 64)
    seen = torch.cat([seen, 1 - seen], 1)
    with torch.no_grad():
        published.train()(seen)  # the statistics of these images, so that no map vanishes
        expected = published.eval()(seen)
    state = nn.DataParallel(nn.ModuleDict({"model": published})).state_dict()
    assert "module.model.layer1.0.conv1.weight" in state and not any("linear" in key for key in state)
    card = registry.card("model", name)
    path = tmp_path / (card.aligned or card.plain).url.rsplit("/", 1)[-1]
    torch.save(checkpoint(state, published), path)
    model = load_weights(
        build_model(card, CLASSES, Geometry(resize=64, crop=64)), read_state(path), "aligned" if wide else "x", card
    )
    assert expected.std(1).min() > 0.01
    with torch.no_grad():
        torch.testing.assert_close(model.net(seen), expected, rtol=1e-4, atol=1e-4)
    assert model.remarks == ()
    if wide:
        assert model.weights["alignment"] == {"grid": 4, "baseline": "zero", "probability": 0.5}
        assert model.weights["label"] == "aligned"
    own = {key.removeprefix("module.model."): value for key, value in state.items()}
    torch.save(model.net.state_dict(), tmp_path / "package.pth")  # and back, by the names of the package
    again = PublishedBcos(wide)
    load_state(again.eval(), read_state(tmp_path / "package.pth"), "published")
    assert all(torch.equal(value, own[key]) for key, value in again.state_dict().items())


def test_a_network_whose_features_alone_were_parallel(tmp_path):
    """As the plain weights of X-VGG-16, and all VGGs of PyTorch's ImageNet example."""
    with torch.device("meta"):
        net = build_network(model_card("x_vgg16"), 1000)
    names = [key.replace("features.", "features.module.") for key in net.state_dict()]
    shapes = [value.shape for value in net.state_dict().values()]
    state = {
        key: torch.tensor(float(n)).expand(shape) for n, (key, shape) in enumerate(zip(names, shapes, strict=True))
    }
    torch.save({"epoch": 90, "arch": "xvgg16", "state_dict": state, "best_acc1": torch.tensor(7.0)}, tmp_path / "w.tar")
    match = match_names(net, read_state(tmp_path / "w.tar").tensors)
    assert [match.tensors[key].flatten()[0].item() for key in net.state_dict()] == list(range(len(names)))
    assert match.is_usual and not (match.missing or match.extra)
