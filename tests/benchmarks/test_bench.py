"""`xaibench bench`: what is timed against what, and how many passes; the aims on this machine are `slow`."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from xaibench.attribution import costs
from xaibench.attribution.runner import ModelRunner
from xaibench.benchmark.config import BenchConfig
from xaibench.benchmark.job import open_job, ratios, seconds
from xaibench.benchmark.measure import against_peers, bare_passes, in_layouts, passes_of_profiles, together
from xaibench.benchmark.peers import alone, deletions
from xaibench.errors import XaibenchError

SMALL = BenchConfig(model="squeezenet1_0", image_size=64, images=2, steps=3, masks=4, repeats=1)


@pytest.fixture(scope="module")
def job():
    return open_job(SMALL)


def test_ratios_are_those_of_the_rounds_and_not_of_medians():
    assert ratios([4.0, 9.0, 2.0], [2.0, 3.0, 2.0]) == (2.0, 1.0, 3.0)


def test_calls_take_turns_and_the_first_round_is_not_counted(monkeypatch):
    clock, said = iter(range(100)), []
    monkeypatch.setattr(costs.time, "perf_counter", lambda: float(next(clock)))
    found = seconds({"a": lambda: said.append("a"), "b": lambda: (said.append("b"), next(clock))}, 2, "cpu")
    assert said == list("ababab") and found == {"a": [1.0, 1.0], "b": [2.0, 2.0]}


def test_passes_of_the_papers_and_of_the_fast_profile(job):
    """SDS: 17; RISE and RISE-U: a mask each; one gradient (3) for IxG and saliency, 4 for its SmoothGrad, one and 4 for
    the CAMs; IG and IG-U: a gradient a step, IG with SmoothGrad 4 a step."""
    paper, fast, *_ = (row.value for row in passes_of_profiles(job))
    few = 17 + 3 * (1 + 4 + 1 + 4)
    assert paper == few + 2 * 1000 + 3 * 50 * (1 + 1 + 4) == 2947
    assert fast == few + 2 * 400 + 3 * (50 + 50 + 16 * 4) == 1339 < 1500


def test_passes_of_each_method_alone(job):
    """A gradient of its own for each of IxG, its absolute value, saliency and four CAMs, 4 for each of two SmoothGrads
    of IxG; a path for each of IG and IG-U and their absolute values, 4 for each of three of IG with SmoothGrad;
    Smooth Grad-CAM++: 5 gradients and 4 more forwards; and deletions."""
    *_, published, libraries = (row.value for row in passes_of_profiles(job))
    methods = 3 * (7 + 2 * 4) + 3 * 50 * (4 + 3 * 4) + 2 * 1000 + (3 * 5 + 4)
    assert published == methods + 19 * 17 == 4787
    assert libraries == methods + 17 == 4481


def test_a_profile_takes_its_share_of_steps_and_masks(job):
    """SMALL has 3 steps and 4 masks; `fast` takes 16 of 50 steps of IG with SmoothGrad and 400 of 1000 masks, and at
    least two."""
    paper, fast = ({card.name: values for card, values in job.in_profile(n).methods} for n in ("paper", "fast"))
    assert paper == {card.name: values for card, values in job.methods}
    assert fast["rise"]["masks"] == 2 and fast["rise"]["estimator"] == "control-variate"
    assert fast["ig-sg"]["steps"] == 2 and fast["ig"] == paper["ig"]
    larger = open_job(SMALL.model_copy(update={"steps": 100, "masks": 50})).in_profile("fast")
    fast = {card.name: values for card, values in larger.methods}
    assert fast["rise-u"]["masks"] == 20 and fast["ig-sg-abs"]["steps"] == 32 and fast["ig-u"]["steps"] == 100


@pytest.mark.slow
def test_bare_passes_are_as_many_as_the_job_needs(job):
    counted = together(job)
    gradients = counted.backwards
    nets = in_layouts(job.net)
    for name, call in bare_passes(job, nets, counted.forwards - gradients, gradients).items():
        with ModelRunner(nets[name.split(maxsplit=1)[1]]) as runner:
            call()
            done = runner.forwards, runner.backwards
            assert done == ((gradients, gradients) if "gradient" in name else (counted.forwards - gradients, 0)), name


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ixg", "saliency", "ig", "grad-cam", "xgrad-cam", "layer-cam"])
def test_what_is_timed_against_ours_makes_the_same_maps(name, job):
    """The peers without random numbers; pytorch-grad-cam scales its maps to [0, 1]."""
    with ModelRunner(job.net) as runner:
        ours = job.maps(job.evidence(runner))[name].double()
    theirs = torch.as_tensor(alone(job, name, 1)()).detach().double()
    theirs = theirs if theirs.ndim == 4 else theirs[:, None]
    if "cam" in name:
        least, most = (ours.amin((2, 3), keepdim=True), ours.amax((2, 3), keepdim=True))
        ours, tolerance = (ours - least) / (most - least).clamp_min(1e-12), 0.02
    else:
        theirs, tolerance = theirs.sum(1, keepdim=True), 1e-4 * float(ours.abs().max())
        theirs = theirs.abs() if name == "saliency" else theirs
    assert float((ours - theirs).abs().max()) <= tolerance


def test_deletions_are_the_seventeen_passes_of_each_image(job):
    with torch.no_grad():
        cut = job.images.clone()
        cut[:, :, 16:32, 48:] = 0  # cell 7 of a 4 x 4 grid
        found = deletions(job)
        assert found.shape[:2] == (2, 17)
        assert torch.allclose(found[:, 0], job.net(job.images), atol=1e-5)
        assert torch.allclose(found[:, 8], job.net(cut), atol=1e-5)


def test_networks_that_the_job_does_not_fit_are_refused():
    with pytest.raises(XaibenchError, match="is no plain convolutional network"):
        open_job(SMALL.model_copy(update={"model": "vit_tiny_patch8_64", "image_size": 64}))
    with pytest.raises(XaibenchError, match="unknown model 'resnet5o'"):
        open_job(SMALL.model_copy(update={"model": "resnet5o"}))


def test_ours_is_timed_on_the_network_as_runs_have_it(job):
    """Runs compute in channels last; users who have no xaibench, as torchvision gives the network."""
    weights = {name: net.features[0].weight for name, net in (("ours", job.as_run), ("theirs", job.net))}
    assert torch.equal(weights["ours"], weights["theirs"])
    assert weights["ours"].is_contiguous(memory_format=torch.channels_last) and weights["theirs"].is_contiguous()
    with ModelRunner(job.net) as theirs:
        ours = together(job)
        assert ours.net is job.as_run and theirs.forwards == 0


def test_the_papers_methods_are_all_timed(job):
    assert len(job.methods) == 19 and isinstance(job.net, nn.Module)


@pytest.mark.slow
def test_the_command_prints_rows_for_programs(command):
    words = ["--model", "squeezenet1_0", "--image-size", 32, "--images", 1, "--steps", 2, "--masks", 3, "--repeats", 1]
    status, out, err = command("bench", *words, "--format", "json")
    found = {row["what"]: row for row in json.loads(out)["rows"]}
    assert status == 0 and found["passes an image, profile paper"]["median"] == 2947
    assert all(row["least"] <= row["median"] <= row["largest"] for row in found.values())
    assert "times faster than the published manner" in err


@pytest.mark.slow
def test_shared_evidence_is_faster_than_both_ways_of_users():
    job = open_job(BenchConfig(image_size=64, images=4, steps=20, masks=100))
    published, libraries, *fast = (row.value for row in against_peers(job, 3, "cpu"))
    assert published > libraries > 1.2 and published > 2
    assert fast[0] > published and fast[1] > libraries
