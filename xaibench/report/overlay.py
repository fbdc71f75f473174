"""Images with what is known about them drawn on: tinted masks, named boxes, stripes over what is undecided."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from xaibench.report.image_inputs import Annotation

# Colours of instances, told apart by people with any colour vision (after the qualitative palette of Okabe and Ito).
HUES = ((213, 94, 0), (0, 114, 178), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233))
UNDECIDED, HATCH = (200, 200, 200), 6  # grey stripes over ignored pixels, so many pixels apart
CROWD = 8  # so many boxes are named each; of more, the largest of each class


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
    """The annotated twin of `fit(image, tile)`, uint8: tinted masks with outlines, boxes with class names, and stripes
    where pixels are undecided."""
    base = fit(image, tile).astype(np.float64)
    height, width = base.shape[:2]
    rows = np.arange(height) * image.shape[0] // height
    columns = np.arange(width) * image.shape[1] // width
    for _, instance, hue in _regions(annotation):
        mask = instance[rows][:, columns]
        base[mask] = 0.52 * base[mask] + 0.48 * np.array(hue, dtype=np.float64)
        base[_outline(mask)] = hue
    if annotation.ignored is not None:
        stripes = (np.arange(height)[:, None] + np.arange(width)) % HATCH < HATCH // 2
        base[annotation.ignored[rows][:, columns] & stripes] = UNDECIDED
    picture = Image.fromarray(base.round().astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(11)
    frames = _frames(annotation)
    named = {label: box for label, box, *_ in sorted(frames, key=lambda frame: _area(frame[1]))}  # the largest of each
    for label, box, hue, drawn in frames:
        x0, x1 = (int(x) * width // image.shape[1] for x in box[[0, 2]])
        y0, y1 = (int(y) * height // image.shape[0] for y in box[[1, 3]])
        if drawn:
            pen.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=hue, width=2)
        if len(frames) <= CROWD or box is named[label]:
            _tag(pen, class_name(class_names, label), (x0, y0, y1), (width, height), hue, font)
    return np.asarray(picture)


def outlined(image: np.ndarray, region: np.ndarray) -> np.ndarray:
    """An image (H, W, 3) uint8 with the outline of a region (h, w) bool, which may be of another size; what is outside
    of the region is fainter."""
    height, width = image.shape[:2]
    rows, columns = (np.arange(n) * m // n for n, m in zip((height, width), region.shape, strict=True))
    mask = region[rows][:, columns]
    drawn = image.astype(np.float64)
    drawn[~mask] = 0.5 * drawn[~mask] + 127.5
    drawn[_outline(mask)] = HUES[0]
    return drawn.round().astype(np.uint8)


def _area(box: np.ndarray) -> int:
    return int((box[2] - box[0]) * (box[3] - box[1]))


def _regions(annotation: Annotation) -> list[tuple[int, np.ndarray, tuple[int, int, int]]]:
    """Class, mask and colour of each instance, or, where there are no instances, of each class with a mask."""
    if len(annotation.instances):
        labels = annotation.box_labels.tolist() or [-1] * len(annotation.instances)
        found = zip(labels, annotation.instances, strict=True)
        return [(label, mask, HUES[i % len(HUES)]) for i, (label, mask) in enumerate(found)]
    hues = _class_hues(annotation)
    return [(label, mask, hues[label]) for label, mask in annotation.masks.items()]


def _frames(annotation: Annotation) -> list[tuple[int, np.ndarray, tuple[int, int, int], bool]]:
    """Class, corners and colour of each box that has a pixel, and whether it is drawn or only named: a mask of a class
    without boxes is named at its own edges."""
    hues = None if len(annotation.instances) else _class_hues(annotation)
    labels = annotation.box_labels.tolist()
    frames = [
        (label, box, hues[label] if hues else HUES[i % len(HUES)], True)
        for i, (box, label) in enumerate(zip(annotation.boxes, labels, strict=True))
        if box[2] > box[0] and box[3] > box[1]
    ]
    for label, mask in annotation.masks.items() if hues else ():
        if mask.any() and label not in labels:
            y, x = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            frames.append((label, np.array([x[0], y[0], x[-1] + 1, y[-1] + 1]), hues[label], False))
    return frames


def _class_hues(annotation: Annotation) -> dict[int, tuple[int, int, int]]:
    """A colour for each class, so that boxes and the mask of a class share it."""
    classes = dict.fromkeys([*annotation.labels, *annotation.box_labels.tolist(), *annotation.masks])
    return {label: HUES[i % len(HUES)] for i, label in enumerate(classes)}


def drawn_masks(annotation: Annotation) -> list[np.ndarray]:
    """All masks that are drawn."""
    undecided = [] if annotation.ignored is None else [annotation.ignored]
    return [annotation.instances, *annotation.masks.values(), *undecided]


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
    text = shorten(text, font, size[0] - 6)
    width, height = round(font.getlength(text)) + 6, 14
    y = top - height if top >= height else bottom if bottom + height <= size[1] else top
    x = max(0, min(left, size[0] - width))
    pen.rectangle((x, y, x + width - 1, y + height - 1), fill=hue)
    pen.text((x + 3, y + height // 2), text, fill=(255, 255, 255), font=font, anchor="lm")


def _outline(mask: np.ndarray) -> np.ndarray:
    """The pixels of a mask with a neighbour outside."""
    padded = np.pad(mask, 1)
    return mask & ~(padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:])


def class_name(class_names: Sequence[str], label: int) -> str:
    return class_names[label] if 0 <= label < len(class_names) else f"class {label}"


def shorten(text: str, font: ImageFont.ImageFont, room: float) -> str:
    """A text cut so that it fits into some pixels, with three dots at its end if it was cut; "" if nothing fits."""
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(text + "...") > room:
        text = text[:-1]
    return text + "..." if text else ""
