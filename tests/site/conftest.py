"""A small results folder with hostile names, its site, and a headless Chromium, all made once for the tests here."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))  # for `site_folder.py`
from site_folder import make_folder


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """The results folder; tests do not write into it."""
    root = tmp_path_factory.mktemp("board") / "board"
    make_folder(root)
    return root


@pytest.fixture(scope="session")
def site(folder, tmp_path_factory) -> Path:
    """Its site, outside of the folder, which is enough for it."""
    from xaibench.site.build import build_site

    return build_site(folder, tmp_path_factory.mktemp("public") / "site").folder


@pytest.fixture(scope="session")
def browser() -> Iterator:
    """A headless Chromium."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright, of the extra `test`")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("needs a Chromium: apt-get install chromium")
    with sync_api.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


class Opened:
    """Opens pages of a site, and remembers what went wrong on them."""

    def __init__(self, browser, site: Path):
        self.browser, self.site, self.troubles, self._contexts = browser, site, [], []

    def __call__(self, address: str, **settings):
        """A page, loaded from its file."""
        made = self.browser.new_context(**({"viewport": {"width": 1200, "height": 900}} | settings))
        self._contexts.append(made)
        page = made.new_page()
        page.on("console", lambda message: self.troubles.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.troubles.append(str(error)))
        page.on("dialog", lambda dialog: (self.troubles.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.on("requestfailed", lambda request: self.troubles.append(f"failed {request.url}"))
        page.on("request", lambda request: request.url.startswith(("file:", "data:", "blob:"))
                or self.troubles.append(f"fetched {request.url}"))  # fmt: skip
        self.go(page, f"{self.site.as_uri()}/{address}")
        return page

    @staticmethod
    def go(page, address: str) -> None:
        """Opens another address with all its pictures: those that load late would fail if the page were left before."""
        page.goto(address)
        page.wait_for_function("[...document.images].every(image => (image.loading = 'eager', image.complete))")

    def close(self) -> None:
        for made in self._contexts:
            made.close()


@pytest.fixture
def show(browser, site) -> Iterator[Opened]:
    """show(address, ...): a page of the site. No console message, error, dialog or request to elsewhere may happen."""
    opened = Opened(browser, site)
    yield opened
    opened.close()
    assert not opened.troubles


@pytest.fixture(scope="session")
def board(site) -> str:
    """The address of the page of a board with maps."""
    return f"boards/{next((site / 'boards').glob('idsds-resnet18-*.html')).name}"
