"""A contact sheet: images of a data set next to their annotated twins, for people to look at."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from xaibench.errors import XaibenchError
from xaibench.files import make_folder, write_atomic
from xaibench.report.image_inputs import Annotation, ImageSource, Sample
from xaibench.report.overlay import class_name, drawn_masks, fit, overlay, shorten

PAPER, TEXT, FAINT = (250, 249, 246), (38, 40, 48), (132, 134, 142)
MARGIN, GAP, TWIN_GAP, CAPTION = 28, 22, 4, 26
MAX_BYTES = 300_000


def sheet_path(path: str | Path) -> Path:
    """The path of a contact sheet; XaibenchError if it is no .png."""
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise XaibenchError(f"a contact sheet is a .png file, not {path.name!r}")
    return path


def dataset_sheet(
    data: ImageSource, name: str, count: int, path: str | Path, without: Collection[str] = ()
) -> Path | None:
    """Writes the contact sheet of the first `count` images of a data set's list, and returns its path.

    name: what the title calls the data set. without: ids that are not drawn, as their images cannot be read; None, and
    no file, where nothing remains. Raises XaibenchError as `contact_sheet`, and for images that cannot be read.
    """
    ids = [image_id for image_id in data.image_list(count) if image_id not in without]
    if not ids:
        return None
    annotations = [data.annotate(i) for i in ids] if set(data.knows) - {"redraw"} else None
    title = f"{name}: {len(ids)} of {len(data.ids)} images"
    return contact_sheet([data.load(i) for i in ids], annotations, data.classes, title, path)


def contact_sheet(
    samples: Sequence[Sample],
    annotations: Sequence[Annotation | None] | None,
    class_names: Sequence[str],
    title: str,
    path: str | Path,
    columns: int | None = None,
    tile: int = 192,
) -> Path:
    """Writes a PNG below 300 kB with a cell for each sample: the image, its annotated twin, and its class as caption.

    samples: images (H, W, 3) uint8 of any sizes; each is enlarged by a whole number, or reduced, to fit into a tile of
    `tile` pixels. annotations: one for each sample, with masks of the same size; None, for all or for one, leaves out
    the twin. Instances, or else the masks of classes, are tinted and outlined, boxes drawn and named, masks of classes
    without a box named too, and pixels that are left undecided hatched in grey. columns: cells in a row; None makes
    the sheet about as wide as high. Returns the path. Raises XaibenchError if there is nothing to show, if samples and
    annotations differ in number, if a mask has another size than its image, or if the file is no .png or cannot be
    written.
    """
    path = sheet_path(path)
    if not samples:
        raise XaibenchError("contact sheet: there are no samples to show; give at least one")
    annotations = [None] * len(samples) if annotations is None else annotations
    if len(annotations) != len(samples):
        raise XaibenchError(
            f"contact sheet: {len(samples)} samples but {len(annotations)} annotations; give one each, or None"
        )
    for sample, annotation in zip(samples, annotations, strict=True):
        if annotation is not None and any(m.shape[-2:] != sample.image.shape[:2] for m in drawn_masks(annotation)):
            raise XaibenchError(f"contact sheet: the masks of {sample.image_id} have another size than the image")
    sheet = _compose(samples, annotations, class_names, title, columns, tile)
    make_folder(path.parent)
    write_atomic(path, _small_png(sheet))
    return path


def _compose(
    samples: Sequence[Sample],
    annotations: Sequence[Annotation | None],
    class_names: Sequence[str],
    title: str,
    columns: int | None,
    tile: int,
) -> Image.Image:
    twins = any(annotation is not None for annotation in annotations)
    cell = 2 * tile + TWIN_GAP if twins else tile
    if columns is None:
        columns = max(1, round((len(samples) * (tile + CAPTION + GAP) / (cell + GAP)) ** 0.5 * 1.1))
    columns = min(columns, len(samples))
    rows = -(-len(samples) // columns)
    big, font, small = (ImageFont.load_default(size) for size in (26, 16, 12))
    width = 2 * MARGIN + columns * (cell + GAP) - GAP
    top = MARGIN + 44
    sheet = Image.new("RGB", (width, top + rows * (tile + CAPTION + GAP) - GAP + MARGIN), PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, MARGIN), shorten(title, big, width - 2 * MARGIN), fill=TEXT, font=big, anchor="lt")
    for i, (sample, annotation) in enumerate(zip(samples, annotations, strict=True)):
        x = MARGIN + i % columns * (cell + GAP)
        y = top + i // columns * (tile + CAPTION + GAP)
        _centre(sheet, fit(sample.image, tile), x, y, tile)
        if annotation is not None:
            _centre(sheet, overlay(sample.image, annotation, class_names, tile), x + tile + TWIN_GAP, y, tile)
        caption = shorten(class_name(class_names, sample.label), font, cell)
        pen.text((x, y + tile + 17), caption, fill=TEXT, font=font, anchor="ls")
        room = cell - font.getlength(caption) - 12
        identity = shorten(sample.image_id, small, room)
        pen.text((x + cell, y + tile + 17), identity, fill=FAINT, font=small, anchor="rs")
    return sheet


def _centre(sheet: Image.Image, image: np.ndarray, x: int, y: int, tile: int) -> None:
    """Pastes an image into the middle of a tile."""
    height, width = image.shape[:2]
    sheet.paste(Image.fromarray(image), (x + (tile - width) // 2, y + (tile - height) // 2))


def _small_png(sheet: Image.Image) -> bytes:
    """True colour if that is small enough, else ever fewer colours, at last ever smaller sizes."""
    data = _png(sheet)
    colours = 256
    while len(data) >= MAX_BYTES:
        # an octree: others take minutes on a sheet of photos, or lose their colours
        quantised = sheet.quantize(colours, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        data = _png(quantised)
        if colours > 128:
            colours //= 2
        else:
            sheet = sheet.resize((sheet.width * 4 // 5, sheet.height * 4 // 5), Image.Resampling.LANCZOS)
    return data


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
