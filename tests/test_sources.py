"""What names somebody else's code: files with the files beside them, packages with their versions, notebooks."""

from __future__ import annotations

import importlib.metadata

import captum
import pytest

from xaibench import sources
from xaibench.sources import file_source, source_of


@pytest.fixture
def folder(tmp_path):
    """A plug-in that imports a helper, which imports a deeper one; and a file that nobody imports."""
    (tmp_path / "plugin.py").write_text("import helper\nimport json\n")
    (tmp_path / "helper.py").write_text("def f():\n    from deeper import g\n    return g\n")
    (tmp_path / "deeper.py").write_text("import helper\ng = 1\n")
    (tmp_path / "stranger.py").write_text("g = 1\n")
    return tmp_path


@pytest.mark.parametrize("name", ["plugin.py", "helper.py", "deeper.py"])
def test_an_edit_of_a_file_or_of_what_it_imports_is_another_source(folder, name):
    before = file_source(folder / "plugin.py")
    text = (folder / name).read_text()
    (folder / name).write_text(text + "# edited\n")
    assert file_source(folder / "plugin.py") != before
    (folder / name).write_text(text)
    assert file_source(folder / "plugin.py") == before


def test_files_that_are_not_imported_do_not_count(folder):
    before = file_source(folder / "plugin.py")
    (folder / "stranger.py").write_text("g = 2\n")
    assert file_source(folder / "plugin.py") == before


def test_relative_imports_count(tmp_path):
    (tmp_path / "plugin.py").write_text("from . import near\nfrom .far import thing\n")
    (tmp_path / "near.py").write_text("")
    (tmp_path / "far.py").write_text("")
    sources = {file_source(tmp_path / "plugin.py")}
    for name in ("near.py", "far.py"):
        (tmp_path / name).write_text("thing = 1\n")
        sources.add(file_source(tmp_path / "plugin.py"))
    assert len(sources) == 3


def test_a_file_that_is_no_python_still_has_a_source(tmp_path):
    (tmp_path / "plugin.py").write_text("def (")
    assert file_source(tmp_path / "plugin.py")


@pytest.mark.process
def test_a_package_is_named_with_its_version():
    source = source_of(captum.attr.Occlusion)
    assert source.startswith(f"captum {importlib.metadata.version('captum')} ")
    assert source != source_of(captum.attr.DeepLift), "another file of the package"


def test_what_xaibench_ships_has_no_source():
    from xaibench.attribution.gradients import gradient
    from xaibench.datasets.critters import Critters

    assert source_of(gradient) == source_of(Critters) == ""


def test_code_without_a_file_is_told_apart_by_what_it_does():
    made = [eval(text) for text in ("lambda e: 2 * e", "lambda e: 3 * e", "lambda e: 2 * e")]
    assert source_of(made[0]) == source_of(made[2]) != source_of(made[1])


def test_packages_of_another_environment_on_the_path_are_installed_ones(tmp_path, monkeypatch):
    """As with `venv --system-site-packages`: the code of torch is not the user's, whose globals are read."""
    for name, installed in (("site-packages", True), ("dist-packages", True), ("code", False)):
        (tmp_path / name).mkdir()
        monkeypatch.syspath_prepend(str(tmp_path / name))
        sources._installed.cache_clear()
        assert sources.is_installed(tmp_path / name / "package" / "module.py") == installed
    monkeypatch.undo()
    sources._installed.cache_clear()
