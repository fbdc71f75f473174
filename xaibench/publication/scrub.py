"""Removes what is private from texts: absolute paths, e-mail addresses, and the names of the user and the machine.

A folder that is published holds texts of many origins: commands, warnings, records of trainings, labels. Runs may have
been made on other machines than the one that publishes, so any absolute path goes, and not only those of this home.
"""

from __future__ import annotations

import getpass
import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from xaibench.errors import XaibenchError
from xaibench.home import home

PATH, NAME, EMAIL = "PATH", "NAME", "EMAIL"  # what stands in the place of private text
SHORTEST = 3  # letters of a name of a user or a machine that is looked for
_COMMON = (
    "admin administrator container data debian default docker dev gpu guest home host localhost localdomain main model "
    "models nobody none node public results root runner server shared system test tests ubuntu user users vagrant work "
    "worker"
)
COMMON = frozenset(_COMMON.split())
"""Names of users and machines that tell nothing of anybody, and that stand in texts with other meanings."""
KEPT = re.compile(r"[\w.-]{1,80}\.(py|toml|json|csv|md|txt|ya?ml|safetensors|pt|pth|ckpt|bin|parquet|np[yz]|png|jpe?g)")
"""Names of files that may stay, since they say what was used: `PATH/resnet50.safetensors`."""
END = r"[^\s'\"`<>|,;)\]}]"  # of a path in running text
REST = r"[^\s'\"`<>|,;:)\]}]"  # of one after which a colon ends it: `net.py:Net`
MORE = rf"{REST}*(?: [\w.()-]+[\\/]{REST}*)*"  # with spaces, where a slash still follows
FOUND = re.compile(
    r"(?P<url>\b[a-zA-Z][a-zA-Z0-9+.-]+://[^\s'\"<>]*)"
    rf"|(?P<path>(?:\bfile:/+|(?<![A-Za-z0-9])[A-Za-z]:[\\/]+|\\\\+[\w.$-]+\\+){END}*(?: [\w.()-]+\\{END}*)*"
    rf"|(?<![\w/<)\]}}.~*\\-])(?:/(?!/)|~[\w.-]*/){REST}{MORE})"
    r"|(?P<email>[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}(?![\w]))"
)
PUBLIC = ("http", "https", "s3", "gs", "hf")  # kinds of addresses that may stay, without a name and a password
WHOLE = re.compile(r"(/(?!/)|~[\w.-]*/|[A-Za-z]:[\\/]|\\\\\w|file:/).", re.DOTALL)  # how a text that is a path begins
HOMES = re.compile(r"(?:.*/home/|.*/Users/|[A-Za-z]:[\\/]+(?:Users|Documents and Settings)[\\/]+|~)([^\s/\\'\":,;]+)")


@dataclass(frozen=True)
class Scrubber:
    """Replaces private text: by PATH for absolute paths (the name of a file stays where it says what was used), NAME
    for the names of users and machines, EMAIL for addresses.

    names: of users and machines, looked for as whole words in any case; COMMON ones and those below SHORTEST letters
    are left. paths: folders that may stand in texts with spaces in them, longest first.
    """

    names: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()

    @classmethod
    def of_this_machine(cls, allowed: Iterable[str] = ()) -> Scrubber:
        """With the names and folders of whoever publishes; allowed: names that may be published all the same."""
        return cls().knowing(_names(), _folders(), allowed)

    def knowing(self, names: Iterable[str], paths: Iterable[str], allowed: Iterable[str] = ()) -> Scrubber:
        """The same, with further names and paths."""
        kept = {name.lower() for name in allowed} | COMMON
        found = {name for name in [*self.names, *names] if len(name) >= SHORTEST and name.lower() not in kept}
        long = {path for path in [*self.paths, *paths] if len(path) > SHORTEST}
        return Scrubber(_by_length(found), _by_length(long))

    def knowing_texts(self, texts: Iterable[str], allowed: Iterable[str] = ()) -> Scrubber:
        """The same, with the names of users in the paths of some texts."""
        homes = [HOMES.match(found) for text in texts for found in _paths(text)]
        return self.knowing([found[1] for found in homes if found], [], allowed)

    def text(self, text: str) -> str:
        """Running text without what is private."""
        for path in self._known:
            text = path.sub(lambda found: _placeholder(found.group()), text)
        return self._without_names(FOUND.sub(_replacement, text))

    def word(self, word: str) -> str:
        """A text that is one thing, such as a value of an option, without what is private: a path is one as a whole,
        spaces included."""
        return self._without_names(_placeholder(word)) if WHOLE.match(word) else self.text(word)

    def value(self, value: Any) -> Any:
        """A plain value (JSON) in which every text, names of fields included, is without what is private; see
        `word`."""
        return mapped(value, self.word)

    def leaks(self, text: str) -> Iterator[str]:
        """What is private in a text that was scrubbed, if anything is: for the last look at all that is published."""
        yield from (path for path in self.paths if path in text)
        yield from (found for found in _paths(text) if HOMES.match(found))
        if self.names:
            yield from (found.group() for found in self._named.finditer(text))

    @cached_property
    def _known(self) -> list[re.Pattern[str]]:
        return [re.compile(rf"{re.escape(path)}(?![\w-])(?:[\\/]{MORE})?") for path in self.paths]

    def _without_names(self, text: str) -> str:
        return self._named.sub(NAME, text) if self.names else text

    @cached_property
    def _named(self) -> re.Pattern[str]:
        return re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(map(re.escape, self.names))})(?![A-Za-z0-9])", re.IGNORECASE)


def mapped(value: Any, change: Callable[[str], str]) -> Any:
    """A plain value with each text in it, names of fields included, changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(name): mapped(item, change) for name, item in value.items()}
    return [mapped(item, change) for item in value] if isinstance(value, (list, tuple)) else value


def texts_of(value: Any) -> Iterator[str]:
    """Every text in a plain value."""
    if isinstance(value, str):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ():
        yield from texts_of(item)


def is_path(text: str) -> bool:
    """Whether a text is an absolute path as a whole."""
    return bool(WHOLE.match(text))


def _paths(text: str) -> Iterator[str]:
    return (found["path"] for found in FOUND.finditer(text) if found["path"])


def _replacement(found: re.Match[str]) -> str:
    if found["url"] and found["url"].split(":")[0].lower() in PUBLIC:
        return re.sub(r"//[^/@\s]+@", "//", found["url"])  # a name and a password
    return EMAIL if found["email"] else _placeholder(found.group())


def _placeholder(path: str) -> str:
    name = re.split(r"[/\\]", path.rstrip("/\\"))[-1]
    return f"{PATH}/{name}" if KEPT.fullmatch(name) else PATH


def _by_length(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(texts), key=lambda text: (-len(text), text)))


def _names() -> Iterator[str]:
    """Names of the user and of the machine, as the system, the environment and git know them."""
    with suppress(Exception):  # there may be no such user, as in some containers
        yield getpass.getuser()
    with suppress(ImportError, KeyError):
        import pwd

        entry = pwd.getpwuid(os.getuid())
        yield from (entry.pw_name, entry.pw_gecos.split(",")[0].strip())
    yield from filter(None, (os.environ.get(name) for name in ("USER", "LOGNAME", "USERNAME", "HOSTNAME")))
    for host in (socket.gethostname(), socket.getfqdn()):
        yield from (host, host.split(".")[0])
    for name in ("user.name", "user.email"):
        with suppress(OSError, subprocess.SubprocessError):
            command = ["git", "config", name]
            found = subprocess.run(
                command, capture_output=True, encoding="utf-8", errors="replace", timeout=10, check=False
            )
            yield found.stdout.strip()


def _folders() -> Iterator[str]:
    """The folders of this user, which may have spaces in their names."""
    with suppress(RuntimeError):
        yield str(Path.home())
    with suppress(XaibenchError):
        yield str(home().absolute())
    with suppress(OSError):
        yield str(Path.cwd())
