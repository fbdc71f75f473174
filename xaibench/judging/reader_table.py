"""The table of `xaibench judge --reader`: do protocols that rank methods predict who reads their maps well?"""

from __future__ import annotations

from xaibench.errors import XaibenchError
from xaibench.judging.config import JudgeConfig
from xaibench.judging.judge import open_protocols
from xaibench.judging.validity import Setting, Validity, external_validity
from xaibench.progress import bar
from xaibench.report.table import Column, Table
from xaibench.report.text import format_share, format_two

NETWORKS = {"small": 40, "large": 120}
SCORED = 4  # of so many images a protocol scores one


def _tau(of: str, suffix: str, title: str) -> tuple[Column, ...]:
    return (
        Column(f"tau{suffix}", f"Kendall's tau-b of its order of {of} and that of their AUC", title, format=format_two),
        Column(f"low{suffix}", "lower end of its 95 % interval over networks", "low", format=format_two),
        Column(f"high{suffix}", "upper end", "high", format=format_two),
    )


COLUMNS = (
    Column("protocol", "with settings of the request", align="left", foreign=True),
    *_tau("methods", "", "predicts"), *_tau("methods without controls", "_without_controls", "without controls"),
    Column("undefined", "share of scores that are undefined", format=format_share),
)  # fmt: skip


def setting_of(config: JudgeConfig) -> Setting:
    """What is computed for a request: 40 or 120 networks and 8 images, or `--images`, of which a quarter is scored.

    Raises XaibenchError for a request without protocols, for a device other than the CPU, and for a protocol that is
    named twice with other settings.
    """
    if not config.protocols:
        raise XaibenchError("--reader needs protocols, whose order of methods is compared; name some, such as sds")
    if config.device not in ("cpu", "auto"):
        raise XaibenchError(f"--reader works on the CPU, not on {config.device}; leave --device out")
    if config.networks is not None:
        raise XaibenchError("--reader has networks of its own; leave --networks out")
    images = config.images or 8
    protocols = {judged.card.name: judged.settings for judged in open_protocols(config)}
    return Setting(NETWORKS[config.profile], images, images // SCORED, seed=config.seed, protocols=protocols)


def reader_table(config: JudgeConfig, quiet: bool = False) -> Table:
    """Computes what is missing in the folder `reader` of a request, and returns a row for each of its protocols."""
    setting = setting_of(config)
    with bar("reading", setting.networks, quiet) as progress:
        found = external_validity(config.out / "reader", setting, lambda name: progress.advance(1, name))
    return table_of(setting, found)


def table_of(setting: Setting, found: Validity) -> Table:
    """The rows of protocols, with the AUC of each method as a note."""
    caption = (
        f"{setting.networks} networks, half of which use a planted mark. A reader sees maps of one method on "
        f"{setting.images} images, learns on half of the networks which of them cheat, and says it of the others. "
        "Predicts: Kendall's tau between a protocol's order of the methods and that of the reader's AUC, with 95 % "
        "intervals over networks; controls are maps that are the same for every network."
    )
    methods = found.methods.sort_values("auc", ascending=False).iterrows()
    areas = [f"{name} {row['auc']:.2f} [{row['low']:.2f}, {row['high']:.2f}]" for name, row in methods]
    rows = found.protocols.rename_axis("protocol").reset_index()
    return Table(COLUMNS, rows, caption, (f"AUC of the reader by method: {'; '.join(areas)}",))
