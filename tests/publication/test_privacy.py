"""Planted secrets: after publishing, no byte of the folder has any of them, and what cannot be replaced is refused."""

from __future__ import annotations

import getpass
import io
import shutil
import socket
import subprocess
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from xaibench import registry
from xaibench.errors import XaibenchError
from xaibench.publication import hub
from xaibench.publication.api import Request, publish
from xaibench.publication.scrub import Scrubber
from xaibench.publication.verify import verify
from xaibench.results.map_bytes import map_bytes
from xaibench.results.store import Store

USER, HOST, MAIL, FULL = "zaphodb", "heartofgold42", "zaphod@betelgeuse.example", "Zaphod Beeblebrox"
OTHER = "trillian"  # who ran the runs, on another machine


@pytest.fixture
def secrets(tmp_path, monkeypatch):
    """A user, a machine, folders and a git configuration with names that stand nowhere else."""
    folder = tmp_path / USER / "my secret project"
    folder.mkdir(parents=True)
    monkeypatch.setattr(getpass, "getuser", lambda: USER)
    monkeypatch.setattr(socket, "gethostname", lambda: HOST)
    monkeypatch.setattr(socket, "getfqdn", lambda: f"{HOST}.lan.example")
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("XAIBENCH_HOME", str(folder / "cache of mine"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(folder / "gitconfig"))
    for name, value in (("user.email", MAIL), ("user.name", FULL)):
        subprocess.run(["git", "config", "--global", name, value], check=True)
    monkeypatch.chdir(folder)
    return folder


def planted(folder) -> dict:
    """Fields of a record with private text in every place that can hold any."""
    return {
        "command": f"xaibench run idsds --data-root '{folder}/photos of {USER}' --weights=/home/{OTHER}/w.safetensors "
        f"--plugin 'C:\\Users\\{OTHER}\\net.py' --out {folder}/results",
        "whole": f"xaibench run idsds --out /home/{OTHER}/results --shard 1/2",
        "config": {"data_root": f"{folder}/photos of {USER}", "out": f"{folder}/results", "protocols": ["idsds"],
                   "weights": f"/home/{OTHER}/w.safetensors", "dataset_options": {f"/home/{OTHER}/k": "~/x"}},
        "objects": [f"model Net of /home/{OTHER}/net.py"],
        "classes": ["cat", "dog"],
        "training": {"start": f"{folder}/start.safetensors", "by": {"host": HOST, "user": [USER, MAIL]}},
        "masks": {"made": f"on {HOST}.lan.example by {FULL}"},
        "warnings": [f"{folder}/photos of {USER}/a b.png has no label", f"\\\\{HOST}\\share\\x", f"seen by {OTHER}",
                     f"/mnt/{OTHER}s disk/x.png"],
        "skipped": {"b-cos": f"needs /opt/{OTHER}/bcos.py"},
        "device": f"cuda:0 ({HOST.upper()})",
    }  # fmt: skip


def test_no_byte_of_the_folder_is_private(kit, secrets, tmp_path):
    results = secrets / "results"
    context = kit.context()
    context["model"] |= {"label": f"resnet18 (weights /home/{OTHER}/w.safetensors)"}
    context["weights"] |= {"label": f"{USER}'s weights"}
    kit.run(results, kit.cells(context), kit.ids(4), keep=2, **planted(secrets))
    publish(results, tmp_path / "board", Request(title="Boards"))
    words = [USER, HOST, MAIL, FULL, OTHER, "my secret project", "cache of mine", "photos of", "betelgeuse", "/home/",
             "Users", str(tmp_path)]  # fmt: skip
    found = [path for path in (tmp_path / "board").rglob("*") if path.is_file()]
    assert len(found) > 15
    for path in found:
        held = path.read_bytes() + str(path.relative_to(tmp_path / "board")).encode()
        if path.suffix == ".parquet":  # compressed: values and metadata in full
            table = pq.read_table(path, partitioning=None)
            held += repr((table.schema.metadata, table.to_pydict())).encode()
        for word in words:
            assert word.lower().encode() not in held.lower(), (path, word)
    run = next((tmp_path / "board" / "runs").iterdir()).read_text()
    assert "--data-root PATH --weights=PATH/w.safetensors --plugin PATH/net.py" in run
    assert '"dataset_options": {\n   "PATH": "PATH"' in run
    assert "PATH b.png has no label" in run


@pytest.mark.parametrize("value", ["/home/trillian/boxes", "C:\\data", "~/x", "trillian@example.org", USER])
def test_what_a_key_hashes_is_refused_where_it_is_private(kit, secrets, tmp_path, value):
    """The key would be another one without it, so nobody could check it."""
    context = kit.context()
    context["dataset"]["settings"] |= {"annotations": value}
    kit.run(tmp_path / "results", kit.cells(context), kit.ids(4))
    with pytest.raises(XaibenchError, match="its key hashes") as error:
        publish(tmp_path / "results", tmp_path / "board")
    assert len(str(error.value).splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir() if "board" in path.name] == []
    if value == USER:
        publish(tmp_path / "results", tmp_path / "board", Request(allowed=(USER,)))
        assert Store.open(tmp_path / "board").rows().shape[0] == 16


def test_ids_of_images_are_refused_where_they_are_private(kit, secrets, tmp_path):
    kit.run(tmp_path / "results", kit.cells(kit.context()), ["a.png", f"/home/{OTHER}/b.png"])
    with pytest.raises(XaibenchError, match="the rows hold"):
        publish(tmp_path / "results", tmp_path / "board")


def test_ids_and_names_of_others_never_become_paths(kit, tmp_path):
    context = kit.context(model="../../../../tmp/evil\n")
    context["dataset"]["label"] = "../x"
    images = ["../../up.png", "a\x00b", "con/../.."]
    kit.run(tmp_path / "results", kit.cells(context), images, keep=3)
    publish(tmp_path / "results", tmp_path / "deep" / "er" / "board")
    inside = {path for path in (tmp_path / "deep" / "er").rglob("*") if path.is_file()}
    assert {path for path in (tmp_path / "deep").rglob("*") if path.is_file()} == inside
    assert all(path.is_relative_to(tmp_path / "deep" / "er" / "board") for path in inside)
    assert {path.parent.name for path in inside if path.parent.parent.name == "idsds"} == {"tmp-evil"}


def test_photos_have_neither_exif_nor_gps(kit, secrets, tmp_path, monkeypatch):
    """A folder of photos with a place in them, published with a card that allows it."""
    from xaibench.datasets.open import open_dataset
    from xaibench.publication import gallery

    root = secrets / "photos"
    pixels = np.random.default_rng(0).integers(0, 255, (70, 90, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x013B] = FULL  # the artist
    exif.get_ifd(0x8825)[1] = "N"
    for number in range(3):
        (root / f"class{number % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / f"class{number % 2}" / f"{number}.jpg", exif=exif)
    assert FULL.encode() in (root / "class0" / "0.jpg").read_bytes()
    card = registry.card("dataset", "imagefolder")
    monkeypatch.setattr(gallery, "_card", lambda taken: card.model_copy(update={"redistributable": True}))
    dataset = open_dataset(card, root, {})
    context = kit.context()
    context["dataset"] = {"name": "imagefolder", "version": card.version, "settings": {"classes": "x"},
                          "geometry": card.geometry.key_fields, "label": "imagefolder (224 px)"}  # fmt: skip
    images = list(dataset.ids)
    kit.run(tmp_path / "results", kit.cells(context), images, keep=3, digests=[dataset.digest(i) for i in images],
            config={"protocols": ["idsds"], "model": "resnet18", "data_root": str(root)})  # fmt: skip
    found = publish(tmp_path / "results", tmp_path / "board")
    assert found.notes == []
    paths = found.index.images["imagefolder (224 px)"]
    assert list(paths) == images
    for image, path in paths.items():
        data = (tmp_path / "board" / path).read_bytes()
        with Image.open(io.BytesIO(data)) as opened:
            assert not opened.getexif()
            assert opened.info == {}
            assert np.array_equal(np.asarray(opened), dataset.load(image).image)


def test_photos_of_a_board_folder_of_others_are_written_anew(kit, tmp_path):
    """Somebody exchanged a published photo for one with EXIF and texts; published on, it has its pixels alone."""
    from xaibench.datasets.open import open_dataset

    dataset = open_dataset(registry.card("dataset", "critters"), None, {})
    images = list(dataset.ids[:3])
    kit.run(tmp_path / "results", kit.cells(kit.context()), images, keep=3, digests=[dataset.digest(i) for i in images])
    index = publish(tmp_path / "results", tmp_path / "theirs").index
    paths = list(index.images["critters (64 px)"].values())
    before = [(tmp_path / "theirs" / path).read_bytes() for path in paths]
    exif, info = Image.Exif(), PngInfo()
    exif[0x013B] = FULL
    info.add_text("Comment", MAIL)
    with Image.open(tmp_path / "theirs" / paths[0]) as opened:
        opened.copy().save(tmp_path / "theirs" / paths[0], exif=exif, pnginfo=info)
    with (tmp_path / "theirs" / paths[1]).open("ab") as file:
        file.write(FULL.encode())
    publish(tmp_path / "theirs", tmp_path / "mine")
    assert [(tmp_path / "mine" / path).read_bytes() for path in paths] == before
    (tmp_path / "theirs" / paths[2]).write_text(FULL)
    with pytest.raises(XaibenchError, match="is no image"):
        publish(tmp_path / "theirs", tmp_path / "other")


@pytest.mark.parametrize("place", ["figures/x.svg", "boards", "versions/1/x", "versions/1/all", "README.md"])
def test_a_link_never_brings_a_file_of_its_reader_along(results, board, tmp_path, monkeypatch, place):
    """A board folder of others has a link to a file or a folder of whoever publishes it again, or pushes it."""
    mine = shutil.copytree(board, tmp_path / "board")
    private = tmp_path / "private"
    private.mkdir()
    (private / "key").write_text(MAIL)
    (mine / place).parent.mkdir(parents=True, exist_ok=True)
    if (mine / place).is_dir():  # all of the folder, so that its files are where they were
        (mine / place).rename(private / "folder")
        (mine / place).symlink_to(private / "folder")
    else:
        (mine / place).unlink(missing_ok=True)
        (mine / place).symlink_to(private if place.endswith("all") else private / "key")
    with pytest.raises(XaibenchError, match="is a link"):
        publish(results, mine, Request(title="another"))
    monkeypatch.setenv("HF_TOKEN", "none")
    monkeypatch.setattr(hub, "_api", lambda: SimpleNamespace(
        create_repo=lambda *_, **__: SimpleNamespace(repo_id="a/b"), list_repo_files=lambda *_, **__: [],
        repo_info=lambda *_, **__: SimpleNamespace(sha="0"), create_commit=lambda *_, **__: pytest.fail("pushed"),
    ))  # fmt: skip
    with pytest.raises(XaibenchError, match="is a link"):
        hub.push(mine, "a/b")
    found = [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink()]
    assert [path for path in found if MAIL.encode() in path.read_bytes()] == [private / "key"]


@pytest.mark.parametrize("kind", ["name", "text", "column", "metadata", "maps"])
def test_the_last_look_finds_what_was_forgotten_in_any_file(tmp_path, kind):
    """Where a file of the folder would still hold a name, whatever wrote it, nothing is put in place."""
    known = Scrubber().knowing([USER], [])
    if kind == "name":
        (tmp_path / f"{USER}.json").write_text("{}")
    elif kind == "text":
        (tmp_path / "a.svg").write_text(f"<svg>{USER}</svg>")
    elif kind == "maps":
        (tmp_path / "a.safetensors").write_bytes(map_bytes({f"{USER}#1": torch.zeros(2, 2)}, {}))
    else:
        table = pa.table({"a": [USER if kind == "column" else "b"]})
        pq.write_table(table.replace_schema_metadata({"c": USER} if kind == "metadata" else {}), tmp_path / "a.parquet")
    verify(tmp_path, Scrubber())
    with pytest.raises(XaibenchError, match=f"would hold '{USER}'"):
        verify(tmp_path, known)


def test_what_one_part_forgets_is_found_before_anything_is_put_in_place(kit, secrets, tmp_path, monkeypatch):
    monkeypatch.setattr("xaibench.publication.records.public_command", lambda command, scrubber: command)
    kit.run(tmp_path / "results", kit.cells(kit.context()), kit.ids(2), command=f"xaibench run by-{USER}")
    with pytest.raises(XaibenchError, match=rf"runs/.* would hold '{USER}'"):
        publish(tmp_path / "results", tmp_path / "board")
    assert not [path for path in tmp_path.iterdir() if "board" in path.name]
