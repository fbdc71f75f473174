"""The files of published weights: in an installed package, or fetched; and tensors that are known by their order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import nn

from xaibench.cards import ModelCard, PublishedWeights
from xaibench.errors import XaibenchError
from xaibench.hashing import sha256_of
from xaibench.home import home
from xaibench.importing import package_file
from xaibench.models.download import address, fetch, stored_at
from xaibench.models.names import COUNTERS
from xaibench.models.state import StateFile


def obtain(weights: PublishedWeights, download: bool) -> Path | None:
    """The file of published weights; None where it is to be fetched, has not been yet, and download does not allow it.

    Raises XaibenchError as `fetch` does, and where a package is not installed, lacks the file, or has another one.
    """
    if weights.package:
        return _in_package(weights)
    url, sha256 = address(weights)
    path = stored_at(url)
    return fetch(url, path, sha256) if download or path.is_file() else None


def known_places(weights: PublishedWeights) -> list[Path]:
    """Where the file of published weights may be on this machine; nothing is fetched."""
    if weights.package:
        try:
            return [_in_package(weights)]
        except XaibenchError:
            return []
    return [home() / weights.file if weights.file else stored_at(address(weights)[0])]


def _in_package(weights: PublishedWeights) -> Path:
    path = package_file(weights.package, weights.file, "these weights", weights.extra)
    if (found := sha256_of(path)) != weights.sha256.lower():
        raise XaibenchError(
            f"weights {path} have sha256 {found[:16]}..., the card has {weights.sha256[:16].lower()}...; they are not "
            f"those of the card: install the package {weights.package} again, or name a file by --weights"
        )
    return path


def has_file_name(weights: PublishedWeights, path: Path) -> bool:
    """Whether a file has the name of published weights."""
    return f"/{weights.file if weights.package else address(weights)[0]}".endswith(f"/{path.name}")


def named_as_network(state: StateFile, net: nn.Module, card: ModelCard) -> StateFile:
    """Weights with the names of a network's tensors, where the model's card says of this very file (by its SHA-256)
    that its tensors are known by their order; any other file as it is.

    The n-th tensor of the file becomes the n-th of the network, both without counters of batches. Shapes are compared
    by `load_state`, as always. Raises XaibenchError where their numbers differ, or the last parts of two names, such as
    `weight` and `running_mean`, which tells tensors of one shape apart.
    """
    published = [weights for weights in (card.plain, card.aligned) if weights and weights.by_order]
    if not published or not state.path.is_file():
        return state
    sha256 = sha256_of(state.path)
    if all(weights.sha256.lower() != sha256 for weights in published):
        return state
    own, given = (
        [name for name in names if not name.endswith(COUNTERS)] for names in (net.state_dict(), state.tensors)
    )
    if len(own) != len(given):
        raise XaibenchError(
            f"weights {state.path} do not fit {card.name} by their order: they have {len(given)} tensors, the network "
            f"{len(own)}; correct by_order in the card"
        )
    for place, (ours, theirs) in enumerate(zip(own, given, strict=True), 1):
        if ours.rpartition(".")[2] != theirs.rpartition(".")[2]:
            raise XaibenchError(
                f"weights {state.path} do not fit {card.name} by their order: tensor {place} is {theirs} there, {ours} "
                "in the network; correct by_order in the card"
            )
    return replace(state, tensors={ours: state.tensors[theirs] for ours, theirs in zip(own, given, strict=True)})
