"""How one attribution map becomes a picture: its colours, its limit, and a note on maps that show nothing.

A map with negative values is drawn in a diverging palette whose limits are symmetric about zero, any other in that
palette's red half, from zero. Both are nearly white at zero, so the strength of a colour is the magnitude of an
attribution: over a faint grey photo, the photo shows where the map is near zero and vanishes where it is strong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from xaibench.report.style import FRAME

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize

PALETTE = "RdBu_r"  # ColorBrewer's, told apart by people with any colour vision; red is positive in all maps
PERCENTILE = 99.5  # of |map|: one pixel does not hide the others
FAINT = 0.34  # how dark the darkest pixel of the faint photo is, 0 to 1
NOT_FINITE = 0.62  # grey of pixels without a number
STYLES = ("overlay", "map")


@dataclass(frozen=True)
class Scale:
    """How the values of a map become colours.

    limit > 0 is the value with the strongest colour; signed says whether the palette runs from -limit or from 0;
    extend (`neither`, `min`, `max`, `both`) on which sides values lie beyond; note is "" or why the map shows nothing:
    `not finite`, `zero` or `constant`.
    """

    limit: float
    signed: bool
    extend: str = "neither"
    note: str = ""

    @property
    def palette(self) -> Colormap:
        """The colour map: RdBu_r, or its red half where nothing is negative; nearly white at zero."""
        import matplotlib
        from matplotlib.colors import ListedColormap

        diverging = matplotlib.colormaps[PALETTE]
        return diverging if self.signed else ListedColormap(diverging(np.linspace(0.5, 1, 256)), "reds")

    @property
    def norm(self) -> Normalize:
        """From values to [0, 1] of the palette; what lies beyond is clipped to its end."""
        from matplotlib.colors import Normalize

        return Normalize(-self.limit if self.signed else 0.0, self.limit, clip=True)


def scale_of(values: np.ndarray) -> Scale:
    """The scale of a map (H, W) of any values: limit at the 99.5th percentile of |map|, over its finite pixels.

    Where fewer pixels than that differ from zero the limit is the largest magnitude, and twice the one value of a
    constant map.
    """
    values = np.asarray(values, dtype=np.float64)
    finite = values[np.isfinite(values)]
    if not finite.size:
        return Scale(1.0, False, note="not finite")
    low, high = finite.min(), finite.max()
    sizes = np.abs(finite)
    constant = low == high  # it has no scale and gets half the strength
    limit = 2 * sizes.max() if constant else np.percentile(sizes, PERCENTILE) or sizes.max()
    beyond = (low < -limit, high > limit)
    extend = {(True, True): "both", (True, False): "min", (False, True): "max"}.get(beyond, "neither")
    note = "not finite" if finite.size < values.size else "" if not constant else "constant" if high else "zero"
    return Scale(float(limit) or 1.0, bool(low < 0), extend, note)


def heatmap(values: np.ndarray, scale: Scale, photo: np.ndarray | None = None) -> np.ndarray:
    """The picture (H, W, 3) uint8 of a map (H, W): over a faint grey `photo` (H, W, 3) uint8, or on white without one.

    At |value| >= limit the colour is the palette's end, at zero it is that of zero times the faint photo. Pixels that
    are not finite are grey. Raises ValueError where map and photo differ in size.
    """
    values = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(values)
    shown = np.where(finite, values, 0.0)
    picture = scale.palette(scale.norm(shown))[..., :3]
    if photo is not None:
        if photo.shape[:2] != values.shape:
            raise ValueError(f"a map of {values.shape} does not fit a photo of {photo.shape[:2]} pixels")
        strength = np.minimum(np.abs(shown) / scale.limit, 1.0)
        picture = picture * (1 - (1 - strength) * (1 - faint(photo)))[..., None]
    picture = np.where(finite[..., None], picture, NOT_FINITE)
    return np.rint(picture * 255).astype(np.uint8)


def faint(photo: np.ndarray) -> np.ndarray:
    """A photo (H, W, 3) uint8 as light grey values (H, W) in [1 - FAINT, 1]."""
    grey = photo[..., :3].astype(np.float64) @ (0.299, 0.587, 0.114) / 255
    return 1 - FAINT * (1 - np.clip(grey, 0, 1))


def colour_bar(axes: Axes, scale: Scale, size: float = 6, labels: Sequence[str] | None = None) -> None:
    """Fills axes, wide and low, with the colour bar of a scale: its ends and zero labelled in `size` points.

    labels: texts instead of the numbers at the two ends and zero, or at zero and the one end.
    """
    from matplotlib.cm import ScalarMappable

    bar = axes.figure.colorbar(
        ScalarMappable(scale.norm, scale.palette), cax=axes, orientation="horizontal", extend=scale.extend,
        extendfrac=0.05, drawedges=False,
    )  # fmt: skip
    bar.outline.set_linewidth(0.4)
    bar.outline.set_edgecolor(FRAME)
    ticks = [-scale.limit, 0.0, scale.limit] if scale.signed else [0.0, scale.limit]
    bar.set_ticks(ticks, labels=labels or [number(tick) for tick in ticks])
    axes.tick_params(labelsize=size, length=1.6, width=0.4, pad=1.2, color=FRAME)
    shown = axes.get_xticklabels()
    shown[0].set_horizontalalignment("left")  # neighbours never meet
    shown[-1].set_horizontalalignment("right")


def number(value: float) -> str:
    """Two or three digits that people read, such as `0.013` and `3.1e-5`, with a true minus sign.

    >>> [number(v) for v in (0.0, 0.01347, 4.23, 128.4)]
    ['0', '0.013', '4.2', '128']
    """
    if value == 0:
        return "0"
    size = abs(value)
    if 0.001 <= size < 9999.5:
        digits = max(0, 1 - int(np.floor(np.log10(size))))
        text = f"{size:.{digits}f}"
    else:
        mantissa, _, exponent = f"{size:.1e}".partition("e")
        text = f"{mantissa}e{int(exponent)}"
    return f"{'-' if value < 0 else ''}{text}".replace("-", "\u2212")
