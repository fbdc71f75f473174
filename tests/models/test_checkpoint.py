"""Checkpoints of training programs: records of settings beside the weights, which are read without running anything."""

from __future__ import annotations

import argparse
import collections
import datetime
import os
import pathlib
import sys
import threading
import types

import numpy as np
import pytest
import torch

from xaibench.errors import XaibenchError
from xaibench.models.checkpoint import STAND_INS
from xaibench.models.state import load_state, read_state


class AttributeDict(dict):
    """As those of Lightning: a dictionary whose entries are attributes, which are restored by a call of this class."""

    made = 0

    def __new__(cls, *content):
        cls.made += 1
        return super().__new__(cls, *content)

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(name) from error


class Node:
    """As those of omegaconf: objects that refer to each other, restored by `__setstate__`."""

    def __init__(self, content=None, parent=None):
        self._content, self._parent = content, parent

    def __setstate__(self, state):
        raise AssertionError("foreign code was run")


class Elsewhere(types.ModuleType):
    """A module of a package that is not installed."""


@pytest.fixture
def elsewhere(monkeypatch):
    """elsewhere(class, "package.module", name): the class as if it were of that module, which is gone when read."""

    def place(kind: type, module: str, name: str) -> type:
        copy = type(name, (kind,), {"__module__": module, "__qualname__": name})
        parts = module.split(".")
        for end in range(1, len(parts) + 1):
            path = ".".join(parts[:end])
            if path not in sys.modules:
                monkeypatch.setitem(sys.modules, path, Elsewhere(path))
        monkeypatch.setattr(sys.modules[module], name, copy, raising=False)
        return copy

    return place


@pytest.fixture
def saved(tmp_path, make_net, monkeypatch):
    """saved(records): a Lightning checkpoint with these hyper-parameters, after which foreign modules are gone."""

    def save(records, **more):
        state = {f"model.{name}": tensor for name, tensor in make_net().state_dict().items()}
        checkpoint = {
            "epoch": 3, "global_step": 12, "pytorch-lightning_version": "2.4.0", "state_dict": state, "loops": {},
            "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.5)}},
            "optimizer_states": [], "lr_schedulers": [], "hparams_name": "kwargs", "hyper_parameters": records,
        }  # fmt: skip
        torch.save(checkpoint | more, tmp_path / "epoch=3.ckpt")
        for name in [name for name, module in sys.modules.items() if type(module) is Elsewhere]:
            monkeypatch.delitem(sys.modules, name)
        return tmp_path / "epoch=3.ckpt"

    return save


def opens(path, make_net) -> None:
    net = make_net(seed=1)
    assert load_state(net, read_state(path), "tiny").remarks == ()
    assert all(torch.equal(value, make_net().state_dict()[name]) for name, value in net.state_dict().items())


RECORDS = {
    "Namespace": argparse.Namespace(lr=0.1, data=pathlib.PurePosixPath("/data"), layers=[1, 2]),
    "SimpleNamespace": types.SimpleNamespace(lr=0.1, inner=types.SimpleNamespace(a=1)),
    "path": {"root": pathlib.Path("/data/imagenet"), "more": [pathlib.PurePosixPath("a")]},
    "Windows path": {"root": pathlib.PureWindowsPath("C:\\data")},
    "numbers of NumPy": {"lr": np.float64(0.1), "steps": np.int64(3), "mean": np.ones(2), "names": np.array(["a"])},
    "dictionaries": collections.defaultdict(list, {"a": [1]}),
    "dates": {"at": datetime.datetime(2024, 5, 1, 12, 30), "took": datetime.timedelta(hours=2)},
    "version": {"torch": torch.__version__},
    "classes": {"kind": dict},
}  # fmt: skip


@pytest.mark.parametrize("kind", RECORDS)
def test_records_of_the_standard_library_and_numpy_are_harmless(kind, saved, make_net):
    opens(saved(RECORDS[kind]), make_net)


@pytest.mark.parametrize("old", [False, True])
def test_both_formats_of_torch(old, saved, make_net):
    path = saved(RECORDS["Namespace"])
    content = torch.load(path, weights_only=False)
    torch.save(content, path, _use_new_zipfile_serialization=not old)
    opens(path, make_net)


PLACES = [
    ("lightning.fabric.utilities.data", "AttributeDict"), ("lightning_fabric.utilities.data", "AttributeDict"),
    ("lightning.pytorch.utilities.parsing", "AttributeDict"), ("pytorch_lightning.utilities.parsing", "AttributeDict"),
    ("easydict", "EasyDict"), ("yacs.config", "CfgNode"), ("mmengine.config.config", "ConfigDict"),
]  # fmt: skip


@pytest.mark.parametrize(("module", "name"), PLACES)
def test_dictionaries_of_other_packages_are_neither_imported_nor_made(module, name, saved, make_net, elsewhere):
    kind = elsewhere(AttributeDict, module, name)
    records = kind({"lr": 0.1, "inner": kind({"path": pathlib.Path("/data")})})
    records.__dict__["frozen"] = True
    path, made = saved(records), kind.made
    opens(path, make_net)
    assert kind.made == made and module not in sys.modules


def test_containers_of_omegaconf_are_neither_imported_nor_made(saved, make_net, elsewhere):
    config, values, node = (
        elsewhere(Node, f"omegaconf.{module}", name)
        for module, name in (("dictconfig", "DictConfig"), ("listconfig", "ListConfig"), ("nodes", "AnyNode"))
    )
    top = config()
    top._content = {"lr": node(0.1, top), "sizes": values([node(64), node(224)], top)}
    opens(saved(top, hparams_type=config), make_net)
    assert "omegaconf" not in sys.modules


class Settings:
    """A class of the user's own."""


class Call:
    """What a file would run when it is read."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda victim: Settings(), "test_checkpoint.Settings"),
        (lambda victim: Call(os.mkdir, str(victim)), "posix.mkdir"),
        (lambda victim: Call(eval, f"__import__('os').mkdir({str(victim)!r})"), "eval"),
        (lambda victim: Call(getattr, Call(argparse.Namespace), "__class__"), "getattr"),
    ],
)
def test_what_is_not_harmless_is_refused_by_its_name_and_not_run(make, name, old, saved, tmp_path):
    path = saved({"a": make(tmp_path / "victim")})
    if old:
        head = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        assert any(name in each for each in head)
        zip_free = {"state_dict": {}, "hyper_parameters": make(tmp_path / "victim")}
        torch.save(zip_free, path, _use_new_zipfile_serialization=False)
    with pytest.raises(XaibenchError, match=rf"cannot be loaded as weights only: it refers to [\w.]*{name}") as caught:
        read_state(path)
    assert "torch.save(torch.load(FILE, weights_only=False)['state_dict'], NEW)" in str(caught.value)
    assert str(caught.value).isprintable() and not (tmp_path / "victim").exists()


def test_how_to_save_again_is_right(saved, make_net, tmp_path):
    path = saved(Settings())
    with pytest.raises(XaibenchError):
        read_state(path)
    torch.save(torch.load(path, weights_only=False)["state_dict"], tmp_path / "again.pth")
    opens(tmp_path / "again.pth", make_net)


def test_a_network_in_the_hyper_parameters_is_said(saved, make_net):
    with pytest.raises(XaibenchError, match=r"it holds a network itself \(torch\.nn\.modules\."):
        read_state(saved({"net": make_net()}))


def test_what_others_allow_stays_as_it_is(saved, make_net):
    with torch.serialization.safe_globals([Settings]):
        before = set(map(str, torch.serialization.get_safe_globals()))
        opens(saved(RECORDS["Namespace"]), make_net)
        assert set(map(str, torch.serialization.get_safe_globals())) == before
    assert not {kind.__name__ for kind in STAND_INS} & set(map(str, torch.serialization.get_safe_globals()))


def test_threads_read_side_by_side(saved, make_net):
    path, failed = saved(RECORDS["Namespace"]), []

    def read():
        for _ in range(10):
            try:
                read_state(path)
            except XaibenchError as error:
                failed.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
