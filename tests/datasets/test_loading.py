"""Loading ahead: the same samples in the same order with and without processes, and errors in one line from both."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset as TorchDataset

from xaibench.datasets.base import Dataset, Sample
from xaibench.datasets.loading import batches, load_groups, make_loader
from xaibench.errors import XaibenchError


class Numbers(Dataset):
    """Images that hold their own number; some ids fail."""

    name, classes = "numbers", ["one"]
    ids = tuple("0123456")

    def load(self, image_id):
        if image_id == "refused":
            raise XaibenchError("refused is no photo")
        if image_id == "broken":
            raise KeyError("two\nlines")
        if image_id == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        return Sample(image_id, np.full((2, 2, 3), int(image_id), np.uint8), 0, "")

    digest = label = load


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.process)])
def test_groups_come_in_order_as_often_as_asked_for(workers):
    groups = load_groups(Numbers(), [["0", "1"], ["2"], ["3", "4", "5"]], workers)
    for _ in range(2):
        assert [[s.image_id for s in group] for group in groups] == [["0", "1"], ["2"], ["3", "4", "5"]]
    joined = load_groups(Numbers(), [["0", "1"], ["2"]], workers, lambda group: "+".join(s.image_id for s in group))
    assert len(joined) == 2 and list(joined) == ["0+1", "2"]


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.process)])
@pytest.mark.parametrize(
    ("bad", "message"),
    [("refused", "refused is no photo"), ("broken", "data set numbers failed at broken: KeyError: 'two\\\\nlines'")],
)
def test_errors_come_in_their_place_in_one_line(workers, bad, message):
    found = iter(load_groups(Numbers(), [["0"], [bad], ["2"]], workers))
    assert next(found)[0].image_id == "0"
    with pytest.raises(XaibenchError, match=f"^{message}$"):
        next(found)


@pytest.mark.process
def test_a_loading_process_that_is_killed_is_one_line():
    with pytest.raises(XaibenchError, match=r"a process that loads images was killed.*fewer --workers"):
        list(load_groups(Numbers(), [["0"], ["killed"]], 1))


class Items(TorchDataset):
    def __len__(self):
        return 6

    def __getitem__(self, index):
        if index == 4:
            raise XaibenchError("item 4 is bad")
        return torch.tensor(index), str(index)


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.process)])
def test_batches_of_training_images_too(workers):
    found = batches(make_loader(Items(), workers, batch_size=2))
    assert [next(found)[0].tolist() for _ in range(2)] == [[0, 1], [2, 3]]
    with pytest.raises(XaibenchError, match=r"^item 4 is bad$"):
        next(found)


class Pressed(TorchDataset):
    """A data set whose loading process presses Ctrl-C for the whole group, itself included, at one item."""

    def __init__(self, at):
        self.at = at

    def __len__(self):
        return 3

    def __getitem__(self, index):
        if index == self.at:
            for _ in range(2):  # one is noted by a handler that it inherits
                os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getppid(), signal.SIGINT)
            time.sleep(0.2)
        return index


@pytest.fixture
def listening():
    """This process hears Ctrl-C, also where it was started in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("at", [0, 1])
def test_loading_processes_leave_ctrl_c_to_the_process_that_started_them(at, capfd, listening):
    with pytest.raises(KeyboardInterrupt):
        for _ in batches(make_loader(Pressed(at), 1, batch_size=1)):
            time.sleep(0.5)
    assert capfd.readouterr().err == ""
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
