"""The site: what it makes from the code is complete, and it builds without a warning."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import xaibench
from xaibench.cards import CARD_TYPES
from xaibench.cli.app import app
from xaibench.publication.sums import unchanged
from xaibench.results.schema import MEANINGS, SCHEMA

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def made():
    """The module of the site's made pages."""
    spec = importlib.util.spec_from_file_location("made", ROOT / "docs" / "made.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def all_commands(command, path="xaibench"):
    below = getattr(command, "commands", None)
    if not below:
        yield path, command
    for name, child in (below or {}).items():
        yield from all_commands(child, f"{path} {name}")


def test_every_command_and_option_is_in_the_reference(made):
    text = made.commands()
    for path, command in all_commands(typer.main.get_command(app)):
        part = text.split(f"`{path}`\n", 1)[1].split("\n###", 1)[0]
        assert f"Usage: {path}" in part and "Example" in part, path
        for parameter in command.params:
            assert not parameter.opts[0].startswith("--") or parameter.opts[0] in part, (path, parameter.opts)


def test_every_field_of_every_card_is_described(made):
    text = made.cards()
    for card in CARD_TYPES.values():
        for name, field in card.model_fields.items():
            assert f"| `{name}` |" in text and field.description, (card.kind, name)


def test_every_column_and_every_public_name_is_there(made):
    assert list(MEANINGS) == SCHEMA.names
    assert all(f"| `{name}` |" in made.rows() for name in SCHEMA.names)
    for name in set(xaibench.__all__) - {"__version__", "functional"}:
        assert f"heading: xaibench.{name}\n" in made.names() and getattr(xaibench, name).__doc__, name


def test_every_method_is_on_its_page(made):
    from xaibench import registry

    assert all(f"| `{name}` |" in made.methods() for name in registry.names("method"))


def test_every_comparison_is_on_its_page():
    from xaibench import registry

    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs" / "compare.md").read_text(), re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(.+?)`", row)} == set(registry.names("comparison"))


def test_every_protocol_and_every_function_is_on_its_page(made):
    from xaibench import functional, registry

    headings = re.findall(r"^### (.*)$", (ROOT / "docs" / "protocols.md").read_text(), re.MULTILINE)
    for name in registry.names("protocol"):
        assert f"| `{name}` |" in made.protocols() and any(f"`{name}`" in heading for heading in headings), name
        file = made.protocols().split(f"| `{name}` |")[1].split("`")[1]
        assert (ROOT / "xaibench" / "protocols" / file).is_file(), name
    for name in set(functional.__all__) - {"GROUPS"}:
        assert f"heading: {name}\n" in made.functions(), name


@pytest.mark.slow  # .ci/run builds it too
@pytest.mark.parametrize("boards", ["false", "true"])
def test_the_site_builds_without_a_warning(tmp_path, boards):
    pytest.importorskip("mkdocs", reason="the site needs the extra: pip install '.[docs]'")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT), "XAIBENCH_DOCS_BOARDS": boards}
    done = subprocess.run(build, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr
    assert "xaibench run" in (tmp_path / "reference" / "commands" / "index.html").read_text()
    for folder in (ROOT / "leaderboards").glob("*/board.json"):
        address = f"{folder.parent.name}/index.html"
        assert f'href="{address}"' in (tmp_path / "boards" / "index.html").read_text()
        assert (tmp_path / "boards" / address).exists() == (boards == "true")


def test_published_boards_are_as_they_were_published():
    folders = [index.parent for index in (ROOT / "leaderboards").glob("*/board.json")]
    assert folders
    for folder in folders:
        found = unchanged(folder)
        assert not found.problems and found.files
