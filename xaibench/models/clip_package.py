"""The package open_clip: imported where it is needed, its architectures, and the files of its published weights."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from xaibench.errors import XaibenchError, did_you_mean
from xaibench.home import home
from xaibench.models.download import fetch

HUB = "https://huggingface.co"
FILE = "open_clip_model.safetensors"


def open_clip(needed: str) -> ModuleType:
    """The package; raises XaibenchError that begins with what needs it, and ends with what to do without it."""
    try:
        return importlib.import_module("open_clip")
    except ImportError as error:
        raise XaibenchError(needed) from error


def is_quick(config: dict[str, Any], settings: dict[str, Any]) -> bool:
    """Whether an architecture, or the training of some weights, has the activation of OpenAI's networks."""
    return bool(config.get("quick_gelu") or settings.get("quick_gelu"))


def published_file(package: ModuleType, architecture: str, tag: str, download: bool, option: str, absent: str) -> Path:
    """The file of published weights of an architecture, fetched once where download allows it.

    Raises XaibenchError for a name that there is not (given by option), and `absent` for a file that is not here.
    """
    hub = package.pretrained.get_pretrained_cfg(architecture, tag).get("hf_hub", "").strip("/")
    if not hub:
        raise unknown_name(option, tag, ["none", *package.pretrained.list_pretrained_tags_by_model(architecture)])
    path = home() / "downloads" / f"{hub.replace('/', '-')}-{FILE}"
    if not download and not path.is_file():
        raise XaibenchError(absent)
    return fetch(f"{HUB}/{hub}/resolve/main/{FILE}", path)


def unknown_name(option: str, name: str, known: Iterable[str]) -> XaibenchError:
    """The error for the name of an architecture or of weights that there is not, with the nearest ones."""
    close = did_you_mean(name, known, most=3)
    return XaibenchError(f"{option} {name!r} is not known{close and '; ' + close}")
