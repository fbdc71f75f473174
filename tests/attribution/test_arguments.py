"""Odd targets, inputs and models of `xaibench.attribute`: the right map, or one line."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import xaibench
from xaibench.errors import XaibenchError


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5))

    def forward(self, x):
        return self.head(self.body(x))


NET = Net().eval()
INPUTS = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def explained(model=NET, inputs=INPUTS, targets=(1, 3), method="ixg", **others):
    return xaibench.attribute(model, inputs, targets, method, **others)


def by_hand(inputs=INPUTS, targets=(1, 3), net=NET):
    """Input x gradient by autograd alone."""
    at = inputs.detach().clone().requires_grad_()
    net(at)[range(len(at)), list(targets)].sum().backward()
    return (at * at.grad).sum(1, keepdim=True).detach()


EXPECTED = by_hand()
for parameter in NET.parameters():
    parameter.grad = None


def refused(words, **arguments):
    """The call is refused in one line that says the words, and leaves no hook."""
    with pytest.raises(XaibenchError) as caught:
        explained(**arguments)
    text = str(caught.value)
    assert words in text and "\n" not in text and len(text) < 400, text
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in NET.modules())


# Targets ------------------------------------------------------------------------------------------------------------

ROWS = {
    "tensor": torch.tensor([1, 3]), "list": [1, 3], "tuple": (1, 3), "range": range(1, 4, 2), "array": np.array([1, 3]),
    "int32 array": np.array([1, 3], dtype=np.int32), "NumPy numbers": [np.int64(1), np.uint8(3)],
    "uint8": torch.tensor([1, 3], dtype=torch.uint8), "list of tensors": [torch.tensor(1), torch.tensor(3)],
    "part of a tensor": torch.tensor([1, 0, 3, 0])[::2],
}  # fmt: skip


@pytest.mark.parametrize("kind", ROWS)
def test_class_indices_in_any_form(kind):
    assert torch.allclose(explained(targets=ROWS[kind]), EXPECTED, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("target", [1, np.int64(1), np.array(1), torch.tensor(1)], ids=lambda t: type(t).__name__)
def test_one_number_for_one_input(target):
    found = explained(inputs=INPUTS[:1], targets=target)
    assert torch.allclose(found, EXPECTED[:1], rtol=1e-5, atol=1e-7)
    refused("one for each input: [", targets=target)


NO_ROWS = {
    "bool": torch.tensor([True, False]), "bools": [True, False], "complex": torch.tensor([1j, 2]), "floats": [1.0, 3.0],
    "float array": np.array([1.0, 3.0]), "text": "13", "texts": ["1", "3"], "none": None, "nested": [[1], [3]],
    "ragged": [[1], [3, 4]], "dict": {0: 1}, "set": {1, 3}, "column": torch.tensor([[1], [3]]), "too long": [1, 2, 3],
    "too short": [1], "empty": [], "too large for int64": [0, 2**70], "meta": torch.tensor([1, 3], device="meta"),
    "sparse": torch.tensor([1, 3]).to_sparse(), "one-hot": torch.eye(5, dtype=torch.int64)[[1, 3]],
    "generator": (i for i in (1, 3)), "object": object(), "objects": np.array([1, None]), "float": 1.0,
}  # fmt: skip


@pytest.mark.parametrize("kind", NO_ROWS)
def test_what_is_no_class_index_for_each_input_is_refused(kind):
    refused("targets are 2 class indices, not", targets=NO_ROWS[kind])


def test_truth_is_no_class():
    refused("targets are 1 class indices, not torch.bool", inputs=INPUTS[:1], targets=True)


@pytest.mark.parametrize("target", [-1, 5, 2**62])
@pytest.mark.parametrize("method", ["ixg", "grad-cam", "rise", "random", "constant", "edges", "lime", "hires-cam"])
def test_targets_out_of_range_are_refused_by_every_kind_of_method(method, target):
    refused(f"target {target} is no class of 5", method=method, targets=[0, target])


def test_targets_out_of_range_are_refused_where_the_map_is_the_same_for_every_class():
    from timm.models.vision_transformer import VisionTransformer

    vit = VisionTransformer(img_size=8, patch_size=4, embed_dim=8, depth=2, num_heads=2, num_classes=5).eval()
    refused("target 5 is no class of 5", model=vit, method="rollout", targets=[0, 5])


# Inputs -------------------------------------------------------------------------------------------------------------


def video(inputs):
    from torchvision.tv_tensors import Image as Photo

    return Photo(inputs)


SAME = {
    "with a gradient": lambda x: x.clone().requires_grad_(), "in a graph": lambda x: x.clone().requires_grad_() * 1,
    "a parameter": lambda x: nn.Parameter(x.clone()), "of torchvision": video,
    "transposed in memory": lambda x: x.mT.contiguous().mT,
    "channels last": lambda x: x.to(memory_format=torch.channels_last),
    "every other of more": lambda x: torch.cat([x, x], 3).unflatten(3, (2, -1))[:, :, :, 1],
    "negated lazily": lambda x: torch.complex(x, -x).conj().imag,
}  # fmt: skip


@pytest.mark.parametrize("method", ["ixg", "occlusion", "grad-cam"])
@pytest.mark.parametrize("kind", SAME)
def test_the_same_numbers_in_another_tensor(kind, method):
    given = SAME[kind](INPUTS)
    before, version = given.detach().clone(), given._version
    found, expected = explained(inputs=given, method=method), explained(method=method)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-6 * expected.abs().max())
    assert type(found) is torch.Tensor and not found.requires_grad
    assert torch.equal(given.detach(), before) and given._version == version
    assert not given.is_leaf or given.grad is None


def test_expanded_inputs_are_not_written_into():
    given = INPUTS[:1].expand(2, -1, -1, -1)
    assert torch.allclose(explained(inputs=given), by_hand(given.clone()), rtol=1e-5, atol=1e-7)


def with_value(value):
    inputs = INPUTS.clone()
    inputs[1, 0, 2, 3] = value
    return inputs


NO_INPUTS = {
    "list": (INPUTS.tolist(), "not list"), "array": (INPUTS.numpy(), "not ndarray"), "none": (None, "not NoneType"),
    "photo": (Image.new("RGB", (8, 8)), "not Image"), "tuple": ((INPUTS,), "not tuple"),
    "three dimensions": (INPUTS[0], "inputs[None]"), "two dimensions": (INPUTS[0, 0], "not torch.float32 (8, 8)"),
    "five dimensions": (INPUTS[None], "(1, 2, 3, 8, 8)"), "bytes": (INPUTS.to(torch.uint8), "not torch.uint8"),
    "integers": (INPUTS.long(), "not torch.int64"), "truth": (INPUTS > 0, "not torch.bool"),
    "complex": (INPUTS + 1j, "not torch.complex64"), "float64": (INPUTS.double(), "torch.float64 and the network is"),
    "float16": (INPUTS.half(), "torch.float16 and the network is"), "none at all": (INPUTS[:0], "are empty"),
    "no pixels": (INPUTS[..., :0], "are empty"), "no channels": (INPUTS[:, :0], "are empty"),
    "not a number": (with_value(torch.nan), "input 1 has values that are not finite"),
    "infinity": (with_value(-torch.inf), "input 1 has values that are not finite"),
    "meta": (INPUTS.to("meta"), "no values"), "sparse": (INPUTS.to_sparse(), "dense tensor"),
    "one channel": (INPUTS[:, :1], "to have 3 channels, but got 1"),
    "four channels": (torch.zeros(2, 4, 8, 8), "to have 3 channels, but got 4"),
}  # fmt: skip


@pytest.mark.parametrize("kind", NO_INPUTS)
def test_what_are_no_inputs_of_the_network_is_refused(kind):
    inputs, words = NO_INPUTS[kind]
    refused(words, inputs=inputs)
    if kind not in ("one channel", "four channels"):
        with pytest.raises(XaibenchError, match=r"inputs? "):
            xaibench.score("sds", NET, inputs, [1, 3], EXPECTED)


def test_fake_and_nested_tensors_are_refused():
    from torch._subclasses.fake_tensor import FakeTensorMode

    refused("no values", inputs=FakeTensorMode().from_tensor(INPUTS))
    refused("dense tensor", inputs=torch.nested.nested_tensor(list(INPUTS)))


# Models -------------------------------------------------------------------------------------------------------------


class Takes(nn.Module):
    """A network of other inputs than one image."""

    def forward(self, image, text):
        return image.mean((2, 3)) + text


class TakesNothing(nn.Module):
    def forward(self):
        return torch.zeros(1, 5)


class TakesAName(nn.Module):
    def forward(self, image, *, text):
        return image.mean((2, 3))


class TakesMore(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = deepcopy(NET)

    def forward(self, image, mask=None, *, scale=1.0):
        return self.net(image) * scale


class NoParameters(nn.Module):
    """The same function with weights that nothing registers."""

    def __init__(self):
        super().__init__()
        self.net = [deepcopy(NET)]

    def forward(self, image):
        return self.net[0](image)


class Mixed(nn.Module):
    """A head in double precision."""

    def __init__(self):
        super().__init__()
        self.body, self.head = deepcopy(NET.body), deepcopy(NET.head).double()

    def forward(self, image):
        return self.head(self.body(image).double())


@pytest.mark.parametrize(
    "make",
    [TakesMore, NoParameters, Mixed, lambda: nn.DataParallel(NET), lambda: nn.DataParallel(nn.DataParallel(NET))],
)
@pytest.mark.parametrize("method", ["ixg", "occlusion", "ig"])
def test_networks_of_the_same_function(make, method):
    found, expected = explained(make().eval(), method=method), explained(method=method)
    assert torch.allclose(found.float(), expected, rtol=1e-3, atol=1e-5 * expected.abs().max())


def test_a_network_in_a_distributed_wrapper(tmp_path):
    from torch import distributed

    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1)
    try:
        assert torch.equal(explained(nn.parallel.DistributedDataParallel(Net()).eval()), explained())
    finally:
        distributed.destroy_process_group()


def on_meta(net):
    net = deepcopy(net)
    net.head.to("meta")
    return net


def dynamically_quantised():
    return torch.ao.quantization.quantize_dynamic(deepcopy(NET), {nn.Linear}, dtype=torch.qint8)


NO_MODELS = {
    "two inputs": (lambda: Takes().eval(), "Takes takes (image, text)"),
    "no input": (lambda: TakesNothing().eval(), "TakesNothing takes ()"),
    "a named input": (lambda: TakesAName().eval(), "TakesAName takes (image, *, text)"),
    "a class": (lambda: Net, "not the class Net; make one: Net()"), "a function": (lambda: len, "torch.nn.Module, not"),
    "a name": (lambda: "resnet18", "not a str"), "nothing": (lambda: None, "not a NoneType"),
    "weights": (lambda: NET.state_dict(), "not a OrderedDict"),
    "float16": (lambda: deepcopy(NET).half(), "body.0.weight is float16"),
    "bfloat16": (lambda: deepcopy(NET).bfloat16(), "body.0.weight is bfloat16"),
    "a half in halves": (lambda: nn.Sequential(NET.body, deepcopy(NET.head).half()).eval(), "1.2.weight is float16"),
    "meta": (lambda: deepcopy(NET).to("meta"), "body.0.weight is on the device meta"),
    "partly on meta": (lambda: on_meta(NET), "head.2.weight is on the device meta"),
    "lazy": (lambda: nn.Sequential(nn.LazyConv2d(4, 3)).eval(), "0.weight has no shape yet"),
    "lazy buffers": (lambda: nn.Sequential(nn.Conv2d(3, 3, 1), nn.LazyBatchNorm2d()).eval(), "1.weight has no shape"),
    "quantised": (dynamically_quantised, "module head.2 (Linear) is quantised"),
    "without a pass": (lambda: nn.ModuleList([NET]).eval(), "NotImplementedError"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("method", ["ixg", "grad-cam", "random"])
@pytest.mark.parametrize("kind", NO_MODELS)
def test_what_cannot_be_explained_is_refused(kind, method):
    make, words = NO_MODELS[kind]
    model = make()
    refused(words, model=model, method=method)
    if kind in ("float16", "bfloat16", "a half in halves"):
        refused(words, model=model, method=method, inputs=INPUTS.to(next(model.parameters()).dtype))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"chunk": 2.5}, "chunk is a whole number, not 2.5"), ({"chunk": "4"}, "chunk is a whole number, not '4'"),
        ({"chunk": True}, "chunk is a whole number"), ({"seed": None}, "seed is a whole number, not None"),
        ({"seed": 1.0}, "seed is a whole number"), ({"output": 1}, "output is a function"),
        ({"method": None}, "method is a name"), ({"method": ["ixg"]}, "method is a name"),
        ({"image_ids": "ab"}, "image_ids are a list"), ({"image_ids": ["a"]}, "2 images but 1 image ids"),
        ({"layer": 3}, "no layer int"), ({"cam_layer": 3, "method": "grad-cam"}, "no layer int"),
        ({"cam_layer": nn.ReLU(), "method": "grad-cam"}, "no layer ReLU"),
        ({"method": "ig", "steps": "x"}, "TypeError"),
    ],
)  # fmt: skip
def test_odd_options_are_refused(options, words):
    refused(words, **options)


def test_exceptions_of_the_users_own_pass():
    class Own(Exception):
        pass

    class Raises(nn.Module):
        def forward(self, x):
            raise Own

    with pytest.raises(Own):
        explained(Raises().eval())


@pytest.mark.parametrize("kind", ["int", "complex", "array", "sparse", "meta", "shape", "list"])
def test_odd_maps_are_refused_by_score(kind):
    maps = {
        "int": EXPECTED.long(), "complex": EXPECTED + 1j, "array": EXPECTED.numpy(), "sparse": EXPECTED.to_sparse(),
        "meta": EXPECTED.to("meta"), "shape": EXPECTED[0], "list": EXPECTED.tolist(),
    }[kind]  # fmt: skip
    with pytest.raises(XaibenchError, match="maps are") as caught:
        xaibench.score("sds", NET, INPUTS, [1, 3], maps)
    assert "\n" not in str(caught.value)


def test_gradients_of_the_user_are_not_added_to():
    net = deepcopy(NET)
    net(INPUTS).sum().backward()
    before = [parameter.grad.clone() for parameter in net.parameters()]
    for method in ("ixg", "grad-cam", "ig", "hires-cam", "full-grad", "deeplift"):
        explained(net, method=method)
    assert all(map(torch.equal, (parameter.grad for parameter in net.parameters()), before))
    assert all(parameter.requires_grad for parameter in net.parameters())
