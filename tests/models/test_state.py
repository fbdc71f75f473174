"""Weights from files: formats, prefixes, wrappers, mismatches, facts, and files that would run code."""

from __future__ import annotations

import hashlib
import os
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from xaibench.errors import XaibenchError
from xaibench.models.state import class_count, load_state, read_state, save_state


def same(a: nn.Module, b: nn.Module) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.fixture
def loaded(make_net, tmp_path):
    """loaded(file name, what it holds): a fresh network after loading a file."""

    def load(name: str, holds: dict) -> nn.Module:
        path, net = tmp_path / name, make_net(seed=1)
        if name.endswith(".safetensors"):
            save_file({k: v.contiguous() for k, v in holds.items()}, path)
        else:
            torch.save(holds, path)
        load_state(net, read_state(path), "tiny")
        return net

    return load


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w.pt", "w.pth.tar"])
@pytest.mark.parametrize("prefix", ["", "module.", "module.model.", "model.", "_orig_mod.module."])
def test_formats_and_prefixes(name, prefix, loaded, make_net):
    source = make_net()
    assert not same(source, make_net(seed=1))
    assert same(loaded(name, {prefix + k: v for k, v in source.state_dict().items()}), source)


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model"])
def test_wrappers_of_checkpoints(wrapper, loaded, make_net):
    source = make_net()
    state = {f"module.model.{k}": v for k, v in source.state_dict().items()}
    checkpoint = {"epoch": 3, "best_acc1": torch.tensor(0.5), wrapper: state, "optimizer": {"lr": 0.1}}
    assert same(loaded("w.pth.tar", checkpoint), source)


def test_batch_norms_without_a_count_of_batches_load(loaded, make_net):
    source = make_net()
    state = {k: v for k, v in source.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert same(loaded("w.pth", state), source)


def test_networks_whose_own_names_share_a_prefix_load_their_own_weights(make_net, tmp_path):
    net, other = (nn.ModuleDict({"model": make_net(seed=s)}) for s in (0, 1))
    path = tmp_path / "w.safetensors"
    save_state(net, path, {})
    load_state(other, read_state(path), "wrapped")
    assert same(net, other)


def test_another_number_of_classes_is_said_in_words(loaded, make_net):
    with pytest.raises(XaibenchError) as caught:
        loaded("w.pth", make_net(classes=7).state_dict())
    assert "do not fit tiny: they are for 7 classes, the data set has 5" in str(caught.value)
    assert "fc.weight is (7, 4), not (5, 4)" in str(caught.value)


def test_the_number_of_classes_of_convolutional_classifiers_is_known(tmp_path):
    from torchvision.models import squeezenet1_1

    path = tmp_path / "w.safetensors"
    save_state(squeezenet1_1(num_classes=7), path, {})
    assert class_count(squeezenet1_1(num_classes=5), read_state(path)) == 7
    assert class_count(squeezenet1_1(num_classes=7), read_state(path)) is None


def test_missing_and_unexpected_keys_are_named_first_ones_first(loaded, make_net):
    state = make_net().state_dict()
    for name in ("stem.weight", "norm.weight", "norm.bias"):
        del state[name]
    with pytest.raises(XaibenchError, match=r"missing stem\.weight, norm\.weight and 1 more$"):
        loaded("w.pth", state)
    with pytest.raises(XaibenchError, match=r"missing fc\.bias; unexpected classifier\.bias$"):
        state = make_net().state_dict()
        loaded("w.pth", {k.replace("fc.bias", "classifier.bias"): v for k, v in state.items()})


def test_another_shape_names_the_key_and_both_shapes(loaded, make_net):
    state = make_net().state_dict() | {"stem.weight": torch.zeros(4, 3, 5, 5)}
    with pytest.raises(XaibenchError, match=r"stem\.weight is \(4, 3, 5, 5\), not \(4, 3, 3, 3\)") as caught:
        loaded("w.pth", state)
    assert "classes" not in str(caught.value)


def test_weights_that_do_not_fit_change_nothing(make_net, tmp_path):
    net, path = make_net(seed=1), tmp_path / "w.pth"
    torch.save(make_net(classes=7).state_dict(), path)
    with pytest.raises(XaibenchError):
        load_state(net, read_state(path), "tiny")
    assert same(net, make_net(seed=1))


class Malicious:
    def __init__(self, victim):
        self.victim = victim

    def __reduce__(self):
        return (os.mkdir, (str(self.victim),))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("save", [torch.save, lambda thing, path: path.write_bytes(pickle.dumps(thing))])
def test_a_pickle_that_runs_code_is_refused(save, tmp_path):
    path, victim = tmp_path / "w.pth", tmp_path / "victim"
    save({"fc.weight": Malicious(victim)}, path)
    with pytest.raises(
        XaibenchError, match=r"w\.pth (cannot be loaded as weights only: it refers to posix\.mkdir|are a plain)"
    ):
        read_state(path)
    assert not victim.exists()


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html><html>", b"\x00" * 64])
def test_files_that_are_no_weights_are_errors_with_their_name(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(XaibenchError, match=name):
        read_state(tmp_path / name)


@pytest.mark.parametrize("holds", [[1, 2], {"epoch": 3}, {}, torch.zeros(3)])
def test_torch_files_without_a_state_dict_are_refused(holds, tmp_path):
    torch.save(holds, tmp_path / "w.pth")
    with pytest.raises(XaibenchError, match="contain no state dict"):
        read_state(tmp_path / "w.pth")


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(XaibenchError, match=r"nowhere\.pth do not exist"):
        read_state(tmp_path / "nowhere.pth")


def test_facts_travel_in_the_header_and_the_digest_is_that_of_the_file(make_net, tmp_path):
    path = tmp_path / "deep" / "w.safetensors"
    key_fields = {
        "alignment": {"grid": 4, "baseline": "zero", "probability": 0.5},
        "seed": 3,
        "metrics": {"accuracy": 0.5},
    }
    save_state(make_net(), path, key_fields)
    state = read_state(path)
    assert state.header == key_fields
    assert state.digest == hashlib.blake2b(path.read_bytes(), digest_size=10).hexdigest()
    assert [p.name for p in path.parent.iterdir()] == ["w.safetensors"]
    net = make_net(seed=1)
    load_state(net, state, "tiny")
    assert same(net, make_net())


def test_files_of_other_people_have_no_facts(make_net, tmp_path):
    save_file(make_net().state_dict(), tmp_path / "w.safetensors")
    torch.save(make_net().state_dict(), tmp_path / "w.pth")
    assert read_state(tmp_path / "w.safetensors").header == read_state(tmp_path / "w.pth").header == {}


def test_the_header_has_one_entry_whose_order_cannot_vary(make_net, tmp_path):
    from safetensors import safe_open

    path = tmp_path / "w.safetensors"
    save_state(make_net(), path, {"b": 1, "a": 2})
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"xaibench": '{"a": 2, "b": 1}'}
