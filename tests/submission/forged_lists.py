"""Forged image lists: with images left out, added, or in another order, of drawn images, of photos, against a board."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from forging import EVIL, Forge, Forger, relisting

from xaibench.datasets.base import hashed_order

Change = Callable[[list[str]], list[str]]
LEFT_OUT: dict[str, Change] = {
    f"without {name}": lambda ids, places=places: [image for n, image in enumerate(ids) if n not in places]
    for name, places in {"the first": {0}, "one between": {3}, "two": {1, 5}, "every second": {1, 3, 5, 7},
                         "the first half": {0, 1, 2, 3}}.items()
}  # fmt: skip
OTHERS: dict[str, Change] = {
    "another order": lambda ids: ids[::-1],
    "sorted by name": sorted,
    "two exchanged": lambda ids: [ids[1], ids[0], *ids[2:]],
    "one replaced": lambda ids: hashed_order([*ids[:3], "val/x", *ids[4:]]),
    "others": lambda ids: hashed_order(f"test/9{n:05d}" for n in range(8)),
}


def lists(folder: Path) -> Iterator[tuple[str, str, Forge]]:
    """All of them."""
    images = json.loads(next(folder.glob("lists/*.json")).read_text())
    kind = "images left out or added"
    for name, change in (LEFT_OUT | OTHERS).items():
        yield kind, name, relisting(lambda f, c=change: f.relist(c(f.images())))
        for seed in (0, 1):  # the very board, and another one of the data set
            title = f"{name}, against a board of seed {seed}"
            yield kind, title, relisting(lambda f, c=change, s=seed: _against_a_board(f, c, s))
    for name in ("another order", "sorted by name", "two exchanged"):
        yield kind, f"{name}, of photos", relisting(lambda f, c=OTHERS[name]: (f.photos(), f.relist(c(f.images()))))
    shorter: Change = lambda ids: ids[:-1]  # noqa: E731
    yield kind, "fewer than the board", relisting(lambda f: _against_a_board(f, shorter, 0))
    for text in EVIL:
        yield (
            "names with scripts and escapes",
            f"list {text!a}",
            relisting(lambda f, t=text: f.relist([t, *images[1:]])),
        )
    texts = ("[]", "{}", "null", '["a", "a"]', "[1]", json.dumps(images[::-1]), "[" * 9999)
    for text in texts:
        yield "other lists", text[:12], relisting(lambda f, t=text: next(f.root.glob("lists/*.json")).write_text(t))


def _against_a_board(f: Forger, change: Change, seed: int) -> None:
    """Photos, of which a board has the honest list for the seed 0."""
    f.photos()
    f.board()
    f.rekey_all(lambda value: value["context"].update(seed=seed))
    f.relist(change(f.images()))
