"""Contact sheets: what is on them can be found again in their pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xaibench.datasets.base import Annotation, Sample
from xaibench.datasets.critters import Critters
from xaibench.errors import XaibenchError
from xaibench.report import overlay as drawing
from xaibench.report.contact_sheet import PAPER, contact_sheet
from xaibench.report.overlay import HUES, UNDECIDED, fit, overlay


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


@pytest.mark.slow
@pytest.mark.parametrize(("size", "count"), [pytest.param(64, 20, marks=pytest.mark.process), (192, 6)])
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


def grey(side: int = 40) -> np.ndarray:
    return np.full((side, side, 3), 120, dtype=np.uint8)


def region(rows: slice, columns: slice, side: int = 40) -> np.ndarray:
    mask = np.zeros((side, side), dtype=bool)
    mask[rows, columns] = True
    return mask


def test_masks_of_classes_are_tinted_and_named_where_there_are_no_instances() -> None:
    """The second class has a mask and no box: it is named all the same; both have the colour of their class."""
    none = np.zeros((0, 40, 40), dtype=bool)
    masks = {4: region(slice(2, 12), slice(2, 12)), 7: region(slice(24, 36), slice(20, 36))}
    known = Annotation((4,), np.array([[2, 2, 12, 12]]), np.array([4]), none, masks=masks)
    twin = overlay(grey(), known, [], 160).astype(int)
    assert (twin[66:90, 0:70] == 120).all() and (twin[100:140, 84:140] != 120).any(-1).all()
    assert tuple(twin[30, 30]) == tuple(np.round(0.52 * 120 + 0.48 * np.array(HUES[0])).astype(int))
    assert tuple(twin[120, 110]) == tuple(np.round(0.52 * 120 + 0.48 * np.array(HUES[1])).astype(int))
    name = (twin[82:96, 80:] == HUES[1]).all(-1)
    assert name.any(axis=1).all() and name[:, :30].sum() > 14 * 15, "a filled label above the mask"
    assert not (twin[:, :3] == HUES[1]).all(-1).any()


def test_undecided_pixels_are_striped_in_grey() -> None:
    known = Annotation((0,), np.zeros((0, 4), int), np.zeros(0, int), np.zeros((0, 40, 40), bool),
                       ignored=region(slice(10, 20), slice(0, 40)))  # fmt: skip
    twin = overlay(grey(), known, [], 160)
    striped = (twin == UNDECIDED).all(-1)
    assert striped[40:80].mean() == pytest.approx(0.5, abs=0.02) and not striped[:40].any() and not striped[80:].any()


def test_boxes_without_masks_are_drawn_and_those_cut_off_are_not() -> None:
    boxes = np.array([[4, 4, 20, 20], [40, 3, 40, 30]])
    known = Annotation((0,), boxes, np.array([0, 1]), np.zeros((0, 40, 40), bool))
    twin = overlay(grey(), known, ["a", "b"], 160)
    assert (twin[16:80, 16] == HUES[0]).all() and not (twin == HUES[1]).all(-1).any()


def test_of_a_crowd_the_largest_of_each_class_is_named() -> None:
    boxes = np.array([[2 + 4 * (i % 8), 20, 5 + 4 * (i % 8), 23] for i in range(8)] + [[2, 26, 30, 38]])
    for labels, filled in ((np.zeros(9, int), 1), (np.arange(9), 9)):
        known = Annotation((0,), boxes, labels, np.zeros((0, 40, 40), bool))
        named = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(drawing, "_tag", lambda pen, text, *more, named=named: named.append(text))
            overlay(grey(), known, list("abcdefghi"), 160)
        assert len(named) == filled


def test_a_mask_of_another_size_is_an_error_wherever_it_is(tmp_path: Path) -> None:
    none, nothing = np.zeros((0, 9, 9), dtype=bool), (np.zeros((0, 4), int), np.zeros(0, int))
    for more in ({"masks": {0: region(slice(0, 3), slice(0, 3))}}, {"ignored": region(slice(0, 3), slice(0, 3))}):
        with pytest.raises(XaibenchError, match="masks of folder/9x9"):
            contact_sheet([plain(9, 9)], [Annotation((0,), *nothing, none, **more)], [""], "", tmp_path / "x.png")
