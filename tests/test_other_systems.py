"""What Windows and macOS do otherwise, as far as it can be shown on Linux: what they lack is taken away here."""

from __future__ import annotations

import io
import sys
import threading
from pathlib import Path, PurePath

import pytest

from xaibench import files, registry
from xaibench.errors import XaibenchError
from xaibench.files import file_name, is_reserved, write_atomic
from xaibench.kinds import PLURALS

DEVICES = ["con", "prn", "aux", "nul", "com1", "com9", "lpt1", "lpt9"]


def test_names_of_cards_are_names_of_files_on_every_system():
    for kind, plural in PLURALS.items():
        names = [path.stem for path in (registry.shipped() / plural).glob("*.toml")]
        assert len({name.lower() for name in names}) == len(names), f"{kind}: two names differ in case alone"
        assert not [name for name in names if is_reserved(name) or set(name) & set('<>:"/\\|?*') or name[-1] in ". "]


def test_files_of_the_package_differ_in_more_than_case():
    root = Path(registry.__file__).parent
    paths = [path.relative_to(root).as_posix() for path in root.rglob("*") if "__pycache__" not in path.parts]
    assert len({path.lower() for path in paths}) == len(paths) > 500
    assert not [path for path in paths if any(map(is_reserved, path.split("/")))]


@pytest.mark.parametrize(
    "name", [*DEVICES, "CON", "Nul", "con.1", "aux.svg", "a:b?", "ends.", "ends ", "C:\\x", "конец"]
)
def test_names_of_others_become_names_of_files(name):
    made = file_name(name)
    assert made.partition(".")[0].lower() not in DEVICES and made[-1] not in ". "
    assert not set(made) & set('<>:"/\\|?*') and made.isascii()


@pytest.mark.parametrize("name", ["console", "con-1", "gradcon", "com10", "grad-cam", "idsds"])
def test_other_names_stay(name):
    assert file_name(name) == name


def test_a_file_that_a_reader_holds_is_replaced_once_it_is_closed(tmp_path, monkeypatch):
    path, closed, usual = tmp_path / "a.json", threading.Event(), Path.replace

    def replace(self, target):
        if not closed.is_set():  # as Windows says it
            raise PermissionError(13, "Access is denied", str(target))
        return usual(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(files, "SECONDS_TO_WAIT", 20.0)
    threading.Timer(0.1, closed.set).start()
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new" and [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_a_file_that_stays_open_is_one_line_and_stays_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    path.write_bytes(b"old")

    def replace(self, target):
        raise PermissionError(13, "Access is denied", str(target))

    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(files, "SECONDS_TO_WAIT", 0.1)
    with pytest.raises(XaibenchError, match="another program has it open"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old" and [file.name for file in tmp_path.iterdir()] == ["a.json"]


def stream_of(encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)


@pytest.mark.parametrize(
    ("system", "chosen", "written"),
    [
        ("linux", None, b"\\u2192 caf\xe9"),
        ("win32", None, "→ café".encode()),  # to a file or a pipe
        ("win32", "cp1252", b"\\u2192 caf\xe9"),
    ],
)
def test_streams_take_every_character(system, chosen, written, monkeypatch):
    from xaibench.cli import _open_streams

    stream = stream_of("cp1252")
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.delenv("PYTHONIOENCODING", raising=False)
    if chosen:
        monkeypatch.setenv("PYTHONIOENCODING", chosen)
    _open_streams()
    print("→ café", end="")
    assert stream.buffer.getvalue() == written


@pytest.mark.parametrize("name", ["TINY", "Tiny", "con", "NUL"])
def test_no_training_is_named_like_another_or_like_a_device(name, home):
    from xaibench.training.named import check_name

    with pytest.raises(XaibenchError, match="choose another"):
        check_name(name, home / "models" / "x.safetensors")
    check_name("tinyer", home / "models" / "x.safetensors")


def test_a_card_of_the_user_is_not_that_of_xaibench_where_case_is_ignored(home, monkeypatch):
    mine = registry.card("method", "ig").model_copy(update={"name": "IG"})
    assert mine.target.startswith("xaibench.")
    usual = Path.is_file

    def is_file(self, *words, **named):
        return usual(self, *words, **named) or self.name.lower() in {
            path.name.lower() for path in self.parent.iterdir()
        }

    monkeypatch.setattr(Path, "is_file", is_file)
    assert registry.source(mine).startswith(mine.target) and not registry.plugged_in(mine)


def test_classes_and_files_of_a_plug_in_have_one_order_where_paths_ignore_case(photos, tmp_path, monkeypatch):
    from xaibench.cards import Geometry
    from xaibench.datasets.folder import ImageFolder, PhotoFolder
    from xaibench.sources import files_of

    (photos / "bee").rename(photos / "Bee")
    (photos / "ape" / "0.png").rename(photos / "ape" / "B.png")
    for name in ("a", "B"):
        (tmp_path / f"{name}.py").write_text("import a, B")
    monkeypatch.setattr(PurePath, "__lt__", lambda one, other: str(one).lower() < str(other).lower())
    geometry = Geometry(resize=32, crop=32)
    data = ImageFolder(photos, geometry)
    assert list(data.classes) == ["Bee", "ape"] == sorted(data.classes)  # as torchvision numbers them
    assert data.labels("Bee/1.png") == (0,) and data.ids == sorted(data.ids)
    assert PhotoFolder(photos, geometry).ids == sorted(data.ids)
    assert [path.name for path in files_of(tmp_path / "a.py")] == ["B.py", "a.py"]


def test_lists_that_a_program_of_windows_has_stored_are_the_same_lists(tmp_path):
    from xaibench.datasets.reading import read_table

    (tmp_path / "list.txt").write_bytes("\ufeff1 a/ä.jpg\r\n\r\n2 b.jpg".encode())
    assert read_table(tmp_path / "list.txt", ("number", "file")) == {"1": ["a/ä.jpg"], "2": ["b.jpg"]}


def test_without_limits_of_processes_nothing_is_replayed(tmp_path, monkeypatch):
    from xaibench.submission.process import Limits, run_limited

    monkeypatch.setitem(sys.modules, "resource", None)
    with pytest.raises(XaibenchError, match="replay submissions on Linux"):
        run_limited([sys.executable, "-c", f"open({str(tmp_path / 'ran')!r}, 'w')"], tmp_path, Limits())
    assert not (tmp_path / "ran").exists()


def test_memory_is_told_without_proc_and_limits(monkeypatch):
    from xaibench.evaluation.resources import available_memory
    from xaibench.evaluation.timed import Memory

    usual = Path.is_file
    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.setattr(Path, "is_file", lambda self: not str(self).startswith(("/proc", "/sys")) and usual(self))
    assert available_memory() == 1 << 32 and Memory("cpu").most() == 0
