"""What `auto` means for chunks, and how `auto` and numbers are told apart."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from xaibench.errors import XaibenchError
from xaibench.evaluation import resources


def test_activation_bytes_are_those_of_the_leaf_modules():
    net = nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 7)
    )
    floats = 5 * 16 * 16 + 5 * 16 * 16 + 5 + 5 + 7
    assert resources.activation_bytes(net, torch.zeros(1, 3, 16, 16)) == 4 * floats


@pytest.mark.parametrize(("free", "chunk"), [(1 << 29, 8), (1 << 31, 32), (1 << 40, 64)])
def test_auto_chunk_takes_a_share_of_the_memory(monkeypatch, free, chunk):
    net = nn.Conv2d(1, 128, 1)  # 8 MiB of activations for 128x128 pixels
    monkeypatch.setattr(resources, "available_memory", lambda: free)
    assert resources.choose_chunk("auto", net, torch.zeros(1, 1, 128, 128)) == chunk


@pytest.mark.parametrize("name", ["auto", 1])
@pytest.mark.parametrize(("free", "needed"), [(0, 256), (255 << 20, 256), ((256 + 15) << 20, 256 + 16)])
def test_where_a_single_input_does_not_fit_nothing_begins(monkeypatch, name, free, needed):
    net = nn.Conv2d(1, 128, 1)  # 8 MiB, and as much for gradients
    monkeypatch.setattr(resources, "available_memory", lambda: free)
    message = f"128x128 pixels need {needed} MiB, one at a time, {free >> 20} MiB are free"
    with pytest.raises(XaibenchError, match=message):
        resources.choose_chunk(name, net, torch.zeros(1, 1, 128, 128))


@pytest.mark.slow
def test_the_limit_of_the_process_counts():
    """`ulimit -v`: it is a limit of address space, of which the process has taken a part."""
    code = (
        "import resource; from xaibench.evaluation.resources import available_memory; "
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize(); "
        "resource.setrlimit(resource.RLIMIT_AS, (used + (300 << 20),) * 2); print(available_memory() >> 20)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 290 <= int(said.stdout) <= 300


def test_a_cgroup_limit_below_the_free_memory_counts(monkeypatch, tmp_path):
    files = {"/proc/meminfo": "MemAvailable: 8388608 kB", "/sys/fs/cgroup/memory.max": str(3 << 30)}
    files["/sys/fs/cgroup/memory.current"] = str(1 << 30)

    class Fake(type(tmp_path)):
        def is_file(self):
            return str(self) in files

        def read_text(self, encoding=None):
            return files[str(self)]

    monkeypatch.setattr(resources, "Path", Fake)
    assert resources.available_memory() == 2 << 30
    files["/sys/fs/cgroup/memory.max"] = "max"
    assert resources.available_memory() == 8 << 30


@pytest.mark.parametrize("value", ["0", "-3", "many", "1.5"])
def test_sizes_are_auto_or_positive(value):
    with pytest.raises(XaibenchError, match="auto or a number from 1"):
        resources.choose_batch(value, "cpu")
    assert resources.choose_batch("3", "cpu") == 3


def test_a_missing_device_is_named():
    with pytest.raises(XaibenchError, match=r"device 'tpu9' cannot be used here"):
        resources.choose_device("tpu9")
