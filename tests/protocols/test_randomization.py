"""The randomisation check: which layers lose what, maps that see it and maps that do not, passes that count."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from xaibench import registry
from xaibench.attribution.methods import method_maps
from xaibench.attribution.runner import ModelRunner
from xaibench.errors import XaibenchError
from xaibench.protocols.base import OK, UNDEFINED_MAP
from xaibench.protocols.randomization.randomization import Randomization, randomized, rank_similarity, stages


def ixg(e):
    return (e.inputs * e.gradient()).sum(1, keepdim=True)


def differing(net: nn.Module, other: nn.Module) -> set[str]:
    pairs = zip(net.named_parameters(), other.named_parameters(), strict=True)
    return {name.rpartition(".")[0] for (name, a), (_, b) in pairs if not torch.equal(a, b)}


def test_similarities_are_scipys_on_absolute_values():
    maps, others = torch.randn(4, 1, 6, 7), torch.randn(4, 1, 6, 7).relu()
    expected = [abs(spearmanr(a.abs().flatten(), b.flatten()).statistic) for a, b in zip(maps, others, strict=True)]
    np.testing.assert_allclose(rank_similarity(maps, others).numpy(), expected, atol=1e-9)
    assert rank_similarity(maps, -3 * maps).tolist() == pytest.approx([1] * 4)
    others[0], others[1, 0, 0, 0] = 1, float("nan")
    assert rank_similarity(maps, others).isnan().tolist() == [False, True, False, False]
    assert float(rank_similarity(maps, others)[0]) == 0


def test_stages_start_at_the_top(net):
    assert stages(net, 3) == [["1.2"], ["0.2"], ["0.0"]]
    assert stages(net, 2) == [["1.2", "0.2"], ["0.0"]] and stages(net, 1) == [["1.2", "0.2", "0.0"]]
    with pytest.raises(XaibenchError, match="the model has 3 layers with parameters, too few for 4 stages"):
        stages(net, 4)


def test_cascading_keeps_what_is_destroyed_and_independent_does_not(net, images, labels, evidence):
    e = evidence(net, images, labels)
    state = {key: value.clone() for key, value in net.state_dict().items()}
    found = [differing(net, runner.net) for runner, _ in Randomization(stages=3).copies(e)]
    assert found == [{"1.2"}, {"1.2", "0.2"}, {"1.2", "0.2", "0.0"}]
    found = [differing(net, runner.net) for runner, _ in Randomization(mode="independent", stages=3).copies(e)]
    assert found == [{"1.2"}, {"0.2"}, {"0.0"}]
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items()), "the original stays"


def test_draws_depend_on_seed_and_layer_alone(net):
    one, two = randomized(net, ["1.2"], 0), randomized(net, ["0.2", "1.2"], 0)
    assert torch.equal(one[1][2].weight, two[1][2].weight)
    assert not torch.equal(one[1][2].weight, randomized(net, ["1.2"], 1)[1][2].weight)
    weight, drawn = net[1][2].weight, one[1][2].weight
    assert float(drawn.std() / weight.std()) == pytest.approx(1, abs=0.1)
    assert abs(float(drawn.mean() - weight.mean())) < 0.2 * float(weight.std())
    assert abs(float(torch.corrcoef(torch.stack([drawn.flatten(), weight.flatten()]))[0, 1])) < 0.2
    single = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(4))
    same = randomized(single, ["0", "1"], 0)
    assert torch.equal(same[0].weight, single[0].weight) and torch.equal(same[1].weight, single[1].weight)


def test_layers_of_one_shape_lose_what_they_had_to_different_draws():
    twins = randomized(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), ["0", "1"], 0)
    one, two = ((layer.weight - layer.weight.mean()) / layer.weight.std() for layer in twins)
    assert not torch.allclose(one, two, atol=0.1)


def test_hooks_that_count_passes_are_not_copied(net):
    with ModelRunner(net) as runner:
        randomized(net, ["1.2"], 0)(torch.zeros(1, 3, 8, 8).double())
        assert runner.forwards == 0


@pytest.mark.filterwarnings("ignore:.*spectral_norm.*:FutureWarning")
def test_a_weight_that_a_hook_computes_is_randomised(net):
    """What is randomised is the parameter, and the weight follows."""
    nn.utils.spectral_norm(net[1][2])
    x = torch.rand(2, 3, 8, 8).double()
    made = randomized(net.eval(), ["1.2"], 0)
    assert torch.equal(made[0](x), net[0](x)) and not torch.allclose(made(x), net(x))
    weight = made[1][2].weight_orig
    assert torch.allclose(made[1][2].weight, weight / (made[1][2].weight_u @ weight @ made[1][2].weight_v))


def test_maps_that_do_not_look_stay_and_others_change(net, images, labels, evidence):
    e, protocol = evidence(net, images, labels), Randomization(stages=3)
    prepared = protocol.prepare(e)
    blind = torch.randn(6, 1, 16, 24)
    scores = protocol.score_method(prepared, blind, lambda other: blind)
    assert scores.values.tolist() == pytest.approx([1] * 6) and scores.status == [OK] * 6
    seeing = protocol.score_method(prepared, ixg(e), ixg)
    assert (seeing.values < 0.9).all() and seeing.status == [OK] * 6
    assert list(seeing.also) == ["stage-1", "stage-2", "stage-3"]
    mean = torch.stack([seeing.also[name].values for name in seeing.also]).mean(0)
    assert torch.allclose(seeing.values, mean, rtol=1e-12)
    # by hand: the last stage is a network that has lost all
    lost = randomized(net, ["1.2", "0.2", "0.0"], 0)
    expected = rank_similarity(ixg(e), ixg(evidence(lost, images, labels)))
    assert torch.allclose(seeing.also["stage-3"].values, expected, rtol=1e-9)


def test_copies_are_made_once_and_their_passes_are_the_runs(net, images, labels, evidence):
    e, protocol = evidence(net, images, labels), Randomization(stages=3)
    prepared = protocol.prepare(e)
    copies = protocol.copies(e)
    assert protocol.copies(e.explaining(labels.flip(0))) is copies
    assert (e.runner.forwards, e.runner.backwards) == (0, 0), "making them costs no pass, and hooks are not copied"
    maps = ixg(e)
    protocol.score_method(prepared, maps, ixg)
    assert (e.runner.forwards, e.runner.backwards) == (6 * 4, 6 * 4)
    protocol.score_method(prepared, maps, ixg)
    assert (e.runner.forwards, e.runner.backwards) == (6 * 4, 6 * 4), "methods share the evidence of a stage"


@pytest.mark.parametrize("name", ["grad-cam", "deeplift", "ig"])
def test_methods_explain_the_copies(name, net, images, labels, evidence):
    """CAM layers are those of the copy, and what adapters run on copies of the copy is counted too."""
    e, protocol, card = (
        evidence(net, images, labels, cam_layer=net[0]),
        Randomization(stages=3),
        registry.card("method", name),
    )

    def again(other):
        return method_maps(card, other, card.parameters)

    maps = again(e)
    before = e.runner.forwards
    scores = protocol.score_method(protocol.prepare(e), maps, again)
    assert scores.status == [OK] * 6 and (scores.values < 0.95).all()
    assert e.runner.forwards - before >= 3 * before > 0
    for (runner, layer), stage in zip(protocol.copies(e), scores.also.values(), strict=True):
        alone = evidence(runner.net, images, labels, cam_layer=layer)
        assert layer is runner.net[0]
        assert torch.allclose(stage.values, rank_similarity(maps, again(alone)), rtol=1e-6)


def test_scores_do_not_depend_on_batches(net, images, labels, evidence):
    protocol, e = Randomization(stages=2), evidence(net, images, labels)
    together = protocol.score_method(protocol.prepare(e), ixg(e), ixg).values
    one = evidence(net, images[4:5], labels[4:5], ["photo 4"])
    assert torch.allclose(protocol.score_method(protocol.prepare(one), ixg(one), ixg).values, together[4], rtol=1e-9)


def test_undefined_maps_and_settings(net, images, labels, maps, evidence):
    e, protocol = evidence(net, images, labels), Randomization(stages=2)
    maps[0], maps[1, 0, 0, 0] = 0.5, float("nan")
    maps[4] = torch.randn(1, 16, 24).sign()
    broken = torch.randn(6, 1, 16, 24)
    broken[2, 0, 1, 1], broken[3] = float("inf"), 0
    scores = protocol.score_method(protocol.prepare(e), maps, lambda other: broken)
    assert scores.status == [UNDEFINED_MAP] * 3 + [OK, UNDEFINED_MAP, OK] and scores.values[3] == 0
    with pytest.raises(XaibenchError, match="it needs the method"):
        protocol.score(e, maps)
    with pytest.raises(XaibenchError, match="mode is cascading or independent, not 'all'"):
        Randomization(mode="all")
