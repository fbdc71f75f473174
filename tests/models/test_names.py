"""Which tensors of a checkpoint are the network's: the one prefix that fits, and what lies beside it is said."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import nn

from xaibench.errors import XaibenchError
from xaibench.models.state import class_count, load_state, read_state


@pytest.fixture
def net(make_net):
    return make_net(seed=1)


@pytest.fixture
def state(make_net):
    return make_net().state_dict()


def prefixed(prefix: str, state: dict) -> dict:
    return {prefix + name: tensor for name, tensor in state.items()}


@pytest.fixture
def load(net, tmp_path):
    """load(what a file holds): the remarks on loading it into `net`."""

    def load(holds: dict) -> tuple[str, ...]:
        torch.save(holds, tmp_path / "w.ckpt")
        return load_state(net, read_state(tmp_path / "w.ckpt"), "tiny").remarks

    return load


def loaded(net: nn.Module, state: dict) -> bool:
    return all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


LOSS = {"criterion.weight": torch.ones(5)}


@pytest.mark.parametrize("prefix", ["backbone.", "encoder.", "student.", "student.backbone.", "a.b.c."])
@pytest.mark.parametrize("wrapped", [True, False])
def test_a_prefix_that_is_unusual_is_said(prefix, wrapped, load, net, state):
    holds = prefixed(prefix, state)
    (remark,) = load({"state_dict": holds} if wrapped else holds)
    assert loaded(net, state)
    assert remark.endswith(f"w.ckpt: take 8 tensors whose names begin with {prefix!r}")


@pytest.mark.parametrize(
    "prefix", ["", "module.", "model.", "net.", "_orig_mod.", "module.model.", "model._orig_mod.", "net.module."]
)
def test_usual_prefixes_need_no_word(prefix, load, net, state):
    assert load(prefixed(prefix, state)) == () and loaded(net, state)


@pytest.mark.parametrize("prefix", ["model.", "net.", "backbone.", "module.student."])
def test_what_lies_beside_is_counted_and_named(prefix, load, net, state):
    teacher = {f"teacher.{n}.weight": torch.zeros(2) for n in range(3)}
    (remark,) = load({"state_dict": prefixed(prefix, state) | LOSS | teacher})
    assert loaded(net, state)
    shown = prefix.replace("module.", "")
    assert f"take 8 tensors whose names begin with {shown!r}, and leave out 4 beside them: " in remark
    assert remark.endswith("criterion.weight, teacher.0.weight and 2 more")


def test_the_loss_of_a_network_without_a_prefix(load, net, state):
    (remark,) = load(state | LOSS)
    assert loaded(net, state) and remark.endswith("take 8 tensors, and leave out 1 beside them: criterion.weight")
    with pytest.raises(XaibenchError, match=r"unexpected auxiliary\.weight$"):
        load(state | {"auxiliary.weight": torch.ones(5)})


@pytest.mark.parametrize(
    ("holds", "prefixes"),
    [
        (lambda s: {"student": s, "teacher": s}, "'student.' and 'teacher.'"),
        (lambda s: {"state_dict": prefixed("student.", s) | prefixed("teacher.", s)}, "'student.' and 'teacher.'"),
        (lambda s: {"state_dict": s | prefixed("ema.", s)}, "'' and 'ema.'"),
        (lambda s: {"state_dict": prefixed("model.", s) | prefixed("model_ema.", s)}, "'model.' and 'model_ema.'"),
        (
            lambda s: prefixed("module.encoder_q.", s) | prefixed("module.encoder_k.", s),
            "'encoder_q.' and 'encoder_k.'",
        ),
        (lambda s: {"params": s, "params_ema": s}, "'params.' and 'params_ema.'"),
    ],
)
def test_two_networks_that_fit_are_refused(holds, prefixes, load, net, state, make_net):
    with pytest.raises(
        XaibenchError, match=rf"fit tiny more than once, by names that begin with {prefixes}; save those"
    ):
        load(holds(state))
    assert loaded(net, make_net(seed=1).state_dict())


def test_of_two_networks_the_one_that_fits_is_taken(load, net, state, make_net):
    larger = copy.deepcopy(make_net(seed=2))
    larger.extra = nn.Linear(2, 2)
    (remark,) = load({"student": state, "teacher": larger.state_dict(), "epoch": 3})
    assert loaded(net, state) and "names begin with 'student.', and leave out 10 beside them" in remark
    (remark,) = load({"student": state, "teacher": make_net(7, 2).state_dict()})
    assert loaded(net, state) and "'student.'" in remark, "the shapes decide"


def test_an_average_beside_the_usual_state_dict_is_said(load, net, state, make_net):
    other = make_net(seed=3).state_dict()
    (remark,) = load({"model": state, "model_ema": prefixed("module.", other), "optimizer": {"state": {0: {"m": 1}}}})
    assert loaded(net, state) and remark.endswith("the state dicts model_ema beside the one that is taken are left out")
    assert load({"state_dict": state, "epoch": torch.tensor(3), "metric": torch.tensor(0.5)}) == ()


def test_the_count_of_an_average_is_no_part_of_it(load, net, state):
    averaged = torch.optim.swa_utils.AveragedModel(copy.deepcopy(net)).eval()
    averaged.module.load_state_dict(state)
    assert "n_averaged" in averaged.state_dict() and load(averaged.state_dict()) == () and loaded(net, state)


@pytest.mark.parametrize("part", ["module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"])
@pytest.mark.parametrize("at", ["stem", "fc"])
def test_wrappers_of_a_part_of_the_network(part, at, load, net, state):
    assert load({name.replace(f"{at}.", f"{at}.{part}."): tensor for name, tensor in state.items()}) == ()
    assert loaded(net, state)


def test_networks_that_have_such_parts_themselves(make_net, tmp_path):
    wrapped = [nn.ModuleDict({"module": make_net(seed=s), "ema": make_net(seed=5)}) for s in (0, 1)]
    torch.save(wrapped[0].state_dict(), tmp_path / "w.pth")
    assert load_state(wrapped[1], read_state(tmp_path / "w.pth"), "two").remarks == ()
    assert loaded(wrapped[1], wrapped[0].state_dict())


def test_names_that_would_be_one_without_wrappers_are_not_mixed_up(make_net, tmp_path):
    inner = nn.ModuleDict({"weight": nn.ModuleDict({"a": nn.Linear(2, 2)}), "module": nn.ModuleDict({})})
    inner["module"]["weight"] = nn.ModuleDict({"a": nn.Linear(2, 2)})
    other = copy.deepcopy(inner)
    for parameter in other.parameters():
        nn.init.zeros_(parameter)
    torch.save(inner.state_dict(), tmp_path / "w.pth")
    load_state(other, read_state(tmp_path / "w.pth"), "two")
    assert loaded(other, inner.state_dict())


@pytest.mark.parametrize("prefix", ["backbone.", "model."])
def test_a_part_is_never_taken_for_the_whole(prefix, load, net, state, make_net):
    headless = {name: tensor for name, tensor in prefixed(prefix, state).items() if "fc." not in name}
    with pytest.raises(XaibenchError, match=rf"do not fit tiny below '{prefix}': missing fc\.weight, fc\.bias$"):
        load({"state_dict": headless | {"head.weight": torch.ones(5, 4), "head.bias": torch.ones(5)}})
    with pytest.raises(XaibenchError, match=rf"do not fit tiny below '{prefix}': unexpected se\.weight$"):
        load({"state_dict": prefixed(prefix, state | {"se.weight": torch.ones(3)}) | LOSS})
    assert loaded(net, make_net(seed=1).state_dict())


def test_the_number_of_classes_below_a_prefix(net, make_net, tmp_path):
    torch.save({"state_dict": prefixed("backbone.", make_net(7).state_dict()) | LOSS}, tmp_path / "w.ckpt")
    assert class_count(net, read_state(tmp_path / "w.ckpt")) == 7
    with pytest.raises(XaibenchError, match="they are for 7 classes, the data set has 5"):
        load_state(net, read_state(tmp_path / "w.ckpt"), "tiny")


# Numbers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_point_is_converted_and_said(dtype, load, net, state):
    given = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
    (remark,) = load(given)
    how = "rounded to" if dtype == torch.float64 else "taken exactly as"
    assert remark.endswith(f"w.ckpt are {str(dtype)[6:]}, and {how} float32")
    assert all(torch.equal(value, given[name].to(value.dtype)) for name, value in net.state_dict().items())


def test_rounding_is_said_where_it_happens(make_net, state, tmp_path):
    torch.save(state, tmp_path / "w.pth")
    (remark,) = load_state(make_net(seed=1).half(), read_state(tmp_path / "w.pth"), "tiny").remarks
    assert remark.endswith("are float32, and rounded to float16")


with warnings.catch_warnings(action="ignore"):  # deprecated, and found in files
    QUANTISED = torch.quantize_per_tensor(torch.ones(5, 4), 0.1, 0, torch.qint8)
NUMBERS = {
    "int8": torch.ones(5, 4, dtype=torch.int8), "uint8": torch.ones(5, 4, dtype=torch.uint8),
    "int32": torch.ones(5, 4, dtype=torch.int32), "bool": torch.ones(5, 4, dtype=torch.bool),
    "complex64": torch.ones(5, 4, dtype=torch.complex64), "float8_e4m3fn": torch.ones(5, 4).to(torch.float8_e4m3fn),
    "quantised": QUANTISED, "sparse": torch.eye(5, 4).to_sparse(), "without values": torch.ones(5, 4, device="meta"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", NUMBERS)
def test_numbers_that_mean_something_else_are_refused(kind, load, net, state, make_net):
    with pytest.raises(XaibenchError, match=rf"do not fit tiny: fc\.weight is {kind}, the network needs float32; name"):
        load(state | {"fc.weight": NUMBERS[kind]})
    assert loaded(net, make_net(seed=1).state_dict())


def test_a_whole_network_of_int8_is_refused(load, state):
    with pytest.raises(XaibenchError, match="is int8, the network needs float32"):
        load({k: (v * 10).to(torch.int8) for k, v in state.items()})


def test_counters_and_indices_keep_their_kind(make_net, tmp_path):
    net = make_net(seed=1)
    net.register_buffer("index", torch.arange(4))
    given = make_net().state_dict() | {
        "index": torch.arange(4).int() + 1,
        "norm.num_batches_tracked": torch.tensor(3.0),
    }
    torch.save(given, tmp_path / "w.pth")
    load_state(net, read_state(tmp_path / "w.pth"), "tiny")
    assert net.index.tolist() == [1, 2, 3, 4] and net.index.dtype == torch.int64
    torch.save(given | {"index": torch.rand(4)}, tmp_path / "w.pth")
    with pytest.raises(XaibenchError, match="index is float32, the network needs int64"):
        load_state(net, read_state(tmp_path / "w.pth"), "tiny")


@pytest.mark.parametrize("shape", [(1,), (1, 1), (5, 1), (1, 4), ()])
def test_shapes_are_never_broadcast(shape, load, net, state, make_net):
    with pytest.raises(XaibenchError, match=r"do not fit tiny.*fc\.weight is \("):
        load(state | {"fc.weight": torch.ones(shape)})
    assert loaded(net, make_net(seed=1).state_dict())
