"""What a run says of its models before it computes anything: one line, which its record keeps."""

from __future__ import annotations

import json

import pytest

NETWORKS = """
import torch
from torch import nn
from torch.nn import functional as F

class Net(nn.Module):
    def __init__(self, classes, end):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head, self.end = nn.Linear(8, classes), end

    def forward(self, x):
        return self.end(self.head(self.body(x)))

def dropping(num_classes):
    return Net(num_classes, lambda z: F.dropout(z, 0.5))

def normalising(num_classes):
    return Net(num_classes, lambda z: z - 0.5 * z.mean(0))

def squashed(num_classes):
    return Net(num_classes, lambda z: z.softmax(1))

def plain(num_classes):
    return Net(num_classes, lambda z: z)
"""


@pytest.fixture
def networks(home, tmp_path):
    from xaibench.models.state import save_state

    (tmp_path / "nets.py").write_text(NETWORKS)
    space: dict = {}
    exec(NETWORKS, space)
    save_state(space["plain"](10), tmp_path / "w.safetensors", {})
    return tmp_path


@pytest.mark.parametrize(
    ("maker", "text"),
    [
        ("dropping", "gives other logits for the same image in two passes"),
        ("normalising", "gives other logits for the same image alone and beside another"),
        ("squashed", "as after a softmax"), ("plain", None),
    ],
)  # fmt: skip
def test_run_and_explain_warn_in_one_line(networks, command, maker, text):
    model = (
        "--model",
        f"nets.py:{maker}",
        "--dataset",
        "mini",
        "--weights",
        "w.safetensors",
        "--methods",
        "ixg,random",
    )
    code, _, err = command("run", "sds", *model, "--images", "2", "--out", "out", "--quiet")
    lines = [line for line in err.splitlines() if "warning" in line]
    assert code == 0 and len(lines) == (text is not None) and all(text in line for line in lines)
    (record,) = [json.loads(path.read_text()) for path in networks.glob("out/runs/*.json")]
    assert [text in line for line in record["warnings"]] == [True] * len(lines)
    code, _, err = command("explain", "test/000001", *model[:-1], "ixg", "--out", "panel.png", "--quiet")
    lines = [line for line in err.splitlines() if "warning" in line]
    assert code == 0 and len(lines) == (text is not None) and all(text in line for line in lines)


def test_explain_in_python_warns(networks):
    import xaibench

    with pytest.warns(UserWarning, match="as after a softmax") as caught:
        xaibench.explain(
            "test/000001", model="nets.py:squashed", dataset="mini", weights="w.safetensors", methods="ixg"
        )
    assert len(caught) == 1 and caught[0].filename == __file__
