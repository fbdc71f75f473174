"""Builds the site of a board folder: all pages and files into a folder beside, which then takes its place at once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from itertools import chain
from pathlib import Path

from xaibench.errors import XaibenchError
from xaibench.files import make_folder, obstacle
from xaibench.leftovers import temporary
from xaibench.publication.index import is_board_folder
from xaibench.publication.sums import unchanged
from xaibench.report.text import count
from xaibench.site.content import Content
from xaibench.site.gallery import Galleries
from xaibench.site.page import File, Page
from xaibench.site.pages import (
    across,
    agreement,
    boards,
    designs,
    gallery,
    images,
    judges,
    methods,
    papers,
    replays,
    runs,
    start,
)
from xaibench.site.render import render

MARK = "xaibench-site.txt"
MARKED = "This folder was made by `xaibench site build`, which may make it anew.\n"
SECTIONS = {
    "start": ("Start", "index.html"), "boards": ("Boards", "boards.html"), "models": ("Models", "models.html"),
    "designs": ("Designs", "designs.html"), "papers": ("Papers", "papers.html"), "methods": ("Methods", "methods.html"),
    "judges": ("Judges", "judges.html"), "agreement": ("Agreement", "agreement.html"),
    "gallery": ("Gallery", "gallery.html"), "runs": ("Runs", "runs.html"),
}  # fmt: skip


@dataclass(frozen=True)
class Site:
    """A site that was built: its folder, its number of pages, and notes on what is not in it."""

    folder: Path
    pages: int
    notes: tuple[str, ...]


def build_site(folder: str | Path, to: str | Path | None = None) -> Site:
    """Builds the site of a board folder, or of a plain results folder.

    to: the folder of the site, by default `site` inside the board folder; one that an earlier call made is replaced.
    The site needs nothing outside of it, so it can be copied anywhere. The same board folder gives the same bytes.
    Raises XaibenchError where there is nothing to show, or `to` holds other files.
    """
    root = Path(folder)
    to = root / "site" if to is None else Path(to)
    check_target(to)
    content = Content(root)
    drawer = Galleries(content)
    place = to.resolve()  # a link stays one
    make_folder(place.parent)
    staged = temporary(place)
    pages: list[Page] = []
    try:
        for one in _everything(content, drawer):  # files have all rows together, so each is written as it comes
            if isinstance(one, File):
                _write(staged / one.address, one.data)
            else:
                pages.append(one)
        there = {page.section for page in pages}
        sections = {key: value for key, value in SECTIONS.items() if key in there}
        for page in pages:
            _write(staged / page.address, _html(page, sections))
        if place.is_dir():
            shutil.rmtree(place)
        staged.rename(place)
    except OSError as error:
        raise obstacle(error, to) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return Site(to, len(pages), _notes(root, drawer))


def check_target(to: Path) -> None:
    """Raises XaibenchError where a folder holds something else than a site that was built."""
    if to.is_dir() and any(to.iterdir()) and not (to / MARK).is_file():
        raise XaibenchError(f"{to} holds other files than a site; name an empty or a new folder with --to")
    if to.exists() and not to.is_dir():
        raise XaibenchError(f"{to} is no folder; name another with --to")


def _notes(root: Path, drawer: Galleries) -> tuple[str, ...]:
    """What the site leaves out, counted, and whether a board folder is another than was published."""
    notes = []
    if damaged := drawer.damaged_files():
        files = f"{count(len(damaged), 'damaged file')}, such as {damaged[0].relative_to(root).as_posix()}"
        boards = count(len(drawer.damaged), "board")
        notes.append(f"left out on pages of {boards}: the maps in {files}; `xaibench validate {root}` lists them")
    notes += [f"left out, and nothing is verified by it: {problem}" for problem in drawer.content.bad_replays]
    if is_board_folder(root) and (problems := unchanged(root).problems):
        found = f"{count(len(problems), 'file')} changed, missing or added, such as {problems[0].path}"
        notes.append(f"{root} is not as it was published: {found}; `xaibench validate {root}` lists them")
    return tuple(notes)


def _everything(content: Content, drawer: Galleries) -> Iterator[Page | File]:
    galleries, left_out = drawer.make(), drawer.left_out()
    yield from chain(
        start.pages(content),
        boards.pages(content, galleries, left_out),
        across.pages(content),
        designs.pages(content),
        papers.pages(content),
        judges.pages(content),
        agreement.pages(content),
        methods.pages(content, galleries),
        gallery.pages(content, galleries, left_out),
        images.pages(content, galleries),
        replays.pages(content),
        runs.pages(content),
        drawer.files.values(),
    )
    for asset in ("site.css", "site.js"):
        yield File(f"assets/{asset}", (files("xaibench.site") / "assets" / asset).read_bytes())
    yield File(MARK, MARKED.encode())


def _html(page: Page, sections: dict[str, tuple[str, str]]) -> bytes:
    values = page.values | {"title": page.title, "root": page.root, "sections": sections, "section": page.section}
    return render(page.template, values).encode()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
