"""ImageNet-S: numbers of masks become ImageNet's classes, whatever the subset, and files that are wrong are named."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from xaibench import registry
from xaibench.cards import Geometry
from xaibench.datasets.imagenet import class_names, wordnet_ids
from xaibench.datasets.imagenet_s import ImageNetS50, ImageNetS300, read_numbers
from xaibench.datasets.open import open_dataset
from xaibench.errors import XaibenchError

GEOMETRY = Geometry(resize=24, crop=20)
WIDTH, HEIGHT = 50, 40


def folders(count: int) -> list[str]:
    """As many WordNet ids, from all over the list of 1000."""
    return [wordnet_ids()[index] for index in np.linspace(3, 997, count).astype(int)]


def encoded(numbers: np.ndarray) -> np.ndarray:
    """Numbers as the published masks have them, (height, width, 3) uint8."""
    return np.stack([numbers % 256, numbers // 256, 0 * numbers], 2).astype(np.uint8)


def drawn(subset: int) -> np.ndarray:
    """The second class in a large piece and a dot, the last in a small one, an undecided edge."""
    numbers = np.zeros((HEIGHT, WIDTH), np.int64)
    numbers[8:30, 10:30] = 2
    numbers[34:36, 30:32] = 2
    numbers[10:18, 32:40] = subset
    numbers[30, 10:30] = 1000
    return numbers


@pytest.fixture
def subset(tmp_path):
    """subset(50): the folder that holds ImageNetS50, with one photo of the second class in validation and test."""

    def make(count=50, mask=None, names=None):
        top = tmp_path / f"ImageNetS{count}"
        for split in ("validation", "train-semi", "test"):
            for name in names or folders(count):
                (top / split / name).mkdir(parents=True)
            photo = f"{folders(count)[1]}/ILSVRC2012_val_00000007"
            pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(top / split / f"{photo}.JPEG")
            if split != "test":
                path = top / f"{split}-segmentation" / f"{photo}.png"
                path.parent.mkdir(parents=True)
                (mask or Image.fromarray(encoded(drawn(count)))).save(path)
        return tmp_path

    return make


def shown(mask: np.ndarray) -> np.ndarray:
    """A mask through torchvision's transforms."""
    resized = F.resize(Image.fromarray(mask.astype(np.uint8)), 24, InterpolationMode.NEAREST)
    return np.array(F.center_crop(resized, [20, 20])).astype(bool)


@pytest.mark.parametrize("count", [50, 300, 919])
def test_numbers_are_places_in_the_sorted_folders(count, subset):
    card = registry.card("dataset", f"imagenet-s{count}")
    assert card.geometry == Geometry(resize=256, crop=224)
    card = card.model_copy(update={"geometry": GEOMETRY})
    data = open_dataset(card, subset(count), {})
    (image_id,), numbers = data.ids, drawn(count)
    own, other = (wordnet_ids().index(folders(count)[place - 1]) for place in (2, count))
    assert image_id == f"validation/{folders(count)[1]}/ILSVRC2012_val_00000007.JPEG"
    assert data.label(image_id) == own and data.labels(image_id) == (own, other) and len(data.classes) == 1000
    found = data.annotate(image_id)
    assert found.labels == (own, other) and found.box_labels.tolist() == [own, other]
    for label, number in ((own, 2), (other, count)):
        np.testing.assert_array_equal(found.masks[label], shown(numbers == number))
    np.testing.assert_array_equal(found.ignored, shown(numbers == 1000))
    np.testing.assert_array_equal(found.objects["annotated"], np.stack([found.masks[own], found.masks[other]]))
    assert found.instances.shape == (0, 20, 20)


def test_a_class_has_one_box_around_all_of_its_pieces(subset):
    data = ImageNetS50(subset(), Geometry(resize=40, crop=40))  # columns 5 to 44
    assert data.annotate(data.ids[0]).boxes.tolist() == [[5, 8, 27, 36], [27, 10, 35, 18]]


def test_further_classes_come_by_size(subset):
    numbers = np.zeros((HEIGHT, WIDTH), np.int64)
    numbers[:2, :4], numbers[5:9, :4], numbers[20:26, :4], numbers[30:32, :4] = 2, 7, 9, 5
    data = ImageNetS50(subset(mask=Image.fromarray(encoded(numbers))), GEOMETRY)
    by_size = [wordnet_ids().index(folders(50)[place - 1]) for place in (2, 9, 7, 5)]
    assert list(data.labels(data.ids[0])) == by_size == list(data.annotate(data.ids[0]).labels)


def test_a_photo_whose_mask_lacks_its_class(subset):
    mask = Image.fromarray(encoded(np.where(drawn(50) == 2, 0, drawn(50))))
    data = ImageNetS50(subset(mask=mask), GEOMETRY)
    found, own = data.annotate(data.ids[0]), wordnet_ids().index(folders(50)[1])
    assert found.labels[0] == own and len(found.labels) == 2 and own not in found.box_labels
    data = ImageNetS50(subset_of_nothing(data), GEOMETRY)
    found = data.annotate(data.ids[0])
    assert found.labels == (own,) and found.boxes.shape == (0, 4) and found.objects["annotated"].shape == (0, 20, 20)


def subset_of_nothing(data):
    Image.fromarray(encoded(np.zeros((HEIGHT, WIDTH), int))).save(next(data.masks.rglob("*.png")))
    return data.root


def test_splits_and_roots(subset):
    root = subset()
    for place in (root, root / "ImageNetS50"):
        assert ImageNetS50(place, GEOMETRY, "train-semi").ids == [
            f"train-semi/{folders(50)[1]}/ILSVRC2012_val_00000007.JPEG"
        ]
    test = ImageNetS50(root, GEOMETRY, "test")
    assert test.knows == frozenset() and test.labels(test.ids[0]) == (wordnet_ids().index(folders(50)[1]),)
    assert test.load(test.ids[0]).digest == test.digest(test.ids[0])
    with pytest.raises(XaibenchError, match="imagenet-s50: no masks are published for its split test"):
        test.annotate(test.ids[0])
    with pytest.raises(XaibenchError, match="imagenet-s50: split 'val' is unknown"):
        ImageNetS50(root, GEOMETRY, "val")
    with pytest.raises(XaibenchError, match="has no folder train, nor ImageNetS50/train"):
        ImageNetS50(root, GEOMETRY, "train")


def test_the_digest_covers_the_mask(subset):
    data = ImageNetS50(subset(), GEOMETRY)
    before = data.digest(data.ids[0])
    subset_of_nothing(data)
    assert before != data.digest(data.ids[0]) == data.load(data.ids[0]).digest
    assert [piece.count for piece in data.pieces()] == [1, 1]


def test_folders_that_are_not_the_subset(subset, tmp_path):
    with pytest.raises(XaibenchError, match="has 49 class folders, not 50: masks have places in the list of all"):
        ImageNetS50(subset(names=folders(50)[:49]), GEOMETRY)
    with pytest.raises(XaibenchError, match="has no folder validation, nor ImageNetS300/validation"):
        ImageNetS300(tmp_path, GEOMETRY)


def test_a_folder_that_is_no_class(subset):
    with pytest.raises(XaibenchError, match="has the folder 'cats', which is no WordNet id"):
        ImageNetS50(subset(names=[*folders(50)[:49], "cats"]), GEOMETRY)


def test_masks_that_are_missing(subset):
    data = ImageNetS50(subset(), GEOMETRY)
    next(data.masks.rglob("*.png")).unlink()
    with pytest.raises(XaibenchError, match=r"ILSVRC2012_val_00000007.png cannot be read as an image: .*No such file"):
        data.annotate(data.ids[0])
    assert data.pieces()[-1].count is None
    (data.root / "validation-segmentation").rename(data.root / "masks")
    with pytest.raises(XaibenchError, match="validation-segmentation is missing"):
        ImageNetS50(data.root, GEOMETRY)


BLUE = encoded(drawn(50)) + np.array([0, 0, 1], np.uint8)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (Image.new("L", (WIDTH, HEIGHT)), "mask .*a.png has the mode L; ImageNet-S keeps numbers in red and green"),
        (Image.new("RGB", (WIDTH, 9)), "mask .*a.png is 50 x 9 pixels, its photo 50 x 40"),
        (Image.fromarray(encoded(np.full((HEIGHT, WIDTH), 51))), "a.png has the number 51; ImageNet-S-50 has 0 to 50"),
        (Image.fromarray(encoded(np.full((HEIGHT, WIDTH), 1001))), "a.png has the number 1001"),
        (Image.fromarray(BLUE), "a.png has blue pixels"),
    ],
)
def test_masks_that_are_wrong(image, message, tmp_path):
    image.save(tmp_path / "a.png")
    with pytest.raises(XaibenchError, match=message):
        read_numbers(tmp_path / "a.png", (WIDTH, HEIGHT), 50)


def test_the_classes_are_those_of_imagenets_networks(subset):
    data = open_dataset(registry.card("dataset", "imagenet-s50"), subset(), {})
    assert data.classes == class_names() and data.load(data.ids[0]).image.shape == (224, 224, 3)
