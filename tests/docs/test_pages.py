"""The pages: links and anchors lead somewhere, every page is linked, code in them is code."""

from __future__ import annotations

import ast
import importlib
import re
import tomllib
from pathlib import Path

import pytest

import xaibench

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(
    not (ROOT / "leaderboards" / "README.md").exists(), reason="the source archive lacks pages that others link to"
)
DOCS = [path.relative_to(ROOT) for path in sorted(ROOT.glob("docs/**/*.md"))]
PAGES = [Path("README.md"), *DOCS, *(p.relative_to(ROOT) for p in sorted(ROOT.glob("leaderboards/**/README.md")))]
BLOCK = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^)\s]+)\)")
PICTURE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")
MADE = {
    "docs/reference/commands.md",
    "docs/reference/cards.md",
    "docs/reference/requests.md",
    "docs/reference/python.md",
}
"""Pages whose headings the site makes from the code."""


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return BLOCK.sub("", (ROOT / page).read_text())


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as the site names them (the slugs of Python-Markdown)."""
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} +(.*?)\s*$", prose(page), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").replace("*", "")
        slug = re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", text).strip().lower())
        found.add(slug if slug not in found else f"{slug}_{sum(name.startswith(slug) for name in found)}")
    return found


def links(page: Path) -> list[tuple[str, str]]:
    """The files and anchors that a page links to, of those in the repository."""
    found = [*LINK.findall(prose(page)), *PICTURE.findall(prose(page))]
    return [tuple((target + "#").split("#")[:2]) for target in found if not re.match(r"\w+:", target)]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_and_anchors_lead_somewhere(page):
    for target, anchor in links(page):
        path = ((ROOT / page).parent / target).resolve() if target else ROOT / page
        assert path.exists(), f"{page} links to {target}"
        inside = path.relative_to(ROOT).as_posix()
        if anchor and path.suffix == ".md" and inside not in MADE:
            assert anchor in anchors(path.relative_to(ROOT)), f"{page} links to {target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_addresses_are_whole(page):
    """What is outside of the repository is not fetched here: it begins with https, and papers have whole numbers."""
    for target in LINK.findall(prose(page)):
        if re.match(r"\w+:", target):
            assert target.startswith("https://") and "." in target[8:], f"{page}: {target}"
            assert "arxiv.org/abs/" not in target or re.search(r"/\d{4}\.\d{4,5}$", target), f"{page}: {target}"


def test_every_page_can_be_reached_from_the_first_ones():
    """By links of the README or of the first page, and by the menu of the site."""
    seen, waiting = set(), [Path("README.md"), Path("docs/index.md")]
    while waiting:
        page = waiting.pop()
        if page in seen:
            continue
        seen.add(page)
        for target, _ in links(page):
            path = ((ROOT / page).parent / target).resolve()
            if target.endswith(".md") and path.is_relative_to(ROOT):
                waiting.append(path.relative_to(ROOT))
    menu = (ROOT / "mkdocs.yml").read_text()
    assert not set(DOCS) - seen, "pages that nothing links to"
    assert all(f": {page.relative_to('docs').as_posix()}\n" in menu for page in DOCS), "pages that are not in the menu"


def test_the_first_page_names_every_verb():
    from xaibench.cli.app import VERBS

    named = set(re.findall(r"^\|.*?`xaibench (\w+)|, `xaibench (\w+)", (ROOT / "docs" / "index.md").read_text(), re.M))
    assert not set(VERBS) - {verb for pair in named for verb in pair}


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_python_and_toml_of_a_page_are_whole(page):
    for language, _, body in BLOCK.findall((ROOT / page).read_text()):
        if language == "toml":
            tomllib.loads(body)
        if language == "python":
            check_names(ast.parse(body), page)


def check_names(tree: ast.Module, page: Path) -> None:
    """Names of xaibench in a block exist: what is imported from it, and attributes of `xaibench`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "xaibench":
            module = importlib.import_module(node.module)
            assert all(hasattr(module, name.name) for name in node.names), f"{page}: {ast.unparse(node)}"
        if isinstance(node, ast.Attribute):
            chain, inner = [node.attr], node.value
            while isinstance(inner, ast.Attribute):
                chain, inner = [inner.attr, *chain], inner.value
            if isinstance(inner, ast.Name) and inner.id == "xaibench":
                found = xaibench
                for name in chain:
                    if not hasattr(found, name):
                        found = importlib.import_module(f"xaibench.{'.'.join(chain[: chain.index(name) + 1])}")
                    else:
                        found = getattr(found, name)


@pytest.mark.process
def test_python_of_the_readme_runs(home, tmp_path, command):
    """The network and the images that it calls yours are small ones, and so is the network of the board."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).eval()
    names = {
        "model": model, "inputs": torch.rand(2, 3, 16, 16), "targets": [0, 2],
        "images": [(torch.rand(3, 16, 16), number % 3) for number in range(4)],
    }  # fmt: skip
    blocks = [(body, "@xaibench" in body) for language, _, body in BLOCK.findall((ROOT / "README.md").read_text())
              if language == "python"]  # fmt: skip
    assert [plugin for _, plugin in blocks] == [False, True]
    exec(compile(blocks[0][0], "README.md", "exec"), names)
    assert names["maps"].shape == (2, 1, 16, 16) and len(names["scores"]) == 2
    assert set(names["results"].rows["method"]) >= {"grad-cam", "ig"}
    (tmp_path / "my_method.py").write_text(blocks[1][0])
    words = ("--model", "tiny", "--dataset", "mini", "--methods", "my-method,ixg,grad-cam", "--plugin", "my_method.py")
    status, out, err = command("run", "sds", *words)
    assert status == 0 and "my-method" in out, err
