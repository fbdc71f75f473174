"""The wheel and the source archive, built from this checkout without the network: what is in them, and what is not."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from configparser import ConfigParser
from email import message_from_string
from pathlib import Path

import pytest

import xaibench

pytest.importorskip("hatchling", reason="needs hatchling, of the extra `test`")
pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[1]
BUILD = "import sys; from hatchling import build; print(getattr(build, f'build_{sys.argv[1]}')(sys.argv[2]))"
PICTURES = (".png", ".svg", ".jpg", ".webp", ".gif", ".parquet", ".ipynb")


def built(kind: str, source: Path, target: Path) -> Path:
    """A wheel or an sdist, as pip has it made in the folder of the source."""
    words = [sys.executable, "-c", BUILD, kind, str(target)]
    done = subprocess.run(words, cwd=source, capture_output=True, text=True, check=True)
    return target / done.stdout.split()[-1]


def files_in(folder: Path, start: str = "") -> set[str]:
    found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {f"{start}{path.relative_to(folder).as_posix()}" for path in found}


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    """The source archive, unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    path = built("sdist", ROOT, folder)
    assert path.stat().st_size < 8 << 20
    with tarfile.open(path) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    return unpacked


@pytest.fixture(scope="module")
def wheel(archive, tmp_path_factory) -> zipfile.ZipFile:
    """The wheel, built from the source archive, as `python -m build` and installers do."""
    path = built("wheel", archive, tmp_path_factory.mktemp("wheel"))
    assert path.name == f"xaibench-{xaibench.__version__}-py3-none-any.whl" and path.stat().st_size < 3 << 20
    return zipfile.ZipFile(path)


def test_the_wheel_is_the_package_with_its_cards_and_printed_numbers_and_nothing_else(wheel):
    about = f"xaibench-{xaibench.__version__}.dist-info/"
    names = {name for name in wheel.namelist() if not name.startswith(about)}
    wanted = files_in(ROOT / "xaibench", "xaibench/") | files_in(ROOT / "registry", "xaibench/_registry/")
    wanted |= files_in(ROOT / "leaderboards" / "reported", "xaibench/_reported/") | {"xaibench/_judges/judges.csv"}
    assert names == wanted
    assert not [name for name in names if name.endswith(PICTURES) or "test" in Path(name).parts[1]]
    for name in ("LICENSE", "CITATION.cff"):
        assert wheel.read(f"{about}licenses/{name}") == (ROOT / name).read_bytes()


def test_the_wheel_says_what_it_needs_and_which_command_it_brings(wheel):
    about = f"xaibench-{xaibench.__version__}.dist-info/"
    points = ConfigParser()
    points.read_string(wheel.read(f"{about}entry_points.txt").decode())
    assert dict(points["console_scripts"]) == {"xaibench": "xaibench.cli:main"} and points.sections() == [
        "console_scripts"
    ]
    said = message_from_string(wheel.read(f"{about}METADATA").decode())
    assert said["Name"] == "xaibench" and said["Requires-Python"] == ">=3.11" and said["License-Expression"] == "MIT"
    plain = [text for text in said.get_all("Requires-Dist") if "extra ==" not in text]
    assert all(">=" in text for text in plain) and {"torch", "numpy"} <= {text.split(">=")[0] for text in plain}


def test_the_source_archive_has_what_the_wheel_and_the_tests_need(archive):
    for folder in ("xaibench", "registry", "leaderboards/reported", "leaderboards/judges", "tests"):
        assert files_in(archive / folder) == {name for name in files_in(ROOT / folder) if ".pytest_cache" not in name}
    for name in ("pyproject.toml", "mkdocs.yml", "LICENSE", "CITATION.cff", "CHANGELOG.md", "README.md"):
        assert (archive / name).read_bytes() == (ROOT / name).read_bytes()
    assert sorted(path.name for path in (archive / "leaderboards").iterdir()) == ["judges", "reported"]
