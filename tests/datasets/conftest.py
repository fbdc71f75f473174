"""Miniatures of published layouts that several tests read, and torchvision's resize and crop as an oracle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SPECIES = ("001.Black_footed_Albatross", "002.Laysan_Albatross", "003.Scissor_tailed_Flycatcher")


@pytest.fixture
def cub(tmp_path) -> Path:
    """A CUB_200_2011 of three species and twelve photos of 60 x 40 to 49 x 51 pixels.

    Images 1, 2, 5, 6, 9 and 10 are training images. The box of image n is x 10 + n, y 5, 20 wide, 16 high; its
    segmentation is 255 in the box and 100 just left of it.
    """
    return make_cub(tmp_path / "CUB_200_2011")


def make_cub(root: Path) -> Path:
    random, tables = np.random.default_rng(0), {}
    for number in range(1, 13):
        species = SPECIES[(number - 1) // 4]
        name, (width, height) = f"{species}/{species[4:]}_{number:04d}.jpg", (61 - number, 39 + number)
        photo, grey = root / "images" / name, np.zeros((height, width), np.uint8)
        grey[5:21, 10 + number : 30 + number], grey[5:21, 5 + number : 10 + number] = 255, 100
        for path, pixels in (
            (photo, random.integers(0, 256, (height, width, 3), dtype=np.uint8)),
            ((root / "segmentations" / name).with_suffix(".png"), grey),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
        for file, words in (
            ("images", name),
            ("image_class_labels", (number - 1) // 4 + 1),
            ("train_test_split", int(number % 4 in (1, 2))),
            ("bounding_boxes", f"{10 + number}.0 5.0 20.0 16.0"),
        ):
            tables.setdefault(file, []).append(f"{number} {words}\n")
    tables["classes"] = [f"{n} {species}\n" for n, species in enumerate(SPECIES, 1)]
    for file, lines in tables.items():
        (root / f"{file}.txt").write_text("".join(lines))
    return root


@pytest.fixture
def theirs():
    """theirs(mask or photo, resize, crop): what torchvision's resize and centre crop make of an array."""
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as F

    def placed(pixels: np.ndarray, resize: int, crop: int) -> np.ndarray:
        how = InterpolationMode.BILINEAR if pixels.ndim == 3 else InterpolationMode.NEAREST
        image = Image.fromarray(pixels.astype(np.uint8))
        return np.array(F.center_crop(F.resize(image, resize, how), [crop, crop])).astype(pixels.dtype)

    return placed
