"""The picture of guided trainings: classification against EPG and IoU for every epoch, with the Pareto front."""

from __future__ import annotations

from pathlib import Path

from xaibench.cli.train.guided_tables import metric_title
from xaibench.report.style import COLOURS, INK, QUIET, SOFT, STYLE, WIDTH, save_figure
from xaibench.training.guidance_search import Run

HEIGHT = 3.0  # inches


def front_figure(run: Run, score: str, title: str, path: Path) -> Path:
    """Draws the epochs of a run on validation images to a .png, .svg or .pdf file, whose path is returned.

    One panel for EPG and one for IoU, a colour per lambda; full dots are on the front, the ring is the chosen model,
    the cross the baseline. Raises XaibenchError for another suffix or a file that cannot be written.
    """
    import matplotlib
    from matplotlib.figure import Figure

    weights = list(dict.fromkeys(point.weight for point in run.points))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        for axes, metric in zip(figure.subplots(1, 2), ("epg", "iou"), strict=True):
            for number, weight in enumerate(weights):
                colour = COLOURS[number % len(COLOURS)]
                own = [point for point in run.points if point.weight == weight]
                for full in (False, True):
                    some = [p for p in own if p.on_front == full]
                    axes.plot(
                        [p.row[score] for p in some], [p.row[metric] for p in some], "o", color=colour, markersize=4.5,
                        fillstyle="full" if full else "none", label=f"lambda {weight:g}" if full else None,
                    )  # fmt: skip
            line = sorted((p for p in run.points if p.on_front), key=lambda p: p.row[score])
            axes.plot([p.row[score] for p in line], [p.row[metric] for p in line], color=QUIET, linewidth=0.8, zorder=0)
            axes.plot(run.baseline.row[score], run.baseline.row[metric], "x", color=INK, label="baseline")
            if run.chosen is not None:
                row = run.points[run.chosen].row
                axes.plot(row[score], row[metric], "o", color=INK, fillstyle="none", markersize=9, label="chosen")
            axes.set_xlabel(f"{metric_title(score)} (validation)")
            axes.set_ylabel(metric_title(metric))
            axes.spines[["top", "right"]].set_visible(False)
        figure.axes[0].legend(frameon=False, fontsize=7, labelcolor=SOFT)
        figure.suptitle(title, fontsize=9, parse_math=False)
        return save_figure(figure, path)
