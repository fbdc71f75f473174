"""The one evaluation of guided models, against the protocols of the benchmark and by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from xaibench.datasets.critters import Critters
from xaibench.errors import XaibenchError
from xaibench.models.base import Encoding, Model
from xaibench.protocols.energy_pointing import energy_share
from xaibench.protocols.localization.box_iou import best_threshold, box_iou
from xaibench.training.guidance import evaluation
from xaibench.training.guidance.evaluation import Evaluation, EvaluationBatches, measured_stages

ENCODING = Encoding((0.4, 0.5, 0.6), (0.25, 0.2, 0.3))
SIDE = 32


class Grouped(Critters):
    """Critters in two groups, and with several labels an image."""

    def group(self, image_id):
        return "even" if int(image_id[-1]) % 2 == 0 else "odd"

    def labels(self, image_id):
        return self.annotate(image_id).labels


def small_model(normalised=True):
    torch.manual_seed(0)
    stage = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6) if normalised else nn.Identity(), nn.ReLU(True))
    net = nn.Sequential(stage, nn.Conv2d(6, 10, 3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    if normalised:
        stage[1].running_mean += 0.1
    return Model("small", net, ENCODING, "0", (16, 16), 10, stages={"Mid1": "0"})


def evaluate(model, dataset, stage="Input", several=False, thresholds=None, batch_size=7, **more):
    batches = EvaluationBatches(batch_size, **more)
    return Evaluation(model, dataset, "ixg", stage, several=several, batches=batches)(thresholds)


def pairs(model, dataset, ids, layer=None):
    """Maps (P, 1, H, W) of Input x Gradient and box masks (P, H, W), one image at a time, by the definitions."""
    maps, masks = [], []
    for image_id in ids:
        x = model.encoding(dataset.load(image_id).image[None])
        annotation = dataset.annotate(image_id)
        for label in annotation.labels:
            with torch.no_grad():
                at = x if layer is None else layer(x)
            at = at.clone().requires_grad_()
            logit = (model.net if layer is None else model.net[1:])(at)[0, label]
            (gradient,) = torch.autograd.grad(logit, at)
            found = (at * gradient).detach().sum(1, keepdim=True)
            maps.append(nn.functional.interpolate(found, (SIDE, SIDE), mode="bilinear", align_corners=False))
            mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
            for (x0, y0, x1, y1), own in zip(annotation.boxes.tolist(), annotation.box_labels.tolist(), strict=True):
                if own == label:
                    mask[y0:y1, x0:x1] = True
            masks.append(mask)
    return torch.cat(maps), torch.stack(masks)


@pytest.mark.parametrize("several", [False, True])
def test_epg_and_iou_are_those_of_the_protocols(several):
    model, dataset = small_model(), Grouped("val", 16, SIDE)
    model.net.eval()
    found, ids = evaluate(model, dataset, several=several), dataset.image_list()
    held = pairs(model, dataset, ids[:4])
    rest = pairs(model, dataset, ids[4:])
    share = torch.cat([energy_share(*held), energy_share(*rest)]).nan_to_num(0)
    assert found["epg"] == pytest.approx(share.mean().item(), abs=1e-5)
    assert found["threshold"] == best_threshold(*held)
    assert found["iou"] == pytest.approx(box_iou(*rest, found["threshold"]).nan_to_num(0).mean().item(), abs=1e-4)


def test_at_a_stage_both_the_stage_and_the_input_are_measured():
    model, dataset = small_model(), Grouped("val", 12, SIDE)
    found = evaluate(model, dataset, "Mid1")
    deep = pairs(model, dataset, dataset.image_list(), layer=model.net[0])
    assert found["epg"] == pytest.approx(energy_share(*deep).nan_to_num(0).mean().item(), abs=1e-5)
    assert found["input_epg"] == pytest.approx(evaluate(model, dataset)["epg"], abs=1e-6)
    assert found["input_threshold"] == evaluate(model, dataset)["threshold"]


def test_class_activation_maps_are_measured_where_they_are():
    assert measured_stages("ixg", "Final") == ("Final", "Input") and measured_stages("ixg", "Input") == ("Input",)
    assert measured_stages("grad-cam", "Final") == ("Final",)


def test_accuracies_are_counted_by_group():
    model, dataset = small_model(), Grouped("val", 20, SIDE)
    found = evaluate(model, dataset)
    model.net.eval()
    right = {i: int(model.net(ENCODING(dataset.load(i).image[None])).argmax()) == dataset.label(i) for i in dataset.ids}
    even = [right[i] for i in dataset.ids if dataset.group(i) == "even"]
    assert found["accuracy"] == pytest.approx(sum(right.values()) / 20)
    assert found["accuracy_even"] == pytest.approx(sum(even) / len(even))
    assert found["worst_group"] == min(found["accuracy_even"], found["accuracy_odd"])


def test_several_labels_have_f1_and_map_instead():
    found = evaluate(small_model(), Grouped("val", 12, SIDE), several=True)
    assert {"f1", "map"} <= found.keys() and "accuracy" not in found


def test_batches_order_and_repetition_change_nothing(monkeypatch):
    model, dataset = small_model(), Grouped("val", 13, SIDE)
    found = Evaluation(model, dataset, "ixg", "Input", several=True, batches=EvaluationBatches(3))
    first = found()
    assert found() == first  # from the batches that were kept
    monkeypatch.setattr(dataset, "on_disk", True, raising=False)
    other = evaluate(model, dataset, several=True, batch_size=50)
    assert other == {name: pytest.approx(value, abs=1e-6) for name, value in first.items()}


def test_given_thresholds_are_taken_and_all_images_count():
    model, dataset = small_model(), Grouped("val", 12, SIDE)
    found = evaluate(model, dataset, thresholds={"Input": 0.3})
    model.net.eval()
    every = pairs(model, dataset, dataset.ids)
    assert found["threshold"] == 0.3
    assert found["iou"] == pytest.approx(box_iou(*every, 0.3).nan_to_num(0).mean().item(), abs=1e-4)


def test_a_map_without_positive_values_counts_as_nothing():
    model = small_model()
    model.net[1].weight.data.zero_()
    found = evaluate(model, Grouped("val", 8, SIDE))
    assert found["epg"] == 0 and found["iou"] == 0


def test_the_first_images_of_the_order_can_stand_for_all():
    model, dataset = small_model(), Grouped("val", 12, SIDE)
    found = evaluate(model, dataset, thresholds={"Input": 0.5}, images=5)
    few = pairs(model, dataset, dataset.image_list(5))
    assert found["epg"] == pytest.approx(energy_share(*few).nan_to_num(0).mean().item(), abs=1e-5)


def test_the_network_keeps_its_statistics():
    model = small_model()
    before = {name: value.clone() for name, value in model.net.state_dict().items()}
    evaluate(model, Grouped("val", 8, SIDE))
    assert all(torch.equal(before[name], value) for name, value in model.net.state_dict().items())


def test_data_without_regions_are_refused():
    class Bare(Critters):
        knows = frozenset()

    with pytest.raises(XaibenchError, match="neither boxes nor masks"):
        evaluate(small_model(), Bare("val", 8, SIDE))


def test_held_out_images_are_at_most_a_quarter():
    found = Evaluation(
        small_model(), Critters("val", 8, SIDE), "ixg", "Input", several=False, batches=EvaluationBatches(4)
    )
    assert found.held == 2 and evaluation.HELD_OUT == 32
