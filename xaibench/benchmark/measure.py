"""What `xaibench bench` prints: rows of ratios, each of two things that were timed in turns."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product

import torch
from torch import Tensor, nn

from xaibench.attribution.evidence import Evidence
from xaibench.attribution.runner import ModelRunner
from xaibench.benchmark.job import Job, ratios, seconds
from xaibench.benchmark.peers import GRID, alone, deletions
from xaibench.cards.dataset import PROFILES
from xaibench.models.copies import copied
from xaibench.protocols.base import Protocol
from xaibench.protocols.faithfulness.deletion import Deletion
from xaibench.protocols.faithfulness.sds import SingleDeletion

PUBLISHED, LIBRARIES = "the published manner", "the libraries in batches"
ALONE = "each method alone with captum and pytorch-grad-cam; "
WAYS = {
    PUBLISHED: ALONE + "CAMs image by image, deletions anew for each method",
    LIBRARIES: ALONE + "CAMs in batches, deletions once",
}
LAYOUTS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}


@dataclass(frozen=True)
class Row:
    """One line: what was compared, the median, the least and the largest value over the repeats, its unit ("" for a
    ratio), and how it was measured."""

    what: str
    value: float
    low: float
    high: float
    unit: str
    how: str


def measurements(job: Job, repeats: int, device: str) -> Iterator[Row]:
    """All rows, each when it is measured."""
    yield from against_peers(job, repeats, device)
    yield against_bare_passes(job, repeats, device)
    yield second_protocol(job, repeats, device)
    yield from passes_of_profiles(job)
    yield from starts(repeats)


def together(job: Job) -> ModelRunner:
    """All methods and SDS, as a run computes them; returns the runner, which has counted the passes."""
    with ModelRunner(job.as_run, chunk=job.chunk) as runner:
        e = job.evidence(runner)
        score(SingleDeletion(grid=GRID), e, job.maps(e))
    return runner


def score(protocol: Protocol, e: Evidence, maps: dict[str, Tensor]) -> None:
    """Scores the maps of all methods by one protocol, which prepares once."""
    prepared = protocol.prepare(e)
    for each in maps.values():
        protocol.score(prepared, each)


def against_peers(job: Job, repeats: int, device: str) -> Iterator[Row]:
    """All methods and SDS in one go, in each profile, against each method on its own, in the two ways of users."""
    jobs = {name: job.in_profile(name) for name in PROFILES}
    ours = {f"ours, {name}": partial(together, each) for name, each in jobs.items()}
    found = seconds(ours | {name: one_by_one(job, name) for name in WAYS}, repeats, device)
    for profile, (name, how) in product(jobs, WAYS.items()):
        what = f"times faster than {name}" + (f", profile {profile}" if profile != "paper" else "")
        yield Row(what, *ratios(found[name], found[f"ours, {profile}"]), "", how)


def one_by_one(job: Job, way: str) -> Callable[[], None]:
    """A function that does what `together` does, each method on its own, in one of WAYS."""
    published = way == PUBLISHED
    calls = [alone(job, card.name, 1 if published else len(job.images)) for card, _ in job.methods]

    def run() -> None:
        for call in calls:
            call()
            if published:
                deletions(job)
        if not published:
            deletions(job)

    return run


def in_layouts(net: nn.Module) -> dict[str, nn.Module]:
    """A copy of a network for each layout in memory, so that the network itself keeps its own."""
    return {layout: copied(net)[0].to(memory_format=form) for layout, form in LAYOUTS.items()}


def bare_passes(job: Job, nets: dict[str, nn.Module], forwards: int, gradients: int) -> dict[str, Callable[[], None]]:
    """Functions that do so many forward passes, or passes with a gradient of the input, by kind and layout."""
    copies = job.images.repeat(-(-job.chunk // len(job.images)), 1, 1, 1)[: job.chunk]
    found = {}
    for layout, net in nets.items():
        x = copies.to(memory_format=LAYOUTS[layout])
        found[f"forward {layout}"] = partial(_passes, net, x, forwards, gradient=False)
        found[f"gradient {layout}"] = partial(_passes, net, x, gradients, gradient=True)
    return found


def _passes(net: nn.Module, x: Tensor, count: int, gradient: bool) -> None:
    for start in range(0, count, len(x)):
        part = x[: min(len(x), count - start)].detach()
        with torch.set_grad_enabled(gradient):
            logits = net(part.requires_grad_(gradient))
            if gradient:
                torch.autograd.grad(logits[:, 0].sum(), part)


def faster(found: dict[str, list[float]], kind: str) -> list[float]:
    """Seconds of a kind of passes in each round, in the layout that was faster in it."""
    return [min(each) for each in zip(*(found[f"{kind} {layout}"] for layout in LAYOUTS), strict=True)]


def against_bare_passes(job: Job, repeats: int, device: str) -> Row:
    """The time of all methods over that of the passes that they need, in the better layout for either kind."""
    counted = together(job)
    gradients = counted.backwards
    forwards = counted.forwards - gradients
    bare = bare_passes(job, in_layouts(job.net), forwards, gradients)
    found = seconds({"ours": lambda: together(job), **bare}, repeats, device)
    least = [a + b for a, b in zip(faster(found, "forward"), faster(found, "gradient"), strict=True)]
    how = f"{forwards} forwards and {gradients} gradients, in the faster layout in memory"
    return Row("time over that of the bare passes", *ratios(found["ours"], least), "", how)


def second_protocol(job: Job, repeats: int, device: str) -> Row:
    """What a second protocol on the same maps takes beyond the passes that it needs, of the time of the first."""
    with ModelRunner(job.as_run, chunk=job.chunk) as runner:
        maps = job.maps(job.evidence(runner))

    def second() -> int:
        with ModelRunner(job.as_run, chunk=job.chunk) as runner:
            score(Deletion(steps=14), job.evidence(runner), maps)
        return runner.forwards

    needed = second()
    bare = bare_passes(job, in_layouts(job.net), needed, 0)
    found = seconds({"first": lambda: together(job), "second": second, **bare}, repeats, device)
    rounds = zip(found["second"], faster(found, "forward"), found["first"], strict=True)
    extra = [100 * (other - passes) / first for other, passes, first in rounds]
    how = f"deletion after SDS on the same maps, beyond its {needed} passes; of the time of all methods and SDS"
    return Row("a second protocol, beyond its passes", sorted(extra)[len(extra) // 2], min(extra), max(extra), "%", how)


def passes_of_profiles(job: Job) -> Iterator[Row]:
    """Forward-equivalents of all methods for an image with the papers' parameters, together and alone, counted on a
    network of one layer, since they do not depend on it."""
    net = nn.Sequential(nn.Conv2d(job.images.shape[1], 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                        nn.Linear(4, 10)).eval().requires_grad_(False)  # fmt: skip
    image = job.images[:1, :, :32, :32].cpu()
    methods = tuple((card, card.parameters) for card, _ in job.methods)
    papers = Job(net, net, "1", image, torch.zeros(1, dtype=torch.long), methods, 100)
    for name in PROFILES:
        yield _passes_an_image(f"profile {name}", together(papers.in_profile(name)), "all methods and SDS")
    for way, how in WAYS.items():
        with ModelRunner(net) as counted:
            one_by_one(papers, way)()
        yield _passes_an_image(f"in {way}" if way == PUBLISHED else f"by {way}", counted, how)


def _passes_an_image(whose: str, counted: ModelRunner, how: str) -> Row:
    passes = counted.forward_equivalents
    return Row(f"passes an image, {whose}", passes, passes, passes, "forwards", f"{how}; a gradient counted as three")


def starts(repeats: int) -> Iterator[Row]:
    """Seconds of starting Python with the package, and of the shortest command, each in a process of its own."""
    calls = {"import xaibench": ["-c", "import xaibench"], "xaibench ls": ["-m", "xaibench", "ls", "methods"]}
    found = seconds({name: lambda w=words: _python(w) for name, words in calls.items()}, repeats, "cpu")
    bare = seconds({"python": lambda: _python(["-c", ""])}, repeats, "cpu")["python"]
    for name, each in found.items():
        values = sorted(each)
        how = f"a process of its own; Python alone takes {sorted(bare)[len(bare) // 2]:.2f} s of it"
        yield Row(name, values[len(values) // 2], values[0], values[-1], "s", how)


def _python(words: list[str]) -> None:
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
