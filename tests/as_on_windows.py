"""Gives commands of xaibench in one process in which xaibench's own code finds what it would find on Windows.

    python -X warn_default_encoding as_on_windows.py '[["--version"], ["ls", "methods"]]'

Prints `exit STATUS: WORDS` after each command. Only xaibench's own code lacks what Windows lacks: torch, filelock and
the others have other code for Windows, which is not here. Processes that load images are spawned, and run this file
again.
"""

from __future__ import annotations

import builtins
import contextlib
import io
import json
import os
import pathlib
import signal
import sys
import types
import warnings

MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "crypt"}
NAMES = {
    "os": {
        "fork", "getuid", "geteuid", "getgid", "getegid", "getpgid", "setsid", "killpg", "getloadavg", "sysconf",
        "sched_getaffinity", "sched_setaffinity", "statvfs", "mkfifo", "mknod", "chown", "fchmod", "fchdir", "uname",
        "wait", "WNOHANG", "pread", "pwrite", "sync", "fdatasync", "posix_spawn", "posix_fadvise", "register_at_fork",
        "sendfile", "O_NOFOLLOW", "O_NONBLOCK", "O_DIRECTORY", "O_CLOEXEC",
    },
    "signal": {
        "SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGCHLD", "SIGPIPE", "SIGQUIT", "SIGSTOP", "SIGCONT",
        "alarm", "pause", "setitimer", "sigwait", "pthread_kill", "pthread_sigmask",
    },
    "time": {"tzset"},
    "socket": {"AF_UNIX", "SO_REUSEPORT"},
    "sys": {"abiflags", "getdlopenflags"},
}  # fmt: skip
VALUES = {"os": {"name": "nt"}, "sys": {"platform": "win32"}}
BETWEEN = ("os", "pathlib", "shutil", "tempfile", "weakref", "contextlib")


class Lacking:
    """A module without some of its names, and with others in place of some; what is set in it is set in the module."""

    def __init__(self, module: types.ModuleType, **other: object) -> None:
        self.__dict__.update(_module=module, _other=VALUES.get(module.__name__, {}) | other)

    def __getattr__(self, name: str) -> object:
        if name in self._other:
            return self._other[name]
        if name in NAMES[self._module.__name__]:
            raise AttributeError(f"module {self._module.__name__!r} has no attribute {name!r} on Windows")
        return getattr(self._module, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._module, name, value)


def is_own(module: object) -> bool:
    """Whether a name of a module is one of xaibench's own."""
    return str(module).partition(".")[0] == "xaibench"


def asked_by_xaibench() -> bool:
    """Whether the code that called the caller is xaibench's, perhaps through the standard library's files and paths."""
    frame = sys._getframe(2)
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in BETWEEN:
        frame = frame.f_back
    return frame is not None and is_own(frame.f_globals.get("__name__"))


def open_files() -> set[str]:
    """The files that this process has open or mapped into memory."""
    found = set()
    for handle in pathlib.Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # that of the listing itself
            found.add(str(handle.readlink()))
    mapped = pathlib.Path("/proc/self/maps").read_text("utf-8").splitlines()
    return found | {parts[5] for parts in (line.split(None, 5) for line in mapped) if len(parts) == 6}


def refusing(function):
    """A function that changes names of files, which Windows refuses where a file, or one in a folder, is open."""

    def call(*paths, **named):
        if asked_by_xaibench():
            opened, handle = open_files(), named.get("dir_fd")
            folder = pathlib.Path() if handle is None else pathlib.Path(f"/proc/self/fd/{handle}")
            for path in (str(folder.resolve() / path) for path in paths):
                if any(one == path or one.startswith(f"{path}/") for one in opened):
                    raise PermissionError(13, "The process cannot access the file because it is being used", path)
        return function(*paths, **named)

    return call


def open_of(usual):
    """`open` that writes texts with the ends of lines of Windows, where xaibench does not say which."""

    def call(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, closefd=True, opener=None):
        if "b" not in mode and asked_by_xaibench():
            if encoding in (None, "locale"):
                raise EncodingWarning(f"{file} is opened in the encoding of the system")
            if newline is None and set(mode) & set("wax"):
                newline = "\r\n"
        if "b" not in mode:
            encoding = encoding or "locale"  # without a warning, which is about others
        return usual(file, mode, buffering, encoding, errors, newline, closefd, opener)

    return call


def low_open(path, flags, *rest, **named):
    """`os.open`, which opens no folder on Windows."""
    if pathlib.Path(path).is_dir():
        raise PermissionError(13, "Permission denied", str(path))
    return os.open(path, flags, *rest, **named)


def kill(process: int, number: int) -> None:
    """`os.kill`, which ends a process on Windows, whatever the number."""
    raise AssertionError(f"os.kill({process}, {number}) ends that process on Windows")


def install() -> None:
    """Makes this process as on Windows for xaibench, which must not be imported yet."""
    assert not any(map(is_own, sys.modules)), "xaibench is imported already"
    others = {name: Lacking(__import__(name)) for name in NAMES}
    others["os"] = Lacking(os, open=low_open, kill=kill)
    usual = builtins.__import__

    def bring(name, globals=None, locals=None, fromlist=(), level=0):
        if level == 0 and is_own((globals or {}).get("__name__")):
            if name.partition(".")[0] in MODULES:
                raise ModuleNotFoundError(f"No module named {name!r} on Windows", name=name)
            if name in others:
                return others[name]
        return usual(name, globals, locals, fromlist, level)

    builtins.__import__ = bring
    for name in ("replace", "rename", "unlink", "remove"):
        setattr(os, name, refusing(getattr(os, name)))
    io.open = builtins.open = open_of(io.open)
    pathlib.PurePath.__lt__ = lambda one, other: [part.lower() for part in one.parts] < [p.lower() for p in other.parts]
    warnings.filterwarnings("error", category=EncodingWarning, module=r"xaibench(\.|$)")


def give(words: list[str]) -> int:
    """The exit status of a command; what is no error of the user is raised."""
    from xaibench.cli import main

    sys.argv = ["xaibench", *words]
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


install()

if __name__ == "__mp_main__":
    print("spawned", file=sys.stderr, flush=True)
if __name__ == "__main__":
    import multiprocessing

    multiprocessing.set_start_method("spawn")
    assert signal.SIGHUP, "only xaibench lacks it"
    for words in json.loads(sys.argv[1]):
        status = give(words)
        print(f"exit {status}: {' '.join(words)}", flush=True)
