"""What all figures share: colours, width, text that fits, and files that are written whole or not at all."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xaibench.errors import XaibenchError
from xaibench.files import write_atomic
from xaibench.printing import clean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, QUIET, ACCENT, SOFT = "#1a1a1a", "#8c8c8c", "#1f5fa8", "#555555"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Of kinds of things; told apart by people with any colour vision (after the qualitative palette of Okabe and Ito)."""
WIDTH = 6.8  # inches; the text width of a one-column paper
DPI = 200
FRAME = "#777777"  # hairlines around pictures
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "svg.fonttype": "none",
    "svg.hashsalt": "xaibench",  # the same figure gives the same file
    "pdf.fonttype": 42,  # text that can be searched; journals refuse type 3
    "axes.linewidth": 0.8,
}
KINDS = ("png", "svg", "pdf")
SMALL_PNG = 300_000  # bytes
LEVELS = 64  # of each channel in a picture that would be larger
ROUNDING = 1.05


class Page:
    """A figure measured in inches from its lower left corner."""

    def __init__(self, figure: Figure, width: float, height: float):
        self.figure, self.width, self.height = figure, width, height

    def axes(self, left: float, bottom: float, width: float, height: float) -> Axes:
        """Axes at a place."""
        return self.figure.add_axes((left / self.width, bottom / self.height, width / self.width, height / self.height))

    def picture(self, left: float, bottom: float, width: float, height: float, pixels: np.ndarray) -> Axes:
        """Axes that an image (H, W, 3) uint8 fills, with a hairline around it."""
        axes = self.axes(left, bottom, width, height)
        small = pixels.shape[1] < 150 * width  # drawn images are enlarged as what they are: squares
        axes.imshow(pixels, interpolation="nearest" if small else "antialiased", aspect="auto")
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_linewidth(0.4)
            spine.set_color(FRAME)
        return axes

    def text(self, x: float, y: float, text: str, size: float, colour: str = INK, **more) -> None:
        """A line of text that is taken as it is."""
        self.figure.text(x / self.width, y / self.height, text, size=size, color=colour, parse_math=False, **more)


def figure_kind(path: Path, kinds: Sequence[str] = KINDS) -> str:
    """`png`, `svg` or `pdf` by the suffix of a path; XaibenchError for any other."""
    kind = path.suffix.lower().removeprefix(".")
    if kind not in kinds:
        known = [f".{name}" for name in kinds]
        raise XaibenchError(f"a figure is a {', '.join(known[:-1])} or {known[-1]} file, not {path.name!r}")
    return kind


def save_figure(figure: Figure, path: Path, *, small: bool = False) -> Path:
    """Writes a figure by its suffix, whole or not at all, the same bytes for the same figure; returns the path.

    small: a PNG above SMALL_PNG is stored with LEVELS levels a channel. Raises XaibenchError where the file cannot be
    written.
    """
    write_atomic(path, figure_bytes(figure, figure_kind(path), small=small))
    return path


def figure_bytes(figure: Figure, kind: str = "png", *, small: bool = False) -> bytes:
    """What `save_figure` writes into a file of a kind."""
    buffer, dates = io.BytesIO(), {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with other_scripts():
        figure.savefig(buffer, format=kind, dpi=DPI, metadata=dates.get(kind))
    data = buffer.getvalue()
    return _fewer_colours(data) if small and kind == "png" and len(data) > SMALL_PNG else data


@contextmanager
def other_scripts() -> Iterator[None]:
    """Without warnings of names in scripts that the font lacks, which are drawn as boxes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")
        yield


def text_width(text: str, size: float, weight: str = "normal") -> float:
    """The width of a text in inches, in the figures' font at `size` points, with room for the rounding of pixels."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family=STYLE["font.family"], size=size, weight=weight)
    with other_scripts():
        return text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] / 72 * ROUNDING


def shorten(text: object, room: float, size: float, tail: str = "", weight: str = "normal") -> str:
    """A text on one line, cut with `…` so that it and its tail fit into `room` inches; the tail is never cut."""
    return _cut(clean(text), room, size, tail, weight)


def _cut(whole: str, room: float, size: float, tail: str, weight: str) -> str:
    kept = whole
    while kept and text_width(kept + ("…" if kept != whole else "") + tail, size, weight) > room:
        kept = kept[:-1]
    return (kept.rstrip() + "…" if kept != whole else whole) + tail


def wrap(parts: Sequence[str], room: float, size: float, weight: str = "normal") -> list[str]:
    """Lines of at most `room` inches from parts joined by ` · `; a part that is too long is broken between words."""
    lines: list[str] = []
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        for word in (clean(part) + ("" if last else "\u00a0·")).split(" "):  # the dot never begins a line
            longer = f"{lines[-1]} {word}" if lines else word
            if lines and text_width(longer, size, weight) <= room:
                lines[-1] = longer
            else:
                lines.append(_cut(word, room, size, "", weight))
    return lines


def _fewer_colours(png: bytes) -> bytes:
    """The same picture with LEVELS levels a channel, which nobody sees; white stays white."""
    from PIL import Image

    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png)) as opened:
        dpi, pixels = opened.info.get("dpi"), np.asarray(opened.convert("RGB"))
    step = 255 / (LEVELS - 1)
    pixels = np.rint(np.rint(pixels / step) * step).astype(np.uint8)
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True, dpi=dpi)
    return buffer.getvalue()
