"""Alignment without labels: a step by hand, a teacher that stays as it was, images that no run evaluates."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from xaibench import registry
from xaibench.cards import Alignment, Geometry
from xaibench.datasets.base import Dataset, Sample
from xaibench.datasets.folder import ImageFolder
from xaibench.datasets.wrapped import Some
from xaibench.errors import XaibenchError
from xaibench.models.state import read_header
from xaibench.results.manifest import load_runs
from xaibench.results.store import Store
from xaibench.training.api import plan_training
from xaibench.training.config import TrainingConfig
from xaibench.training.recipe import Recipe
from xaibench.training.self_alignment import answer_loss, frozen_copy, soft_targets
from xaibench.training.steps import make_optimizer
from xaibench.training.task import LAST
from xaibench.training.unlabelled import aligned_on, check_unseen, lost_answers, open_unlabelled, source_digest

SELF = ("train", "patch-deletion", "--teacher", "self", "--model", "tiny", "--dataset", "mini", "--device", "cpu")
SMALL = ("--epochs", "1", "--quiet")


@pytest.fixture(scope="module")
def small_home(untrained_home):
    """The small home without what other tests trained: of several plain weights none would be chosen."""
    return untrained_home


class Random(Dataset):
    """Eight random images with given labels."""

    name, classes = "random", ("a", "b", "c")

    def __init__(self, labels):
        self.ids, self.labelled = [f"{number}" for number in range(8)], labels

    def load(self, image_id):
        pixels = np.random.default_rng(int(image_id)).integers(0, 255, (32, 32, 3), dtype=np.uint8)
        return Sample(image_id, pixels, self.labelled[int(image_id)], image_id)

    def digest(self, image_id):
        return image_id


class Epoch:
    """What the loss asks of images: the epoch."""

    epoch = 0


def lose_first(images, draws, epoch):
    """Deletes the first column of the first image of a batch, and remembers how it was asked."""
    lose_first.asked = (list(draws), epoch)
    shown = images.clone()
    shown[0, :, :, 0] = 0
    return shown


def make_batch():
    draw = torch.Generator().manual_seed(0)
    return torch.randn(3, 1, 2, 2, generator=draw, dtype=torch.float64), torch.tensor([0, 1, 0]), ["a", "a", "b"]


def make_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).double()


@pytest.mark.parametrize("loss", ["cross-entropy", "binary-cross-entropy"])
def test_a_step_is_that_by_hand(loss):
    """The gradient of both losses by the logits is (the student's probability - the teacher's) / what is averaged."""
    net, batch = make_network(), make_batch()
    teacher = frozen_copy(net)
    with torch.no_grad():
        net[1].weight += 0.3  # so that the student is not its teacher
        net[1].weight[0] -= 0.9
    recipe = Recipe(loss=loss, learning_rate=0.1, momentum=0, weight_decay=0.01)
    optimizer = make_optimizer(net, recipe)
    before = net[1].weight.detach().numpy().copy(), net[1].bias.detach().numpy().copy()
    terms = answer_loss(teacher, lose_first, Epoch(), soft_targets(recipe))(net, batch)
    terms["loss"].backward()
    optimizer.step()

    def chances(x, weight, bias):
        z = weight @ x + bias
        return 1 / (1 + np.exp(-z)) if loss.startswith("binary") else np.exp(z) / np.exp(z).sum()

    slope, offset, value = np.zeros((3, 4)), np.zeros(3), 0.0
    averaged = 9 if loss.startswith("binary") else 3
    for number, image in enumerate(batch[0].numpy()):
        seen = image.copy()
        if number == 0:
            seen[:, :, 0] = 0
        right = chances(image.ravel(), teacher[1].weight.numpy(), teacher[1].bias.numpy())
        found = chances(seen.ravel(), *before)
        slope += np.outer(found - right, seen.ravel()) / averaged
        offset += (found - right) / averaged
        value -= (right * np.log(found)).sum() / averaged
        if loss.startswith("binary"):
            value -= ((1 - right) * np.log(1 - found)).sum() / averaged
    assert float(terms["loss"].detach()) == pytest.approx(value, abs=1e-12)
    np.testing.assert_allclose(net[1].weight.detach(), before[0] - 0.1 * (slope + 0.01 * before[0]), atol=1e-12)
    np.testing.assert_allclose(net[1].bias.detach(), before[1] - 0.1 * (offset + 0.01 * before[1]), atol=1e-12)
    assert lose_first.asked == (["a, pass 0", "a, pass 1", "b, pass 0"], 0), "a photo that comes again is drawn again"


def test_the_teacher_learns_nothing():
    """Its answers stay those of the intact image by the first weights, by normalisation layers too."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(16, 3)).double()
    teacher, batch = frozen_copy(net), make_batch()
    kept = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    optimizer, loss = (
        make_optimizer(net, Recipe(learning_rate=1)),
        answer_loss(teacher, lose_first, Epoch(), soft_targets(Recipe())),
    )
    for _ in range(3):
        loss(net.train(), batch)["loss"].backward()
        optimizer.step()
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in teacher.parameters())
    assert all(torch.equal(tensor, kept[name]) for name, tensor in teacher.state_dict().items())
    assert all(not torch.equal(p, kept[name]) for name, p in net.named_parameters())


def objective(labels):
    """The objective on eight random images with these labels."""
    from xaibench.models.open import build_model, model_card
    from xaibench.training.self_alignment import SelfAlignment
    from xaibench.training.task import Split

    torch.manual_seed(0)
    model = build_model(model_card("tiny"), 3, Geometry(resize=32, crop=32))
    data = Random(labels)
    task = SelfAlignment(Alignment(grid=4, baseline="zero", probability=0.5, teacher="self", images=8))
    recipe = Recipe(**task.recipe, augmentation="flip")
    return model, task.objective(model, Split(data, data, Geometry(resize=32, crop=32)), recipe, 0, 0)


def test_labels_do_not_matter_and_the_last_epoch_is_kept(home):
    found = []
    for labels in ([0] * 8, [2, 1, 0, 2, 1, 0, 2, 1]):
        model, made = objective(labels)
        items = [made.data[index] for index in (0, 3, 8, 11)]  # of two passes
        assert [turn for _, turn, _ in items] == [0, 0, 1, 1] and len(made.data) == 1024
        images, turns, ids = (list(part) for part in zip(*items, strict=True))
        terms = made.loss(model.net, (torch.stack(images), torch.tensor(turns), ids))
        found.append({name: float(value.detach()) for name, value in terms.items()} | made.evaluate(model.net))
        assert made.monitor == LAST
    assert found[0] == found[1] and found[0]["agreement"] == 1, "nothing has been learnt yet"


def plan(**options):
    return plan_training(TrainingConfig(model="tiny", dataset="mini", task="patch-deletion", task_options=options))


@pytest.fixture
def plain(home, command):
    status, _, error = command("train", "classifier", "--model", "tiny", "--dataset", "mini", "--device", "cpu", *SMALL)
    assert status == 0, error
    return home


@pytest.mark.slow
@pytest.mark.process
def test_a_run_takes_them_when_asked_and_never_evaluates_their_images(plain, command, tmp_path):
    status, printed, error = command(*SELF, "--images", 40, *SMALL, "--name", "own_teacher")
    assert status == 0 and "the answer stays the same for" in printed, error
    run = ("run", "idsds", "--dataset", "mini", "--methods", "ixg,random", "--device", "cpu", "--quiet", "--out", "r")
    for words in (("--model", "tiny", "--weights", "self-aligned"), ("--model", "own_teacher")):
        status, printed, error = command(*run, *words)
        assert status == 0 and "self-aligned on 40 unlabelled images" in printed, error
        assert "model: aligned without labels on 40 images of critters" in printed
    status, printed, _ = command(*run, "--model", "tiny")
    assert status == 0 and "tiny (aligned, last map" in printed.splitlines()[0], "published alignment, on another board"
    refused = command(*run, "--model", "own_teacher", "--dataset-option", "split=train", "--images", 48)
    assert (
        refused[0] and "were aligned on 35 of the 40 images of this run" in refused[2] and refused[2].count("\n") == 1
    )
    refused = command(*run, "--model", "tiny", "--weights", "self-aligned", "--setting", "grid=8")
    assert refused[0] and "train patch-deletion --model tiny --dataset mini --grid 8" in refused[2]
    assert "--teacher self" in refused[2]
    card = registry.card("model", "own_teacher")
    assert card.aligned.alignment.teacher == "self" and card.aligned.alignment.images == 40
    assert "unlabelled images: from critters" in card.notes
    header = read_header(plain / card.plain.file)
    assert len(set(header["aligned_on"])) == 40 and header["monitor"] == LAST
    recorded = [m.training for m in load_runs(Store.open(tmp_path / "r")) if "unlabelled" in m.training]
    assert len(recorded) == 2 and all(found["unlabelled"]["from"] == "critters" for found in recorded)
    assert not any("aligned_on" in found for found in recorded), "no list of digests in every record"
    second = (*run, "--weights", "plain", "--reference-weights", "self-aligned", "--model", "tiny", "--images", 48)
    second = [word if word != "idsds" else "model-similarity" for word in second]
    refused = command(*second, "--dataset-option", "split=train")
    assert refused[0] and "the second model (--reference-model, --reference-weights): the weights were" in refused[2]


def test_answers_that_an_alignment_changed_are_told():
    header = {"unlabelled": {"from": "photos"}, "metrics": {"agreement": 0.68, "agreement_deleted": 0.95}}
    assert "the answer to only 68.0% of the intact images" in lost_answers(header)
    for other in (header | {"metrics": {"agreement": 0.9}}, {"metrics": {"accuracy": 0.5}}, {}):
        assert lost_answers(other) is None


@pytest.mark.slow
@pytest.mark.process
def test_who_trains_and_who_runs_is_warned_of_another_network(plain, command, monkeypatch):
    """Where more is asked than that all answers stay."""
    monkeypatch.setattr("xaibench.training.unlabelled.STILL_ITSELF", 1.1)
    status, _, error = command(*SELF, "--images", 13, *SMALL, "--name", "forgetful")
    assert status == 0 and "warning: alignment without labels left the answer to only" in error, error
    run = ("run", "idsds", "--model", "forgetful", "--dataset", "mini", "--methods", "ixg", "--quiet", "--out", "r")
    status, _, error = command(*run, "--device", "cpu")
    assert status == 0 and "warning: model forgetful: alignment without labels left" in error, error


@pytest.mark.slow
@pytest.mark.process
def test_what_is_trained_from_them_does_not_evaluate_their_images_either(plain, command, tmp_path):
    """A training with labels that starts from them, and an alignment on other photos."""
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 40, 3), dtype=np.uint8)).save(photos / "0.png")
    before = set((plain / "models").rglob("weights.safetensors"))
    assert command(*SELF, "--images", 12, *SMALL)[0] == 0
    (first,) = set((plain / "models").rglob("weights.safetensors")) - before
    learnt = read_header(first)["aligned_on"]
    assert len(learnt) == 12
    further = ("--weights", first, *SMALL)
    for words in (
        (*SELF, "--photos", photos, "--images", 1),
        ("train", "classifier", *SELF[4:], "--recipe", "start=plain"),
    ):
        before = set((plain / "models").rglob("weights.safetensors"))
        status, _, error = command(*words, *further)
        assert status == 0, error
        (path,) = set((plain / "models").rglob("weights.safetensors")) - before
        found = read_header(path)["aligned_on"]
        assert found[:12] == learnt and len(found) == 12 + ("--photos" in words)


def test_a_copy_under_another_name_is_the_same_photo(tmp_path):
    photos, evaluated = tmp_path / "holiday", tmp_path / "evaluated"
    (evaluated / "cat").mkdir(parents=True)
    photos.mkdir()
    random, geometry = np.random.default_rng(0), Geometry(resize=32, crop=32)
    for number in range(4):
        photo = Image.fromarray(random.integers(0, 255, (50, 40, 3), dtype=np.uint8))
        photo.save(photos / f"{number}.png")
        photo.save(evaluated / "cat" / f"other{number}.png")
    card = registry.card("dataset", "imagefolder")
    found = open_unlabelled(card, None, {}, photos, 3)
    header = {"aligned_on": aligned_on(None, found)}
    data = ImageFolder(evaluated, geometry)
    for wrapped in (data, Some(data, data.ids)):
        with pytest.raises(XaibenchError, match="aligned on 3 of the 4 images of this run, such as cat/other"):
            check_unseen(header, wrapped, data.ids)
    kept = [name for name in data.ids if source_digest(data, name) not in header["aligned_on"]]
    assert len(kept) == 1 and check_unseen(header, data, kept) is None and check_unseen({}, data, data.ids) is None
    assert aligned_on(photos / "0.png", None) == [], "weights from elsewhere have no header"


@pytest.mark.process
def test_a_folder_of_photos_is_enough(plain, command, tmp_path):
    folder = tmp_path / "holiday"
    (folder / "more").mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(6):
        place = folder / ("more" if number % 2 else ".") / f"{number}.png"
        Image.fromarray(random.integers(0, 255, (50, 40, 3), dtype=np.uint8)).save(place)
    (folder / "notes.txt").write_text("no photo")
    words = (*SELF, "--photos", folder, *SMALL)
    status, _, error = command(*words)
    assert status and f"{folder} has 6 images, not 256; take --images 6" in error
    status, _, error = command(*words, "--images", 4)
    assert status == 0, error
    paths = {plan(teacher="self", images=n, photos=str(folder)).path for n in (4, 5)}
    paths |= {plan(teacher="self", images=4).path, plan().path}
    assert len(paths) == 4
    for photo in (folder / "0.png", folder / "more" / "1.png"):  # one of them at least is among any five
        Image.fromarray(random.integers(0, 255, (50, 40, 3), dtype=np.uint8)).save(photo)
    assert plan(teacher="self", images=5, photos=str(folder)).path not in paths, "a photo was replaced"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--images", "8", "--teacher", "labels"), "--images is for unlabelled images; add --teacher self"),
        (("--photos", ".", "--teacher", "labels"), "--photos is for unlabelled images; add --teacher self"),
        (("--teacher", "none"), "teacher"),
        (("--images", "49"), "data set mini has, to learn from, 48 images, not 49; take --images 48, or name a folder"),
        (("--images", "0"), "images"),
        (("--photos", "nowhere", "--images", "4"), "nowhere is not a folder of photos"),
        (("--images", "8", "--recipe", "start=scratch"), "a network teaches itself what it has learnt"),
        (("--images", "8", "--recipe", "start=transfer"), "a network teaches itself what it has learnt"),
        (("--images", "8", "--recipe", "label_smoothing=0.1"), "uses no labels; leave out label_smoothing"),
        (("--images", "8", "--recipe", "loss=binary-cross-entropy"), "take --recipe loss=cross-entropy"),
    ],
)
def test_what_has_no_sense_is_refused_in_one_line(words, problem, home, command):
    if "label_smoothing" in problem or "loss=cross" in problem:
        assert command("train", "classifier", "--model", "tiny", "--dataset", "mini", *SMALL)[0] == 0
    status, printed, error = command(*SELF, *words, "--quiet")
    assert status and problem in error and not printed
    assert error.count("\n") == 1 or "Usage" in error


def test_an_alignment_without_labels_says_on_how_many_images():
    cells = {"grid": 4, "baseline": "zero", "probability": 0.5}
    found = Alignment(**cells, teacher="self", images=32)
    assert found.suits(Alignment(**cells)) and found.key_fields == cells | {"teacher": "self", "images": 32}
    assert str(found).endswith("taught by itself on 32 unlabelled images")
    for wrong in ({"teacher": "self"}, {"images": 3}):
        with pytest.raises(ValueError, match="has a number of images, others have none"):
            Alignment(**cells, **wrong)
    with pytest.raises(ValueError, match="deletion of cells only"):
        Alignment(kind="parts", probability=0.5, teacher="self", images=3)


def test_published_alignments_are_not_taken_for_those_without_labels():
    from xaibench.training.find import WeightsRequest

    cells = {"grid": 4, "baseline": "zero", "probability": 0.5}
    mine, published = cells | {"teacher": "self", "images": 32}, cells
    assert WeightsRequest("self-aligned").fits(mine) and not WeightsRequest("self-aligned").fits(published)
    assert WeightsRequest("aligned").fits(published) and not WeightsRequest("aligned").fits(mine)
    assert not WeightsRequest("plain").fits(mine) and not WeightsRequest("self-aligned").fits(None)
    with pytest.raises(XaibenchError, match="neither plain, nor aligned, nor self-aligned, nor a file"):
        registry_find("self_aligned")


def registry_find(choice):
    from xaibench.models.open import model_card
    from xaibench.training.find import WeightsRequest, find_weights

    return find_weights(model_card("resnet18"), registry.card("dataset", "critters"), WeightsRequest(choice), False)
