"""What a site says where kept maps cannot be read: in the output of the build, and on the pages of the board."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from site_folder import IMAGES, METHODS, Reader, make_folder

from xaibench.publication.sums import write_sums
from xaibench.results.maps import MapStore
from xaibench.site.build import _notes
from xaibench.site.content import Content
from xaibench.site.gallery import Galleries

pytestmark = pytest.mark.process
DIGESTS = [f"d{number}" for number in range(len(IMAGES))]


@pytest.fixture
def store(tmp_path):
    """Results whose maps have digests, as those of runs."""
    store = make_folder(tmp_path / "board")
    maps = MapStore(store.root)
    for path in maps.all_files():
        values = torch.from_numpy(np.random.default_rng(1).normal(size=(len(IMAGES), 1, 32, 32)))
        maps.save(path.parent.name, IMAGES, torch.ones(len(IMAGES), dtype=torch.int64), values, DIGESTS)
    return store


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3000:] = bytes(byte ^ 1 for byte in data[-3000:])  # of values, of which some are those that are shown
    path.write_bytes(data)


DAMAGE = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-9]), "empty": lambda path: path.write_bytes(b""),
    "another file": lambda path: path.write_text("not maps"), "values": flipped,
}  # fmt: skip


def of_board(store, model: str) -> dict[str, Path]:
    """By method the file with the maps of the board of `idsds` on a model."""
    names = lambda cell: (cell.context["protocol"]["name"], cell.context["model"]["name"])  # noqa: E731
    cells = [one for one in store.cells().values() if names(one) == ("idsds", model)]
    return {cell.method_name: MapStore(store.root).files(cell.key)[0] for cell in cells}


@pytest.mark.slow
def test_maps_that_are_left_out_are_counted_and_named(store):
    """Each kind of damage to the maps of another method; what is whole is shown as before."""
    files = of_board(store, "resnet18")
    drawer = Galleries(Content(store.root))
    assert len(drawer.make()) == 2 and not drawer.left_out() and not drawer.damaged_files()
    damaged = dict(zip(DAMAGE, ("ig", "grad-cam", "random", "oracle"), strict=True))
    for kind, name in damaged.items():
        DAMAGE[kind](files[name])
    drawer = Galleries(Content(store.root))
    gallery, other = drawer.make()
    assert drawer.damaged_files() == sorted(files[name] for name in damaged.values())
    [(slug, sentence)] = drawer.left_out().items()
    assert slug.startswith("idsds-resnet18") and slug in (gallery.one.slug, other.one.slug)
    assert sentence == (
        "4 files of kept maps are damaged, so maps of grad-cam, ig, oracle and random are missing here."
    )


@pytest.mark.slow
def test_the_build_and_the_pages_of_the_board_say_so(store, command, tmp_path):
    """Of one board a file is damaged, of the other all are, so that it has no gallery."""
    some, all_of_it = of_board(store, "resnet18"), of_board(store, "'vgg'</title>")
    for path in (some["ig"], *all_of_it.values()):
        DAMAGE["truncated"](path)
    status, out, err = command("site", "build", store.root, "--to", tmp_path / "site")
    assert status == 0 and out.endswith("index.html\n")
    [line] = err.splitlines()
    assert line.startswith(
        f"left out on pages of 2 boards: the maps in {1 + len(METHODS)} damaged files, such as maps/"
    )
    for folder in ("boards", "gallery"):
        [page] = (tmp_path / "site" / folder).glob("idsds-resnet18-*.html")
        assert "1 file of kept maps is damaged, so maps of ig are missing here." in Reader(page.read_text("utf-8")).text
    [page] = (tmp_path / "site" / "boards").glob("idsds-vgg-*.html")
    assert f"{len(METHODS)} files of kept maps are damaged" in Reader(page.read_text("utf-8")).text
    assert not list((tmp_path / "site" / "gallery").glob("idsds-vgg-*"))
    for page in (tmp_path / "site" / "boards").glob("grid-pg-*.html"):
        assert "damaged" not in Reader(page.read_text("utf-8")).text


def test_a_board_folder_that_was_changed_is_named(store):
    """As the list of its files says; a folder of an earlier format has none."""
    drawer = Galleries(Content(store.root))
    assert _notes(store.root, drawer) == ()
    write_sums(store.root)
    assert _notes(store.root, drawer) == ()
    next((store.root / "rows").rglob("*.parquet")).write_bytes(b"other rows")
    (store.root / "rows" / "more.parquet").write_bytes(b"")
    [note] = _notes(store.root, drawer)
    assert note.startswith(f"{store.root} is not as it was published: 2 files changed, missing or added, such as rows/")
