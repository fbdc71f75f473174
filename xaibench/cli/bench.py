"""`xaibench bench`: how fast it is on this machine, as ratios."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from xaibench.benchmark.config import BenchConfig
from xaibench.cli.config_options import command_of, option
from xaibench.cli.output import echo
from xaibench.cli.page_output import Format, FormatOption, print_page

EPILOG = """
\b
Examples:
  # two to five minutes on two cores
  xaibench bench
  # the papers' network, images and parameters: an hour on a CPU, minutes on a GPU
  xaibench bench --model resnet50 --image-size 224 --steps 50 --masks 1000
  xaibench bench --model resnet50 --image-size 224 --images 32 --steps 50 --masks 1000 --device cuda --chunk-size 128
  xaibench bench --repeats 5 --format json > bench.json
"""


def _bench(given: dict[str, Any], format_: Format, quiet: bool) -> None:
    """Time the papers' methods and SDS against each method alone and against bare passes, here.

    Everything is timed in turns in this process, several times; the table has medians, and the least and largest of the
    ratios. Weights are random and images are noise: speed does not depend on them. Seconds depend on the machine and on
    what else it does; ratios hardly do.
    """
    config = BenchConfig.parse(given)
    from xaibench.benchmark.job import open_job
    from xaibench.benchmark.measure import measurements
    from xaibench.benchmark.report import table_of

    job = open_job(config)
    found = []
    for row in measurements(job, config.repeats, config.device):
        found.append(row)
        if not quiet:
            echo(f"{row.what}: {row.value:.4g} {row.unit}".rstrip(), err=True)
    print_page(table_of(config, found), format_)


command = command_of(
    BenchConfig,
    _bench,
    [
        option("format_", FormatOption, Format.table),
        option(
            "quiet", Annotated[bool, typer.Option("--quiet", help="No line for each row as it is measured.")], False
        ),
    ],
)
