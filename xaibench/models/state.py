"""Weights from a file into a network: safetensors or a state dict of torch, prefixes stripped, mismatches named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from xaibench.errors import XaibenchError
from xaibench.files import make_folder, write_atomic

PREFIXES = ("module.", "model.", "_orig_mod.", "net.")
WRAPPERS = ("state_dict", "model_state_dict", "model", "model_state", "net")


@dataclass(frozen=True)
class StateFile:
    """The content of a file of weights: tensors by parameter name, the digest of the file, and the header that xaibench
    wrote about training and alignment (empty for files from elsewhere)."""

    path: Path
    tensors: dict[str, Tensor]
    digest: str
    header: dict


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
    """Reads safetensors or a torch file (weights only: nothing in it is executed); raises XaibenchError otherwise."""
    if not path.is_file():
        raise XaibenchError(f"weights {path} do not exist")
    if path.suffix != ".safetensors":
        return StateFile(path, _read_torch(path), file_digest(path), {})
    try:
        return StateFile(path, load_file(path), file_digest(path), read_header(path))
    except (SafetensorError, ValueError) as error:
        raise XaibenchError(f"weights {path} are not a readable safetensors file: {error}") from error


def read_header(path: Path) -> dict:
    """The header that xaibench wrote into a safetensors file about training and alignment, without reading the tensors;
    empty for files from elsewhere. Raises SafetensorError or ValueError for a file that is no safetensors."""
    with safe_open(path, framework="pt") as file:
        return json.loads((file.metadata() or {}).get("xaibench", "{}"))


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a file that is not its own
        first = (str(error).splitlines() or [""])[0]
        raise XaibenchError(
            f"weights {path} cannot be loaded as weights only: {type(error).__name__}: {first}"
        ) from error
    for wrapper in WRAPPERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapper), dict):
            loaded = loaded[wrapper]
    tensors = {k: v for k, v in loaded.items() if isinstance(v, Tensor)} if isinstance(loaded, dict) else {}
    if not tensors:
        raise XaibenchError(f"weights {path} contain no state dict")
    return tensors


def _named_as(net: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors without prefixes (module., model., ...) that all their names share and the network's do not."""
    own = list(net.state_dict())

    def foreign(prefix: str) -> bool:
        return all(k.startswith(prefix) for k in tensors) and not all(k.startswith(prefix) for k in own)

    while tensors and (prefix := next(filter(foreign, PREFIXES), None)):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def load_state(net: nn.Module, state: StateFile, model: str, head: Collection[str] = ()) -> list[str]:
    """Copies weights into a network; raises XaibenchError that names the first keys or shapes that differ.

    Returns the names of tensors that keep their values: those in `head` that have another number of classes.
    """
    expected, given = net.state_dict(), _named_as(net, state.tensors)
    given = {k: v for k, v in given.items() if k in expected or not k.endswith("num_batches_tracked")}
    missing = [k for k in expected if k not in given and not k.endswith("num_batches_tracked")]
    extra = [k for k in given if k not in expected]
    if missing or extra:
        raise XaibenchError(
            f"weights {state.path} do not fit {model}: " + "; ".join(
                f"{kind} {', '.join(keys[:2])}{f' and {len(keys) - 2} more' if len(keys) > 2 else ''}"
                for kind, keys in (("missing", missing), ("unexpected", extra)) if keys
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
    net.load_state_dict({k: v for k, v in given.items() if k not in fresh}, strict=False)
    return [k for k in expected if k in fresh]


def class_count(net: nn.Module, state: StateFile) -> int | None:
    """The number of classes of the weights, where they differ from the network in that alone; None otherwise."""
    expected, given = net.state_dict(), _named_as(net, state.tensors)
    wrong = [k for k in given if k in expected and given[k].shape != expected[k].shape]
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
