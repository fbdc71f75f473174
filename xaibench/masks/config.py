"""What `xaibench masks make` asks for: the one list of its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from xaibench.configuration import Argument, Config


class MasksConfig(Config):
    """Of which images masks are made, by what, and where they are stored."""

    dataset: str
    """A name of `xaibench ls datasets`."""
    maker: Annotated[str, Argument(flag="--with", metavar="MAKER")]
    """sam, sam2, slic or annotations."""
    data_root: Annotated[Path | None, Argument(metavar="DIR")] = None
    """The folder with its images."""
    images: Annotated[int | None, Field(ge=1), Argument(default="all")] = None
    """How many, as `run` takes them."""
    image_size: Annotated[int | None, Argument(metavar="PIXELS", default="the data set's")] = None
    """The side of images."""
    out: Annotated[Path | None, Argument(metavar="DIR", default="below XAIBENCH_HOME")] = None
    """The folder; what it holds already is not made again, except masks of photos that were replaced since."""
    settings: Annotated[dict[str, Any], Argument(flag="--setting")] = {}
    """Of the maker, such as min_area=0.005."""
    model: Annotated[str | None, Argument(default="the paper's ViT-H")] = None
    """A folder or a name of the Hugging Face Hub."""
    dataset_options: Annotated[dict[str, Any], Argument(flag="--dataset-option")] = {}
    """Such as split=train."""
    plugins: Annotated[tuple[Path, ...], Argument(flag="--plugin", metavar="FILE.py")] = ()
    """A file with @xaibench.method functions, or other decorated ones."""
    cards: Annotated[tuple[Path, ...], Argument(metavar="DIR")] = ()
    """A folder with methods/NAME.toml, models/, datasets/, protocols/."""
    download: bool = False
    """Allow the network to be fetched."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, ..."""
    chunk_size: Annotated[int, Field(ge=1)] = 64
    """Points in one pass of the network."""
