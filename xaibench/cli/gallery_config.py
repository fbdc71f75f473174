"""What `xaibench show run` asks for: which board of a results folder, which of its images, and how they are drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from xaibench.configuration import Argument, Config


class GalleryConfig(Config):
    """A gallery of a run."""

    path: Annotated[Path, Argument(flag="", metavar="PATH")] = Path("results")
    """The results folder."""
    protocol: str | None = None
    """Only boards of this protocol."""
    model: str | None = None
    """Only boards of this model (wildcards allowed)."""
    dataset: str | None = None
    """Only boards of this data set (wildcards allowed)."""
    board: Annotated[str | None, Argument(metavar="KEY")] = None
    """The board whose key begins so."""
    run: Annotated[str | None, Argument(metavar="RUN")] = None
    """The run whose name begins so."""
    methods: Annotated[tuple[str, ...] | None, Argument(default="the best four and the oracle")] = None
    """Names of methods of the board."""
    images: Annotated[int, Field(ge=1)] = 3
    """How many of each group."""
    style: Annotated[Literal["overlay", "map"], Argument(metavar="overlay|map")] = "overlay"
    """overlay (over the faint photo) or map."""
    out: Annotated[Path | None, Argument(default="PATH/figures/gallery-....png")] = None
    """A .png, .svg or .pdf file."""
    data_root: Annotated[Path | None, Argument(metavar="DIR")] = None
    """The photos, if they are elsewhere by now."""
    weights: Path | None = None
    """The weights, if they are elsewhere by now."""
    plugins: Annotated[tuple[Path, ...], Argument(flag="--plugin", metavar="FILE.py")] = ()
    """A file with @xaibench.method functions, or other decorated ones."""
    cards: Annotated[tuple[Path, ...], Argument(metavar="DIR")] = ()
    """A folder with methods/NAME.toml, models/, datasets/, protocols/."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, ..."""
