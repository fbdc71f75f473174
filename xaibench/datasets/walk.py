"""Which files below a folder are photos of a data set: one rule for all data sets of class folders.

Hidden and system entries never count. Links are followed, but no folder is entered twice, nor one that holds the data
set itself. Files count by their suffix, in any case, where Pillow can read it here, and files without a suffix by their
content. Everything else is left out, and listed with the reason.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from PIL import Image

from xaibench.errors import XaibenchError

SYSTEM = frozenset({
    "__macosx", "network trash folder", "temporary items",  # macOS
    "$recycle.bin", "recycler", "system volume information", "found.000", "thumbs.db", "ehthumbs.db", "desktop.ini",
    "@eadir", "@tmp", "#recycle", "#snapshot", "@recycle", "@recently-snapshot",  # file servers
    "lost+found", "__pycache__",
})  # fmt: skip
FORMATS = frozenset({"JPEG", "PNG", "BMP", "WEBP", "TIFF", "PPM", "GIF", "AVIF", "JPEG2000"})  # without a suffix
SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".ppm", ".pgm",
    ".pbm", ".pnm", ".gif", ".avif", ".jp2", ".j2k", ".jpx", ".jpf", ".tga", ".heic", ".heif", ".jxl",
})  # fmt: skip
HIDDEN, BESIDE = "hidden or system", "beside the class folders"
OTHER, UNREADABLE = "no photo by its suffix or content", "in a format that Pillow cannot read here"
NOWHERE, TWICE = "a link to nowhere", "a folder that is reached on another path too"
MOST = 3  # names of each reason in a line


@dataclass(frozen=True)
class Found:
    """The photos of each class folder, in the order of their paths, and paths below the top that are left out, by the
    reason."""

    photos: dict[Path, list[Path]] = field(default_factory=dict)
    skipped: dict[str, list[str]] = field(default_factory=dict)


def find_photos(top: Path, loose: bool = False) -> Found:
    """The photos below the class folders of a folder; loose: also those beside the class folders, as of the folder
    itself.

    Raises XaibenchError for a folder that cannot be read.
    """
    found, seen, above = Found(), {os.path.realpath(top)}, Path(os.path.realpath(top))
    if loose:
        found.photos[top] = []
    # Folders come before links to folders, so that a photo is counted where it really is.
    folders, links = deque([(top, None)]), deque()
    while folders or links:
        folder, owner = folders.popleft() if folders else links.popleft()
        if folder != top:
            target = os.path.realpath(folder)
            if target in seen or above.is_relative_to(target):
                _skip(found, TWICE, folder, top)
                continue
            seen.add(target)
        for entry in _entries(folder):
            path = folder / entry.name
            if is_hidden(entry.name):
                _skip(found, HIDDEN, path, top)
            elif _is_folder(entry):
                mine = owner or path
                found.photos.setdefault(mine, [])
                (links if entry.is_symlink() else folders).append((path, mine))
            elif reason := BESIDE if owner is None and not loose else _unfit(entry):
                _skip(found, reason, path, top)
            else:
                found.photos[owner or top].append(path)
    photos = {folder: in_order(found.photos[folder]) for folder in in_order(found.photos)}
    return Found(photos, found.skipped)


def in_order(paths: Iterable[Path]) -> list[Path]:
    """Paths in the order of their parts, the same on every system: Windows would ignore case, and so number classes
    otherwise."""
    return sorted(paths, key=lambda path: path.parts)


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or belongs to an operating system or a file server."""
    return name.startswith(".") or name.lower() in SYSTEM


def count_files(folder: Path, suffix: str) -> int | None:
    """How many files of a suffix a folder holds at any depth, hidden and system entries left out; None without it."""
    if not folder.is_dir():
        return None
    found = (path.relative_to(folder).parts for path in folder.rglob(f"*{suffix}"))
    return sum(not any(map(is_hidden, parts)) for parts in found)


def skipped_lines(skipped: Mapping[str, Sequence[str]]) -> list[str]:
    """For each reason a line with how many entries are left out and the first names; none where nothing is.

    >>> skipped_lines({"hidden or system": ["ape/.git", "ape/Thumbs.db"]})
    ['2 hidden or system (ape/.git, ape/Thumbs.db)']
    """
    return [
        f"{len(names)} {reason} ({', '.join(names[:MOST])}{', ...' if len(names) > MOST else ''})"
        for reason, names in skipped.items()
    ]


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _unfit(entry: os.DirEntry) -> str | None:
    """The reason why a file is no photo; None if it is one."""
    try:
        is_file = entry.is_file()
    except OSError:
        is_file = False
    if not is_file:
        return NOWHERE if entry.is_symlink() else OTHER
    suffix = Path(entry.name).suffix.lower()
    if not suffix:
        return None if _is_image(entry.path) else OTHER
    if suffix not in SUFFIXES:
        return OTHER
    return None if suffix in readable_suffixes() else UNREADABLE


@cache
def readable_suffixes() -> frozenset[str]:
    """The suffixes of `SUFFIXES` that this installation of Pillow can read."""
    Image.init()
    known = Image.registered_extensions()
    return frozenset(s for s in SUFFIXES if known.get(s) in Image.OPEN)


def _is_image(path: str) -> bool:
    Image.init()
    try:
        with Image.open(path, formats=sorted(FORMATS & Image.OPEN.keys())):
            return True
    except Exception:  # Pillow raises many kinds for what is no image
        return False


def _entries(folder: Path) -> list[os.DirEntry]:
    """The entries of a folder by name; raises XaibenchError where it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise XaibenchError(f"{folder} cannot be read: {error.strerror}") from error


def _skip(found: Found, reason: str, path: Path, top: Path) -> None:
    name = path.relative_to(top).as_posix().encode(errors="backslashreplace").decode()  # it need not be UTF-8
    found.skipped.setdefault(reason, []).append(name)
