"""What is built: every link leads somewhere, everything foreign is text, the same folder gives the same bytes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from site_folder import (
    COMPARISON,
    HOSTILE_CLASS,
    HOSTILE_COMMAND,
    HOSTILE_IMAGE,
    IMAGES,
    METHODS,
    QUOTED,
    SCRIPT,
    Reader,
    context,
    make_folder,
    rows_of,
)

from xaibench.errors import XaibenchError
from xaibench.judging.config import TRUTHS
from xaibench.judging.published import published_judges
from xaibench.reproduction.claims import COLUMNS
from xaibench.results.cells import Cell
from xaibench.results.manifest import RunManifest
from xaibench.results.schema import row_table
from xaibench.results.store import Store
from xaibench.site.build import MARK, build_site
from xaibench.site.content import Content
from xaibench.site.pages import designs, judges, papers
from xaibench.site.pages.across import accuracy_plot
from xaibench.site.pages.start import models_panel
from xaibench.site.render import render
from xaibench.site.studies import studies

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def read(site) -> dict[str, Reader]:
    """All pages by their address."""
    return {p.relative_to(site).as_posix(): Reader(p.read_text("utf-8")) for p in sorted(site.rglob("*.html"))}


def test_every_address_leads_to_a_file_of_the_site_and_every_anchor_to_an_id(site, read):
    seen = 0
    for name, page in read.items():
        for tag, attributes in page.tags:
            address = attributes.get("href" if tag in ("a", "link") else "src")
            if address is None or address.startswith(("https://arxiv.org/", "https://openreview.net/", "data:,")):
                continue
            parts = urlsplit(address)
            assert not parts.scheme and not parts.netloc, (name, address)
            target = (site / name).parent / unquote(parts.path) if parts.path else site / name
            assert target.resolve().is_file(), (name, address)
            if parts.fragment:
                other = read[target.resolve().relative_to(site.resolve()).as_posix()]
                assert unquote(parts.fragment) in {attrs.get("id") for _, attrs in other.tags}, (name, address)
            seen += 1
    assert seen > 500


def test_ids_are_unique(read):
    for name, page in read.items():
        ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
        assert len(ids) == len(set(ids)), name


def test_what_is_foreign_is_text_and_nothing_else(read):
    scripts = [attributes for page in read.values() for tag, attributes in page.tags if tag == "script"]
    assert {attributes["src"].replace("../", "") for attributes in scripts} == {"assets/site.js"}
    for page in read.values():
        assert not [
            tag for tag, _ in page.tags if tag in ("iframe", "object", "embed", "base", "form") and tag != "form"
        ]
        assert not [a for _, attributes in page.tags for a in attributes if a.startswith("on")]
        assert all(attributes.get("src") != "x" for _, attributes in page.tags)
    board = next(page for name, page in read.items() if name.startswith("boards/idsds-resnet18"))
    assert SCRIPT in board.text and QUOTED in board.text
    assert any(HOSTILE_IMAGE in page.text for name, page in read.items() if name.startswith("images/"))


def test_names_of_files_are_plain_whatever_methods_are_called(site):
    names = [path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()]
    assert all(re.fullmatch(r"[A-Za-z0-9_./-]+", name) for name in names)
    assert len({name.lower() for name in names}) == len(names)


def test_a_recorded_command_is_shown_as_one_that_a_shell_takes_as_words(read):
    page = next(page for name, page in read.items() if name.startswith("runs/"))
    assert HOSTILE_COMMAND not in page.text
    assert "xaibench run idsds --model '<b>bold</b>' --methods 'javascript:alert(5);' rm -rf '~'\n" in page.text


@pytest.mark.slow
def test_the_command_replaces_a_site_by_one_with_the_same_bytes(folder, site, command, tmp_path):
    (tmp_path / "again" / "boards").mkdir(parents=True)
    (tmp_path / "again" / MARK).write_text("of an earlier call")
    (tmp_path / "again" / "boards" / "old.html").write_text("old")
    (tmp_path / "link").symlink_to("again")
    status, out, _ = command("site", "build", folder, "--to", tmp_path / "link")
    assert status == 0 and f"open {tmp_path / 'link' / 'index.html'}" in out
    assert (tmp_path / "link").is_symlink()
    files = {path.relative_to(site): path.read_bytes() for path in site.rglob("*") if path.is_file()}
    again = {path.relative_to(tmp_path / "again"): path for path in (tmp_path / "again").rglob("*") if path.is_file()}
    assert {name: path.read_bytes() for name, path in again.items()} == files
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "link"]  # nothing is left of the making


def test_a_clear_change_is_marked_only_where_there_are_enough_trainings(read):
    page = next(page for name, page in read.items() if name.startswith("designs/"))
    styles = [attributes["class"] for tag, attributes in page.tags if tag == "tr" and "class" in attributes]
    assert styles == ["rest", "quiet", "lead", "quiet"]
    assert "no claim about the design" in page.text


def test_the_pareto_front_of_score_and_cost_is_named_and_drawn(read):
    page = next(page for name, page in read.items() if name.startswith("boards/idsds-resnet18"))
    # grad-cam (3 passes, best) beats all but the method with 1 pass
    assert f"No other method is both cheaper and better than {SCRIPT} and grad-cam." in page.text
    styles = [attributes["class"] for tag, attributes in page.tags if tag == "g"]
    assert sorted(styles) == ["lead", "lead", "rest", "rest", "rest", "rest"]


def test_what_was_withdrawn_and_earlier_versions_are_listed(read):
    page = read["boards.html"]
    assert HOSTILE_CLASS in page.text and "This is version 2" in page.text
    page = read["designs.html"]
    assert f"Width {SCRIPT}" in page.text and HOSTILE_CLASS in page.text.split("What was published and withdrawn")[1]


def test_withdrawn_comparisons_are_listed_where_none_is_left(tmp_path):
    store = make_folder(tmp_path / "board")
    index = json.loads((store.root / "board.json").read_text())
    (store.root / "board.json").write_text(json.dumps(index | {"comparisons": []}))
    [page] = designs.pages(Content(store.root))
    text = Reader(render(page.template, page.values | {"root": "", "sections": {}, "title": "", "section": ""})).text
    assert "All comparisons of this folder were withdrawn." in text and f"Width {SCRIPT}" in text
    (store.root / "board.json").write_text(json.dumps(index | {"comparisons": [], "withdrawn_comparisons": []}))
    assert not list(designs.pages(Content(store.root)))


def test_judged_protocols_are_a_page_with_the_boards_that_they_score(folder, monkeypatch):
    shipped = published_judges()
    known = pd.concat(
        [shipped[shipped["protocol"] == "sds"].replace("sds", "idsds"), shipped[shipped["protocol"] == "epg"]]
    )
    monkeypatch.setattr(judges, "published_judges", lambda: known.assign(networks=[7, 1]))
    [page] = judges.pages(Content(folder))
    assert page.values["here"] == "idsds was" and page.values["lacking"] == "grid-pg" and page.values["dim"]
    lines = {line.entries[0].text: line for line in page.values["table"].lines}
    boards = sum(one.protocol == "idsds" for one in Content(folder).current)
    assert {name: line.entries[1].text for name, line in lines.items()} == {"idsds": str(boards), "epg": "0"}
    assert boards and {name: line.style for name, line in lines.items()} == {"idsds": "lead", "epg": "quiet"}
    monkeypatch.setattr(judges, "published_judges", lambda: known.tail(1))
    assert not list(judges.pages(Content(folder)))  # none of the boards is scored by what was judged


def test_the_table_that_ships_has_the_numbers_of_every_protocol_against_what_it_is_held():
    shipped = published_judges()
    assert len(shipped) >= 11 and shipped["protocol"].is_unique and shipped["held"].isin(TRUTHS).all()
    for row in shipped.to_dict("records"):
        low, wrong, high = (row[f"{part}_{row['held']}"] for part in ("low", "discordant", "high"))
        assert 0 <= low <= wrong <= high <= 1, row["protocol"]


def test_claims_of_papers_are_a_table_with_their_states(folder, monkeypatch):
    assert not list(papers.pages(Content(folder)))  # the folder has results of none
    states = ["shows", "cannot be told", "shows"]
    rows = [dict.fromkeys(COLUMNS, f"{SCRIPT} {number}") | {"state": state} for number, state in enumerate(states)]
    monkeypatch.setattr(papers, "claims_of", lambda results: pd.DataFrame(rows))
    [page] = papers.pages(Content(folder))
    html = render(page.template, page.values | {"root": "", "sections": {}, "title": "", "section": ""})
    text = Reader(html).text
    assert "cannot be told: 1, shows: 2." in text and text.count(SCRIPT) >= 3 and SCRIPT not in html


def test_photos_are_those_of_the_board_folder_as_pixels_alone(folder, site):
    photos = sorted((site / "pictures" / "photos").glob("*.webp"))
    found = {Image.open(path).convert("RGB").tobytes() for path in photos}
    assert len(photos) == 12 and all(not Image.open(path).getexif() for path in photos)
    assert found == {Image.open(folder / "images" / f"{number}.png").tobytes() for number in range(12)}


@pytest.mark.slow
def test_a_photo_that_is_none_and_a_comparison_that_is_none_are_one_line(tmp_path):
    store = make_folder(tmp_path / "board")
    (tmp_path / "board" / "images" / "0.png").write_bytes(b"<svg onload=alert(1)>")
    with pytest.raises(XaibenchError, match=r"0\.png is no image that can be shown"):
        build_site(store.root)
    (tmp_path / "board" / "comparison.json").write_text(json.dumps(COMPARISON | {"pairs": [{"before": 1}]}))
    with pytest.raises(XaibenchError, match=r"cannot be shown: pairs\.0\.before"):
        studies(Content(store.root))


def test_odd_boards_have_pages_too(tmp_path):
    """No methods, one method, a method that lacks images, results without rows, models without a common image, models
    with controls alone."""
    store, made = Store.create(tmp_path / "odd"), []

    def add(protocol: str, model: str, method: dict | None, images: list[str]) -> Cell:
        cell = Cell(context(protocol, model), method)
        store.register([cell])
        made.append(cell)
        if images:
            name = method["name"] if method else None
            table = rows_of(cell, protocol, model, name, np.linspace(0, 0.5, len(IMAGES)))
            kept = [place for place, image in enumerate(IMAGES) if image in images]
            table |= {key: [table[key][place] for place in kept] for key in ("image_id", "image_digest", "score")}
            store.append(row_table(table))
        return cell

    ig, cam = ({"name": name, "version": 1, "source": "1", "kind": "method"} for name in ("ig", "grad-cam"))
    add("accuracy", "resnet18", None, IMAGES)
    add("sds", "resnet18", ig, IMAGES[:6])
    add("sds", "vgg16", ig, IMAGES[6:])
    add("epg", "resnet18", ig, IMAGES)
    add("epg", "resnet18", cam, IMAGES[:3])
    add("ids", "resnet18", cam, [])
    control = {"name": "random", "version": 1, "source": "1", "kind": "control"}
    add("idsds", "resnet18", control, IMAGES)
    add("idsds", "vgg16", control, IMAGES)
    for board in {cell.board: cell for cell in made}.values():
        run = RunManifest(
            "xaibench run",
            cells=[cell.key for cell in made if cell.board == board.board],
            images={"list": store.save_list(IMAGES), "count": 12},
            started="2026-01-01T00:00:00+00:00",
        )
        run.finish("complete")
        run.save(store)
    built = build_site(store.root)
    site, pages = built.folder, built.pages
    assert {path.name.rsplit("-", 1)[0] for path in (site / "boards").iterdir()} == {
        "accuracy-resnet18", "sds-resnet18", "sds-vgg16", "epg-resnet18", "idsds-resnet18", "idsds-vgg16"}  # fmt: skip
    (joined,) = (site / "across").iterdir()
    assert joined.name.startswith("idsds")
    assert "no image in common" in Reader((site / "models.html").read_text("utf-8")).text
    assert pages == len(list(site.rglob("*.html")))


def test_downloads_have_the_boards_numbers_and_all_rows(folder, site):
    from xaibench.analysis.leaderboard import open_leaderboard

    store = Store.open(folder)
    for path in sorted((site / "data").glob("*-rows.parquet")):
        rows, name = pd.read_parquet(path), path.name.removesuffix("-rows.parquet")
        assert len(rows) == len(METHODS) * 12 and rows["cell"].nunique() == len(METHODS)
        board = store.cell(rows["cell"].iloc[0]).board
        found = open_leaderboard(store, rows["protocol"].iloc[0], board=board)
        assert (site / "data" / f"{name}.csv").read_text("utf-8") == found.to_csv()
        images = pd.read_csv(site / "data" / f"{name}-images.csv")
        means = rows.groupby("method")["score"].mean()
        assert images["grad-cam"].mean() == pytest.approx(means["grad-cam"], abs=1e-12)
        assert len(images) == 12


def test_another_folder_with_files_is_refused(folder, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(XaibenchError, match="holds other files than a site"):
        build_site(folder, tmp_path)
    with pytest.raises(XaibenchError, match="is no folder"):
        build_site(folder, tmp_path / "thesis.tex")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("thesis.tex", "years of work")]


def test_a_folder_without_rows_is_one_line(tmp_path):
    Store.create(tmp_path / "empty")
    with pytest.raises(XaibenchError, match="no row is stored"):
        build_site(tmp_path / "empty")
    assert not (tmp_path / "empty" / "site").exists()


def test_nothing_of_the_machine_is_in_a_page(folder, site):
    for path in site.rglob("*.html"):
        text = path.read_text("utf-8")
        assert str(folder) not in text and str(Path.home()) + "/" not in text, path


def test_pictures_mark_the_models_that_the_test_of_models_does_not_tell_apart():
    names = ["x", "y", "z"]
    models = pd.DataFrame({"model": names, "group": ["a", "b", "a"], "accuracy": [1.0, 0.9, 0.8], "best_method": "ig",
                           "best": [0.9, 0.8, 0.7], "ci_low": 0.1, "ci_high": 0.95})  # fmt: skip
    better = pd.DataFrame(False, index=names, columns=names)
    better.at["x", "y"] = True
    pairs = models.assign(rank=[1, 2, 3], rank_low=1)  # one by one no pair of model and method is told apart
    found = SimpleNamespace(models=models, table=pairs, surely_better=better, metric="idsds")
    one = SimpleNamespace(found=found, members={name: SimpleNamespace(address=f"boards/{name}.html") for name in names})
    for drawing in (accuracy_plot(one, ""), models_panel(one)):
        styles = re.findall(r'<g class="(?:\w+ )?(lead|rest)"', str(drawing))
        assert styles == ["lead", "rest", "lead"], str(drawing)


def test_trainings_of_one_model_are_one_named_point_at_their_mean_and_a_dot_each():
    names = ["net", "net (training seed 1)", "net (training seed 2, loss bce)", "net (loss bce)", "other"]
    models = pd.DataFrame({"model": names, "group": "a", "accuracy": [1.0, 0.9, 0.7, 0.5, 0.5], "best_method": "ig",
                           "best": [0.9, 0.7, 0.5, 0.3, 0.1], "ci_low": 0.0, "ci_high": 1.0})  # fmt: skip
    better = pd.DataFrame(False, index=names, columns=names)
    better.loc["net", ["net (training seed 2, loss bce)", "net (loss bce)"]] = True
    found = SimpleNamespace(models=models, surely_better=better, metric="idsds")
    members = {name: SimpleNamespace(address="boards/x.html") for name in names}
    drawn = str(accuracy_plot(SimpleNamespace(found=found, members=members, address="across/x.html"), ""))
    line = r'(?:<path class="range" d="M[\d.]+ ([\d.]+)V([\d.]+)"/>)?'
    circle = r'<circle cx="([\d.]+)" cy="([\d.]+)" r="4"/>'
    named = re.findall(rf'<g class="(\w+)">{line}{circle}.*?<text[^>]*>([^<]+)', drawn)
    assert [(style, name) for style, *_, name in named] == [
        ("lead", "2 of net"), ("rest", "2 of net (loss bce)"), ("lead", "other")]  # fmt: skip
    assert drawn.count('class="dot"') == 4 and "5 of a name" in drawn
    dots = [(float(x), float(y)) for x, y in re.findall(r'class="dot" cx="([\d.]+)" cy="([\d.]+)"', drawn)]
    for pair, (_, low, high, x, y, _) in zip((dots[:2], dots[2:]), named[:2], strict=True):
        assert float(x) == pytest.approx(sum(x for x, _ in pair) / 2, abs=0.11)
        assert float(y) == pytest.approx(sum(y for _, y in pair) / 2, abs=0.11)
        assert sorted((float(low), float(high))) == sorted(y for _, y in pair)
