"""Grid pointing: who stands in a grid, shares by hand, and a network to which the other cells are nothing."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import nn

import xaibench
from xaibench import registry
from xaibench.attribution.methods import method_maps
from xaibench.datasets.base import Annotation, Dataset, Sample
from xaibench.datasets.image_annotations import ImageAnnotations
from xaibench.errors import XaibenchError
from xaibench.models.disconnected import Disconnected, cut, joined
from xaibench.protocols.api import make_protocol
from xaibench.protocols.base import OK, UNDEFINED_MAP, UNDEFINED_REFERENCE
from xaibench.protocols.grids import draw_layout, make_grids
from xaibench.protocols.localization.difull import DisconnectedPointing
from xaibench.protocols.localization.grid_pg import GridPointing, cell_share

SIDE, CLASSES = 8, 5


class Tiles(Dataset):
    """Forty images of noise in five classes."""

    name = "tiles"

    def __init__(self, classes: int = CLASSES, count: int = 40):
        self.classes, self.ids = [str(c) for c in range(classes)], [f"tile {i}" for i in range(count)]

    def label(self, image_id):
        return int(image_id.split()[1]) % len(self.classes)

    def load(self, image_id):
        noise = np.random.default_rng(int(image_id.split()[1])).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        return Sample(image_id, noise, self.label(image_id), "")

    def digest(self, image_id):
        return ""


class Colours(Tiles):
    """Images of one colour, red, green, blue or black; the class is the colour."""

    def __init__(self):
        super().__init__(4, 16)

    def load(self, image_id):
        image, label = np.zeros((SIDE, SIDE, 3), dtype=np.uint8), self.label(image_id)
        if label < 3:
            image[..., label] = 255
        return Sample(image_id, image, label, "")


class Crowds(Tiles):
    """Every second image of class 2 also shows class 0."""

    knows = frozenset({"boxes"})

    def annotate(self, image_id):
        number, label = int(image_id.split()[1]), self.label(image_id)
        labels = (label, 0) if label == 2 and number % 2 else (label,)
        return Annotation(labels, np.zeros((0, 4)), np.zeros(0), np.zeros((0, 1, 1)))


def encode(images):
    return torch.from_numpy(images).permute(0, 3, 1, 2).double() / 127.5 - 1


@pytest.fixture
def scene(evidence):
    """scene(net, ids, ...): evidence in double precision about images of a data set."""

    def make(net, ids=None, dataset=None, **settings):
        dataset = dataset or Tiles()
        samples = [dataset.load(image_id) for image_id in (dataset.ids[:6] if ids is None else ids)]
        return evidence(
            net, encode(np.stack([s.image for s in samples])), [s.label for s in samples],
            [s.image_id for s in samples], annotations=ImageAnnotations(samples, dataset, encode), **settings,
        )  # fmt: skip

    return make


@pytest.fixture
def tiny():
    """A CNN for five classes whose last maps have the size of the image."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(6), nn.Conv2d(6, 8, 3, padding=1))
    body.append(nn.ReLU(inplace=True))
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES))
    return nn.Sequential(body, head).double().eval().requires_grad_(False)


def maps_of(name):
    card = registry.card("method", name)
    parameters = card.parameters | ({"masks": 100} if name == "rise" else {})
    return lambda e: method_maps(card, e, parameters)


def scores_of(protocol, e, method):
    return protocol.score_method(protocol.prepare(e), torch.zeros(len(e.targets), 1, SIDE, SIDE), method)


def gradient(e):
    return e.gradient().sum(1, keepdim=True)


def test_shares_by_hand():
    one = torch.tensor([[1.0, 2, 0, -9], [0, 1, 3, 0], [0, -4, 1, 0], [0, 0, 0, 2]])[None, None]
    maps = one.expand(4, 1, 4, 4).clone()
    assert cell_share(maps, 2, torch.arange(4)).tolist() == [0.4, 0.3, 0, 0.3]
    assert torch.allclose(cell_share(1e-30 * maps.double(), 2, torch.arange(4)), cell_share(maps, 2, torch.arange(4)))
    assert cell_share(maps[:1], 4, torch.tensor([6])).tolist() == [0.3], "row by row: the 3 is cell 6 of 4x4"
    maps[0], maps[1] = -maps[0].abs(), 0
    maps[2, 0, 0, 0] = torch.inf
    assert cell_share(maps, 2, torch.arange(4)).isnan().tolist() == [True, True, True, False]


def test_grids_are_cut_row_by_row():
    grids = torch.randn(2, 3, 6, 9)
    parts = cut(grids, 3)
    assert parts.shape == (18, 3, 2, 3) and torch.equal(joined(parts, 3), grids)
    assert torch.equal(parts[1], grids[0, :, :2, 3:6]) and torch.equal(parts[9 + 5], grids[1, :, 2:4, 6:])


@pytest.mark.parametrize("cells", [2, 3])
def test_layouts_show_different_classes_and_are_reproducible(cells):
    data = Tiles(12, 60)
    ids = data.image_list()
    layouts = [draw_layout(data, ids, i, data.label(i), cells) for i in ids]
    for image_id, layout in zip(ids, layouts, strict=True):
        classes = [data.label(i) for i in (image_id, *layout.companions)]
        assert len(classes) == len(set(classes)) == cells**2 and set(layout.companions) <= set(ids)
    assert {layout.own for layout in layouts} == set(range(cells**2))
    assert len({i for layout in layouts for i in layout.companions}) > 0.8 * len(ids), "all stand beside some image"
    torch.manual_seed(5)
    assert [draw_layout(data, ids, i, data.label(i), cells) for i in ids] == layouts
    assert sum(draw_layout(data, ids, ids[n], data.label(ids[n]), cells, seed=1) == layouts[n] for n in range(60)) < 2


def test_companions_do_not_show_the_explained_class():
    data = Crowds()
    ids, crowds = data.image_list(), {f"tile {n}" for n in range(40) if n % 5 == 2 and n % 2}
    beside = {label: set() for label in (0, 1)}
    for image_id in ids:
        if data.label(image_id) in beside:
            beside[data.label(image_id)].update(draw_layout(data, ids, image_id, data.label(image_id), 2).companions)
    assert not crowds & beside[0] and crowds & beside[1]


def test_grids_hold_the_image_and_its_companions_whatever_the_batch(tiny, scene):
    data = Tiles()
    e = scene(tiny, data.ids[:6], data)
    grids = make_grids(e, 2)
    assert grids.images.shape == (6, 3, 16, 16) and make_grids(e, 2) is grids
    for number, image_id in enumerate(e.image_ids):
        layout = draw_layout(data, data.image_list(), image_id, data.label(image_id), 2)
        shown = [*layout.companions[: layout.own], image_id, *layout.companions[layout.own :]]
        expected = encode(np.stack([data.load(i).image for i in shown]))
        assert torch.equal(cut(grids.images[number : number + 1], 2), expected) and grids.own[number] == layout.own
    alone = make_grids(scene(tiny, data.ids[4:5], data), 2)
    assert torch.equal(alone.images[0], grids.images[4]) and alone.own[0] == grids.own[4]


def test_the_network_sees_the_whole_grid_in_grid_pg_and_methods_share_it(tiny, scene):
    e, protocol = scene(tiny), GridPointing()
    prepared = protocol.prepare(e)
    ((pairs, shown),) = prepared.parts
    grids = make_grids(e, 2)
    assert pairs.tolist() == list(range(6)) and torch.equal(shown.images, grids.images)
    scores = protocol.score_method(prepared, torch.zeros(6, 1, SIDE, SIDE), gradient)
    assert scores.status == [OK] * 6 and ((scores.values > 0) & (scores.values < 1)).all()
    cost = (e.runner.forwards, e.runner.backwards)
    assert cost == (1 + 6, 6), "one try of the size, then each grid once"
    protocol.score_method(prepared, torch.zeros(6, 1, SIDE, SIDE), gradient)
    protocol.prepare(e.explaining(e.targets))
    assert (e.runner.forwards, e.runner.backwards) == cost
    whole = grids.images.clone().requires_grad_()
    tiny(whole)[torch.arange(6), e.targets].sum().backward()
    positive = cut(whole.grad.sum(1, keepdim=True).clamp(min=0), 2).sum((1, 2, 3)).view(6, 4)
    expected = positive[torch.arange(6), grids.own] / positive.sum(1)
    assert torch.allclose(scores.values, expected, rtol=1e-9)


@pytest.mark.parametrize("layer", ["0", ""])
@pytest.mark.parametrize("cells", [2, 3])
def test_a_disconnected_network_is_the_network_on_its_cell(tiny, layer, cells):
    torch.manual_seed(1)
    parts = torch.randn(4 * cells**2, 3, SIDE, SIDE).double()
    grids = joined(parts, cells).requires_grad_()
    for own in range(cells**2):
        logits = Disconnected(tiny, layer, cells, own)(grids)
        assert torch.equal(logits, tiny(parts)[own :: cells**2])
        (slope,) = torch.autograd.grad(logits[:, 2].sum(), grids)
        by_cell = cut(slope, cells).abs().amax((1, 2, 3)).view(4, -1)
        assert (by_cell[:, own] > 0).all()
        assert (by_cell[:, [c for c in range(cells**2) if c != own]] == 0).all(), "exactly"
    assert not any(module._forward_hooks for module in tiny.modules())


def test_maps_of_the_cells_are_one_map_of_the_grid(tiny):
    parts = torch.randn(8, 3, SIDE, SIDE).double()
    net, seen = Disconnected(tiny, "0", 2, 3), []
    net.stage.register_forward_hook(lambda module, args, output: seen.append(output))
    net(joined(parts, 2))
    assert len(seen) == 1 and torch.equal(seen[0], joined(tiny[0](parts), 2))


@pytest.mark.parametrize("name", ["saliency", "ixg", "ig", "layer-cam", "deeplift", "hires-cam"])
def test_methods_that_follow_influence_are_perfect_under_difull(name, tiny, scene):
    e = scene(tiny, Tiles().ids[:12], cam_layer=tiny[0])
    scores = scores_of(DisconnectedPointing(), e, maps_of(name))
    assert set(scores.status) <= {OK, UNDEFINED_MAP} and scores.status.count(OK) > 4
    assert scores.values[~scores.values.isnan()].tolist() == pytest.approx([1] * scores.status.count(OK), abs=1e-12)


STAGES = {"Mid1": "0.1", "Final": "0"}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", ["ixg", "saliency", "ig", "layer-cam", "hires-cam"])
def test_maps_at_a_stage_of_a_disconnected_network_are_those_of_its_own_cell(name, stage, tiny, scene):
    """The stage is one map of the grid, of which only the own cell matters (all maps here have the image's size)."""
    e = scene(tiny, Tiles().ids[:8], cam_layer=tiny[0], stages=STAGES)
    card = registry.card("method", name)
    if name == "hires-cam":
        pytest.importorskip("pytorch_grad_cam")
    parameters = card.parameters | {"layer": stage}
    alone = method_maps(card, e, parameters)
    for pairs, part in DisconnectedPointing().prepare(e).parts:
        for other in ("Final", "Mid1", stage):  # also of a network that was used with another stage before
            found = method_maps(card, part, parameters | {"layer": other})
        own = int(make_grids(e, 2).own[pairs][0])
        cells = cut(found, 2).unflatten(0, (-1, 4))
        scale = cells[:, own].amax((1, 2, 3), keepdim=True) if name == "hires-cam" else 1  # scaled by the package
        expected = alone[pairs] * scale
        assert torch.allclose(cells[:, own], expected, rtol=1e-6, atol=1e-9) and float(expected.abs().max()) > 0
        assert float(cells[:, [cell for cell in range(4) if cell != own]].abs().max()) == 0
    scores = scores_of(DisconnectedPointing(), e, lambda part: method_maps(card, part, parameters))
    assert scores.values[~scores.values.isnan()].tolist() == pytest.approx([1] * scores.status.count(OK), abs=1e-12)
    assert e.runner.net is tiny and not any(m._forward_hooks for m in tiny[0].modules())


def test_joined_maps_change_nothing(tiny):
    parts = torch.randn(8, 3, SIDE, SIDE).double()
    net = Disconnected(tiny, "0", 2, 1)
    before, seen = net(joined(parts, 2)), []
    assert net.joined_at("0") is net.stage and net.joined_at("0.1") is net.joined_at("0.1") is not net.stage
    net.joined_at("0.1").register_forward_hook(lambda module, args, output: seen.append(output))
    assert torch.equal(net(joined(parts, 2)), before)
    assert torch.equal(seen[0], joined(tiny[0][:2](parts), 2))


def test_grad_cam_is_perfect_where_channels_belong_to_classes_and_else_points_at_other_cells(tiny, scene):
    """Its weights are one number for a channel, so it shows that channel wherever it is active."""
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4))
    net.double().eval().requires_grad_(False)
    net[0].weight[:], net[0].bias[:] = torch.eye(3)[..., None, None], 0
    net[4].weight[:] = torch.eye(4)[:, :3]
    data = Colours()
    e = scene(net, [i for i in data.ids if data.label(i) < 3], data, cam_layer=net[1])
    assert scores_of(DisconnectedPointing(), e, maps_of("grad-cam")).values.tolist() == [1] * 12
    mixed = scene(tiny, Tiles().ids[:12], cam_layer=tiny[0])
    values = scores_of(DisconnectedPointing(), mixed, maps_of("grad-cam")).values
    assert (values[~values.isnan()] < 0.9).all() and (~values.isnan()).sum() > 4


@pytest.mark.parametrize("kind", [GridPointing, DisconnectedPointing])
@pytest.mark.parametrize("cells", [2, 3])
def test_chance_is_one_in_so_many_cells(kind, cells, tiny, scene):
    data = Tiles(10, 40)
    e = scene(tiny, data.ids[:30], data)
    scores = scores_of(kind(cells=cells), e, maps_of("random"))
    assert scores.values.tolist() == pytest.approx([1 / cells**2] * 30, abs=0.06)
    constant = scores_of(kind(cells=cells), e, maps_of("constant"))
    assert constant.values.tolist() == pytest.approx([1 / cells**2] * 30, abs=1e-12)
    centre = scores_of(kind(cells=cells), e, maps_of("centre")).values
    assert float(centre.mean()) == pytest.approx(1 / cells**2, abs=0.06), "the image's place in the grid is drawn"


@pytest.mark.parametrize("kind", [GridPointing, DisconnectedPointing])
@pytest.mark.parametrize("name", ["ixg", "random", "rise"])
def test_scores_do_not_depend_on_batches(kind, name, tiny, scene):
    data, protocol = Tiles(), kind()
    together = scores_of(protocol, scene(tiny, data.ids[:8], data), maps_of(name)).values
    assert len(set(make_grids(scene(tiny, data.ids[:8], data), 2).own.tolist())) > 2
    for number in (0, 5, 7):
        alone = scores_of(protocol, scene(tiny, data.ids[number : number + 1], data), maps_of(name)).values
        assert torch.allclose(alone, together[number], rtol=1e-9)


@pytest.mark.parametrize("kind", [GridPointing, DisconnectedPointing])
def test_images_that_the_model_is_unsure_of_are_left_out(kind, tiny, scene):
    e = scene(tiny)
    sure = e.scores(e.logits(), "probability")
    protocol = kind(confidence=float(sure.median()) + 1e-9)
    kept = sure >= protocol.confidence
    assert kept.any() and not kept.all()
    prepared = protocol.prepare(e)
    assert sorted(n for pairs, _ in prepared.parts for n in pairs.tolist()) == kept.nonzero()[:, 0].tolist()
    scores = protocol.score_method(prepared, torch.zeros(6, 1, SIDE, SIDE), gradient)
    assert scores.status == [OK if k else UNDEFINED_REFERENCE for k in kept.tolist()]
    assert torch.equal(scores.values[kept], scores_of(kind(), scene(tiny), gradient).values[kept])
    none = scores_of(kind(confidence=1.0), e, gradient)
    assert none.status == [UNDEFINED_REFERENCE] * 6
    assert "images from 0.99" in kind(confidence=0.99).description


@pytest.mark.parametrize("kind", [GridPointing, DisconnectedPointing])
def test_the_output_of_the_run_is_explained(kind, tiny, scene):
    e = scene(tiny, output="probability")
    assert {part.output for _, part in kind().prepare(e).parts} == {"probability"}
    logit = scores_of(kind(), scene(tiny), maps_of("rise")).values
    assert torch.equal(scores_of(kind(), e, maps_of("rise")).values, logit), "RISE looks at probabilities anyway"


@pytest.mark.parametrize("kind", [GridPointing, DisconnectedPointing])
def test_maps_that_point_nowhere_are_undefined(kind, tiny, scene):
    def broken(e):
        maps = torch.rand(len(e.targets), 1, *e.images.shape[2:])
        for number, image_id in enumerate(e.pair_ids):
            maps[number] *= {"tile 0": 0, "tile 1": -1, "tile 2": torch.nan}.get(image_id, 1)
        return maps

    assert scores_of(kind(), scene(tiny), broken).status == [UNDEFINED_MAP] * 3 + [OK] * 3


def test_passes_are_those_of_the_run(tiny, scene):
    """Each grid is cells² inputs of the model, also through the copies that adapters make; networks are made once."""
    e, protocol = scene(tiny, Tiles().ids[:12], cam_layer=tiny[0], chunk=9), DisconnectedPointing()
    prepared = protocol.prepare(e)
    assert (e.runner.forwards, e.runner.backwards) == (0, 0) and len(prepared.parts) == 4
    chunks = []

    def again(make_evidence):
        chunks.append(make_evidence.runner.chunk)
        return gradient(make_evidence)

    protocol.score_method(prepared, torch.zeros(12, 1, SIDE, SIDE), again)
    assert (e.runner.forwards, e.runner.backwards) == (4 * 12, 4 * 12)
    assert chunks == [2] * 4 and e.runner.chunk == 9, "a grid takes the place of four images in a pass"
    before = e.runner.forwards
    protocol.score_method(prepared, torch.zeros(12, 1, SIDE, SIDE), maps_of("guided-backprop"))
    assert e.runner.forwards - before == 3 * 4 * 12, "the logits, a copy that is checked, and what captum runs"
    made = [protocol.network(e, own)[0] for own in range(4)]
    assert [part.runner for _, part in prepared.parts] == made and len(set(made)) == 4
    assert [protocol.network(e.explaining(e.targets), own)[0] for own in range(4)] == made


def test_a_chunk_that_memory_halves_stays_halved(tiny, scene):
    e, protocol = scene(tiny, chunk=32), GridPointing()

    def again(make_evidence):
        make_evidence.runner.chunk = 3
        return gradient(make_evidence)

    scores_of(protocol, e, again)
    assert e.runner.chunk == 12


def test_networks_for_one_size_are_refused_by_grid_pg_alone(scene):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * SIDE**2, CLASSES))
    net.double().eval().requires_grad_(False)
    with pytest.raises(XaibenchError, match="the model cannot take grids of 16x16 pixels, which grid-pg") as raised:
        GridPointing().prepare(scene(net))
    assert "\n" not in str(raised.value)
    assert scores_of(DisconnectedPointing(), scene(net), gradient).values.tolist() == [1] * 6
    assert (
        scores_of(DisconnectedPointing(), scene(net, cam_layer=net[1]), maps_of("layer-cam")).values.tolist() == [1] * 6
    )


def test_logits_are_picked_out_of_what_the_network_returns(tiny, scene):
    class DictOutput(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = tiny

        def forward(self, inputs):
            return {"logits": self.net(inputs), "other": inputs}

    e = scene(DictOutput(), cam_layer=tiny[0])
    with pytest.raises(XaibenchError, match=r"the model returns dict, not logits \(N, K\)"):
        scores_of(DisconnectedPointing(), e, gradient)
    e = scene(DictOutput(), cam_layer=tiny[0])
    e.runner.output = lambda raw: raw["logits"]
    assert scores_of(DisconnectedPointing(), e, gradient).values.tolist() == [1] * 6
    assert torch.equal(
        scores_of(GridPointing(), e, gradient).values, scores_of(GridPointing(), scene(tiny), gradient).values
    )


@pytest.mark.parametrize("kind", [GridPointing, DisconnectedPointing])
def test_what_cannot_be_judged_is_said(kind, tiny, scene, evidence, images, labels):
    with pytest.raises(XaibenchError, match=r"it needs the method, not maps; use `xaibench.run`"):
        kind().score(kind().prepare(scene(tiny)), torch.zeros(6, 1, SIDE, SIDE))
    with pytest.raises(XaibenchError, match=r"grids need other images of the data set; use `xaibench.run`"):
        kind().prepare(evidence(tiny, images, labels))
    with pytest.raises(XaibenchError, match=r"a grid of 3x3 shows as many classes as cells; data set tiles has .* 5"):
        kind(cells=3).prepare(scene(tiny))
    with pytest.raises(XaibenchError, match="cells is a whole number of at least 2, not 1"):
        kind(cells=1)
    with pytest.raises(XaibenchError, match="confidence is a number from 0 to 1, not 2"):
        kind(confidence=2)
    with pytest.raises(XaibenchError, match="attribution_output is logit or probability, not 'loss'"):
        kind(attribution_output="loss")


@pytest.mark.parametrize("name", ["grid-pg", "difull"])
def test_cards_list_every_setting_with_its_default(name):
    card = registry.card("protocol", name)
    assert make_protocol(card, {}) == registry.load(card)()
    assert set(card.parameters) == {field.name for field in fields(registry.load(card))}


@pytest.mark.process
def test_a_whole_run(home):
    methods = ["ixg", "grad-cam", "layer-cam", "random"]
    results = xaibench.run("grid-pg,difull", model="tiny", dataset="mini", methods=methods, images=4, out="a")
    rows = results.rows
    assert len(rows) == 2 * 4 * 4 and rows["score"].dropna().between(0, 1).all()
    assert all(results.leaderboard(name).title for name in ("grid-pg", "difull"))
    difull = rows[rows["protocol"] == "difull"]
    assert difull[difull["method"] == "ixg"]["score"].tolist() == [1] * 4
    # the map of a cell is 8x8: enlarging it carries some over the borders
    assert (difull[difull["method"] == "layer-cam"]["score"].dropna() > 0.8).all()
    for name in ("grid-pg", "difull"):
        random = rows[(rows["protocol"] == name) & (rows["method"] == "random")]
        assert random["score"].tolist() == pytest.approx([0.25] * 4, abs=0.02)
    more = xaibench.run("grid-pg,difull", model="tiny", dataset="mini", methods="ixg", images=6, batch_size=3, out="b")
    few, many = (
        r.rows[r.rows["method"] == "ixg"].set_index(["protocol", "image_id"])["score"] for r in (results, more)
    )
    assert many[few.index].tolist() == pytest.approx(few.tolist(), rel=1e-4)
