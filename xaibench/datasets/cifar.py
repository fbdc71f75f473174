"""CIFAR-10 and CIFAR-100: colour images of 32 x 32 pixels, read by torchvision from the published batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xaibench.cards import Geometry
from xaibench.datasets.arrays import Arrays
from xaibench.datasets.base import Piece
from xaibench.datasets.reading import SPLITS, fetch, one_of
from xaibench.errors import XaibenchError


class CIFAR(Arrays):
    """The images of one split: train, val (a tenth of the published training images), trainval or test.

    root holds `cifar-10-batches-py/` or `cifar-100-python/`, or is that folder. The batches are pickles, which may run
    code when they are opened, so none is opened unless all have the published MD5 sums. Raises XaibenchError that names
    the file otherwise.
    """

    kind: str  # torchvision's class

    def __init__(self, root: str | Path, geometry: Geometry, split: str = "test"):
        one_of(f"{self.name}: split", split, SPLITS)
        reader = self._reader()
        root = Path(root)
        if not root.is_dir():
            raise XaibenchError(f"--data-root {root} is not a folder")
        self.root = root.parent if root.name == reader.base_folder and not (root / root.name).is_dir() else root
        self.folder = self.root / reader.base_folder
        self._check_files(reader)
        read = reader(self.root, train=split != "test")
        self.classes = tuple(read.classes)
        super().__init__(read.data, read.targets, geometry, split)

    @classmethod
    def download(cls, root: Path, **options: Any) -> None:
        """Fetches and unpacks the published archive by torchvision."""
        fetch(cls.name, lambda: cls._reader()(root, download=True))

    def pieces(self) -> list[Piece]:
        """The batches."""
        return [Piece("images in batches", self.folder, len(self.ids))]

    @classmethod
    def _reader(cls) -> Any:
        from torchvision import datasets

        return getattr(datasets, cls.kind)

    def _check_files(self, reader: Any) -> None:
        from torchvision.datasets.utils import check_integrity

        for file, md5 in [*reader.train_list, *reader.test_list, (reader.meta["filename"], reader.meta["md5"])]:
            path = self.folder / file
            if not path.is_file():
                raise XaibenchError(f"{path} is missing; --data-root is the folder that holds {reader.base_folder}/")
            if not check_integrity(str(path), md5):
                raise XaibenchError(
                    f"{path} is not the published file (its MD5 sum is another), and pickles of unknown origin are not "
                    "opened; fetch it again"
                )


class CIFAR10(CIFAR):
    """Ten classes."""

    name, kind = "cifar10", "CIFAR10"


class CIFAR100(CIFAR):
    """A hundred classes, the fine labels."""

    name, kind = "cifar100", "CIFAR100"
