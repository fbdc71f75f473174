"""`SHA256SUMS` of a board folder: the SHA-256 of every file that was published, so that whoever has a copy can see that
it is whole and as it was. `sha256sum -c SHA256SUMS` reads it too.

It tells damage and edits, not forgery: whoever writes files anew can write the list anew.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xaibench.errors import XaibenchError, one_line
from xaibench.files import read_regular, write_atomic
from xaibench.hashing import sha256_of
from xaibench.publication.folder import own_files
from xaibench.publication.index import FILE, LIMIT, read_index
from xaibench.results.validate import Problem

SUMS = "SHA256SUMS"
PART = r"(?!\.\.?(?:/|$))[A-Za-z0-9_.-]+"  # of a path, neither . nor ..
LINE = re.compile(rf"([0-9a-f]{{64}})  ({PART}(?:/{PART})*)")
FIRST_FORMAT = 2  # of `board.json` that comes with the list


@dataclass(frozen=True)
class Unchanged:
    """Whether a board folder is as it was published: the problems, and the number of files that were compared; None
    where the folder is of a version that wrote no list."""

    problems: list[Problem]
    files: int | None


def write_sums(root: Path) -> None:
    """Lists all files of a board folder, earlier versions too, in the order of their paths."""
    lines = [f"{sha256_of(path)}  {name}\n" for name, path in sorted(own_files(root, frozenset({SUMS})).items())]
    write_atomic(root / SUMS, "".join(lines).encode())


def unchanged(root: Path) -> Unchanged:
    """What was changed, removed or added in a board folder since it was published, in the order of the paths.

    Kinds of problems: changed, missing, extra, unreadable. Files of others beside those of a board folder are none.
    """
    if not (root / SUMS).is_file():
        return _without_list(root)
    try:
        listed, found = _read_sums(root), own_files(root, frozenset({SUMS}))
    except XaibenchError as error:
        return Unchanged([Problem(SUMS, "unreadable", str(error))], 0)
    problems = []
    for name in sorted(listed.keys() | found.keys()):
        if name not in found:
            problems.append(Problem(name, "missing", "it was published, and is not there"))
        elif name not in listed:
            problems.append(Problem(name, "extra", "it was not published"))
        else:
            problems += _compared(name, found[name], listed[name])
    return Unchanged(problems, len(listed))


def require_unchanged(root: Path) -> None:
    """Raises XaibenchError, which names the first file, where a board folder is not as it was published."""
    if problems := unchanged(root).problems:
        more = f" (and {len(problems) - 1} more; `xaibench validate` lists them)" if len(problems) > 1 else ""
        raise XaibenchError(
            f"{root} was changed since it was published: {problems[0]}{more}; restore it or fetch it anew, or publish "
            "to a new folder"
        )


def _without_list(root: Path) -> Unchanged:
    try:
        index = read_index(root)
    except XaibenchError as error:
        return Unchanged([Problem(FILE, "unreadable", str(error))], 0)
    if index.format_version >= FIRST_FORMAT:
        return Unchanged([Problem(SUMS, "missing", "it lists what was published, and is not there")], 0)
    return Unchanged([], None)


def _read_sums(root: Path) -> dict[str, str]:
    """The sums by relative path. Raises XaibenchError for what `write_sums` does not write."""
    if (root / SUMS).is_symlink():
        raise XaibenchError("it is a link, which no board folder has")
    try:
        text = read_regular(root / SUMS, LIMIT).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise XaibenchError(f"it cannot be read ({one_line(error)})") from error
    if "\r\n" in text:
        raise XaibenchError(
            "its lines end as on Windows: a program has changed texts of this folder; get it again, from git by "
            "`git clone -c core.autocrlf=false`"
        )
    *lines, rest = text.split("\n")
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        match = LINE.fullmatch(line)
        if match is None or match[2] in found:
            raise XaibenchError(f"line {number} is not the SHA-256 and the path of another file")
        found[match[2]] = match[1]
    if rest or list(found) != sorted(found):
        raise XaibenchError("its last line has no end" if rest else "its lines are in another order")
    return found


def _compared(name: str, path: Path, expected: str) -> Sequence[Problem]:
    try:
        same = sha256_of(path) == expected
    except OSError as error:
        return [Problem(name, "unreadable", f"it cannot be read ({one_line(error)})")]
    return [] if same else [Problem(name, "changed", "its content is not what was published")]
