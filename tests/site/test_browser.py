"""The site in a headless Chromium, from its files: sorting, filtering, links that restore what was seen, the gallery,
the keyboard, no JavaScript, accessibility by axe-core, and a table of 5,000 rows."""

from __future__ import annotations

import csv
import shutil

import pandas as pd
import pytest
from site_folder import METHODS, QUOTED, SCRIPT

from xaibench.report import columns
from xaibench.report.table import Table
from xaibench.site.pages.boards import interval_column
from xaibench.site.render import render
from xaibench.site.tables import data_table

pytestmark = pytest.mark.process
ROWS = "[data-table='board'] tbody tr"
EVERY = f'Array.from(document.querySelectorAll("{ROWS}"))'
METHODS_SHOWN = f"{EVERY}.map(r => r.cells[1].textContent)"
RANKS_SHOWN = METHODS_SHOWN.replace("cells[1]", "cells[0]")
RANKED = ["grad-cam", "ig", "grad-cam++", SCRIPT, QUOTED, "=cmd()"]


def shown(page) -> list[str]:
    return page.evaluate(METHODS_SHOWN)


@pytest.mark.slow
def test_a_press_sorts_another_turns_the_order_and_a_third_takes_it_back(show, board):
    page = show(board)
    usual = shown(page)
    assert usual == ["oracle", *RANKED, "random"]
    head = page.locator("[data-table='board'] th[data-name='mean']")
    button = head.get_by_role("button")
    button.click()
    assert head.get_attribute("aria-sort") == "descending" and shown(page) == usual
    button.click()
    assert head.get_attribute("aria-sort") == "ascending" and shown(page) == usual[::-1]
    button.click()
    assert head.get_attribute("aria-sort") is None and shown(page) == usual
    page.locator("[data-table='board'] th[data-name='rank']").get_by_role("button").click()
    assert shown(page) == [*RANKED, "oracle", "random"]  # those without a rank are last, whichever way
    page.locator("[data-table='board'] th[data-name='rank']").get_by_role("button").click()
    assert shown(page) == [*RANKED[::-1], "oracle", "random"]
    assert page.locator("[data-table='board'] th[aria-sort]").count() == 1


def test_numbers_are_sorted_as_numbers_with_all_their_digits(show, board):
    page = show(board)
    page.locator("[data-table='board'] th[data-name='ci_low']").get_by_role("button").click()
    values = page.evaluate(f"{EVERY}.map(r => r.cells[4].dataset.value)")
    numbers = [float(value) for value in values if value]
    assert numbers == sorted(numbers, reverse=True) and min(map(len, filter(None, values))) > 10
    assert len(numbers) == 7 and values[-1] == ""  # the oracle has no interval


def test_a_filter_hides_rows_says_how_many_and_leaves_ranks_as_they_are(show, board):
    page = show(board)
    page.get_by_role("searchbox").first.fill("grad")
    page.wait_for_function("document.querySelector('[data-status]').textContent.includes('2 of 8')")
    assert shown(page) == ["grad-cam", "grad-cam++"] and page.evaluate(RANKS_SHOWN) == ["1", "3"]
    assert "showing 2 of 8 methods; ranks are those among all" in page.get_by_role("status").first.inner_text()
    page.get_by_label("kind").select_option("variant")
    assert shown(page) == ["grad-cam++"]
    page.get_by_role("searchbox").first.fill("no such method")
    page.wait_for_function("document.querySelector('[data-status]').textContent.includes('0 of 8')")
    assert shown(page) == []


def test_a_link_restores_filter_kind_order_and_place(show, board):
    page = show(board)
    page.get_by_role("searchbox").first.fill("a")
    page.get_by_label("kind").select_option("method")
    page.locator("[data-table='board'] th[data-name='mean']").get_by_role("button").dblclick()
    page.wait_for_function("location.hash.includes('filter=a')")
    address, seen = page.url, shown(page)
    assert seen == page.evaluate(METHODS_SHOWN) and 0 < len(seen) < 8
    other = show(f"{board}#{address.partition('#')[2]}")
    assert shown(other) == seen
    assert other.locator("th[data-name='mean']").first.get_attribute("aria-sort") == "ascending"
    placed = show(f"{board}#method-grad-cam?filter=grad")
    assert placed.locator(".target").get_attribute("id") == "method-grad-cam" and len(shown(placed)) == 2
    plain = show(f"{board}#method-ig")
    assert plain.locator("tr:target").get_attribute("id") == "method-ig"


def test_another_address_given_on_an_open_page_is_followed(show, board, site):
    page = show(f"{board}#method-ig")
    page.goto(f"{(site / board).as_uri()}#method-grad-cam?filter=grad")
    page.wait_for_function("document.querySelectorAll(\"[data-table='board'] tbody tr\").length === 2")
    assert page.locator(".target").get_attribute("id") == "method-grad-cam"
    page.goto(f"{(site / board).as_uri()}#method-grad-cam")
    page.wait_for_function("document.querySelector('.target')?.id === 'method-grad-cam'")


def test_a_link_that_is_nonsense_changes_nothing(show, board):
    page = show(f"{board}#%3Cscript%3E?sort=nothing&kind=nothing&filter=&x=%22%3E")
    assert shown(page) == ["oracle", *RANKED, "random"]


@pytest.mark.parametrize("address", ["%E0%A4%A", "?sort=%E0%A4%A", "#?", "?&&="])
def test_a_link_that_is_damaged_is_no_error(show, board, address):
    assert len(shown(show(f"{board}#{address}"))) == 8


def test_the_download_has_the_rows_that_are_shown_with_all_digits(show, board, tmp_path, site):
    page = show(board)
    page.get_by_label("kind").select_option("method")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download what fits").first.click()
    waiting.value.save_as(tmp_path / "shown.csv")
    with (tmp_path / "shown.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == ["grad-cam", "ig", SCRIPT, QUOTED, "'=cmd()"]  # no formula
    whole = pd.read_csv(site / "data" / f"{board.split('/')[1].removesuffix('.html')}.csv").set_index("method")
    assert float(rows[0]["mean"]) == whole.loc["grad-cam", "mean"] and rows[0]["rank"] == "1"
    assert "interval" not in rows[0]


@pytest.mark.parametrize("pages", ["one of each kind", pytest.param("all", marks=pytest.mark.slow)])
def test_pages_open_without_a_message_and_fit_a_phone(show, site, pages):
    page, one = show("index.html", viewport={"width": 390, "height": 800}), pages != "all"
    for path in [sorted(site.glob(kind))[0] for kind in KINDS_OF_PAGES] if one else sorted(site.rglob("*.html")):
        show.go(page, path.as_uri())
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 390, (path.name, wide)
        assert page.locator("h1").count() == 1 and page.title()


@pytest.mark.slow
def test_the_gallery_shows_the_methods_that_are_chosen(show, site):
    address = f"gallery/{next((site / 'gallery').glob('idsds-resnet18-*.html')).name}"
    page = show(address)
    status = page.get_by_role("status")
    visible = "Array.from(document.querySelectorAll('article figure[data-method]')).filter(f => !f.hidden).length"
    images = page.locator("article").count()
    assert images == 12 and status.inner_text() == "showing 6 of 8 methods"
    assert page.evaluate(visible) == 6 * images
    page.get_by_label("oracle", exact=True).check()
    page.get_by_label("ig", exact=True).uncheck()
    assert page.evaluate(visible) == 6 * images and "methods=" in page.url
    other = show(f"{address}#{page.url.partition('#')[2]}")
    assert other.evaluate(visible) == 6 * images and not other.get_by_label("ig", exact=True).is_checked()
    page.get_by_role("button", name="best 6").click()
    assert page.evaluate(visible) == 6 * images
    page.get_by_role("button", name="all").click()
    assert status.inner_text() == "showing 8 of 8 methods"
    drawn = "Array.from(document.images).every(i => i.complete && i.naturalWidth === 32)"
    page.evaluate("Array.from(document.images).forEach(i => { i.loading = 'eager'; })")
    page.wait_for_function(drawn)


def test_the_keyboard_reaches_and_moves_everything(show, board):
    page = show(board)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.get_by_role("searchbox").first.focus()
    page.keyboard.type("ig")
    page.wait_for_function("document.querySelector('[data-status]').textContent.includes('1 of 8')")
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "mean":
            break
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    assert page.locator("th[data-name='mean']").first.get_attribute("aria-sort") == "descending"
    page.keyboard.press("Space")
    assert page.locator("th[data-name='mean']").first.get_attribute("aria-sort") == "ascending"


def test_pages_can_be_read_without_javascript(show, board, site):
    page = show(board, java_script_enabled=False)
    assert page.locator(ROWS).count() == 8 and page.locator(ROWS).first.is_visible()
    assert not page.locator("[data-table='board'] .tools").is_visible()
    assert page.locator("thead button").count() == 0
    page.goto((site / "gallery" / board.split("/")[1]).as_uri())
    assert page.locator("article").first.locator("figure[data-method]:visible").count() == len(METHODS)


KINDS_OF_PAGES = ("index.html", "boards.html", "models.html", "methods.html", "gallery.html", "runs.html", "across/*",
                  "designs.html", "designs/*", "agreement.html",
                  "boards/idsds-*", "methods/grad-cam.html", "gallery/*", "images/*", "runs/*.html")  # fmt: skip


COLOURED = ("index.html", "boards/idsds-*", "across/*", "designs/*", "gallery/*", "methods/grad-cam.html")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["light", "dark"])
def test_axe_finds_nothing(show, site, mode):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python").Axe()
    page = show("index.html", color_scheme=mode)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(252, 251, 249)") is (mode == "light")
    options = {"preload": False, "resultTypes": ["violations"]}  # a page from a file may not load others
    if mode == "dark":  # which differs in colours alone
        options["runOnly"] = ["color-contrast"]
    for kind in KINDS_OF_PAGES if mode == "light" else COLOURED:
        show.go(page, sorted(site.glob(kind))[0].as_uri())
        found = axe.run(page, options=options).response["violations"]
        assert not found, (kind, [(each["id"], each["nodes"][0]["html"][:300]) for each in found])


@pytest.mark.slow
def test_5000_rows_are_sorted_and_filtered_below_a_second(browser, site, tmp_path):
    count, first = 5000, 500
    rows = pd.DataFrame({
        "rank": range(1, count + 1), "model": [f"model-{i % 200}" for i in range(count)],
        "method": [f"method-{i * 7919 % count}" for i in range(count)],
        "mean": [(i * 0.6180339 % 1 - 0.5) * 10.0 ** (i % 9 - 4) for i in range(count)],
        "ci_low": 0.1, "ci_high": 0.9, "rank_low": 1, "rank_high": count, "kind": "method",
    })  # fmt: skip
    drawings = [interval_column(rows, "method")]
    table = data_table("pairs", Table(columns.ACROSS_MODELS, rows), "Pairs", thing="pairs", drawings=drawings)
    values = {"table": table, "root": "", "sections": {}, "section": "", "title": "Many"}
    shutil.copytree(site / "assets", tmp_path / "assets")
    (tmp_path / "many.html").write_text(render("methods.html", values), "utf-8")
    page = browser.new_page()
    page.goto((tmp_path / "many.html").as_uri())
    measured = page.context.new_cdp_session(page)
    measured.send("Performance.enable", {"timeDomain": "threadTicks"})  # of the page alone, however busy the machine is

    def seconds() -> float:
        page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
        found = measured.send("Performance.getMetrics")["metrics"]
        return next(each["value"] for each in found if each["name"] == "TaskDuration")

    def timed(act: str) -> float:
        before = seconds()
        page.evaluate(act)
        return seconds() - before

    names = "Array.from(document.querySelectorAll('tbody tr')).map(r => r.cells[2].textContent)"
    click = "document.querySelector('th[data-name={}] button').click()"
    search = "(() => {{ const s = document.querySelector('[data-filter]'); s.value = '{}';"
    search += " s.dispatchEvent(new Event('input')); }})()"
    numbers = "Array.from(document.querySelectorAll('tbody tr')).map(r => Number(r.cells[4].dataset.value))"
    taken = {"mean": timed(click.format("mean"))}
    means = page.evaluate(numbers)
    assert means == sorted(rows["mean"], reverse=True)[:first]
    taken["mean up"] = timed(click.format("mean"))
    means = page.evaluate(numbers)
    assert means == sorted(rows["mean"])[:first]
    taken["method"] = timed(click.format("method"))
    assert page.evaluate(names) == [f"method-{i}" for i in range(first)]
    taken |= {"few": timed(search.format("method-12"))}
    assert len(page.evaluate(names)) == 111  # 12, 120 to 129, 1200 to 1299
    taken |= {"all": timed(search.format(""))}
    assert page.get_by_role("status").inner_text() == "showing the first 500 of 5000 pairs"
    page.get_by_role("button", name="Show all").click()
    assert page.locator("tbody tr").count() == count
    page.close()
    assert max(taken.values()) < 1, taken
