"""Old versions stay, nothing disappears in silence, and a folder is replaced as a whole or not at all."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest

from xaibench.errors import XaibenchError
from xaibench.hashing import digest
from xaibench.publication import folder
from xaibench.publication.api import Request, publish, withdraw
from xaibench.publication.collect import Selection
from xaibench.publication.comparisons import Comparison, not_withdrawn, read_all, write_comparisons
from xaibench.publication.index import Index, read_index
from xaibench.publication.scrub import Scrubber
from xaibench.publication.sums import unchanged
from xaibench.publication.versions import withdrawals
from xaibench.results.validate import inspect

pytestmark = pytest.mark.process  # each publishes several times


def files(root) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def mine(board, tmp_path):
    """A copy of the published folder, to be changed."""
    return shutil.copytree(board, tmp_path / "board")


def test_boards_are_added_to_those_that_are_there(results, board, tmp_path):
    """One after the other they make the same boards as both at once, and a second version."""
    publish(results, tmp_path / "board", Request(Selection(model="resnet18")))
    first = files(tmp_path / "board")
    found = publish(results, tmp_path / "board", Request(Selection(model="vgg16")))
    assert (found.changed, found.index.version) == (True, 2)
    now, both = files(tmp_path / "board"), files(board)
    different = {name for name in both if now.get(name) != both[name]}
    assert different == {"README.md", "SHA256SUMS", "board.json"}
    kept = {name for name in first if name.split("/")[0] in ("board.json", "boards", "figures")}
    assert {name for name in now if name not in both} == {f"versions/1/{name}" for name in kept}
    assert now["versions/1/board.json"] == first["board.json"]
    assert [(one.version, one.boards, one.results) for one in found.index.versions] == [(1, 1, 4)]
    assert not inspect(tmp_path / "board").problems


@pytest.mark.slow
def test_rows_that_are_no_longer_current_are_in_their_version(kit, tmp_path):
    cells = kit.cells(kit.context())
    kit.run(tmp_path / "results", cells, kit.ids(4))
    publish(tmp_path / "results", tmp_path / "board")
    before = files(tmp_path / "board")
    kit.run(tmp_path / "results", cells, kit.ids(8), rows=kit.ids(8)[4:])
    found = publish(tmp_path / "results", tmp_path / "board")
    assert (found.index.version, found.index.boards[0].images) == (2, 8)
    for name, data in before.items():
        if name.split("/")[0] in ("rows", "board.json", "boards", "figures"):
            assert (tmp_path / "board" / "versions" / "1" / name).read_bytes() == data
    assert (tmp_path / "board" / "lists").is_dir() and not (tmp_path / "board" / "versions" / "1" / "cells").exists()
    Index.model_validate(json.loads((tmp_path / "board" / "versions" / "1" / "board.json").read_text()))


@pytest.mark.slow
def test_a_run_of_two_protocols_that_is_published_in_two_steps(kit, tmp_path):
    """Its record then names the results of both, whichever board comes first."""
    cells = [cell for protocol in ("sds", "idsds") for cell in kit.cells(kit.context(protocol=protocol))]
    kit.run(tmp_path / "results", cells, kit.ids(4))
    for number, protocol in enumerate(("idsds", "sds"), 1):
        found = publish(tmp_path / "results", tmp_path / "board", Request(Selection(protocol=protocol)))
        assert (found.index.version, len(found.index.boards)) == (number, number)
        assert not inspect(tmp_path / "board").problems
    publish(tmp_path / "results", tmp_path / "once")
    assert files(tmp_path / "board" / "runs") == files(tmp_path / "once" / "runs")


@pytest.mark.slow
def test_a_newer_version_of_a_card_replaces_the_board(kit, tmp_path, monkeypatch):
    from xaibench import registry

    context = kit.context()
    old = context | {"protocol": context["protocol"] | {"version": 1}}
    kit.run(tmp_path / "old", kit.cells(old), kit.ids(4))
    with monkeypatch.context() as patch:
        patch.setattr(registry, "shipped_version", lambda kind, name: 1)
        publish(tmp_path / "old", tmp_path / "board")
    kit.run(tmp_path / "new", kit.cells(context), kit.ids(4))
    found = publish(tmp_path / "new", tmp_path / "board")
    assert [one.key for one in found.index.boards] == [kit.cells(context)[0].board]
    assert any(note.startswith("replaced: ") for note in found.notes)
    assert len(list((tmp_path / "board" / "versions" / "1" / "rows").rglob("*.parquet"))) == 4
    with monkeypatch.context() as patch, pytest.raises(XaibenchError, match="older than the published"):
        patch.setattr(registry, "shipped_version", lambda kind, name: 1)
        publish(tmp_path / "old", tmp_path / "board")


@pytest.mark.slow
def test_a_method_does_not_disappear_in_silence(kit, mine, tmp_path):
    cells = kit.cells(kit.context())
    kit.run(tmp_path / "fewer", cells[1:], kit.ids(12))
    with pytest.raises(XaibenchError, match=r"ig is published and not in these results.*withdraw it first"):
        publish(tmp_path / "fewer", mine)
    withdraw(mine, ["ig"], "it had a defect")
    assert publish(tmp_path / "fewer", mine).index.version == 3


def test_what_is_withdrawn_is_listed_with_its_reason(results, mine, command):
    before = files(mine)
    status, _, _ = command("publish", mine, "--withdraw", "resnet18", "--reason", "trained on <test> images")
    index = read_index(mine)
    assert status == 0
    assert [one.model for one in index.boards] == ["vgg16"]
    assert [(one.model, one.method, one.reason, one.last) for one in index.withdrawn] == [
        ("resnet18", None, "trained on <test> images", 1)
    ]
    card = (mine / "README.md").read_text()
    assert "## Withdrawn" in card and r"trained on \<test\> images" in card
    for name in before:
        if name.startswith("rows/idsds/resnet18/"):
            assert not (mine / name).exists()
            assert (mine / "versions" / "1" / name).read_bytes() == before[name]
    found = publish(results, mine)  # it does not come back
    assert [one.model for one in found.index.boards] == ["vgg16"] and not found.changed
    assert any("which was withdrawn" in note for note in found.notes)
    with pytest.raises(XaibenchError, match="nothing to publish"):
        publish(results, mine, Request(Selection(model="resnet18")))


def test_a_withdrawn_method_is_named_on_its_boards(mine):
    index = withdraw(mine, ["rise"], "masks of the wrong size").index
    assert len(index.boards) == 2 and all(len(one.cells) == 3 for one in index.boards)
    for entry in index.boards:
        assert "withdrawn: rise: masks of the wrong size" in (mine / entry.markdown).read_text()
        assert "rise" not in (mine / entry.csv).read_text()
    assert not inspect(mine).problems


def test_withdrawing_takes_one_published_thing(mine, command, kit):
    key = read_index(mine).boards[0].key
    for name, words in [("alexnet", "no board, model, method or comp"), (key[:3], "no board, model, method or comp")]:
        with pytest.raises(XaibenchError, match=words):
            withdraw(mine, [name], "x")
    assert command("publish", mine, "--withdraw", "ig")[0] == 2
    assert command("publish", mine, "--reason", "x")[0] == 2
    assert command("publish", mine)[0] == 2
    assert withdraw(mine, [key[:6]], "x").index.withdrawn[0].board == key


@pytest.mark.slow
def test_title_licence_and_comparisons_stay_until_they_are_given_anew(results, mine, tmp_path):
    given = tmp_path / "depth.json"
    given.write_text(json.dumps({"comparison": "depth", "title": "Depth · idsds", "pairs": [], "notes": ["/home/x/y"]}))
    publish(results, mine, Request(title='Mine & yours: a "title"', license="mit", comparisons=(given,)))
    found = publish(results, mine)
    assert (found.changed, found.index.title, found.index.license) == (False, 'Mine & yours: a "title"', "mit")
    assert [one.name for one in found.index.comparisons] == ["depth"]
    content = json.loads((mine / found.index.comparisons[0].json_).read_text())
    assert (content["title"], content["notes"]) == ("Depth · idsds", ["PATH"])
    given.write_text("[]")
    with pytest.raises(XaibenchError, match="is no comparison"):
        publish(results, mine, Request(comparisons=(given,)))


@pytest.mark.slow
def test_a_comparison_under_several_protocols_is_one_entry_for_each(results, mine, tmp_path):
    given, titles = tmp_path / "several.json", ["Depth · idsds", "Depth · sds"]
    given.write_text(json.dumps([{"comparison": "depth", "title": title} for title in titles]))
    found = publish(results, mine, Request(comparisons=(given,)))
    assert [one.title for one in found.index.comparisons] == titles
    for hostile in ([], [{"comparison": "depth", "title": "Depth"}, 1], [[]], {"comparison": "depth"}, "depth", None):
        given.write_text(json.dumps(hostile))
        with pytest.raises(XaibenchError, match="is no comparison"):
            publish(results, mine, Request(comparisons=(given,)))


def test_two_comparisons_of_one_title_are_refused_unless_they_are_the_same(tmp_path):
    one, again = (a_comparison(tmp_path / f"{n}.json", "Depth · idsds") for n in "ab")
    other = a_comparison(tmp_path / "c.json", "Depth · idsds", question="of other networks")
    assert len(read_all([one, again])) == 1
    with pytest.raises(XaibenchError, match=r"b\.json and .*c\.json are two comparisons of one title, 'Depth · idsds'"):
        read_all([again, other])


def a_comparison(path, title: str, **content):
    path.write_text(json.dumps({"comparison": "depth", "title": title, "notes": ["/home/x/y"]} | content))
    return path


@pytest.mark.slow
def test_a_withdrawn_comparison_is_listed_and_does_not_come_back(results, mine, command, tmp_path):
    """By name all that have it, by title one; the same one stays out, and one that was computed anew may return."""
    given = tuple(a_comparison(tmp_path / f"{n}.json", f"Depth · {n}") for n in ("idsds", "sds", "<pg>"))
    publish(results, mine, Request(comparisons=given))
    before = files(mine)
    status, _, _ = command("publish", mine, "--withdraw", "Depth · <pg>", "--reason", "other <seeds>")
    index = read_index(mine)
    assert status == 0 and [one.title for one in index.comparisons] == ["Depth · idsds", "Depth · sds"]
    assert [(one.name, one.title, one.reason, one.last) for one in index.withdrawn_comparisons] == [
        ("depth", "Depth · <pg>", "other <seeds>", 2)
    ]
    assert len(index.boards) == 2 and not index.withdrawn and not unchanged(mine).problems
    card = (mine / "README.md").read_text()
    assert r"- Depth · \<pg\>: other \<seeds\> (last in version 2, see [versions/2](versions/2))" in card
    assert "version 2](versions/2): 2 boards, 8 results; 1 withdrawn since" in card
    old = {name for name in before if name.startswith("comparisons/")} - files(mine).keys()
    assert len(old) == 1 and all((mine / "versions/2" / name).read_bytes() == before[name] for name in old)

    found = publish(results, mine, Request(comparisons=given))
    assert not found.changed and "left out: Depth · <pg>, which was withdrawn" in found.notes
    anew = a_comparison(given[2], "Depth · <pg>", question="with equal seeds")
    found = publish(results, mine, Request(comparisons=(anew,)))
    assert found.changed and [one.title for one in found.index.comparisons] == [
        "Depth · <pg>", "Depth · idsds", "Depth · sds"
    ]  # fmt: skip
    found = withdraw(mine, ["depth", "Depth · sds"], "all of them")
    assert not found.index.comparisons and len(found.index.withdrawn_comparisons) == 1 + 3
    with pytest.raises(XaibenchError, match="no board, model, method or comparison"):
        withdraw(mine, ["depth"], "again")


def test_what_a_comparison_is_withdrawn_by():
    """A name that a method has too is refused; the title then says which is meant. Of no board nothing is needed."""
    index = SimpleNamespace(version=3)
    one = Comparison("depth", "Depth · sds", {"title": "Depth · sds"})
    entries, [gone] = withdrawals([], [one], ["depth", "Depth · sds"], "wrong", index)
    assert not entries and (gone.title, gone.last, gone.content) == ("Depth · sds", 3, digest(one.content))
    cell = SimpleNamespace(method_name="depth")
    board = SimpleNamespace(key="0123456789abcdef", context={}, cells=[cell], title="t")
    taken = SimpleNamespace(board=board)
    with pytest.raises(XaibenchError, match=r"several things have that name; .* by its title: 'Depth · sds'"):
        withdrawals([taken], [one], ["depth"], "wrong", index)
    assert withdrawals([taken], [one], ["Depth · sds"], "wrong", index) == ([], [gone])
    for content, left in (({"title": "Depth · sds"}, 0), ({"title": "Depth · sds", "n": 1}, 1)):
        given = Comparison("depth", "Depth · sds", content)
        assert [len(part) for part in not_withdrawn([given], [gone], Scrubber())] == [left, 1 - left]


def test_comparisons_whose_titles_make_one_name_of_a_file_are_two(results, tmp_path):
    long = "x" * 100
    titles = ["Depth / idsds", "Depth : idsds", "depth - idsds", f"{long} a", f"{long} b"]
    given = [tmp_path / f"{number}.json" for number in range(len(titles))]
    for path, title in zip(given, titles, strict=True):
        path.write_text(json.dumps({"comparison": "depth", "title": title}))
    found = publish(results, tmp_path / "board", Request(Selection(model="vgg16"), comparisons=tuple(given)))
    contents = [json.loads((tmp_path / "board" / one.json_).read_text()) for one in found.index.comparisons]
    assert [one["title"] for one in contents] == [one.title for one in found.index.comparisons] == sorted(titles)
    assert len({one.json_.lower() for one in found.index.comparisons}) == len(titles)


@pytest.mark.slow
def test_texts_longer_than_the_index_may_hold_are_one_line(results, mine, command, tmp_path):
    before = files(mine)
    for words in [
        (results, "--to", mine, "--title", "x" * 5000), (mine, "--withdraw", "rise", "--reason", "x" * 5000)
    ]:  # fmt: skip
        code, _, err = command("publish", *words, "--quiet")
        assert code == 2 and "at most 4096 characters" in err and len(err.splitlines()) == 1
    assert files(mine) == before
    with pytest.raises(XaibenchError, match=r"title: .* at most 4096 characters"):
        write_comparisons([Comparison("depth", "x" * 5000, {})], tmp_path, Scrubber())


@pytest.mark.slow
def test_a_folder_is_one_by_whatever_path_it_is_named(results, mine, tmp_path):
    """A path through a folder that is not there yet, and a link, which stays one."""
    first = publish(results, tmp_path / "new" / ".." / "new", Request(Selection(model="vgg16")))
    assert first.changed and read_index(tmp_path / "new").version == 1
    (tmp_path / "link").symlink_to(mine)
    assert publish(results, tmp_path / "link", Request(title="another")).changed
    assert (tmp_path / "link").is_symlink() and read_index(mine).title == "another"
    assert {path.name for path in tmp_path.iterdir()} == {"new", "link", "board", "home"}


def test_what_others_have_in_the_folder_stays(results, mine):
    (mine / ".git").mkdir()
    (mine / ".git" / "HEAD").write_text("ref")
    (mine / "site").mkdir()
    (mine / "site" / "index.html").write_text("page")
    publish(results, mine, Request(title="another"))
    assert (mine / ".git" / "HEAD").read_text() == "ref"
    assert (mine / "site" / "index.html").read_text() == "page"
    assert (mine.parent / "board").exists() and not list(mine.parent.glob(".board*"))


def test_rows_that_a_run_added_are_not_removed(kit, results, mine):
    kit.run(mine, kit.cells(kit.context("alexnet")), kit.ids(12))
    before = files(mine)
    with pytest.raises(XaibenchError, match="rows that were not published"):
        publish(results, mine, Request(title="another"))
    assert files(mine) == before


def test_a_folder_that_was_changed_is_not_built_upon(results, mine, earlier_format):
    """Whoever edits a published row or cell by hand does not get it into the next version."""
    cell = mine / "cells" / f"{read_index(mine).boards[0].cells[0]}.json"
    cell.write_text(cell.read_text().replace('"quick"', '"paper"'))
    with pytest.raises(XaibenchError, match=r"was changed since it was published: cells/.*: changed: .* fetch it anew"):
        publish(results, mine, Request(Selection(model="vgg16")))
    earlier_format(mine)
    with pytest.raises(XaibenchError, match=r"is damaged: cells/.* it was changed; fetch that folder anew"):
        publish(results, mine, Request(Selection(model="vgg16")))


@pytest.mark.slow
def test_without_an_exchange_in_one_step_the_folder_is_replaced_too(results, mine, monkeypatch):
    monkeypatch.setattr(folder, "_exchange", lambda first, second: False)
    assert publish(results, mine, Request(title="another")).index.version == 2
    assert read_index(mine).title == "another"
    assert not list(mine.parent.glob(".board*"))


def test_what_a_killed_process_left_is_ended(results, mine, monkeypatch):
    """Between two renames there is no folder: the next call puts the old one back first."""
    before = files(mine)
    left = mine.with_name(".board.000000-999999999-00000000.tmp")
    monkeypatch.setattr("xaibench.leftovers.DAY", -1)
    mine.rename(left)
    assert not publish(results, mine).changed
    assert files(mine) == before
    assert not list(mine.parent.glob(".board*"))


def test_a_version_that_was_never_finished_leaves_nothing(results, mine, monkeypatch):
    before = files(mine)
    left = mine.with_name(".board.000000-999999999-00000000.tmp")
    (left / "rows").mkdir(parents=True)
    (left / ".README.md.000000-999999999-00000000.tmp").write_text("half")
    monkeypatch.setattr("xaibench.leftovers.DAY", -1)
    assert not publish(results, mine).changed
    assert files(mine) == before
    assert not list(mine.parent.glob(".board*"))
