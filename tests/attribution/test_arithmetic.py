"""float32 means float32: PyTorch's switches during passes and protocols, afterwards, in threads, and where a device has
no TF32. That the switches do what they say on a GPU is checked by tests/gpu."""

from __future__ import annotations

import threading
import warnings

import pytest
import torch
from torch import nn

import xaibench
from xaibench.attribution import arithmetic as module
from xaibench.attribution.arithmetic import arithmetic, has_tf32
from xaibench.attribution.runner import PRECISIONS, ModelRunner
from xaibench.errors import XaibenchError
from xaibench.evaluation import config
from xaibench.evaluation.resources import Resources

new = pytest.mark.skipif(not module._is_new(), reason="this PyTorch has the older switches only")
BACKENDS = torch.backends
USERS = {
    "as it comes": lambda: None,
    "medium": lambda: torch.set_float32_matmul_precision("medium"),
    "high": lambda: torch.set_float32_matmul_precision("high"),
    "cudnn off": lambda: setattr(BACKENDS.cudnn, "allow_tf32", False),
    "cublas on": lambda: setattr(BACKENDS.cuda.matmul, "allow_tf32", True),
    "all tf32": lambda: setattr(BACKENDS, "fp32_precision", "tf32"),
    "all bf16": lambda: setattr(BACKENDS, "fp32_precision", "bf16"),
    "cudnn ieee": lambda: setattr(BACKENDS.cudnn, "fp32_precision", "ieee"),
    "conv ieee": lambda: setattr(BACKENDS.cudnn.conv, "fp32_precision", "ieee"),
    "cpu bf16": lambda: setattr(BACKENDS.mkldnn.matmul, "fp32_precision", "bf16"),
    "matmul tf32": lambda: setattr(BACKENDS.cuda.matmul, "fp32_precision", "tf32"),
}
OLDER = ("as it comes", "medium", "high", "cudnn off", "cublas on")


@pytest.fixture(params=[pytest.param(name, marks=() if name in OLDER else new) for name in USERS])
def user(request):
    """What a user has set for the process."""
    before = module._read()
    module._put_back(before)
    try:
        USERS[request.param]()
        yield request.param
    finally:
        module._put_back(before)


def switches() -> dict:
    """What everything says that PyTorch lets a user read; None where it refuses, as the user has mixed the switches."""
    found = {}
    for backend, parts in {"cudnn": ("conv", "rnn"), "mkldnn": ("conv", "rnn", "matmul"), "cuda": ("matmul",)}.items():
        for part in parts:
            there = getattr(getattr(BACKENDS, backend), part, None)
            found[backend, part] = getattr(there, "fp32_precision", None)
    found["all"] = getattr(BACKENDS, "fp32_precision", None)
    found["cudnn"] = getattr(BACKENDS.cudnn, "fp32_precision", None)
    for name, read in (
        ("older matmul", torch.get_float32_matmul_precision),
        ("older cudnn", lambda: BACKENDS.cudnn.allow_tf32),
        ("older cublas", lambda: BACKENDS.cuda.matmul.allow_tf32),
    ):
        try:
            found[name] = read()
        except RuntimeError:
            found[name] = None
    return found


def is_exact() -> bool:
    found = switches()
    parts = {value for name, value in found.items() if isinstance(name, tuple)}
    return parts <= {"ieee", None} and [found["older matmul"], found["older cudnn"], found["older cublas"]] == [
        "highest", False, False
    ]  # fmt: skip


def test_float32_is_exact_within_and_the_users_choice_comes_back(user):
    before = switches()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with arithmetic("ieee"):
            assert is_exact()
            with BACKENDS.cudnn.flags(enabled=True):  # refuses where older and new switches differ
                pass
        assert switches() == before
        with arithmetic("tf32"):
            found = switches()
            assert found["older cudnn"] and found["older cublas"] and found["cuda", "matmul"] in ("tf32", None)
            assert found["mkldnn", "matmul"] in ("ieee", None)
        with pytest.raises(ZeroDivisionError), arithmetic("ieee"):
            raise ZeroDivisionError
    assert switches() == before


@new
def test_what_a_switch_inherits_stays_inherited():
    """A user who changes the setting above afterwards still changes all below it."""
    with arithmetic("ieee"):
        pass
    before = module._read()
    module._put_back(before)
    try:
        BACKENDS.fp32_precision = "tf32"
        assert BACKENDS.mkldnn.conv.fp32_precision == "tf32"
    finally:
        module._put_back(before)


class Notes(dict):
    """What passes note; copies of a network share it."""

    def __deepcopy__(self, memo):
        return self


class Watch(nn.Module):
    """Notes whether the switches are exact, forward and backward."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        self.head, self.seen = nn.Linear(4, 3), Notes(forward=[], backward=[])
        self.eval()

    def forward(self, x):
        self.seen["forward"].append(is_exact())
        logits = self.head(self.body(x).mean((2, 3)))
        if logits.requires_grad:
            logits.register_hook(lambda gradient: self.seen["backward"].append(is_exact()))
        return logits


@pytest.mark.parametrize("user", ["medium", "high"], indirect=True)
@pytest.mark.parametrize("method", ["ixg", "grad-cam", "rise", "gradient-shap", "layer-cam", "deeplift"])
def test_every_pass_is_exact(method, user):
    net = Watch()
    given = {"rise": {"masks": 4}, "gradient-shap": {"n_samples": 2}}.get(method, {})
    xaibench.attribute(net, torch.randn(2, 3, 8, 8), torch.tensor([0, 1]), method, cam_layer="body", **given)
    assert net.seen["forward"] and all(net.seen["forward"])
    assert all(net.seen["backward"]) and (net.seen["backward"] or method == "rise")
    assert not is_exact(), "the user's choice is back"


@pytest.mark.parametrize("user", ["medium"], indirect=True)
def test_protocols_are_exact_too(user, monkeypatch):
    net, seen = Watch(), []
    real = torch.nn.functional.conv2d
    monkeypatch.setattr(torch.nn.functional, "conv2d", lambda *a, **k: seen.append(is_exact()) or real(*a, **k))
    xaibench.score("insertion", net, torch.randn(1, 3, 16, 16), torch.tensor([0]), torch.rand(1, 1, 16, 16))
    assert seen and all(seen), "the blur of insertion"


@pytest.mark.parametrize("user", ["medium"], indirect=True)
def test_the_users_bfloat16_for_products_changes_no_map(user):
    """On a processor with AMX, `medium` lets products of float32 matrices be computed in bfloat16."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 256), nn.ReLU(), nn.Linear(256, 8)).eval()
    x, y = torch.randn(8, 3, 16, 16), torch.arange(8)
    found = xaibench.attribute(net, x, y, "ixg")
    torch.set_float32_matmul_precision("highest")
    assert torch.equal(found, xaibench.attribute(net, x, y, "ixg"))


def test_threads_share_the_switches_and_the_last_puts_them_back():
    before, inside, go = switches(), threading.Barrier(2), threading.Event()
    seen = []

    def first() -> None:
        with arithmetic("ieee"):
            inside.wait(10)
        seen.append(is_exact())  # the other thread is still within
        go.set()

    def second() -> None:
        with arithmetic("ieee"):
            inside.wait(10)
            go.wait(10)
            seen.append(is_exact())

    threads = [threading.Thread(target=work) for work in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert seen == [True, True] and switches() == before


def test_a_thread_waits_for_the_other_kind():
    order, started = [], threading.Event()

    def other() -> None:
        started.set()
        with arithmetic("tf32"):
            order.append(BACKENDS.cudnn.allow_tf32)

    with arithmetic("ieee"):
        thread = threading.Thread(target=other)
        thread.start()
        started.wait(10)
        thread.join(0.2)
        order.append(BACKENDS.cudnn.allow_tf32)
        with arithmetic("ieee"), arithmetic("ieee"):  # more of its own kind does not wait
            pass
    thread.join(10)
    assert order == [False, True]


def test_a_kind_within_the_other():
    before = switches()
    with arithmetic("tf32"):
        with arithmetic("ieee"):
            assert is_exact()
        assert BACKENDS.cudnn.allow_tf32
    assert switches() == before


def test_tf32_is_refused_where_there_is_none():
    """Never float32 in silence."""
    assert not has_tf32("cpu") and set(config.PRECISIONS) == set(PRECISIONS)
    with pytest.raises(XaibenchError, match=r"precision tf32 needs an NVIDIA GPU .* which the device cpu is not"):
        Resources.of(config.RunConfig(protocols=("sds",), model="resnet18", device="cpu", precision="tf32"))
    with ModelRunner(Watch(), precision="tf32") as runner, pytest.raises(XaibenchError, match="tf32 needs an NVIDIA"):
        runner.call(torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize(("capability", "has"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_gpus_since_ampere_have_tf32(capability, has, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.version, "hip", None)
    assert has_tf32("cuda:1") == has
    monkeypatch.setattr(torch.version, "hip", "6.0")
    assert not has_tf32("cuda")


@pytest.mark.parametrize(("precision", "value", "refused"), [
    ("float32", "1", True), ("float32", "0", False), ("tf32", "0", True), ("tf32", "1", False), ("float64", "1", False),
])  # fmt: skip
def test_nvidias_own_override_does_not_contradict(precision, value, refused, monkeypatch):
    monkeypatch.setenv(module.OVERRIDE, value)
    monkeypatch.setattr(module, "has_tf32", lambda device: True)
    module.check_arithmetic("float32", "cpu")
    if refused:
        with pytest.raises(XaibenchError, match=f"NVIDIA_TF32_OVERRIDE={value} forbids precision {precision}"):
            module.check_arithmetic(precision, "cuda")
    else:
        module.check_arithmetic(precision, "cuda")
