"""The site of a board with submissions: what is said of each row, and both numbers of each that was replayed."""

from __future__ import annotations

import json
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.append(str(Path(__file__).parent))  # for `records.py`
from records import made_record, own_results
from scipy.stats import hypergeom

from xaibench.publication.api import publish
from xaibench.publication.sums import write_sums
from xaibench.site.build import build_site
from xaibench.submission.publish import publish_submission


class Tables(HTMLParser):
    """The rows of a page's tables as texts, by the name of the table."""

    def __init__(self, text: str):
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self._open = False
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        values = dict(attributes)
        if "data-table" in values:
            self.rows = self.tables.setdefault(values["data-table"], [])
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self._open = True

    def handle_endtag(self, tag: str) -> None:
        self._open = self._open and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._open:
            self.rows[-1][-1] += data.strip()


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(packed, tmp_path_factory) -> SimpleNamespace:
    """A board with own runs and a submission of which 14 of 24 results were replayed, one row with a difference."""
    root = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XAIBENCH_HOME", str(root / "home"))
        publish(own_results(packed.root / "results", root / "own"), root / "board")
        value = made_record(packed.folder, 14, changed=1)
        (root / "r.json").write_text(json.dumps(value))
        publish_submission(packed.zip, root / "board", replay=root / "r.json")
    site = build_site(root / "board", root / "site")
    return SimpleNamespace(root=root, value=value, site=site.folder, notes=site.notes, board=root / "board")


def test_every_row_says_what_a_replay_found(made):
    (page,) = (made.site / "boards").glob("*.html")
    rows = Tables(page.read_text()).tables["board"]
    place, name = rows[0].index("replay"), rows[0].index("method")
    said = {row[name]: row[place] for row in rows[1:]}
    (key,) = {row["cell"] for row in made.value["rows"] if not row["equal"]}
    differing = made.value["cells"][key]["method"]
    expected = dict.fromkeys(("ixg", "random", "saliency"), "own run of the board") | {
        "mine": "replay found differences"
    }
    assert said == expected | {differing: "replay found differences"}
    assert "<option>replay found differences</option>" in page.read_text()  # rows can be chosen by it


def test_the_page_of_a_method_has_both_numbers_of_every_row(made):
    text = (made.site / "methods/mine.html").read_text()
    (table,) = (rows for name, rows in Tables(text).tables.items() if name.startswith("replayed-"))
    heads = table[0]
    cells = {key for key, one in made.value["cells"].items() if one["method"] == "mine"}
    wanted = sorted((row["image_id"], f"{row['submitted']:.4f}", f"{row['replayed']:.4f}", "yes" if row["equal"]
                     else "no") for row in made.value["rows"] if row["cell"] in cells)  # fmt: skip
    assert wanted == sorted(tuple(row[heads.index(name)] for name in ("image", "submitted", "replayed", "equal"))
                            for row in table[1:])  # fmt: skip
    chance = 1 - hypergeom.pmf(0, 24, 5, 14)
    assert "14 of 24 results" in text and f"20% of the results with {chance:.1%}" in text


def test_the_page_of_a_replay_has_all_rows_and_the_differing_first(made):
    (page,) = (made.site / "replays").glob("*.html")
    text = page.read_text()
    rows = Tables(text).tables["replayed"]
    assert len(rows) - 1 == len(made.value["rows"]) and rows[1][rows[0].index("equal")] == "no"
    assert made.value["submission"] in text and made.value["fresh"] in text
    index = Tables((made.site / "replays.html").read_text()).tables["replays"]
    assert index[1][:6] == [page.stem, "mine", made.value["submission"][:16], "24", "14", "1"]


def test_a_record_that_is_not_that_of_the_rows_verifies_nothing(packed, tmp_path):
    (tmp_path / "r.json").write_text(json.dumps(made_record(packed.folder, "all")))
    publish_submission(packed.zip, tmp_path / "board", replay=tmp_path / "r.json")
    (path,) = (tmp_path / "board/replays").iterdir()
    value = json.loads(path.read_text())
    value["rows"][0]["submitted"] += 1
    path.write_text(json.dumps(value))
    write_sums(tmp_path / "board")
    site = build_site(tmp_path / "board", tmp_path / "site")
    assert any("nothing is verified by it" in note for note in site.notes)
    texts = [page.read_text() for page in site.folder.glob("[bm]*/*.html")]
    assert not any("verified by replay" in text for text in texts) and any("not replayed" in text for text in texts)


def test_without_submissions_there_is_no_word_of_replays(packed, tmp_path):
    publish(packed.root / "results", tmp_path / "board")
    folder = build_site(tmp_path / "board", tmp_path / "site").folder
    assert not (folder / "replays.html").exists()
    assert not any("replay" in page.read_text() for page in folder.rglob("*.html"))
