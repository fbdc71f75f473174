"""Whether xaibench can work here: versions, devices, memory, folders, extras, data sets and weights."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from xaibench import registry
from xaibench._version import __version__
from xaibench.errors import XaibenchError, one_line
from xaibench.files import write_atomic
from xaibench.home import home
from xaibench.leftovers import temporary
from xaibench.locks import excludes, try_lock
from xaibench.models.published import known_places
from xaibench.printing import size_text

LITTLE = 2 << 30  # bytes of memory or disk, with less of which a run of a ResNet-50 may not fit

State = Literal["ok", "missing", "problem"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: `problem` where xaibench cannot work so, `missing` where only what needs it cannot.

    advice: what to do about it, "" for nothing.
    """

    group: str
    name: str
    state: State
    text: str
    advice: str = ""


def examine(out: Path) -> list[Finding]:
    """Everything that is looked at; out: the results folder, which need not exist. Nothing is left changed."""
    found = [*_versions(), *_machine(), *_folders(out), *_extras()]
    if any((item.name, item.state) == ("home", "problem") for item in found):  # without it there is no registry
        return found
    return [*found, *_data(), *_weights()]


def _requirements() -> tuple[str, list[Requirement]]:
    """Which Python xaibench takes, and what it requires; nothing where its metadata are not installed."""
    try:
        found = metadata.distribution("xaibench")
    except metadata.PackageNotFoundError:
        return "", []
    return found.metadata["Requires-Python"] or "", [Requirement(text) for text in found.requires or ()]


def _versions() -> Iterator[Finding]:
    python, required = _requirements()
    have = platform.python_version()
    fits = not python or have in SpecifierSet(python, prereleases=True)
    yield Finding("versions", "python", "ok" if fits else "problem", f"{have} ({python or 'any'})",
                  "" if fits else f"use a Python {python}")  # fmt: skip
    advice = "" if required else "install it: python -m pip install . in its folder"
    state: State = "ok" if required else "problem"
    yield Finding("versions", "xaibench", state, __version__ if required else f"{__version__}, not installed", advice)
    for one in required:
        if _applies(one):
            yield _version(one, "problem")


def _applies(one: Requirement, extra: str = "") -> bool:
    """Whether a requirement is one of xaibench itself, or of an extra."""
    return one.marker is None if not extra else one.marker is not None and one.marker.evaluate(_with(extra))


def _with(extra: str) -> dict[str, str]:
    return {**default_environment(), "extra": extra}


def _version(one: Requirement, otherwise: State) -> Finding:
    """Whether a package is installed in a version of the range."""
    wanted = f"{one.name}{one.specifier}"
    advice = f"python -m pip install '{wanted}'"
    try:
        have = metadata.version(one.name)
    except metadata.PackageNotFoundError:
        return Finding("versions", one.name, otherwise, f"not installed ({one.specifier or 'any'})", advice)
    fits = one.specifier.contains(have, prereleases=True)
    text = f"{have} ({one.specifier or 'any'})"
    return Finding("versions", one.name, "ok" if fits else otherwise, text, "" if fits else advice)


def _machine() -> Iterator[Finding]:
    try:
        import torch

        from xaibench.evaluation.resources import available_memory
    except Exception as error:  # a broken installation raises anything
        advice = "python -m pip install --force-reinstall torch"
        yield Finding("machine", "torch", "problem", f"cannot be imported: {one_line(error, 200)}", advice)
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    text = f"{cores} cores, {torch.get_num_threads()} threads of torch ({platform.machine()}, {platform.system()})"
    yield Finding("machine", "cpu", "ok", text)
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(number)
            text = f"{torch.cuda.get_device_name(number)}, {size_text(free)} of {size_text(total)} free"
            yield Finding("machine", f"cuda:{number}", "ok", text)
    else:
        yield Finding("machine", "cuda", "missing", "no GPU that torch can use: runs go on the CPU")
    free = available_memory()
    state: State = "ok" if free >= LITTLE else "missing"
    advice = "" if free >= LITTLE else "end other programs, or lower --chunk-size and --batch-size"
    yield Finding("machine", "memory", state, f"{size_text(free)} free", advice)


def _folders(out: Path) -> Iterator[Finding]:
    for name, find in (("home", home), ("results", lambda: out), ("temporary", lambda: Path(tempfile.gettempdir()))):
        try:
            folder = find()
        except XaibenchError as error:
            yield Finding("folders", name, "problem", str(error), "export XAIBENCH_HOME=DIR")
            continue
        yield from _folder(name, folder)


def _folder(name: str, folder: Path) -> Iterator[Finding]:
    """Whether a folder, or the nearest one above it that exists, can be written, has room, and supports locks."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    probe = temporary(there / "doctor")
    try:
        if not there.is_dir():
            raise XaibenchError(f"{there} is a file")
        write_atomic(probe, b"probe")
        probe.unlink()
    except (XaibenchError, OSError) as error:
        yield Finding("folders", name, "problem", f"{folder}: {error}", "choose another folder")
        return
    free = shutil.disk_usage(there).free
    state: State = "ok" if free >= LITTLE else "missing"
    text = f"{folder}{'' if there == folder.absolute() else ' (not there yet)'}, {size_text(free)} free"
    yield Finding("folders", name, state, text, "" if state == "ok" else "free some space: xaibench cache ls")
    if name != "temporary":
        works = _locks_work(there)
        text = "work" if works else "are not supported there: one process at a time, or --shard"
        yield Finding("folders", f"locks in {name}", "ok" if works else "missing", text)


def _locks_work(folder: Path) -> bool:
    lock = temporary(folder / "doctor").name
    try:
        held = try_lock(folder, [lock])
        if held is None:
            return False
        with held:
            return excludes(folder, lock)
    except XaibenchError:
        return False
    finally:
        with suppress(OSError):
            (folder / f"{lock}.lock").unlink(missing_ok=True)


def _extras() -> Iterator[Finding]:
    _, required = _requirements()
    extras = sorted({word for one in required if one.marker for word in _extra_names(one)})
    for extra in extras:
        found = [_version(one, "missing") for one in required if _applies(one, extra)]
        lacking = [item.name for item in found if item.state != "ok" and item.name != "xaibench"]
        text = f"lacks {', '.join(lacking)}" if lacking else "installed"
        advice = f"python -m pip install 'xaibench[{extra}]'" if lacking else ""
        yield Finding("extras", extra, "missing" if lacking else "ok", text, advice)


def _extra_names(one: Requirement) -> list[str]:
    provided = metadata.distribution("xaibench").metadata.get_all("Provides-Extra") or []
    return [extra for extra in provided if _applies(one, extra)]


def _data() -> Iterator[Finding]:
    elsewhere = []
    for name in registry.names("dataset"):
        card = registry.card("dataset", name)
        if card.needs_root:
            elsewhere.append(name)
            continue
        try:
            from xaibench.datasets.open import open_dataset

            count = len(open_dataset(card, None, {}).image_list(None))
            yield Finding("data sets", name, "ok", f"{count} images")
        except XaibenchError as error:
            yield Finding("data sets", name, "missing", str(error))
    text = f"{', '.join(elsewhere)} are read from --data-root DIR"
    yield Finding("data sets", "photos", "missing", text, "xaibench data check NAME --data-root DIR")


def _weights() -> Iterator[Finding]:
    trained = sorted((home() / "models").glob("*/*.safetensors"))
    text = f"{len(trained)} trained here" + ("; xaibench cache ls lists them" if trained else "")
    yield Finding("weights", "trained", "ok" if trained else "missing", text, "" if trained else "a run trains its own")
    here, elsewhere = set(), set()
    for name in registry.names("model"):
        card = registry.card("model", name)
        for weights in filter(None, (card.plain, card.aligned)):
            (here if any(path.is_file() for path in known_places(weights)) else elsewhere).add(name)
    yield Finding("weights", "published", "ok" if here else "missing", f"here: {', '.join(sorted(here)) or 'none'}")
    if elsewhere:
        yield Finding(
            "weights", "not here", "missing", ", ".join(sorted(elsewhere)), "a run with --download fetches them"
        )


def is_sound(findings: list[Finding]) -> bool:
    """Whether there is no problem; what is only missing is none."""
    return all(item.state != "problem" for item in findings)


def python_of() -> str:
    """The Python that runs, for bug reports."""
    return f"{sys.executable} ({platform.python_implementation()} {platform.python_version()})"
