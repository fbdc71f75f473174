"""Photos in class folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from xaibench.cards import Geometry
from xaibench.datasets.base import Piece
from xaibench.datasets.photos import Photos
from xaibench.errors import XaibenchError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif"})


class ImageFolder(Photos):
    """Photos of `root/[split/]CLASS/*`; ids are paths relative to root, classes the folder names in alphabetical order.

    If root has no folder of the split's name, the class folders are expected in root itself. A class folder may be
    empty, files of other suffixes are left out. Raises XaibenchError when there is no class folder or no photo, when a
    folder cannot be read, and for a file name that is not UTF-8.
    """

    name = "imagefolder"

    def __init__(self, root: str | Path, geometry: Geometry, split: str = ""):
        self.root, self.geometry = Path(root), geometry
        if not self.root.is_dir():
            raise XaibenchError(f"--data-root {self.root} is not a folder")
        self.top = top = self.root / split if split and (self.root / split).is_dir() else self.root
        folders = sorted(p for p in _entries(top) if p.is_dir() and not p.name.startswith("."))
        if not folders:
            raise XaibenchError(f"{top} has no class folders; photos belong in {top}/CLASS/")
        self.classes = self._classes(top, [p.name for p in folders])
        index = {name: i for i, name in enumerate(self._folder_names())}
        self._labels: dict[str, int] = {}
        for folder in folders:
            _entries(folder)
            for path in sorted(folder.rglob("*")):
                if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file():
                    self._labels[_image_id(path, self.root)] = index[folder.name]
        if not self._labels:
            raise XaibenchError(f"{top} has class folders but no photos in them ({', '.join(sorted(SUFFIXES))})")
        self.ids = list(self._labels)

    def _classes(self, top: Path, folders: list[str]) -> Sequence[str]:
        """The class names, by index, for these folders."""
        return folders

    def _folder_names(self) -> Sequence[str]:
        """The folder name of each class, by index."""
        return self.classes

    def path(self, image_id: str) -> Path:
        """The file of a photo."""
        if image_id not in self._labels:
            raise XaibenchError(f"{self.root} has no photo {image_id!r}")
        return self.root / PurePosixPath(image_id)

    def labels(self, image_id: str) -> tuple[int, ...]:
        """The class index of a photo."""
        return (self._labels[image_id],)

    def pieces(self) -> list[Piece]:
        """The class folders."""
        return [Piece("photos in class folders", self.top, len(self.ids))]


def _entries(folder: Path) -> list[Path]:
    """The entries of a folder; raises XaibenchError where it cannot be read."""
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise XaibenchError(f"{folder} cannot be read: {error.strerror}") from error


def _image_id(path: Path, root: Path) -> str:
    """The id of a photo; raises XaibenchError for a name that is not UTF-8, which rows cannot store."""
    name = path.relative_to(root).as_posix()
    try:
        name.encode()
    except UnicodeEncodeError:
        raise XaibenchError(f"{root} has a photo whose name is not UTF-8: {name!r}; rename it") from None
    return name
