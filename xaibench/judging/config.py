"""The request of `xaibench judge`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from xaibench.configuration import Argument, Config, split_names

VERSION = 1
"""Part of every key: raise with every change of a ladder, an attack or a method that changes a number."""
TRUTHS = ("intervention", "shapley", "association")
METHODS: dict[str, dict[str, Any]] = {
    "saliency": {}, "ixg": {}, "ig": {"steps": 16}, "rise": {"masks": 60}, "grad-cam": {}, "layer-cam": {},
    "centre": {}, "edges": {}, "random": {},
}  # fmt: skip
"""The methods whose ranking is to be stable, with their parameters."""
IMAGES = {"small": 16, "large": 256}


class JudgeConfig(Config):
    """Which protocols are judged, on which networks whose function is known, and on how many images."""

    protocols: Annotated[tuple[str, ...], Argument(hidden=True)] = ()
    """Names of `xaibench ls protocols`, or `all`."""
    profile: Annotated[Literal["small", "large"], Argument(metavar="small|large")] = "small"
    """How many images of each network: 16, or 256 for a GPU or a night."""
    images: Annotated[int | None, Field(ge=4), Argument(metavar="N", default="the profile's")] = None
    """Images of each network."""
    networks: Annotated[tuple[str, ...] | None, Argument(default="all")] = None
    """Networks whose function is known."""
    settings: Annotated[dict[str, Any], Argument(flag="--setting")] = {}
    """Of protocols, as in `xaibench show protocol NAME`: grid=2 for all that have it, sds.grid=2 for one."""
    plugins: Annotated[tuple[Path, ...], Argument(flag="--plugin", metavar="FILE.py")] = ()
    """A file with an @xaibench.protocol class."""
    out: Annotated[Path, Argument(metavar="DIR")] = Path("judged")
    """The folder of results; what is there already is not computed again."""
    device: str = "cpu"
    """cpu, cuda, cuda:1, ..."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of ladders, attacks and protocols."""
    reader: bool = False
    """Find out instead whether protocols put methods in the order of what their maps are worth to a reader who looks
    for networks that cheat; two minutes a protocol."""

    _names = field_validator("protocols", "networks", mode="before")(split_names)

    @field_validator("networks")
    @classmethod
    def _known(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        from xaibench.judging.known import known_networks  # imports torch, which help need not

        for name in value or ():
            if name not in known_networks():
                raise ValueError(f"unknown network {name!r}; there are {', '.join(known_networks())}")
        return value and tuple(dict.fromkeys(value))

    @property
    def count(self) -> int:
        """Images of each network."""
        return self.images if self.images is not None else IMAGES[self.profile]

    @property
    def chosen_networks(self) -> tuple[str, ...]:
        """The networks, in their order."""
        from xaibench.judging.known import known_networks

        return self.networks or tuple(known_networks())
