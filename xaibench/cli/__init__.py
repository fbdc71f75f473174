"""The command line: one file per verb, each a thin layer over the Python functions of the same name."""

from __future__ import annotations

import errno
import io
import os
import sys
import time
from collections.abc import Sequence

from xaibench.allocation import keep_freed_memory
from xaibench.cli.ending import heard
from xaibench.errors import PeerLost, XaibenchError
from xaibench.parsing import is_text
from xaibench.printing import say
from xaibench.ranks import first_process, process_number, speaks_of_the_end

MISTAKE, INTERRUPTED, CLOSED_PIPE = 2, 130, 141  # as shells say it: 128 and the number of the signal
SECONDS_FOR_THE_FIRST = 10
# What a disk, a permission or a limit of the machine is to blame for, wherever it comes up.
OBSTACLES = {
    errno.ENOSPC: "the disk is full; free some space and give the same command again",
    errno.EDQUOT: "the disk quota is used up; free some space and give the same command again",
    errno.EROFS: "this is a read-only file system; choose another folder",
    errno.EACCES: "permission denied; choose another folder, or change who may use this one",
    errno.EPERM: "permission denied; choose another folder, or change who may use this one",
    errno.EIO: "the disk reports an error",
    errno.ENOTDIR: "a file is where a folder should be",
    errno.EISDIR: "a folder is where a file should be",
    errno.ENAMETOOLONG: "the name is too long",
    errno.EMFILE: "too many open files; raise the limit (ulimit -n)",
    errno.ELOOP: "a link leads to itself",
}


def main() -> None:
    """Entry point of the command `xaibench`: a user's mistake is one line on standard error and exit status 2.

    So is what the machine is to blame for (disks, permissions, memory). Ctrl-C is one line and 130, SIGTERM and SIGHUP
    are one line and 143 and 129; a closed pipe is silence and 141. Every other exception is a defect of xaibench and
    keeps its traceback.
    """
    _open_streams()
    try:
        _check_words(sys.argv[1:])
        keep_freed_memory()
        with heard() as ending:
            status = _call()
    except KeyboardInterrupt:
        status = INTERRUPTED
    except SystemExit as end:
        if not _is_closed_pipe(end.__context__):
            raise
        status = CLOSED_PIPE
    except PeerLost as error:
        if speaks_of_the_end():
            say(str(error))
        status = MISTAKE
    except XaibenchError as error:
        _say_once(str(error))
        status = MISTAKE
    except (OSError, MemoryError, RuntimeError) as error:
        text = _obstacle(error)
        if text is None:
            raise
        _say_once(text)
        _silence(sys.stdout)
        status = MISTAKE
    if status == INTERRUPTED:
        status = ending.status
        if speaks_of_the_end():
            say(f"{ending.text}; what is done is stored, the same command goes on from there")
    if status:
        raise SystemExit(status)


def _say_once(text: str) -> None:
    """Says why a command ends. Of processes that train together, those behind the first wait a moment: where all have
    met the same, the first has said it, and its launcher ends them meanwhile."""
    if first_process():
        say(text)
    else:
        time.sleep(SECONDS_FOR_THE_FIRST)
        say(f"process {process_number()}: {text}")


def _open_streams() -> None:
    """Lets standard streams that were closed before the start lead nowhere, so that no file takes their numbers; and
    lets those that cannot show a character (cp1252 and the like) show its code instead of failing.

    On Windows, what goes to a file or a pipe is UTF-8, as everywhere, unless PYTHONIOENCODING says otherwise.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115, PTH123  (for the whole process)
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            usual = sys.platform == "win32" and not stream.isatty() and "PYTHONIOENCODING" not in os.environ
            stream.reconfigure(encoding="utf-8" if usual else None, errors="backslashreplace")


def _check_words(words: Sequence[str]) -> None:
    """Raises XaibenchError for bytes that are no text: records, keys and tables could not hold them."""
    for word in words:
        if not is_text(word):
            raise XaibenchError(f"{ascii(word)[:200]} is no text in UTF-8; rename that file or folder")


def _call() -> int:
    """Runs the command that was given and returns its exit status; text that makes no command is one line, too."""
    import typer

    from xaibench.cli.app import app

    usage_error = typer.BadParameter.__base__  # typer has click's own, or a copy of it, depending on its version
    try:
        return app(standalone_mode=False, complete_var="_XAIBENCH_COMPLETE") or 0
    except usage_error as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()
        else:
            command = error.ctx.command_path if error.ctx else "xaibench"
            text = " ".join(error.format_message().split()).rstrip(".")
            say(f"{text[0].lower()}{text[1:]}; see `{command} --help`")
        return error.exit_code


def _obstacle(error: BaseException) -> str | None:
    """One line for what the machine is to blame for; None for everything else."""
    out_of_memory = type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)
    if isinstance(error, MemoryError) or out_of_memory:
        return "out of memory; lower --batch-size, --chunk-size or --workers, or use a larger machine"
    if isinstance(error, OSError) and error.errno in OBSTACLES:
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
        return f"{where}{OBSTACLES[error.errno]}; nothing stored before is lost"
    return None


def _is_closed_pipe(error: BaseException | None) -> bool:
    """Whether typer ended the command, silently, because nobody reads its output any longer (`xaibench ls | head`)."""
    return isinstance(error, OSError) and error.errno == errno.EPIPE


def _silence(stream) -> None:
    """Lets what is left in a stream's buffer go nowhere, so that the end of Python does not complain about it."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):  # a stream without a file, as in tests
        pass
