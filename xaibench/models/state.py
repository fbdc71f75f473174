"""Weights from a file into a network: safetensors or a state dict of torch, by names, mismatches named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from xaibench.errors import XaibenchError, one_line
from xaibench.files import make_folder, write_atomic
from xaibench.models.checkpoint import read_checkpoint
from xaibench.models.file_kinds import foreign_kind, is_safetensors
from xaibench.models.names import COUNTERS, Match, match_names
from xaibench.models.number_types import conversions, name_of, not_finite, unfit_numbers
from xaibench.models.weights_header import parse_header

WEIGHTS_FILE = "weights.safetensors"  # the name of what a training writes in its folder


@dataclass(frozen=True)
class StateFile:
    """The content of a file of weights: tensors by parameter name, the digest of the file, and the header that xaibench
    wrote about training and alignment (empty for files from elsewhere).

    others: names of further state dicts in the file, such as an average of the weights, which are not read.
    """

    path: Path
    tensors: dict[str, Tensor]
    digest: str
    header: dict
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Loaded:
    """fresh: names of tensors of a network that kept their values. remarks: what the user should know of how a file was
    taken for the network's weights, a line each."""

    fresh: list[str]
    remarks: tuple[str, ...]


def check_classes(state: StateFile, classes: Sequence[str], dataset: str) -> None:
    """Raises XaibenchError where the header of weights has other classes than a data set, or another order of them;
    weights from elsewhere have no classes in their header."""
    known = state.header.get("classes")
    if known is None or list(known) == list(classes):
        return
    place = next(
        (n for n, (a, b) in enumerate(zip(known, classes, strict=False)) if a != b), min(len(known), len(classes))
    )
    trained, expected = (f"{names[place]!r}" if place < len(names) else "none" for names in (known, classes))
    raise XaibenchError(
        f"weights {state.path} were trained on other classes than those of {dataset}: class {place} is {trained} "
        f"there, {expected} here; name weights for these classes by --weights, or train some by `xaibench train`"
    )


def read_state(path: Path) -> StateFile:
    """Reads safetensors or a torch file (weights only: nothing in it is executed), whatever its name ends in.

    Raises XaibenchError for anything else, with what it is.
    """
    if not path.exists():
        raise XaibenchError(f"weights {path} do not exist")
    try:
        if kind := foreign_kind(path):
            raise XaibenchError(f"weights {path} are {kind}")
        if is_safetensors(path):
            return StateFile(path, load_file(path), file_digest(path), read_header(path))
    except (SafetensorError, ValueError) as error:
        raise XaibenchError(
            f"weights {path} are safetensors that are damaged or cut short ({one_line(error)}); copy or download them "
            "again"
        ) from error
    except OSError as error:
        raise XaibenchError(f"weights {path} cannot be read: {error.strerror or error}") from error
    tensors, others = read_checkpoint(path)
    return StateFile(path, tensors, file_digest(path), {}, tuple(others))


def read_header(path: Path) -> dict:
    """The header that xaibench wrote into a safetensors file about training and alignment, without reading the tensors;
    empty for files from elsewhere. Raises SafetensorError or ValueError for a file that is no safetensors."""
    with safe_open(path, framework="pt") as file:
        return parse_header((file.metadata() or {}).get("xaibench", "{}"))


def load_state(net: nn.Module, state: StateFile, model: str, head: Collection[str] = ()) -> Loaded:
    """Copies weights into a network, all of them or none.

    Names may have a prefix that the network's do not have, and tensors may lie beside it, which the remarks say. Raises
    XaibenchError that names the first keys, shapes or types of numbers that differ, or prefixes that fit equally well.
    Tensors in `head` that have another number of classes keep their values.
    """
    expected, match = net.state_dict(), match_names(net, state.tensors)
    given = match.tensors
    if match.rivals:
        found = " and ".join(repr(prefix) for prefix in (match.prefix, *match.rivals))
        raise XaibenchError(
            f"weights {state.path} fit {model} more than once, by names that begin with {found}; save those that are "
            "meant in a file of their own"
        )
    if match.missing or match.extra:
        below = f" below {match.prefix!r}" if match.prefix else ""
        raise XaibenchError(
            f"weights {state.path} do not fit {model}{below}: " + "; ".join(
                f"{kind} {_first(keys)}" for kind, keys in (("missing", match.missing), ("unexpected", match.extra))
                if keys
            )
        )  # fmt: skip
    wrong = [k for k in given if given[k].shape != expected[k].shape]
    fresh = [k for k in wrong if k in head and given[k].ndim and given[k].shape[1:] == expected[k].shape[1:]]
    wrong = [k for k in wrong if k not in fresh]
    if wrong:
        name, count = wrong[0], class_count(net, state)
        hint = f": they are for {count} classes, the data set has {expected[name].shape[0]}" if count else ""
        shapes = f"{name} is {tuple(given[name].shape)}, not {tuple(expected[name].shape)}"
        raise XaibenchError(f"weights {state.path} do not fit {model}{hint} ({shapes})")
    for name, tensor in given.items():
        if not name.endswith(COUNTERS) and (kind := unfit_numbers(tensor, expected[name])):
            needed = name_of(expected[name].dtype)
            raise XaibenchError(
                f"weights {state.path} do not fit {model}: {name} is {kind}, the network needs {needed}; name weights "
                f"in {needed}, as they were before any quantisation"
            )
        if name not in fresh and (what := not_finite(tensor, expected[name])):
            raise XaibenchError(
                f"weights {state.path} do not fit {model}: {name} has {what}; name weights of a training that did not "
                "diverge, and copy or download them again if they should be sound"
            )
    net.load_state_dict({k: v for k, v in given.items() if k not in fresh}, strict=False)
    return Loaded([k for k in expected if k in fresh], tuple(_remarks(state, match, expected)))


def _first(names: Sequence[str]) -> str:
    """The first two names, and how many more there are."""
    return f"{', '.join(names[:2])}{f' and {len(names) - 2} more' if len(names) > 2 else ''}"


def _remarks(state: StateFile, match: Match, expected: dict[str, Tensor]) -> Iterator[str]:
    if not match.is_usual:
        left = f", and leave out {len(match.left)} beside them: {_first(sorted(match.left))}" if match.left else ""
        names = f" whose names begin with {match.prefix!r}" if match.prefix else ""
        yield f"weights {state.path}: take {len(match.tensors)} tensors{names}{left}"
    if state.others:
        yield f"weights {state.path}: the state dicts {_first(state.others)} beside the one that is taken are left out"
    for way in conversions((tensor, expected[name]) for name, tensor in match.tensors.items()):
        yield f"weights {state.path} are {way}"


def class_count(net: nn.Module, state: StateFile) -> int | None:
    """The number of classes of the weights, where they differ from the network in that alone; None otherwise."""
    expected, given = net.state_dict(), match_names(net, state.tensors).tensors
    wrong = [k for k in given if given[k].shape != expected[k].shape]
    counts = {given[k].shape[0] for k in wrong if given[k].ndim and given[k].shape[1:] == expected[k].shape[1:]}
    return (
        counts.pop() if len(counts) == 1 and all(given[k].shape[1:] == expected[k].shape[1:] for k in wrong) else None
    )


def save_state(net: nn.Module, path: Path, header: dict) -> None:
    """Writes safetensors with a header about training and alignment, completely or not at all.

    Raises XaibenchError when the disk is full or the folder cannot be written.
    """
    make_folder(path.parent)
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in net.state_dict().items()}
    # one entry only: safetensors writes several in a random order, and the file's digest is part of every key
    write_atomic(path, save(tensors, metadata={"xaibench": json.dumps(header, sort_keys=True)}))


def file_digest(path: Path) -> str:
    """blake2b of a file's content, 20 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=10)).hexdigest()


def tensors_digest(tensors: dict[str, Tensor]) -> str:
    """blake2b of names, dtypes, shapes and values of tensors in the order of their names, 20 hex digits."""
    hasher = hashlib.blake2b(digest_size=10)
    for name, tensor in sorted(tensors.items()):
        plain = tensor.detach().cpu().contiguous()
        hasher.update(f"{name} {plain.dtype} {tuple(plain.shape)} ".encode())
        hasher.update(plain.flatten().view(torch.uint8).numpy())
    return hasher.hexdigest()
