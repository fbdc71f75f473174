"""The picture of judged protocols: the response of each to the dose of each kind of degradation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from xaibench.errors import XaibenchError
from xaibench.judging.config import JudgeConfig
from xaibench.judging.current import split_by_code
from xaibench.judging.ladder import KINDS
from xaibench.judging.summary import Stored, ladders, stored_protocols, worth
from xaibench.judging.table import held_against
from xaibench.report.style import COLOURS, INK, QUIET, STYLE, WIDTH, figure_kind, save_figure

COLUMNS = 4


def responses(stored: Stored, truth: str) -> dict[str, np.ndarray]:
    """By kind of degradation the relative quality of each dose, (doses, 2): 1 is the true map's, 0 a random map's.

    The mean over networks of (quality - chance) / (true - chance) of the means over images that have the truth; chance
    is known of half of them, those that were attacked. Networks where the true map is worth no more than a random one
    are left out. Second column: the dose.
    """
    found: dict[str, list[np.ndarray]] = {kind: [] for kind in KINDS}
    doses = np.zeros(0)
    chances = {name: worth(stored, name, truth).get("random", pd.Series(dtype=float)).mean() for name in stored.rows}
    for (network, kind), table in ladders(stored, truth).items():
        chance = chances[network]
        means, doses = table.mean().to_numpy(), table.columns.to_numpy(float)
        if means[0] > chance:
            found[kind].append((means - chance) / (means[0] - chance))
    return {kind: np.stack([np.mean(each, axis=0), doses], axis=1) for kind, each in found.items() if each}


def response_figure(protocols: Sequence[tuple[Stored, str]], path: Path) -> Path:
    """Draws a small panel for each protocol and the truth it is held against, to a .png or .svg file.

    Raises XaibenchError for another suffix, a file that cannot be written, or no protocol.
    """
    import matplotlib
    from matplotlib.figure import Figure

    figure_kind(path, ("png", "svg"))
    if not protocols:
        raise XaibenchError("there is no figure: no protocol that is stored has a ladder with scores")
    rows = math.ceil(len(protocols) / COLUMNS)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 0.9 + 1.45 * rows), facecolor="white", layout="constrained")
        panels = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False)
        for axes in panels.flat[len(protocols) :]:
            axes.set_visible(False)
        for axes, (stored, truth) in zip(panels.flat, protocols, strict=False):
            lines = responses(stored, truth)
            for colour, kind in zip(COLOURS, KINDS, strict=True):
                if kind in lines:
                    axes.plot(lines[kind][:, 1], lines[kind][:, 0], color=colour, lw=1.3, marker=".", ms=4, label=kind)
            axes.axhline(0, color=QUIET, lw=0.8, ls="--")
            axes.set_title(f"{stored.label} ({truth})", size=7.5, color=INK, parse_math=False)
            axes.set_ylim(-1.2, 1.3)
            axes.set_xticks((0, 0.5, 1))
            axes.tick_params(labelsize=7)
        figure.supxlabel("dose of the degradation", size=8)
        figure.supylabel("quality: 1 the true map, 0 a random one", size=8)
        # the first panel may be empty
        lines = {line.get_label(): line for axes in panels.flat for line in axes.get_lines()}
        kinds = [kind for kind in KINDS if kind in lines]
        figure.legend(
            [lines[kind] for kind in kinds],
            kinds,
            loc="outside upper center",
            ncols=len(KINDS),
            fontsize=7.5,
            frameon=False,
        )
        return save_figure(figure, path, small=True)


def draw(config: JudgeConfig, path: Path) -> Path:
    """The figure of everything that is stored with the images, seed and networks of a request."""
    stored, _ = split_by_code(stored_protocols(config))
    return response_figure([(each, truth) for each in stored if (truth := held_against(each))], path)
