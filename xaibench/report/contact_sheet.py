"""A contact sheet: images of a data set next to their annotated twins, for people to look at."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from xaibench.datasets.base import Annotation, Sample
from xaibench.errors import XaibenchError
from xaibench.results.files import make_folder, write_atomic

PAPER, TEXT, FAINT = (250, 249, 246), (38, 40, 48), (132, 134, 142)
# Colours of instances, told apart by people with any colour vision (after the qualitative palette of Okabe and Ito).
HUES = ((213, 94, 0), (0, 114, 178), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233))
MARGIN, GAP, TWIN_GAP, CAPTION = 28, 22, 4, 26
MAX_BYTES = 300_000


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
    the twin. Instances are tinted and outlined, boxes drawn and named. columns: cells in a row; None makes the sheet
    about as wide as high. Returns the path. Raises XaibenchError if there is nothing to show, if samples
    and annotations differ in number, if a mask has another size than its image, or if the file is no .png or cannot be
    written.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise XaibenchError(f"a contact sheet is a .png file, not {path.name!r}")
    if not samples:
        raise XaibenchError("contact sheet: there are no samples to show; give at least one")
    annotations = [None] * len(samples) if annotations is None else annotations
    if len(annotations) != len(samples):
        raise XaibenchError(
            f"contact sheet: {len(samples)} samples but {len(annotations)} annotations; give one each, or None"
        )
    for sample, annotation in zip(samples, annotations, strict=True):
        if annotation is not None and annotation.instances.shape[1:] != sample.image.shape[:2]:
            raise XaibenchError(f"contact sheet: the masks of {sample.image_id} have another size than the image")
    sheet = _compose(samples, annotations, class_names, title, columns, tile)
    make_folder(path.parent)
    write_atomic(path, _small_png(sheet))
    return path


def fit(image: np.ndarray, tile: int) -> np.ndarray:
    """An image (H, W, 3) uint8 enlarged by the largest whole factor that fits into a tile, or reduced to fit."""
    height, width = image.shape[:2]
    factor = tile // max(height, width)
    if factor >= 1:
        return image.repeat(factor, axis=0).repeat(factor, axis=1)
    scale = tile / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))


def overlay(image: np.ndarray, annotation: Annotation, class_names: Sequence[str], tile: int) -> np.ndarray:
    """The annotated twin of `fit(image, tile)`, uint8: tinted instances with outlines, and boxes with class names."""
    base = fit(image, tile).astype(np.float64)
    height, width = base.shape[:2]
    rows = np.arange(height) * image.shape[0] // height
    columns = np.arange(width) * image.shape[1] // width
    for i, instance in enumerate(annotation.instances):
        mask = instance[rows][:, columns]
        hue = np.array(HUES[i % len(HUES)], dtype=np.float64)
        base[mask] = 0.52 * base[mask] + 0.48 * hue
        base[_outline(mask)] = hue
    picture = Image.fromarray(base.round().astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(11)
    for i, (box, label) in enumerate(zip(annotation.boxes, annotation.box_labels, strict=True)):
        hue = HUES[i % len(HUES)]
        x0, x1 = (int(x) * width // image.shape[1] for x in box[[0, 2]])
        y0, y1 = (int(y) * height // image.shape[0] for y in box[[1, 3]])
        pen.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=hue, width=2)
        _tag(pen, _name(class_names, int(label)), (x0, y0, y1), (width, height), hue, font)
    return np.asarray(picture)


def _tag(
    pen: ImageDraw.ImageDraw,
    text: str,
    box: tuple[int, int, int],
    size: tuple[int, int],
    hue: tuple[int, int, int],
    font: ImageFont.ImageFont,
) -> None:
    """A small label on top of a box, below it or inside it where there is no room."""
    left, top, bottom = box
    text = _shorten(text, font, size[0] - 6)
    width, height = round(font.getlength(text)) + 6, 14
    y = top - height if top >= height else bottom if bottom + height <= size[1] else top
    x = max(0, min(left, size[0] - width))
    pen.rectangle((x, y, x + width - 1, y + height - 1), fill=hue)
    pen.text((x + 3, y + height // 2), text, fill=(255, 255, 255), font=font, anchor="lm")


def _outline(mask: np.ndarray) -> np.ndarray:
    """The pixels of a mask with a neighbour outside."""
    padded = np.pad(mask, 1)
    return mask & ~(padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:])


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
    pen.text((MARGIN, MARGIN), _shorten(title, big, width - 2 * MARGIN), fill=TEXT, font=big, anchor="lt")
    for i, (sample, annotation) in enumerate(zip(samples, annotations, strict=True)):
        x = MARGIN + i % columns * (cell + GAP)
        y = top + i // columns * (tile + CAPTION + GAP)
        _centre(sheet, fit(sample.image, tile), x, y, tile)
        if annotation is not None:
            _centre(sheet, overlay(sample.image, annotation, class_names, tile), x + tile + TWIN_GAP, y, tile)
        caption = _shorten(_name(class_names, sample.label), font, cell)
        pen.text((x, y + tile + 17), caption, fill=TEXT, font=font, anchor="ls")
        room = cell - font.getlength(caption) - 12
        identity = _shorten(sample.image_id, small, room)
        pen.text((x + cell, y + tile + 17), identity, fill=FAINT, font=small, anchor="rs")
    return sheet


def _centre(sheet: Image.Image, image: np.ndarray, x: int, y: int, tile: int) -> None:
    """Pastes an image into the middle of a tile."""
    height, width = image.shape[:2]
    sheet.paste(Image.fromarray(image), (x + (tile - width) // 2, y + (tile - height) // 2))


def _name(class_names: Sequence[str], label: int) -> str:
    return class_names[label] if 0 <= label < len(class_names) else f"class {label}"


def _shorten(text: str, font: ImageFont.ImageFont, room: float) -> str:
    """A text cut so that it fits into some pixels, with three dots at its end if it was cut; "" if nothing fits."""
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(text + "...") > room:
        text = text[:-1]
    return text + "..." if text else ""


def _small_png(sheet: Image.Image) -> bytes:
    """True colour if that is small enough, else ever fewer colours, at last ever smaller sizes."""
    data = _png(sheet)
    colours = 256
    while len(data) >= MAX_BYTES:
        quantised = sheet.quantize(colours, method=Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE)
        data = _png(quantised)
        if colours > 64:
            colours //= 2
        else:
            sheet = sheet.resize((sheet.width * 4 // 5, sheet.height * 4 // 5), Image.Resampling.LANCZOS)
    return data


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
