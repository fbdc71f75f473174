"""The request of a comparison of designs: the one list of its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from xaibench.configuration import Argument, Config
from xaibench.training.config import Workers


class ComparisonConfig(Config):
    """Which comparison is run, on what data and by which protocols; what is not given is what its card says."""

    comparison: Annotated[str, Argument("", metavar="NAME")]
    """A name of `xaibench ls comparisons`."""
    models: Annotated[tuple[str, ...], Argument("--model", default="the card's")] = ()
    """The models, where the comparison names none."""
    trainings: int = Field(3, ge=1)
    """Of each arm, with the seeds 0, 1, ...; claims about a design need 5."""
    protocols: Annotated[tuple[str, ...], Argument("--protocol", default="the card's")] = ()
    """Of `xaibench ls protocols`; a table each."""
    dataset: Annotated[str | None, Argument(default="the card's")] = None
    """One that models are trained on first use."""
    data_root: Annotated[Path | None, Argument(metavar="DIR")] = None
    """The folder of its images, where it has one."""
    methods: Annotated[tuple[str, ...], Argument(default="the card's, or the paper's and the controls")] = ()
    """Or `all`."""
    images: Annotated[int | None, Argument(default="the card's, or the profile's")] = Field(None, ge=1)
    """How many."""
    recipe: dict[str, Any] = Field(default_factory=dict)
    """Of arms that are trained for a task of their own."""
    download: bool = False
    """Allow published weights to be fetched."""
    profile: str | None = None
    """As of `xaibench run`."""
    settings: Annotated[dict[str, Any], Argument("--setting")] = Field(default_factory=dict)
    """Of the protocol, in every arm."""
    dataset_options: Annotated[dict[str, Any], Argument("--dataset-option")] = Field(default_factory=dict)
    """Such as rule=one:beak."""
    out: Annotated[Path, Argument(metavar="DIR")] = Path("results")
    """The results folder."""
    plugins: Annotated[tuple[Path, ...], Argument("--plugin", metavar="FILE.py")] = ()
    """A file with functions that @xaibench.method, @xaibench.model, ... register."""
    cards: Annotated[tuple[Path, ...], Argument(metavar="DIR")] = ()
    """A folder with methods/NAME.toml, models/, datasets/, protocols/."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, ..."""
    workers: Annotated[Workers, Argument(metavar="auto|N")] = "auto"
    """Processes that load images."""
    seed: int = Field(0, ge=0)
    """Of noise, masks and baselines."""
