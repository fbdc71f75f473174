"""What launchers may ask for, GPUs of several processes, and errors of connections; nothing here starts a process."""

from __future__ import annotations

import pytest
import torch
from torch import distributed

from xaibench.errors import PeerLost, XaibenchError
from xaibench.training import together
from xaibench.training.resources import TrainingResources
from xaibench.training.together import check_alike, check_launcher, make_accelerator, other_processes_named

STARTED = {"ACCELERATE_MIXED_PRECISION": "no", "ACCELERATE_DYNAMO_BACKEND": "NO", "ACCELERATE_USE_CPU": "False"}


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


def test_what_accelerate_launch_says_by_default_is_fine():
    check_launcher({}, "float32")
    check_launcher(STARTED, "bfloat16")
    check_launcher(STARTED | {"ACCELERATE_MIXED_PRECISION": "bf16"}, "bfloat16")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"ACCELERATE_MIXED_PRECISION": "bf16"}, "mixed precision; .* --precision bfloat16$"),
        ({"ACCELERATE_MIXED_PRECISION": "fp16"}, "mixed precision; .* --precision float16$"),
        ({"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4"}, "accumulation; .* --recipe accumulation=4$"),
        ({"ACCELERATE_DYNAMO_BACKEND": "INDUCTOR"}, "compiled networks"),
        ({"ACCELERATE_USE_FSDP": "true"}, "asks for FSDP; .* --multi_gpu$"),
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "asks for DEEPSPEED"),
        ({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}, "several processes and started one, .* --multi_gpu"),
    ],
)
def test_what_it_asks_for_and_is_not_done_is_refused(more, message):
    with pytest.raises(XaibenchError, match=message):
        check_launcher(STARTED | more, "float32")


def test_one_of_several_processes_has_a_port_too(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    check_launcher(STARTED | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}, "float32")


def test_a_precision_that_nothing_is_trained_in():
    with pytest.raises(XaibenchError, match="cannot train in precision 'int8'; it is one of float32, bfloat16"):
        make_accelerator(TrainingResources(precision="int8"), partly=False)


def test_processes_that_have_no_gpu_each(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    together._check_gpu(torch.device("cuda"))
    together._check_gpu(torch.device("cuda:1"))
    assert chosen == [torch.device("cuda:1")], "one process takes the GPU that is named"
    for name, value in {"RANK": "2", "LOCAL_RANK": "1", "WORLD_SIZE": "3"}.items():
        monkeypatch.setenv(name, value)
    together._check_gpu(torch.device("cuda"))
    with pytest.raises(XaibenchError, match="--device cuda:1 is one GPU for 3 processes; take --device cuda"):
        together._check_gpu(torch.device("cuda:1"))
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(XaibenchError, match="process 2 has no GPU of its own, this machine has 2; start fewer"):
        together._check_gpu(torch.device("cuda"))


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer [::1]:3"),
        RuntimeError("[1] is setting up NCCL communicator and retrieving ncclUniqueId ... Broken pipe"),
        distributed.DistBackendError("remote process exited or there was a network error"),
    ],
)
def test_a_lost_connection_names_its_cause(error, monkeypatch):
    monkeypatch.setattr(together, "are_several", lambda: True)
    with pytest.raises(PeerLost, match="another process of this training has ended") as told, other_processes_named():
        raise error
    assert told.value.__cause__ is error
    monkeypatch.setattr(together, "are_several", lambda: False)
    with pytest.raises(type(error)) as kept, other_processes_named():
        raise error
    assert kept.value is error


def test_other_errors_stay_what_they_are(monkeypatch):
    monkeypatch.setattr(together, "are_several", lambda: True)
    with pytest.raises(RuntimeError, match="mat1 and mat2"), other_processes_named():
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


def test_a_process_alone_has_nobody_to_differ_from(tmp_path):
    check_alike(tmp_path / "training", {})
    assert not (tmp_path / "training").exists()
