"""Weights that no network can compute with, and headers that say nothing: each is one line that names what is wrong."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save
from torch import nn

from xaibench.errors import XaibenchError
from xaibench.models.state import load_state, read_header, read_state

NAN, INF = float("nan"), float("inf")


def filled(value: float):
    return lambda w: torch.full_like(w, value)


def one_bad(value: float):
    def change(w):
        w = w.clone()
        w.view(-1)[5] = value
        return w

    return change


UNFIT = {
    "NaN": (filled(NAN), "fc.weight has 20 of 20 numbers that are NaN"),
    "one NaN": (one_bad(NAN), "fc.weight has 1 of 20 numbers that are NaN"),
    "infinite": (one_bad(-INF), "fc.weight has 1 of 20 numbers that are NaN or infinite"),
    "too large for float32": (lambda w: w.double() * 1e300, "NaN or infinite"),
    "complex": (lambda w: w.to(torch.complex64), "fc.weight is complex64, the network needs float32"),
    "boolean": (lambda w: w > 0, "fc.weight is bool, the network needs float32"),
    "integers": (lambda w: w.to(torch.int8), "fc.weight is int8"),
    "sparse": (lambda w: w.to_sparse(), "fc.weight is sparse"),
    "compressed rows": (lambda w: w.to_sparse_csr(), "fc.weight is sparse"),
    "meta": (lambda w: w.to("meta"), "fc.weight is without values"),
    "nested": (lambda w: torch.nested.nested_tensor([w[0], w[1]]), "missing fc.weight"),
    "jagged": (lambda w: torch.nested.nested_tensor([w[0], w[1]], layout=torch.jagged), "missing fc.weight"),
    "a text": (lambda w: "x", "missing fc.weight"),
    "of a tebibyte": (lambda w: torch.zeros(1).expand(2**38), "not (5, 4)"),
}


@pytest.mark.parametrize("kind", UNFIT)
@pytest.mark.filterwarnings("ignore")  # torch warns of layouts in beta
def test_tensors_that_are_no_weights_are_named(kind, make_net, tmp_path):
    change, message = UNFIT[kind]
    net = make_net()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    torch.save({**before, "fc.weight": change(before["fc.weight"])}, tmp_path / "w.pth")
    with pytest.raises(XaibenchError) as caught:
        load_state(net, read_state(tmp_path / "w.pth"), "a network")
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items()), "all or nothing"


@pytest.mark.parametrize("name", ["norm.running_mean", "norm.running_var", "norm.bias"])
def test_statistics_are_finite_too(name, make_net, tmp_path):
    state = make_net().state_dict()
    torch.save({**state, name: torch.full_like(state[name], NAN)}, tmp_path / "w.pth")
    with pytest.raises(XaibenchError, match=f"{name} has 4 of 4 numbers that are NaN"):
        load_state(make_net(), read_state(tmp_path / "w.pth"), "a network")


class Masked(nn.Module):
    """A network with a mask of attention, whose infinities are its own."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.register_buffer("mask", torch.triu(torch.full((3, 3), -INF), 1))


def test_infinities_of_the_network_itself_are_sound(tmp_path):
    torch.save(Masked().state_dict(), tmp_path / "w.pth")
    load_state(Masked(), read_state(tmp_path / "w.pth"), "a network")
    wrong = Masked().state_dict()
    wrong["mask"][2, 0] = INF
    torch.save(wrong, tmp_path / "w.pth")
    with pytest.raises(XaibenchError, match="mask has 1 of 9 numbers"):
        load_state(Masked(), read_state(tmp_path / "w.pth"), "a network")


def test_masks_that_are_boolean_are_no_counters(tmp_path):
    net = nn.Linear(2, 2)
    net.register_buffer("index", torch.tensor([0, 1]))
    torch.save({**net.state_dict(), "index": torch.tensor([False, True])}, tmp_path / "w.pth")
    with pytest.raises(XaibenchError, match="index is bool, the network needs int64"):
        load_state(net, read_state(tmp_path / "w.pth"), "a network")


def test_names_that_are_no_texts_are_left_out_and_said(make_net, tmp_path):
    state = make_net().state_dict()
    torch.save({**state, 5: state["fc.weight"], ("a", 1): state["fc.bias"]}, tmp_path / "mixed.pth")
    load_state(make_net(), read_state(tmp_path / "mixed.pth"), "a network")
    torch.save({"state_dict": state, 5: state, None: state}, tmp_path / "beside.pth")
    loaded = load_state(make_net(), read_state(tmp_path / "beside.pth"), "a network")
    assert loaded.remarks == (
        f"weights {tmp_path / 'beside.pth'}: the state dicts 5, None beside the one that is taken are left out",
    )
    torch.save({0: state["fc.weight"]}, tmp_path / "numbers.pth")
    with pytest.raises(XaibenchError, match="contain no state dict, but: 0"):
        read_state(tmp_path / "numbers.pth")


HEADERS = {
    "[]": "as a whole", "5": "as a whole", "null": "as a whole", '"x"': "as a whole", "": "Expecting value",
    '{"classes": 5}': "classes", '{"classes": [1]}': "classes.0", '{"classes": {"a": 1}}': "classes",
    '{"classes": ["\\ud800"]}': "lone surrogate", '{"model": ["x"]}': "model", '{"task": 5}': "task",
    '{"task": {}}': "task.name", '{"recipe": null}': "recipe", '{"recipe": []}': "recipe",
    '{"alignment": 5}': "alignment", '{"alignment": {"kind": "x", "probability": 1}}': "alignment.kind",
    '{"geometry": 7}': "geometry", '{"metrics": []}': "metrics", '{"epoch": 3}': "epoch", '{"seed": 1e400}': "seed",
    "[" * 100_000: "nested too deep", "1" * 5000: "5000 digits",
}  # fmt: skip


@pytest.mark.parametrize("header", HEADERS, ids=lambda header: header[:20])
def test_headers_of_another_kind_are_named(header, make_net, tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(save(make_net().state_dict(), {"xaibench": header}))
    with pytest.raises(XaibenchError) as caught:
        read_state(path)
    assert HEADERS[header] in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 500
    with pytest.raises(ValueError):
        read_header(path)


def test_headers_of_trainings_that_diverged_and_of_newer_versions_are_read(make_net, tmp_path):
    header = {"classes": ["a", "b"], "metrics": {"loss": NAN}, "alignment": None, "of tomorrow": [{"x": 1}]}
    path = tmp_path / "w.safetensors"
    path.write_bytes(save(make_net().state_dict(), {"xaibench": json.dumps(header)}))
    assert repr(read_header(path)) == repr(header)


@pytest.mark.parametrize("place", ["the directory", "its end"])
def test_archives_whose_places_are_not_in_the_file(place, make_net, tmp_path):
    """Any four bytes of the list of an archive, or of its end, may be others."""
    path = tmp_path / "w.pth"
    torch.save(make_net().state_dict(), path)
    data = path.read_bytes()
    start = data.index(b"PK\x01\x02") if place == "the directory" else data.rindex(b"PK\x05\x06") - 100
    for at in range(start, min(start + 120, len(data) - 4), 3):
        for value in (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x01\x80\0\0"):
            path.write_bytes(data[:at] + value + data[at + 4 :])
            try:
                read_state(path)
            except XaibenchError as error:
                assert len(str(error).splitlines()) == 1
