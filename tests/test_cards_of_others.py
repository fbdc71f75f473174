"""Cards that are no text, have no end, or whose target is nothing: one line that names the file or the card."""

from __future__ import annotations

import os
import time

import pytest

from xaibench import registry
from xaibench.cards import read_card
from xaibench.errors import XaibenchError

CARD = 'title = "x"\ntarget = "{}"\n'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of the user's cards of methods."""
    monkeypatch.setenv("XAIBENCH_HOME", str(tmp_path))
    (tmp_path / "cards" / "methods").mkdir(parents=True)
    return tmp_path / "cards" / "methods"


BROKEN = {
    "not UTF-8": (b'title = "\xff"', "utf-8"), "UTF-16": ('title = "x"'.encode("utf-16"), "utf-8"),
    "deep": (b"parameters = " + b"[" * 50_000, "nested too deep"), "huge": (b"version = " + b"9" * 5000, "64 bits"),
    "a large parameter": (CARD.format("a:b").encode() + b"parameters = {a = 99999999999999999999}", "64 bits"),
    "an infinite parameter": (CARD.format("a:b").encode() + b"parameters = {a = [inf]}", "finite"),
    "a parameter that is a date": (CARD.format("a:b").encode() + b"parameters = {a = 2020-01-01}", "a number, a text"),
    "a null character": (CARD.format("a\\u0000.py:x").encode(), "null character"),
    "of two megabytes": (b"#" * (2 << 20), "more than 1 MiB"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_cards_that_cannot_be_read(kind, folder):
    content, words = BROKEN[kind]
    (folder / "mine.toml").write_bytes(content)
    with pytest.raises(XaibenchError) as caught:
        registry.card("method", "mine")
    assert "mine.toml" in str(caught.value) and words in str(caught.value) and "\n" not in str(caught.value)


def test_pipes_and_folders_are_no_cards(folder):
    os.mkfifo(folder / "pipe.toml")
    (folder / "folder.toml").mkdir()
    before = time.monotonic()
    for name in ("pipe", "folder"):
        with pytest.raises(XaibenchError, match=rf"{name}\.toml is no regular file"):
            read_card("method", folder / f"{name}.toml")
    assert time.monotonic() - before < 5


@pytest.mark.parametrize(
    "target", [".:x", "..:..", "a..b:c", ":x", "x:", "json:", "🦉:x", "gone.py:x", "fails:x", "math:pi.x", "-:-"]
)
def test_targets_that_are_nothing(target, folder, monkeypatch):
    (folder / "fails.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(str(folder))
    (folder / "mine.toml").write_text(CARD.format(target))
    card = registry.card("method", "mine")
    for use in (registry.load, registry.source):
        with pytest.raises(
            XaibenchError, match=r"method mine: target .* cannot be imported|gone\.py does not exist"
        ) as e:
            use(card)
        assert "\n" not in str(e.value)


@pytest.mark.parametrize("target", ["os.path:join", "math:sqrt", "xaibench.seeds:derive", "builtins:dict"])
def test_targets_that_are_no_data_set(target, folder):
    (folder.parent / "datasets").mkdir()
    text = f'{CARD.format(target)}needs_root = false\ngeometry = {{ resize = 32, crop = 32 }}\ndefault_profile = "q"\n'
    (folder.parent / "datasets" / "mine.toml").write_text(f"{text}[profiles.q]\nimages = 2\n")
    from xaibench.datasets.open import open_dataset

    with pytest.raises(XaibenchError, match=r"data set mine cannot be opened: "):
        open_dataset(registry.card("dataset", "mine"), None, {})
