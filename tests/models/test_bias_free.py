"""X-ResNet-50 and X-VGG-16: the networks of torchvision without what they leave out, and homogeneity."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet50, vgg16

from xaibench.models.bias_free import x_resnet50, x_vgg16

pytestmark = pytest.mark.process  # whole runs or large networks: not in the fast tier


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    """X-ResNet-50 for four classes in double precision, with weights that let every branch count."""
    torch.manual_seed(0)
    net = x_resnet50(4).double().eval()
    for name, parameter in net.named_parameters():
        if name.endswith("conv3.weight") or name == "fc.weight":
            nn.init.normal_(parameter, 0, 0.05)
    return net


@pytest.fixture(scope="module")
def vgg() -> nn.Module:
    """X-VGG-16 for two classes, float32."""
    torch.manual_seed(0)
    return x_vgg16(2).eval()


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_x_resnet_50_is_torchvisions_with_nothing_in_place_of_batchnorm(resnet, images):
    like = resnet50(num_classes=4).double().eval()
    for path, module in list(like.named_modules()):
        if isinstance(module, nn.BatchNorm2d):
            like.set_submodule(path, nn.Identity())
    weights = {name.replace("downsample.weight", "downsample.0.weight"): w for name, w in resnet.state_dict().items()}
    missing, unexpected = like.load_state_dict(weights, strict=False)
    assert missing == ["fc.bias"] and not unexpected
    like.fc.bias.zero_()
    assert torch.allclose(resnet(images.double()), like(images.double()), rtol=0, atol=1e-10)


@pytest.mark.slow
@torch.no_grad()
def test_x_vgg_16_is_torchvisions_with_biases_of_zero(vgg, images):
    with torch.device("meta"):
        like = vgg16(num_classes=2)
    weights = vgg.state_dict()
    assert set(weights) == {name for name in like.state_dict() if name.endswith("weight")}
    zeros = {n: torch.zeros(p.shape) for n, p in like.named_parameters() if n.endswith("bias")}
    like.load_state_dict(weights | zeros, assign=True)
    assert torch.allclose(vgg(images), like.eval()(images), rtol=1e-5)


@pytest.mark.parametrize("name", ["resnet", "vgg"])
def test_no_parameter_but_weights(name, resnet, vgg):
    net = {"resnet": resnet, "vgg": vgg}[name]
    assert all(path.endswith("weight") and p.ndim > 1 for path, p in net.named_parameters()) and not list(net.buffers())


@torch.no_grad()
@pytest.mark.parametrize("factor", [0.01, 3.0, 1e4])
def test_logits_grow_with_the_image(factor, resnet, vgg, images):
    exact = resnet(images.double())
    assert torch.allclose(resnet(factor * images.double()), factor * exact, rtol=1e-9, atol=0)
    assert torch.allclose(vgg(factor * images), factor * vgg(images), rtol=1e-3, atol=factor * 1e-7)
    assert not torch.allclose(resnet(-images.double()), -exact, rtol=0.1), "homogeneous, not linear"
