"""Publishes results: collects what may go out, writes it beside the board folder, and puts it in place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from xaibench import registry
from xaibench.errors import XaibenchError
from xaibench.hashing import content_hash
from xaibench.home import home
from xaibench.locks import claim
from xaibench.provenance import command_line
from xaibench.publication.build import Contents, build, write_index
from xaibench.publication.collect import Collected, Selection, Taken, collect, order_of, published
from xaibench.publication.comparisons import Comparison, not_withdrawn, published_comparisons, read_all
from xaibench.publication.folder import OWN, own_files, put_in_place, recover, written_beside
from xaibench.publication.index import Index, WithdrawnComparison, WithdrawnEntry, is_board_folder, read_index
from xaibench.publication.records import scrubber_for
from xaibench.publication.submissions import Brought, brought_to, joined, without_own
from xaibench.publication.sums import require_unchanged, write_sums
from xaibench.publication.versions import keep_old, merged, same_version, withdrawals, without_withdrawn
from xaibench.report.text import count
from xaibench.results.store import Store

TITLE, LICENSE, GALLERY = "Boards of attribution methods", "unknown", 8


@dataclass(frozen=True)
class Request:
    """What to publish of a results folder, and how. title, license: None takes those of the version before.
    gallery, gallery_model: of how many images maps go out, and of which models (a name or wildcards; None: of all).
    allowed: names that may be published although they are those of the user or the machine. quiet: no progress."""

    selection: Selection = field(default_factory=Selection)
    title: str | None = None
    license: str | None = None
    gallery: int = GALLERY
    gallery_model: str | None = None
    data_root: Path | None = None
    allowed: tuple[str, ...] = ()
    comparisons: tuple[Path, ...] = ()
    dry_run: bool = False
    quiet: bool = True


@dataclass(frozen=True)
class Published:
    """What was published: the index, whether anything changed, how many files and bytes, and notes on what was left
    out."""

    index: Index
    changed: bool
    files: int
    bytes: int
    notes: list[str] = field(default_factory=list)


def publish(
    results: Path,
    target: Path,
    request: Request = Request(),
    report: Callable[[str], None] = lambda line: None,
    brought: Brought | None = None,
) -> Published:
    """Publishes the boards of a results folder into a board folder, which is made where there is none.

    Boards that are published already stay, unless these results have them anew or newer ones. report is given a line
    before each step. brought: the submission that the results are of (see `submission.publish`); None: they are those
    of whoever keeps the board, or a board folder with submissions of its own.

    Raises XaibenchError, in one line with what to do, for incomplete, mixed or damaged results, for
    private content that no placeholder can replace, and for a target that is no board folder.
    """
    if results.resolve() == target.resolve():
        raise XaibenchError("--to is the results folder itself; name another folder")
    if brought is None:  # a submission was checked already
        report(f"checking {results}")
    collected = collect(Store.open(results), request.selection, registry.shipped_version)
    _refuse(collected.reasons, request, report)
    with _alone(target):
        index = _index_of(target)
        old = published(Store.open(target), index) if index else []
        new, notes = without_withdrawn(collected.taken, index.withdrawn if index else [])
        if not new:
            raise XaibenchError(f"nothing to publish: {'; '.join(notes) or 'no board fits'}")
        new = [replace(one, photos=target) for one in new] if brought else new
        taken, more, reasons = merged(new, old)
        _refuse(reasons, request, report)
        collected = Collected(taken, [*collected.notes, *notes, *more], [])
        given = read_all(request.comparisons)
        submissions = _submissions(results, target, index, new, brought)
        return _write(collected, target, index, request, given, ([], []), submissions)


def _submissions(
    results: Path, target: Path, index: Index | None, new: Sequence[Taken], brought: Brought | None
) -> Brought:
    """The submissions of a board folder to which results are published."""
    before = brought_to(target, index) if index else Brought()
    given = brought_to(results) if brought is None else brought
    there = {key for entry in index.boards for key in entry.cells} if index else set()
    if brought is None:
        keys = {cell.key for one in new for cell in one.board.cells}
        before = without_own(before, keys - {key for one in given.entries for key in one.cells})
    return joined(before, given, there)


def withdraw(
    target: Path,
    names: Sequence[str],
    reason: str,
    request: Request = Request(),
) -> Published:
    """Withdraws boards (the first digits of a key), models, methods or comparisons (by name or title) from a board
    folder: they are listed with the reason, and what they were stays in the versions that have them.

    Raises XaibenchError for a folder that is no board folder, or was changed since it was published, and for a name
    that is nothing published.
    """
    with _alone(target):
        index = read_index(target)
        require_unchanged(target)
        old = published(Store.open(target), index)
        entries = withdrawals(old, published_comparisons(target, index), names, reason, index)
        left, _ = without_withdrawn(old, entries[0])
        return _write(Collected(left, [], []), target, index, request, [], entries, brought_to(target, index))


def _write(
    collected: Collected,
    target: Path,
    index: Index | None,
    request: Request,
    given: Sequence[Comparison],
    withdrawn: tuple[Sequence[WithdrawnEntry], Sequence[WithdrawnComparison]],
    brought: Brought,
) -> Published:
    """Writes a version beside the folder, and puts it in place where it is another than the last."""
    gone = (*(index.withdrawn_comparisons if index else ()), *withdrawn[1])
    known = {one.title: one for one in published_comparisons(target, index)} if index else {}
    known = {title: one for title, one in known.items() if title not in {each.title for each in withdrawn[1]}}
    given, left_out = not_withdrawn(given, gone, scrubber_for(collected.taken, request.allowed))
    about = Contents(
        title=request.title or (index.title if index else TITLE),
        license=request.license or (index.license if index else LICENSE),
        version=index.version if index else 1,
        versions=tuple(index.versions) if index else (),
        withdrawn=(*(index.withdrawn if index else ()), *withdrawn[0]), withdrawn_comparisons=gone,
        brought=brought, comparisons=tuple((known | {one.title: one for one in given}).values()),
        gallery=request.gallery, gallery_model=request.gallery_model,
        data_root=request.data_root, allowed=request.allowed, quiet=request.quiet,
    )  # fmt: skip
    with _place(target, request.dry_run) as fresh:
        made, notes = build(sorted(collected.taken, key=order_of), about, fresh, registry.shipped_version)
        notes = [*collected.notes, *left_out, *notes]
        changed = index is None or not same_version(fresh, target)
        if changed and index is not None:
            versions = keep_old(target, index, fresh)
            made = made.model_copy(update={"version": index.version + 1, "versions": list(versions)})
            write_index(made, fresh)
        if changed:
            write_sums(fresh)
        files = own_files(fresh if changed else target)
        size = sum(path.stat().st_size for path in files.values())
        if changed and not request.dry_run:
            put_in_place(fresh, target.resolve())
    return Published(made, changed, len(files), size, notes)


@contextmanager
def _place(target: Path, dry_run: bool) -> Iterator[Path]:
    """Where a version is written: beside the folder, or anywhere where it is only counted."""
    if dry_run:
        with TemporaryDirectory(prefix="xaibench-") as folder:
            yield Path(folder)
    else:
        with written_beside(target.resolve()) as fresh:
            yield fresh


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """While no other process of this user publishes to the folder, and after what a killed one left is ended."""
    name = f"publish-{content_hash(str(target.resolve()).encode())[:16]}"
    with claim(home() / "locks", [name], command_line(), f"{target} is being published"):
        recover(target.resolve())
        yield


def _index_of(target: Path) -> Index | None:
    """The index of a board folder; None where a new one is to be made. Raises XaibenchError for any other folder, and
    where results were computed into it, which publishing would remove, or anything in it was changed."""
    if not target.exists():
        return None
    if not target.is_dir():
        raise XaibenchError(f"{target} is a file; name a folder by --to")
    if not is_board_folder(target):
        if any(entry.name in OWN or not entry.name.startswith(".") for entry in target.iterdir()):
            raise XaibenchError(f"{target} is no board folder and not empty; name a new folder by --to")
        return None
    index = read_index(target)
    known = {f"{one.rows}/{key}.parquet" for one in index.boards for key in one.cells}
    found = {path.relative_to(target).as_posix() for path in Store.open(target).shards()}
    if extra := sorted(found - known):
        raise XaibenchError(
            f"{target} has rows that were not published, such as {extra[0]}; move them to a results folder of their "
            "own, and publish that"
        )
    require_unchanged(target)
    return index


def _refuse(reasons: Sequence[str], request: Request, report: Callable[[str], None]) -> None:
    if reasons:
        for reason in reasons if request.dry_run else ():
            report(f"not yet: {reason}")
        others = f" (and {count(len(reasons) - 1, 'more reason')})" if len(reasons) > 1 else ""
        raise XaibenchError(f"not published: {reasons[0]}{others}")
