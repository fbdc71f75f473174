"""Runs of objects of a Python session: networks, lists of tensors, functions of evidence; and what their keys hold."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import xaibench
from xaibench import registry
from xaibench.errors import XaibenchError
from xaibench.evaluation.object_dataset import displayed
from xaibench.evaluation.object_sources import function_source, module_source


def small(width: int = 8, activation: nn.Module | None = None) -> nn.Sequential:
    torch.manual_seed(0)
    parts = [nn.Conv2d(3, width, 3, padding=1), activation or nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*parts, nn.Linear(width, 4)).eval()


@pytest.fixture
def photos():
    dice = torch.Generator().manual_seed(0)
    return [(torch.rand(3, 32, 32, generator=dice), number % 4) for number in range(8)]


def damped(evidence):
    """Input times gradient, large values damped."""
    return (evidence.inputs * evidence.gradient()).tanh()


def run(model, dataset, methods, out="a", **changes):
    return xaibench.run("sds", model=model, dataset=dataset, methods=methods, out=out, quiet=True, **changes)


def test_a_network_on_a_list_of_tensors_with_a_method_of_its_own(home):
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)).eval()
    photos = [(torch.rand(3, 32, 32), number % 4) for number in range(6)]

    def mine(evidence):
        return evidence.inputs * evidence.gradient()

    results = xaibench.run("sds", model=net, dataset=photos, methods=[mine, "grad-cam"], quiet=True)
    assert set(results.leaderboard().table["method"]) == {"mine", "grad-cam"} and results.computed == 6
    assert xaibench.run("sds", model=net, dataset=photos, methods=[mine, "grad-cam"], quiet=True).computed == 0


def test_scores_are_those_of_direct_calls(home, photos):
    net, mean, std = small(), (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    results = run(net, photos, ["ixg"], mean=mean, std=std)
    images = torch.stack([(image * 255).round() / 255 for image, _ in photos])
    inputs = (images - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    labels = torch.tensor([label for _, label in photos])
    maps = xaibench.attribute(net, inputs, labels, "ixg")
    expected = xaibench.score("sds", net, inputs, labels, maps)
    found = results.rows.set_index("image_id")["score"].sort_index()
    assert list(found.index) == [f"{number:06d}" for number in range(8)]
    assert found.tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    assert (
        results.rows["prediction"].to_numpy() == net(inputs).argmax(1)[results.rows["image_id"].astype(int)].numpy()
    ).all()


def test_other_weights_structure_and_code_are_other_keys(home, photos):
    cells = {}
    changed = small()
    changed[4].bias.data += 1
    for name, net in {"first": small(), "weights": changed, "structure": small(activation=nn.GELU())}.items():
        cells[name] = run(net, photos[:2], ["ixg"]).cells[0]
    for name, method in {"one": damped, "other": lambda evidence: evidence.gradient()}.items():
        cells[name] = run(small(), photos[:2], [xaibench.named(method, name), "ixg"]).cells[0]
    assert len(set(cells.values())) == len(cells)
    assert run(small(), photos[:2], ["ixg"]).cells[0] == cells["first"]


def test_structure_hooks_attributes_and_hidden_buffers_name_a_network():
    sources = [module_source(small()), module_source(small(activation=nn.GELU()))]
    for change in (
        lambda net: setattr(net, "scale", 2.0), lambda net: setattr(net, "scale", 3.0),
        lambda net: setattr(net, "table", torch.ones(2)), lambda net: setattr(net, "table", torch.zeros(2)),
        lambda net: net[1].register_forward_hook(lambda module, args, output: output * 2),
        lambda net: net.register_buffer("hidden", torch.ones(1), persistent=False),
        lambda net: net.register_buffer("hidden", torch.zeros(1), persistent=False),
    ):  # fmt: skip
        net = small()
        change(net)
        sources.append(module_source(net))
    assert len(set(sources)) == len(sources) and module_source(small()) == sources[0]
    assert module_source(small().train()) == sources[0], "modes are set by the run"


def times(factor):
    return lambda evidence: evidence.gradient() * factor


def test_what_a_function_has_closed_over_names_it():
    assert function_source(times(2)) != function_source(times(3)) and function_source(times(2)) == function_source(
        times(2)
    )
    assert function_source(times(torch.ones(2))) != function_source(times(torch.zeros(2)))
    half, third = (functools.partial(damped, factor=value) for value in (1 / 2, 1 / 3))
    assert function_source(half) != function_source(third)


def test_without_a_file_globals_name_a_function():
    def made(value):
        space = {"FACTOR": value}
        exec("def method(evidence):\n    return evidence.gradient() * FACTOR", space)
        return function_source(space["method"])

    assert made(2) != made(3) and made(2) == made(2)


def test_what_no_digest_names_asks_for_a_name(home, photos):
    generator = (number for number in range(3))
    with pytest.raises(XaibenchError, match=r"method <lambda> has no digest .* rests on a generator; .*xaibench.named"):
        run(small(), photos, [times(generator)])
    assert run(small(), photos[:1], [xaibench.named(times(2.0), "twice")]).computed == 1
    net = small()
    net.log = open
    module_source(net)
    net.log = object()
    with pytest.raises(XaibenchError, match=r"model Sequential has no digest .* xaibench.named"):
        run(net, photos, ["ixg"])
    assert run(xaibench.named(net, "mine-v1"), photos[:1], ["ixg"]).computed == 1


@pytest.mark.process
def test_objects_are_forgotten_after_the_run(home, photos):
    run(small(), photos[:1], [damped])
    assert "damped" not in registry.names("method") and "Sequential" not in registry.names("model")
    with pytest.raises(XaibenchError, match="unknown model"):
        xaibench.run("sds", model="Sequential", quiet=True)


def test_the_network_and_the_random_state_stay_as_they_were(home, photos):
    net = small().train()
    net[4].weight.requires_grad_(False)
    state, dice = {k: v.clone() for k, v in net.state_dict().items()}, torch.random.get_rng_state()
    run(net, photos[:2], ["ixg", "grad-cam"])
    assert net.training and net[0].weight.requires_grad and not net[4].weight.requires_grad
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), dice)


class Folder:
    """A map-style data set in torchvision's manner."""

    classes = ("ape", "bee")

    def __len__(self):
        return 3

    def __getitem__(self, index):
        pixels = np.random.default_rng(index).integers(0, 255, (32, 32, 3), dtype=np.uint8)
        return Image.fromarray(pixels), index % 2


def test_a_data_set_in_torchvisions_manner_for_a_registered_network(home):
    from xaibench_test_network import build

    from xaibench.models.state import save_state

    torch.manual_seed(0)
    save_state(build(2), home / "two.safetensors", {})
    results = run("tiny", Folder(), ["ixg"], weights=str(home / "two.safetensors"))
    assert results.manifest.classes == ["ape", "bee"] and results.manifest.objects == ["dataset Folder"]
    assert set(results.rows["dataset"]) == {"Folder"}


def test_images_that_changed_under_the_same_name_are_noticed(home, photos):
    run(small(), photos, ["ixg"])
    darker = [(image / 2, label) for image, label in photos]
    with pytest.raises(XaibenchError, match="has changed since its rows were stored"):
        run(small(), darker, ["ixg"])
    assert run(small(), xaibench.named(darker, "darker"), ["ixg"]).computed == len(photos)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.full((3, 8, 8), -1.0), r"values from -1 to -1; give images in \[0, 1\], before they are normalised"),
        (torch.full((3, 8, 8), torch.nan), "values from nan"),
        (torch.zeros(2, 8, 8), r"has shape \(2, 8, 8\); images are tensors"),
        (torch.zeros(3, 8, 8, dtype=torch.int64), "holds int64"),
        (np.zeros(8), r"has shape \(8,\)"),
    ],
)
def test_images_that_are_none_say_what_came(image, message):
    with pytest.raises(XaibenchError, match=message):
        displayed(image, "image 0")


def test_images_are_displayed_in_8_bits():
    pixels = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    as_float = torch.from_numpy(pixels).permute(2, 0, 1) / 255
    for image in (pixels, torch.from_numpy(pixels).permute(2, 0, 1), as_float, as_float.permute(1, 2, 0).numpy(),
                  Image.fromarray(pixels)):  # fmt: skip
        assert np.array_equal(displayed(image, "image"), pixels)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dataset": []}, "data set list is empty"),
        ({"dataset": [(torch.zeros(3, 32, 32), 0.5)]}, "not .image, label. with a class index"),
        ({"dataset": [torch.zeros(3, 32, 32)]}, "not .image, label. with a class index"),
        ({"dataset": [(torch.zeros(3, 32, 40), 0)]}, "crop images to squares"),
        ({"dataset": 3}, "has __len__ and __getitem__"),
        ({"model": 3}, "a name or a torch.nn.Module, not int"),
        ({"methods": [3]}, "a name or a function of evidence, not int"),
        ({"model": "tiny"}, "has no names of classes"),
        ({"dataset": "mini", "classes": ["a"]}, "classes are those of a data set that is given as an object"),
        ({"model": "tiny", "classes": ["a"], "mean": [0]}, "mean and std are those of a network"),
        ({"mean": "x"}, "mean is a number for each colour"),
        ({"classes": ["a", "b"]}, "4"),
    ],
)
def test_mistakes_with_objects_are_one_line(home, photos, fields, message):
    with pytest.raises(XaibenchError, match=message) as caught:
        xaibench.run("sds", **({"model": small(), "dataset": photos, "methods": ["ixg"], "quiet": True} | fields))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["", " ", "a/b", "a,b", "all", "resnet*", 3])
def test_names_that_cannot_be_given_are_refused(name):
    with pytest.raises(XaibenchError, match="cannot be a name"):
        xaibench.named(damped, name)


def test_a_gallery_of_objects_is_refused_in_one_line(home, photos, command):
    run(small(), photos, ["ixg"])
    status, _, error = command("show", "run", "a")
    assert (
        status == 2 and "was made in Python with dataset list and model Sequential" in error and error.count("\n") == 1
    )


SCALE = 1.0


def scaled(evidence):
    return evidence.gradient() * SCALE


def calls_scaled(evidence):
    return scaled(evidence)


class Scaled(nn.Module):
    factor = 1.0

    def forward(self, x):
        return x * SCALE * self.factor


def test_two_functions_in_one_file_are_told_apart():
    one, other = lambda e: e.gradient() * 2, lambda e: e.gradient() * 3
    assert function_source(one) != function_source(other) and function_source(one) == function_source(one)

    def made(first):
        if first:

            def method(evidence):
                return 1

        else:

            def method(evidence):
                return 2

        return method

    assert function_source(made(True)) != function_source(made(False))


def test_globals_and_class_attributes_count_as_they_are_now(monkeypatch):
    before = [function_source(scaled), function_source(calls_scaled), module_source(Scaled())]
    monkeypatch.setitem(globals(), "SCALE", 2.0)
    after = [function_source(scaled), function_source(calls_scaled), module_source(Scaled())]
    assert all(one != other for one, other in zip(before, after, strict=True))
    monkeypatch.setattr(Scaled, "factor", 3.0)
    assert module_source(Scaled()) != after[2]


def test_private_attributes_and_hooks_of_the_backward_pass_name_a_network():
    sources = [module_source(small())]
    for change in (
        lambda net: setattr(net, "_scale", 2.0), lambda net: setattr(net, "_scale", 3.0),
        lambda net: net[0].register_full_backward_hook(lambda module, given, out: None),
        lambda net: net[1].register_full_backward_pre_hook(lambda module, out: (out[0] * 2,)),
    ):  # fmt: skip
        net = small()
        change(net)
        sources.append(module_source(net))
    assert len(set(sources)) == len(sources)


def test_a_class_without_a_file_is_named_by_its_code():
    def made(factor):
        space = {"nn": nn}
        exec(f"class Net(nn.Module):\n    def forward(self, x):\n        return x * {factor}", space)
        return module_source(space["Net"]())

    assert made(2) != made(3) and made(2) == made(2)


class Multiplier:
    def __init__(self, factor):
        self.factor = factor

    def method(self, evidence):
        return evidence.gradient() * self.factor


class Reversed(Multiplier):
    pass


@pytest.mark.slow
def test_bound_methods_are_named_by_their_object_and_its_class():
    sources = {function_source(each.method) for each in (Multiplier(2), Multiplier(3), Reversed(2))}
    assert len(sources) == 3 and function_source(Multiplier(2).method) in sources


def test_values_that_contain_themselves_are_named():
    net = small()
    net.parents = [net]
    net.loss = net.forward
    endless = []
    endless.append(endless)
    assert module_source(net) == module_source(net)
    assert function_source(times(endless)) == function_source(times(endless))


def test_a_network_in_training_mode_stays_as_it_is_and_is_found_again(home, photos):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    state = {name: value.clone() for name, value in net.state_dict().items()}
    assert run(net, photos[:2], ["ixg"]).computed == 2
    assert net.training and all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert run(net.eval(), photos[:2], ["ixg"]).computed == 0


def test_what_a_method_changes_in_place_reaches_no_other(home, photos):
    def zeroing(evidence):
        return evidence.gradient().zero_()

    alone = run(small(), photos, ["ixg"], out="alone").rows
    for change in (zeroing, xaibench.named(lambda e: e.images.zero_(), "images")):
        with pytest.raises(xaibench.MethodFailed if hasattr(xaibench, "MethodFailed") else XaibenchError) as caught:
            run(small(), photos, [change, "ixg"], out="both")
        assert "changes in place what all methods share" in str(caught.value)
        rows = caught.value.results.rows
        assert rows[rows["method"] == "ixg"]["score"].tolist() == alone["score"].tolist()


def test_runs_of_objects_in_several_threads_go_one_after_the_other(home, photos):
    from concurrent.futures import ThreadPoolExecutor

    def one(width):
        return run(small(width), photos[:2], ["ixg"], out=f"of {width}").computed

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(one, (4, 5, 6))) == [2, 2, 2]


def test_a_decorated_function_may_be_given_as_an_object(home, photos):
    method = xaibench.method("decorated-here")(lambda evidence: evidence.gradient())
    assert run(small(), photos[:1], [method]).rows["method"].tolist() == ["decorated-here"]


class Broken:
    def __len__(self):
        return 3

    def __getitem__(self, index):
        if index == 2:
            raise OSError("two\nlines")
        return torch.zeros(3, 32, 32), index


def returns(value):
    class Returns(nn.Module):
        def forward(self, x):
            return value

    return Returns()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dataset": Broken()}, "data set Broken failed at item 2 of 3: OSError: two lines"),
        ({"dataset": {"a": 1}}, "failed at item 0 of 1: KeyError"),
        ({"dataset": [(torch.zeros(3, 32, 32), float("inf"))]}, "with a class index"),
        ({"dataset": [(Image.new("I;16", (32, 32)), 0)]}, "mode I;16, with more than 8 bits"),
        ({"model": small().half()}, "0.weight is float16; give the network in float32"),
        ({"model": nn.Sequential(nn.LazyConv2d(4, 3))}, "0.weight has no shape yet"),
        ({"model": small().to("meta")}, "has no values"),
        ({"model": nn.Module()}, "cannot take images of 32x32 pixels"),
        ({"model": returns((1,))}, "gives tuple for one image, not logits"),
        ({"std": (0.0, 1.0, 1.0)}, "std is a positive number"),
        ({"mean": (float("nan"),) * 3}, "mean is a number for each colour"),
        ({"classes": 4}, "classes are a list of names"),
        ({"classes": "abcd"}, "classes are a list of names"),
        ({"methods": [damped, damped]}, "two methods of this run are called 'damped'"),
        ({"methods": 3}, "methods is a list"),
    ],
)
def test_more_mistakes_with_objects_are_one_line(home, photos, fields, message):
    with pytest.raises(XaibenchError) as caught:
        xaibench.run("sds", **({"model": small(), "dataset": photos, "methods": ["ixg"], "quiet": True} | fields))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_network_without_parameters_and_a_method_with_a_blank_description(home, photos):
    def blank(evidence):
        """ """
        return evidence.inputs

    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert run(net, [(image, label % 3) for image, label in photos], [blank]).computed == len(photos)


COMPILED = {
    "whole": lambda net: torch.compile(net, backend="eager"),
    "in place": lambda net: net.compile(backend="eager") or net,
    "a part": lambda net: nn.Sequential(torch.compile(net[0], backend="eager"), *net[1:]).eval(),
    "forward": lambda net: setattr(net, "forward", torch.compile(net.forward, backend="eager")) or net,
}


@pytest.mark.parametrize("kind", COMPILED)
def test_a_compiled_network_has_the_results_of_the_original(home, photos, kind):
    original, net = run(small(), photos, ["ixg", "grad-cam"]), COMPILED[kind](small())
    again = run(net, photos, ["ixg", "grad-cam"])
    assert again.cells == original.cells and again.computed == 0
    fresh = run(net, photos, ["ixg", "grad-cam"], out="b")
    assert fresh.rows["score"].tolist() == original.rows["score"].tolist()
    other = run(COMPILED[kind](small(activation=nn.Tanh())), photos, ["ixg"])
    assert other.computed == 8


def exported(net):
    return torch.export.export(net, (torch.rand(2, 3, 32, 32),), dynamic_shapes=({0: torch.export.Dim.AUTO},))


FUNCTIONS = {
    "script": torch.jit.script,
    "trace": lambda net: torch.jit.trace(net, torch.rand(2, 3, 32, 32)),
    "freeze": lambda net: torch.jit.freeze(torch.jit.script(net)),
    "module of an export": lambda net: exported(net).module(),
    "export": exported,
}


@pytest.mark.parametrize(
    "kind", ["script", *(pytest.param(kind, marks=pytest.mark.slow) for kind in (*FUNCTIONS, "fx") if kind != "script")]
)
def test_a_function_has_scores_of_the_original_under_keys_of_its_own(home, photos, kind):
    make = FUNCTIONS.get(kind, torch.fx.symbolic_trace)
    original = run(small(), photos, ["ixg", "occlusion"])
    found = run(make(small()), photos, ["ixg", "occlusion"])
    assert found.computed == 8 and not set(found.cells) & set(original.cells)
    assert np.allclose(found.rows["score"], original.rows["score"], atol=1e-4)
    assert run(make(small()), photos, ["ixg", "occlusion"]).computed == 0, "the same code and weights"
    torch.manual_seed(1)
    others = [small(activation=nn.Tanh()), small()]
    with torch.no_grad():
        others[1][4].bias += 1
    for other in others:
        assert run(make(other), photos, ["ixg"]).computed == 8, "other code, other weights"


@pytest.mark.slow
@pytest.mark.parametrize("kind", FUNCTIONS)
def test_methods_that_need_modules_are_refused_for_a_function(home, photos, kind):
    net = FUNCTIONS[kind](small())
    with pytest.raises(XaibenchError, match=r"grad-cam needs the modules of the network.*function of torch\."):
        run(net, photos, ["ixg", "grad-cam"])
    listed = run(net, photos, None)
    assert "ixg" in set(listed.rows["method"]) and "grad-cam" not in set(listed.rows["method"])
    assert "function of torch." in listed.manifest.skipped["grad-cam"]
