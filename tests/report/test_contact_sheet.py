"""Contact sheets: what is on them can be found again in their pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xaibench.datasets.base import Annotation, Sample
from xaibench.datasets.critters import Critters
from xaibench.errors import XaibenchError
from xaibench.report.contact_sheet import PAPER, contact_sheet, fit, overlay


def plain(height: int, width: int, label: int = 0) -> Sample:
    ramp = np.arange(height * width * 3, dtype=np.int64).reshape(height, width, 3) * 7 % 251
    return Sample(f"folder/{height}x{width}.png", ramp.astype(np.uint8), label, "00")


def square(height: int, width: int) -> Annotation:
    mask = np.zeros((1, height, width), dtype=bool)
    mask[0, 2:6, 3:9] = True
    return Annotation((0,), np.array([[3, 2, 9, 6]]), np.array([0]), mask)


def holds(sheet: np.ndarray, block: np.ndarray) -> bool:
    """Whether a block of pixels occurs in a sheet."""
    height, width = block.shape[:2]
    rows, columns = np.nonzero((sheet == block[0, 0]).all(-1))
    spots = zip(rows.tolist(), columns.tolist(), strict=True)
    return any(np.array_equal(sheet[y : y + height, x : x + width], block) for y, x in spots)


def test_images_are_enlarged_by_whole_numbers_and_stand_next_to_their_twins(tmp_path: Path) -> None:
    samples = [plain(20, 30), plain(16, 16)]
    annotations = [square(20, 30), None]
    path = contact_sheet(samples, annotations, ["bird"], "a title", tmp_path / "new" / "sheet.png", tile=64)
    sheet = np.asarray(Image.open(path).convert("RGB"))
    for sample, factor in zip(samples, (2, 4), strict=True):
        enlarged = np.kron(sample.image, np.ones((factor, factor, 1), dtype=np.uint8))
        assert np.array_equal(fit(sample.image, 64), enlarged)
        assert holds(sheet, enlarged)
    assert holds(sheet, overlay(samples[0].image, annotations[0], ["bird"], 64))
    assert (sheet[:20] == PAPER).all() and (sheet[:, :20] == PAPER).all()
    assert (sheet[-20:] == PAPER).all() and (sheet[:, -20:] == PAPER).all()
    assert (sheet[28:60] != PAPER).any()


def test_the_twin_is_tinted_where_the_instance_is() -> None:
    image = np.full((20, 30, 3), 120, dtype=np.uint8)
    twin = overlay(image, square(20, 30), [""], 120).astype(int)
    assert twin.shape == (80, 120, 3)
    assert (twin[13:19, 17:31] != 120).any(-1).all()
    assert (twin[40:] == 120).all() and (twin[:, 60:] == 120).all()


def test_large_images_are_reduced_to_fit() -> None:
    image = np.zeros((600, 400, 3), dtype=np.uint8)
    image[300:] = 200
    small = fit(image, 192)
    assert small.shape == (192, 128, 3)
    assert small[90, 64, 0] == 0 and small[100, 64, 0] == 200
    mask = np.zeros((1, 600, 400), dtype=bool)
    mask[0, 300:, 200:] = True
    twin = overlay(image, Annotation((0,), np.array([[200, 300, 400, 600]]), np.array([0]), mask), ["x"], 192)
    assert (twin[110:, 70:] != small[110:, 70:]).any(-1).all()
    assert np.array_equal(twin[:, :60], small[:, :60])


def test_without_annotations_there_are_no_twins(tmp_path: Path) -> None:
    samples = [plain(32, 32), plain(32, 32, label=7)]
    path = contact_sheet(samples, None, ["bird"], "plain " * 99, tmp_path / "plain.png", columns=2, tile=64)
    twins = contact_sheet(samples, [square(32, 32)] * 2, ["bird"], "t", tmp_path / "twins.png", columns=2, tile=64)
    assert Image.open(twins).width - Image.open(path).width == 2 * (64 + 4)


@pytest.mark.parametrize(("size", "count"), [(64, 20), (192, 6)])
def test_sheets_stay_below_300_kilobytes(tmp_path: Path, size: int, count: int) -> None:
    data = Critters(size=size)
    ids = data.ids[:count]
    samples, annotations = [data.load(i) for i in ids], [data.annotate(i) for i in ids]
    path = contact_sheet(samples, annotations, data.classes, "critters", tmp_path / "sheet.png")
    assert path.stat().st_size < 300_000
    assert min(Image.open(path).size) > 500


def test_mistakes_are_told(tmp_path: Path) -> None:
    with pytest.raises(XaibenchError, match="no samples"):
        contact_sheet([], None, [], "", tmp_path / "x.png")
    with pytest.raises(XaibenchError, match="1 samples but 2 annotations"):
        contact_sheet([plain(9, 9)], [None, None], [], "", tmp_path / "x.png")
    with pytest.raises(XaibenchError, match="masks of folder/9x9"):
        contact_sheet([plain(9, 9)], [square(20, 20)], [""], "", tmp_path / "x.png")
