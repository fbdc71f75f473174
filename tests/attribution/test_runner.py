"""Passes: chunks, out of memory, precision, counting, hooks, and picking the logits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import xaibench
from xaibench.attribution.runner import ModelRunner
from xaibench.errors import XaibenchError


class Cramped(nn.Module):
    """Runs out of memory above `room` inputs, on the way forward or back; notes the sizes that it was given."""

    def __init__(self, net: nn.Module, room: int, backward: bool = False, error: Exception | None = None):
        super().__init__()
        self.net, self.room, self.on_the_way_back, self.sizes = net, room, backward, []
        self.error = error or torch.OutOfMemoryError("CUDA out of memory")
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(len(x))
        if len(x) <= self.room:
            return self.net(x)
        if not self.on_the_way_back:
            raise self.error
        logits = self.net(x)
        logits.register_hook(self._full)
        return logits

    def _full(self, gradient: Tensor) -> None:
        raise self.error


CPU_MEMORY = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")


@pytest.mark.parametrize(
    ("name", "backward"),
    [*((name, way) for name in ("ixg", "ig", "grad-cam", "sg-cam++") for way in (False, True)), ("rise", False)],
)
@pytest.mark.parametrize("error", [None, CPU_MEMORY], ids=["cuda", "cpu"])
def test_maps_survive_running_out_of_memory(name, backward, error, small, pictures, classes, deviation):
    params = {"rise": {"masks": 11}, "ig": {"steps": 7}}.get(name, {})
    expected = xaibench.attribute(small, pictures, classes, name, cam_layer="body", **params)
    net = Cramped(small, 3, backward, error)
    maps = xaibench.attribute(net, pictures, classes, name, cam_layer="net.body", chunk=16, **params)
    assert deviation(maps, expected) < 1e-12
    assert max(net.sizes) > 3, "it did run out of memory"


def test_the_chunk_is_halved_once_and_nothing_is_computed_twice(small):
    net = Cramped(small, 3)
    x = torch.randn(23, 3, 16, 16, dtype=torch.float64)
    with ModelRunner(net, chunk=16) as runner:
        logits = runner.logits(len(x), lambda i: x[i])
    assert net.sizes == [16, 8, 4, 2, *[2] * 10, 1]
    assert runner.chunk == 2 and runner.forwards == 23
    assert torch.allclose(logits, small(x), rtol=1e-12)


def test_later_memory_pressure_keeps_what_was_done(small):
    x = torch.randn(12, 3, 16, 16, dtype=torch.float64)
    net = Cramped(small, 4)
    done = []

    def step(index: Tensor) -> Tensor:
        if done and len(index) > 2:
            raise torch.OutOfMemoryError
        done.append(index.tolist())
        return net(x[index])

    with ModelRunner(net, chunk=4) as runner:
        parts = [(part.start, part.stop) for part, _ in runner.stream(12, step)]
    assert done == [[0, 1, 2, 3], [4, 5], [6, 7], [8, 9], [10, 11]]
    assert parts == [(0, 4), (4, 6), (6, 8), (8, 10), (10, 12)]


def test_a_single_input_that_does_not_fit_is_an_error(small, pictures):
    with ModelRunner(Cramped(small, 0)) as runner, pytest.raises(XaibenchError, match="one input per pass"):
        runner.logits(4, lambda i: pictures[i])


def test_other_errors_are_not_taken_for_lack_of_memory(small, pictures):
    net = Cramped(small, 0, error=RuntimeError("something else"))
    with ModelRunner(net, chunk=4) as runner, pytest.raises(RuntimeError, match="something else"):
        runner.logits(4, lambda i: pictures[i])
    assert net.sizes == [4] and runner.chunk == 4


@pytest.mark.parametrize("count", [1, 4, 5, 11])
@pytest.mark.parametrize("chunk", [1, 4, 32])
def test_streams_cover_every_index_once_in_order(count, chunk, small):
    with ModelRunner(small, chunk=chunk) as runner:
        parts = list(runner.stream(count, lambda index: index))
    assert torch.cat([index for _, index in parts]).tolist() == list(range(count))
    assert all(index.tolist() == list(range(part.start, part.stop)) for part, index in parts)
    assert max(len(index) for _, index in parts) <= chunk


def hooks(net: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._backward_hooks) + len(m._forward_pre_hooks) for m in net.modules())


@pytest.mark.parametrize("name", ["ixg", "grad-cam", "rise", "ig"])
def test_hooks_come_off(name, small, pictures, classes):
    xaibench.attribute(small, pictures, classes, name)
    assert hooks(small) == 0


@pytest.mark.parametrize("name", ["ixg", "grad-cam", "rise", "ig"])
@pytest.mark.parametrize("place", ["body.0", "head.0"])
def test_hooks_come_off_after_an_exception(name, place, small, pictures, classes):
    class Broken(Exception):
        pass

    def fail(*_: object) -> None:
        raise Broken

    handle = small.get_submodule(place).register_forward_hook(fail)
    with pytest.raises(Broken):
        xaibench.attribute(small, pictures, classes, name, cam_layer="body")
    handle.remove()
    assert hooks(small) == 0


class Wrapped(nn.Module):
    def __init__(self, net: nn.Module, wrap):
        super().__init__()
        self.net, self.wrap = net, wrap
        self.eval()

    def forward(self, x: Tensor):
        return self.wrap(x.mean((1, 2, 3)), self.net(x))


@pytest.mark.parametrize("name", ["ixg", "grad-cam", "rise", "ig"])
@pytest.mark.parametrize(
    ("wrap", "output"),
    [
        (lambda features, logits: (features, logits), lambda out: out[1]),
        (lambda features, logits: {"features": features, "logits": logits}, lambda out: out["logits"]),
    ],
    ids=["tuple", "dict"],
)
def test_logits_are_picked_out_of_what_the_network_returns(name, wrap, output, small, pictures, classes, deviation):
    params = {"masks": 10} if name == "rise" else {}
    expected = xaibench.attribute(small, pictures, classes, name, cam_layer="body", **params)
    net = Wrapped(small, wrap)
    maps = xaibench.attribute(net, pictures, classes, name, cam_layer="net.body", output=output, **params)
    assert deviation(maps, expected) < 1e-12


@pytest.mark.parametrize(
    ("wrap", "found"),
    [
        (lambda features, logits: (features, logits), "tuple"),
        (lambda features, logits: features[:0], r"shape \(0,\)"),
        (lambda features, logits: logits[..., None], r"shape \(\d, 5, 1\)"),
    ],
)
def test_what_is_not_logits_is_refused(wrap, found, small, pictures, classes):
    with pytest.raises(XaibenchError, match=rf"returns {found}, not logits .*output="):
        xaibench.attribute(Wrapped(small, wrap), pictures, classes, "ixg")


def test_backward_passes_are_counted_for_tuples_and_dicts(small, pictures):
    for wrap, pick in ((lambda f, y: (f, y), lambda o: o[1]), (lambda f, y: {"f": f, "y": y}, lambda o: o["y"])):
        with ModelRunner(Wrapped(small, wrap), output=pick) as runner:
            list(runner.gradients(4, lambda i: pictures[i], lambda logits, i: logits[:, 0]))
        assert (runner.forwards, runner.backwards) == (4, 4)


def test_passes_without_gradients_keep_no_graph(small, pictures):
    with ModelRunner(small) as runner:
        logits = runner.logits(4, lambda i: pictures[i])
    assert not logits.requires_grad and runner.backwards == 0
    assert not logits.is_inference()


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_low_precision_is_close_and_gives_float32_logits(precision, resnet, photos64):
    with ModelRunner(resnet) as runner, ModelRunner(resnet, precision=precision) as low:
        exact, rough = (p.logits(2, lambda i: photos64[i]) for p in (runner, low))
    assert rough.dtype == torch.float32 and not torch.equal(exact, rough)
    assert float((exact - rough).abs().max() / exact.abs().max()) < 0.05


def test_unknown_precisions_are_refused_and_leave_no_hook(small):
    with pytest.raises(XaibenchError, match="unknown precision 'int8'"):
        ModelRunner(small, precision="int8")
    assert hooks(small) == 0


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_passes_of_full_precision_ignore_autocast_around_them(precision, small, pictures):
    net, inputs = (small.float(), pictures.float()) if precision == "float32" else (small, pictures)
    with ModelRunner(net, precision=precision) as runner:
        expected = runner.logits(4, lambda i: inputs[i])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(runner.logits(4, lambda i: inputs[i]), expected)


class Writing(nn.Module):
    """A network that normalises its input, in place or not."""

    def __init__(self, in_place: bool):
        super().__init__()
        torch.manual_seed(0)
        self.in_place = in_place
        self.body = nn.Conv2d(3, 6, 3, padding=1)
        self.rest = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 5))

    def forward(self, x):
        x = x.sub_(0.5).div_(0.25) if self.in_place else (x - 0.5) / 0.25
        return self.rest(self.body(x))


@pytest.mark.parametrize("name", ["saliency", "ixg", "ig", "ixg-sg", "grad-cam", "rise", "occlusion", "ablation-cam"])
def test_a_network_that_writes_into_its_input_is_explained_like_one_that_does_not(name):
    inputs = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    targets, before = torch.tensor([1, 4]), inputs.clone()
    maps = [xaibench.attribute(Writing(in_place).eval(), inputs, targets, name) for in_place in (False, True)]
    assert torch.equal(inputs, before)
    assert torch.allclose(*maps, rtol=1e-5, atol=1e-6 * maps[0].abs().max().item())
