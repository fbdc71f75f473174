"""Photos in class folders, and photos without labels anywhere below a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from xaibench.cards import Geometry
from xaibench.datasets.base import Piece
from xaibench.datasets.photos import AUTO, Photos
from xaibench.datasets.walk import find_photos, in_order, readable_suffixes, skipped_lines
from xaibench.errors import XaibenchError
from xaibench.parsing import is_text

SPLIT_NAMES = frozenset({"train", "training", "val", "valid", "validation", "trainval", "test", "testing"})


class ImageFolder(Photos):
    """Photos of `root/[split/]CLASS/*`; ids are paths relative to root, classes the folder names in alphabetical order.

    If root has no folder of the split's name, the class folders are expected in root itself. A class folder may be
    empty. Which files are photos `walk.py` says; `skipped` has the others. Raises XaibenchError when there is no class
    folder or no photo, when the folders are those of other splits, when one cannot be read, and for a file name that is
    not UTF-8.
    """

    name = "imagefolder"

    def __init__(self, root: str | Path, geometry: Geometry, split: str = "", exif: str = AUTO):
        super().__init__(root, geometry, exif)
        if not self.root.is_dir():
            raise XaibenchError(f"--data-root {self.root} is not a folder")
        self.top = top = self.root / split if split and (self.root / split).is_dir() else self.root
        self._found = find_photos(top)
        folders = [folder.name for folder in self._found.photos]
        if not folders:
            raise XaibenchError(f"{top} has no class folders; photos belong in {top}/CLASS/")
        if top == self.root and SPLIT_NAMES.issuperset(map(str.lower, folders)):
            raise XaibenchError(
                f"{top} has the splits {', '.join(folders)}, not {split or 'class folders'}; "
                "choose one by --dataset-option split=NAME"
            )
        self.classes = self._classes(top, folders)
        index = {name: i for i, name in enumerate(self._folder_names())}
        self._labels = {
            _image_id(path, self.root): index[folder.name]
            for folder, photos in self._found.photos.items()
            for path in photos
        }
        if not self._labels:
            others = "; ".join(skipped_lines(self._found.skipped)) or "they are empty"
            known = ", ".join(sorted(readable_suffixes()))
            raise XaibenchError(f"{top} has class folders but no photos in them ({known}): {others}")
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

    def skipped_files(self) -> Mapping[str, Sequence[str]]:
        """What is left out of the class folders, by the reason."""
        return self._found.skipped

    def pieces(self) -> list[Piece]:
        """The class folders."""
        return [Piece("photos in class folders", self.top, len(self.ids))]


class PhotoFolder(Photos):
    """All photos below `root`, at any depth and without labels: they have one class, `photo`; ids are paths relative to
    root. Raises XaibenchError where root is no folder, or has no photo.
    """

    name = "a folder of photos"
    classes = ("photo",)

    def __init__(self, root: str | Path, geometry: Geometry, exif: str = AUTO):
        super().__init__(root, geometry, exif)
        if not self.root.is_dir():
            raise XaibenchError(f"{self.root} is not a folder of photos")
        self._found = find_photos(self.root, loose=True)
        paths = in_order(path for photos in self._found.photos.values() for path in photos)
        self._paths = {_image_id(path, self.root): path for path in paths}
        if not self._paths:
            raise XaibenchError(f"{self.root} has no photos ({', '.join(sorted(readable_suffixes()))})")
        self.ids = list(self._paths)

    def path(self, image_id: str) -> Path:
        """The file of a photo."""
        if image_id not in self._paths:
            raise XaibenchError(f"{self.root} has no photo {image_id!r}")
        return self._paths[image_id]

    def labels(self, image_id: str) -> tuple[int, ...]:
        """The one class that all photos have."""
        return (0,)

    def skipped_files(self) -> Mapping[str, Sequence[str]]:
        """What is left out, by the reason."""
        return self._found.skipped


def _image_id(path: Path, root: Path) -> str:
    """The id of a photo; raises XaibenchError for a name that is not UTF-8, which rows cannot store."""
    name = path.relative_to(root).as_posix()
    if not is_text(name):
        raise XaibenchError(f"{root} has a photo whose name is not UTF-8: {name!r}; rename it")
    return name
