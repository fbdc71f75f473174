"""Attribution maps that a run with `--keep-maps` stores: `maps/<cell>/<batch>.safetensors`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from xaibench.files import write_atomic

SEPARATOR = "#"  # between image id and target in the names of tensors


class MapStore:
    """Maps of some cells, float32 (H, W) each, named `<image id>#<target>` inside safetensors files of one batch."""

    def __init__(self, root: Path):
        self.root = root / "maps"

    def save(self, cell: str, image_ids: Sequence[str], targets: Tensor, maps: Tensor) -> Path:
        """Stores maps (P, 1, H, W) of a cell, one file for the batch, completely or not at all."""
        names = [f"{i}{SEPARATOR}{t}" for i, t in zip(image_ids, targets.tolist(), strict=True)]
        tensors = {name: m[0].detach().cpu().float().contiguous() for name, m in zip(names, maps, strict=True)}
        batch = hashlib.blake2b("\n".join(names).encode(), digest_size=8).hexdigest()
        folder = self.root / cell
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / f"{batch}.safetensors", save(tensors))
        return folder / f"{batch}.safetensors"

    def files(self, cell: str) -> list[Path]:
        """The files with maps of a cell."""
        return sorted((self.root / cell).glob("*.safetensors"))

    @staticmethod
    def images(path: Path) -> set[str]:
        """The ids of the images whose maps are in a file."""
        with safe_open(path, framework="pt") as file:
            return {name.rpartition(SEPARATOR)[0] for name in file.keys()}  # noqa: SIM118  (not a mapping)

    def done(self, cell: str) -> set[str]:
        """The ids of the images of which a cell has maps."""
        return {image for path in self.files(cell) for image in self.images(path)}

    def load(self, cell: str, image_id: str) -> dict[int, Tensor]:
        """The maps (H, W) of an image, by target; empty where none are kept."""
        return self.find(cell, [image_id]).get(image_id, {})

    def find(self, cell: str, image_ids: Iterable[str]) -> dict[str, dict[int, Tensor]]:
        """The maps (H, W) of several images, by image id and target, with each file opened once.

        Images without a kept map are not in it.
        """
        wanted = set(image_ids)
        found: dict[str, dict[int, Tensor]] = {}
        for path in self.files(cell):
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118
                    owner, _, target = name.rpartition(SEPARATOR)
                    if owner in wanted:
                        found.setdefault(owner, {})[int(target)] = file.get_tensor(name)
        return found
