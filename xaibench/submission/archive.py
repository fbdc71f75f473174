"""Reads the files of a submission, a ZIP file or a folder, into an empty folder: nothing is followed, run or trusted.

Only what `xaibench submit` writes is accepted: names of a few kinds, regular files, bounded sizes. Sizes are those that
were really read, since an archive may state others.
"""

from __future__ import annotations

import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from xaibench.errors import XaibenchError, one_line

FILE = "submission.json"
NAMES = re.compile(
    r"submission\.json|cells/[0-9a-f]{16}\.json|lists/[0-9a-f]{16}\.json|runs/[0-9A-Za-z-]{1,64}\.json"
    r"|rows/(?!\.)[A-Za-z0-9_.-]{1,100}/(?!\.)[A-Za-z0-9_.-]{1,100}/[0-9a-f]{16}\.parquet"
    r"|source/(?:methods/)?[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}\.(?:py|toml)"
)
"""Of the files of a submission; all else is refused."""
FILES, TOTAL, ONE = 20_000, 2 << 30, 512 << 20  # how many, and bytes of all and of one of them
CODE = 1 << 20  # bytes of a file of code
LOCAL = struct.Struct("<26xHH")  # of the header before a file in an archive: lengths of its name and of what is extra
DESCRIPTOR, DESCRIPTORS = 0x8, (12, 16, 20, 24)  # a flag, and bytes that then follow a file
RATIO, SMALL = 100, 1 << 20  # how far a file may be unpacked, and bytes below which that does not matter
ENCRYPTED, BLOCK = 0x1, 1 << 20
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
FIRST_DATE = (1980, 1, 1, 0, 0, 0)


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """A private folder with the files of a submission, for the time of the block.

    Raises XaibenchError, in one line, for whatever no submission has.
    """
    with TemporaryDirectory(prefix="xaibench-submission-") as folder:
        root = Path(folder)
        if path.is_symlink():
            raise XaibenchError(f"{path} is a link; name the submission itself")
        if path.is_dir():
            _copy(path, root)
        elif path.is_file():
            _unzip(path, root)
        else:
            raise XaibenchError(f"{path} is neither a ZIP file nor a folder; `xaibench submit` makes a submission")
        if not (root / FILE).is_file():
            raise XaibenchError(f"{path} has no {FILE}, so it is no submission; `xaibench submit` makes one")
        try:
            yield root
        except XaibenchError as error:  # nobody knows the private folder
            raise XaibenchError(without_folder(str(error), root)) from error


def without_folder(text: str, root: Path) -> str:
    """A text without the private folder in which a submission was unpacked: its files are named from there."""
    return text.replace(f" --out {root}", "").replace(f"{root}/", "").replace(str(root), "SUBMISSION")


def is_submission(path: Path) -> bool:
    """Whether a path looks like a submission: a ZIP file, or a folder with `submission.json`."""
    return (path / FILE).is_file() if path.is_dir() else path.is_file() and zipfile.is_zipfile(path)


def no_submission(path: Path, given: str) -> XaibenchError:
    """The error for a path that is none, where options about submissions are given (such as `--board is`)."""
    if not path.exists():
        return XaibenchError(f"{path} is not there; name a submission, which `xaibench submit` makes")
    return XaibenchError(f"{given} about submissions, and {path} is none: `xaibench submit` makes one")


def pack(root: Path, target: Path) -> None:
    """Writes the files of a folder as a ZIP file whose bytes depend on nothing but these."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            entry = zipfile.ZipInfo(path.relative_to(root).as_posix(), FIRST_DATE)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, path.read_bytes())


class _Budget:
    """What may still be read; raises XaibenchError once it is spent."""

    def __init__(self) -> None:
        self.bytes, self.names = 0, set[str]()

    def name(self, name: str) -> str:
        """The name of a file, checked."""
        if not NAMES.fullmatch(name):
            raise XaibenchError(f"{ascii(name)[:120]} is a file that no submission has; `xaibench submit` writes none")
        if name.lower() in self.names:
            raise XaibenchError(f"{name} is in the submission twice")
        self.names.add(name.lower())
        if len(self.names) > FILES:
            raise XaibenchError(f"the submission has more than {FILES} files")
        return name

    def copy(self, source: IO[bytes], target: Path, most: int) -> int:
        """Copies one file of at most so many bytes; how many there are."""
        target.parent.mkdir(parents=True, exist_ok=True)
        size = 0
        with target.open("xb") as file:
            while block := source.read(BLOCK):
                size, self.bytes = size + len(block), self.bytes + len(block)
                if size > most:
                    raise XaibenchError(f"{target.name} is larger than {most} bytes, which no such file is")
                if self.bytes > TOTAL:
                    raise XaibenchError(f"the submission has more than {TOTAL >> 30} GiB")
                file.write(block)
        return size


def _unzip(path: Path, root: Path) -> None:
    budget = _Budget()
    try:
        with path.open("rb") as file:
            if file.read(4) != b"PK\x03\x04":
                raise XaibenchError(f"{path} does not begin as a ZIP file; `xaibench submit` makes one")
            with zipfile.ZipFile(file) as archive:
                entries = archive.infolist()
                if len(entries) > FILES:
                    raise XaibenchError(f"the submission has more than {FILES} files")
                _check_layout(path, archive, entries, file)
                for entry in entries:
                    _check_entry(entry)
                    with archive.open(entry) as source:
                        size = budget.copy(source, root / budget.name(entry.filename), max(entry.file_size, SMALL))
                    if size != entry.file_size:
                        raise XaibenchError(f"{entry.filename} has another size than the archive states")
    except (
        zipfile.BadZipFile,
        struct.error,
        zlib.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
        ValueError,
    ) as error:
        raise XaibenchError(f"{path} is no sound ZIP file ({one_line(error)}); fetch or pack it again") from None
    except OSError as error:
        raise XaibenchError(f"{path} cannot be read: {one_line(error)}") from error


def _check_layout(path: Path, archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo], file: IO[bytes]) -> None:
    """Files lie one after another from the beginning on: else one piece of data could stand for many files, or bytes
    hide between them."""
    place, may_follow = 0, (0,)
    ordered = sorted(entries, key=lambda entry: entry.header_offset)
    for offset, entry in [*((entry.header_offset, entry) for entry in ordered), (archive.start_dir, None)]:
        if offset < place:
            raise XaibenchError(f"{path} has files that overlap, as ZIP bombs do")
        if offset - place not in may_follow or archive.comment or not entries:
            raise XaibenchError(f"{path} has more than files in it; pack it by `xaibench submit`")
        if entry is not None:
            file.seek(offset)
            place = offset + LOCAL.size + sum(LOCAL.unpack(file.read(LOCAL.size))) + entry.compress_size
            may_follow = DESCRIPTORS if entry.flag_bits & DESCRIPTOR else (0,)


def _most(name: str) -> int:
    """The bytes that a file of a name may have."""
    return CODE if name.startswith("source/") else ONE


def _check_entry(entry: zipfile.ZipInfo) -> None:
    name, kind = ascii(entry.filename)[:120], stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG) or entry.is_dir():
        raise XaibenchError(f"{name} is a link, a folder or a device, which no submission has")
    if entry.orig_filename != entry.filename:
        raise XaibenchError(f"{name} has a name that is read in two ways")
    if entry.flag_bits & ENCRYPTED or entry.compress_type not in METHODS:
        raise XaibenchError(f"{name} is encrypted, or packed in another way than `xaibench submit` does")
    if entry.file_size > _most(entry.filename):
        raise XaibenchError(f"{name} is larger than {_most(entry.filename) >> 20} MiB, which no such file is")
    if entry.file_size > max(SMALL, RATIO * entry.compress_size):
        raise XaibenchError(f"{name} unpacks to more than {RATIO} times its size, as ZIP bombs do")


def _copy(path: Path, root: Path) -> None:
    budget = _Budget()
    for folder, folders, files in os.walk(path, followlinks=False):
        here = Path(folder)
        for name in folders:
            if (here / name).is_symlink():
                raise XaibenchError(f"{ascii(name)[:120]} is a link, a folder or a device, which no submission has")
        for name in sorted(files):
            source = here / name
            shown = budget.name(source.relative_to(path).as_posix())
            try:
                # opened without following a link, and without waiting for a pipe
                handle = os.open(source, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
            except OSError as error:
                raise XaibenchError(f"{shown} is a link, or cannot be read: {error.strerror}") from None
            with os.fdopen(handle, "rb") as file:
                if not stat.S_ISREG(os.fstat(handle).st_mode):
                    raise XaibenchError(f"{shown} is a link, a folder or a device, which no submission has")
                budget.copy(file, root / shown, _most(shown))
