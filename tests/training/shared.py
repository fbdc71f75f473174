"""Each of two processes compares layers that see the batch, and gradients through other processes, with one process
that has the whole batch, in double precision; `torchrun` starts this file."""

from __future__ import annotations

import copy

import torch
from accelerate import Accelerator
from torch import distributed, nn
from torch.autograd import grad
from torch.nn import functional as F
from torchvision.ops import StochasticDepth

from xaibench.training.processes import of_all, of_first, own_part, parts_of_all, process_mean
from xaibench.training.shared_batch import SharedBatch


def close(mine: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(mine, expected, rtol=1e-10, atol=1e-12)


def network() -> nn.Module:
    torch.manual_seed(3)
    layers = [nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, momentum=0.3), nn.Softplus(), StochasticDepth(0.4, "row")]
    rest = [nn.Dropout2d(0.3), nn.Flatten(), nn.Linear(36, 6), nn.BatchNorm1d(6, affine=False), nn.Dropout(0.4)]
    return nn.Sequential(*layers, *rest).double().train()


def second_order(net: nn.Module, inputs: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor], torch.Tensor]:
    """Outputs, parameter gradients of a loss on input gradients, and that loss, as guidance and CGC have them."""
    inputs = inputs.clone().requires_grad_()
    outputs = net(inputs)
    (maps,) = grad(outputs.square().sum(), inputs, create_graph=True)
    value = (maps * inputs).square().sum() + outputs.sin().sum()
    return outputs.detach(), list(grad(value, list(net.parameters()))), value.detach()


def layers_see_the_whole_batch(rank: int, sizes: tuple[int, int], seed: int) -> None:
    """Two steps; the gradients of the processes, added up, are those of the batch."""
    torch.manual_seed(seed)
    batch = torch.randn(sum(sizes), 2, 5, 5, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    alone, shared = network(), network()
    if sizes[0] != sizes[1]:  # draws are shared by equal parts; statistics by any
        for net in (alone, shared):
            for module in net:
                if not isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
                    module.eval()
    own = batch.split(list(sizes))[rank]
    for step in range(2):
        torch.manual_seed(step)
        outputs, gradients, value = second_order(alone, batch)
        torch.manual_seed(step)
        with SharedBatch(len(own)):
            mine, parts, part = second_order(shared, own)
        close(mine, outputs.split(list(sizes))[rank])
        close(process_mean(part) * 2, value)
        for found, expected in zip(parts, gradients, strict=True):
            close(process_mean(found) * 2, expected)
        if sizes[0] == sizes[1]:
            assert (outputs == 0).any() and (outputs != 0).any(), "something is dropped"
    for (name, found), expected in zip(shared.state_dict().items(), alone.state_dict().values(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12, msg=name)
    torch.testing.assert_close(copy.deepcopy(shared).eval()(own), copy.deepcopy(alone).eval()(own))


def evaluation_asks_no_other_process(rank: int) -> None:
    """Passes in evaluation mode are of one process alone: only the second one makes this."""
    if rank == 1:
        net = network().eval()
        inputs = torch.randn(3, 2, 5, 5, dtype=torch.float64)
        expected = net(inputs)
        with SharedBatch(3):
            assert torch.equal(net(inputs), expected)


def values_of_all(rank: int) -> None:
    whole = torch.arange(12, dtype=torch.float64).reshape(4, 3).sin()
    own = whole[2 * rank : 2 * rank + 2].clone().requires_grad_()
    assert torch.equal(of_all(own), whole)
    loss = lambda rows: F.cross_entropy(rows @ rows.mT, torch.arange(4))  # noqa: E731
    (found,) = grad(loss(of_all(own)), own)
    full = whole.clone().requires_grad_()
    (expected,) = grad(loss(full), full)
    close(found / 2, expected[2 * rank : 2 * rank + 2])  # the loop averages over processes
    first = torch.tensor([rank + 5])
    assert of_first(first).tolist() == [5] and first.tolist() == [rank + 5]
    for count in (0, 1, 2, 7):
        made = [f"{n} by {rank}" for n in own_part(range(count))]
        assert parts_of_all(made) == [f"{n} by {n % 2}" for n in range(count)]


def main() -> None:
    rank = Accelerator(cpu=True).process_index
    values_of_all(rank)
    layers_see_the_whole_batch(rank, (3, 3), 0)
    layers_see_the_whole_batch(rank, (1, 1), 1)
    layers_see_the_whole_batch(rank, (2, 5), 2)
    evaluation_asks_no_other_process(rank)
    distributed.barrier()
    print("compared")


if __name__ == "__main__":
    main()
