"""An empty home, one thread, and a small network with weights worth telling apart."""

from __future__ import annotations

import pytest
import torch
from torch import nn


@pytest.fixture(autouse=True)
def empty_home(tmp_path, monkeypatch):
    """XAIBENCH_HOME is an empty folder, so that nothing that was trained or downloaded here is found."""
    folder = tmp_path / "empty-home"
    monkeypatch.setenv("XAIBENCH_HOME", str(folder))
    return folder


@pytest.fixture
def make_net():
    """make_net(classes=5, seed=0): a CNN with a BatchNorm, two convolutions and a linear layer."""

    def make(classes: int = 5, seed: int = 0) -> nn.Module:
        torch.manual_seed(seed)
        net = nn.Sequential()
        net.stem = nn.Conv2d(3, 4, 3, bias=False)
        net.norm = nn.BatchNorm2d(4)
        net.pool = nn.AdaptiveAvgPool2d(1)
        net.flat = nn.Flatten()
        net.fc = nn.Linear(4, classes)
        net.norm.running_mean.normal_()
        return net.eval()

    return make


@pytest.fixture(scope="session")
def peer_cam():
    """peer_cam(net, layer, images, targets, reshape): pytorch-grad-cam's Grad-CAM before it is scaled, resized
    bilinearly to the images (P, 1, H, W); reshape makes a map (N, K, h, w) of what the layer gives."""
    import numpy as np
    import torch
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    class Raw(GradCAM):
        def get_cam_image(self, *args, **kwargs):
            self.raw = super().get_cam_image(*args, **kwargs)
            return self.raw

    def make(net, layer, images, targets, reshape=None):
        with Raw(model=net, target_layers=[net.get_submodule(layer)], reshape_transform=reshape) as peer:
            peer.compute_input_gradient = True
            peer(images.clone(), [ClassifierOutputTarget(t) for t in targets.tolist()])
            raw = torch.from_numpy(np.maximum(peer.raw, 0))[:, None].to(images)
        return torch.nn.functional.interpolate(raw, images.shape[2:], mode="bilinear", align_corners=False)

    return make
