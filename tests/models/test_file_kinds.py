"""Files that were taken for weights and are something else: each is told by its name, in one line, and not run."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file

from xaibench.errors import XaibenchError
from xaibench.models.file_kinds import foreign_kind
from xaibench.models.state import load_state, read_state

STATE = {"fc.weight": torch.arange(8.0).reshape(2, 4), "fc.bias": torch.zeros(2)}
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 46830571\n"
CAPTCHA = b"\n<!DOCTYPE html><html lang=en><head><title>Google Drive - Virus scan warning</title></head></html>"


def of_torch(**how: bool) -> bytes:
    file = io.BytesIO()
    torch.save(STATE, file, **how)
    return file.getvalue()


def of_zip(**names: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in names.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), content)
    return file.getvalue()


def of_tar(mode: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        info = tarfile.TarInfo("weights.pth")
        info.size = len(POINTER)
        archive.addfile(info, io.BytesIO(POINTER))
    return file.getvalue()


def of_numpy(write, *arrays) -> bytes:
    file = io.BytesIO()
    write(file, *arrays)
    return file.getvalue()


INDEX = {
    "metadata": {},
    "weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"},
}
KINDS = {
    "LFS pointer": (POINTER, "a pointer of Git LFS, not the file itself: run `git lfs pull`"),
    "annex pointer": (b"/annex/objects/SHA256E-s4--2c.pth\n", "a pointer of git-annex"),
    "DVC pointer": (b"outs:\n- md5: 6a7\n  path: w.pth\n", "a pointer of DVC"),
    "captcha": (CAPTCHA, "a web page, not weights"),
    "404": (b"<html>\r\n<head><title>404 Not Found</title></head>\r\n", "a web page, not weights"),
    "login page": (b"\xef\xbb\xbf  <HTML><body>Please sign in", "a web page, not weights"),
    "XHTML": (b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "-//W3C">', "a web page, not weights"),
    "S3": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "an XML reply of a server"),
    "API": (b'{"error": "Repository\\nnot found"}', r'JSON, not weights; it says: {"error": "Repository\nnot found"}'),
    "plain reply": (b"Entry not found\n", "text, not weights; it says: Entry not found"),
    "config": (json.dumps({"architectures": ["ViT"], "sizes": [224] * 99}).encode(), "JSON, not weights; it says: {"),
    "index": (json.dumps(INDEX).encode(), "the index of weights in 2 files, not the weights"),
    "empty": (b"", "empty: copy or download it again"),
    "gzip": (gzip.compress(of_torch()), "a compressed file: unpack it"),
    "bzip2": (bz2.compress(of_torch()), "a compressed file: unpack it"),
    "xz": (lzma.compress(of_torch()), "a compressed file: unpack it"),
    "zstd": (b"\x28\xb5\x2f\xfd\x04\x00\x01\x02", "a compressed file: unpack it"),
    "tar": (of_tar("w"), "a tar archive: unpack it"),
    "tar.gz": (of_tar("w:gz"), "a compressed file: unpack it"),
    "7z": (b"7z\xbc\xaf\x27\x1c\x00\x04", "an archive: unpack it"),
    "docx": (of_zip(**{"[Content_Types]_dot_xml": b"<", "word__document_dot_xml": b"<"}), "an office document"),
    "folder": (of_zip(photos__a_dot_png=b"x", photos__b_dot_png=b"y"), "(photos/a.png, photos/b.png in it): unpack it"),
    "inner": (of_zip(w_dot_safetensors=save(STATE)), "that no torch.save has written (w.safetensors in it): unpack it"),
    "nothing": (of_zip(), "in no format of weights"),
    "keras": (of_zip(config_dot_json=b"{}", model_dot_weights_dot_h5=b"\x89HDF"), "a model of Keras"),
    "npz": (of_numpy(np.savez, np.zeros(3)), "an archive of NumPy arrays"),
    "npy": (of_numpy(np.save, np.zeros(3)), "one NumPy array"),
    "h5": (b"\x89HDF\r\n\x1a\n\x00\x00", "an HDF5 file, as TensorFlow and Keras write"),
    "GGUF": (b"GGUF\x03\x00\x00\x00", "a GGUF file"),
    "ONNX": (b"\x08\x07\x12\x07pytorch\x1a\x052.1.0:\x91", "an ONNX model"),
    "photo": (b"\xff\xd8\xff\xe0\x00\x10JFIF", "an image"),
    "cut zip": (of_torch()[:-200], "cut short: the end of the file is missing"),
    "pickle": (pickle.dumps(STATE), "a plain pickle"),
    "pickle 2": (pickle.dumps(STATE, 2), "a plain pickle"),
    "zeros": (b"\0" * 64, "in no format of weights that is known here"),
}  # fmt: skip


def refusal(path) -> str:
    with pytest.raises(XaibenchError) as caught:
        read_state(path)
    text = str(caught.value)
    assert text.isprintable() and "..." not in text.replace("in it", "") and str(path) in text, text
    return text


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "w.ckpt"])
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_a_name_of_its_own(kind, name, tmp_path):
    content, expected = KINDS[kind]
    path = tmp_path / name
    path.write_bytes(content)
    if kind == "config":
        with pytest.raises(XaibenchError, match=r"JSON, not weights; it says: \{"):
            read_state(path)
    else:
        assert f"weights {path} are {expected}" in refusal(path) or expected in refusal(path)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("m.onnx", "an ONNX"), ("m.pb", "TensorFlow"), ("m.tflite", "TensorFlow Lite"), ("m.msgpack", "Flax")],
)
def test_formats_without_a_mark_are_told_by_the_end_of_their_name(name, kind, tmp_path):
    (tmp_path / name).write_bytes(b"\x0a\x1c\x00\x00\x00\x00TFL3\x01")
    assert kind in refusal(tmp_path / name)


def test_folders(tmp_path):
    (tmp_path / "hub").mkdir()
    assert "a folder: name one file in it" in refusal(tmp_path / "hub")
    save_file(STATE, tmp_path / "hub" / "model.safetensors")
    assert refusal(tmp_path / "hub").endswith("such as model.safetensors")
    (tmp_path / "hub" / "saved_model.pb").touch()
    assert "a SavedModel of TensorFlow" in refusal(tmp_path / "hub")


@pytest.fixture(scope="module")
def net():
    return torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.Flatten(), torch.nn.Linear(72, 2)).eval()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_programs_are_not_run(net, tmp_path):
    example = torch.zeros(1, 3, 8, 8)
    torch.jit.save(torch.jit.trace(net, example), tmp_path / "script.pth")
    assert "an archive of TorchScript, a program that is not run here" in refusal(tmp_path / "script.pth")
    torch.export.save(torch.export.export(net, (example,)), tmp_path / "export.pt2")
    assert "a program of torch.export" in refusal(tmp_path / "export.pt2")


@pytest.mark.parametrize("old", [False, True])
def test_whole_networks_are_named_by_their_class(old, net, tmp_path):
    torch.save(net, tmp_path / "w.pth", _use_new_zipfile_serialization=not old)
    text = refusal(tmp_path / "w.pth")
    assert "it holds a network itself (torch.nn.modules." in text and "torch.save(net.state_dict(), FILE)" in text


def test_another_pickle_protocol_is_said(tmp_path):
    torch.save(STATE, tmp_path / "w.pth", pickle_protocol=4)
    assert "another pickle_protocol" in refusal(tmp_path / "w.pth")


def test_bytes_that_changed_inside_a_file_of_torch(tmp_path):
    """torch.load takes them for weights; the checksums of the archive tell."""
    path = tmp_path / "w.pth"
    tensors = {"weight": torch.arange(5000.0), "bias": torch.ones(3)}
    torch.save(tensors, path)
    sound = path.read_bytes()
    assert read_state(path).tensors["weight"][-1] == 4999
    at = sound.index(tensors["weight"].numpy().tobytes()[4000:4100])
    path.write_bytes(sound[: at + 7] + bytes([sound[at + 7] ^ 1]) + sound[at + 8 :])
    assert not torch.equal(torch.load(path)["weight"], tensors["weight"]), "and torch says nothing"
    assert "are damaged: data/0 in it has another checksum; copy or download it again" in refusal(path)


def test_files_of_torch_without_checksums(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"weight": torch.arange(50.0)}, tmp_path / "w.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert read_state(tmp_path / "w.pth").tensors["weight"].sum() == 1225


def test_the_old_format_that_is_cut_short(tmp_path):
    (tmp_path / "w.pth").write_bytes(of_torch(_use_new_zipfile_serialization=False)[:-4])
    assert "damaged or cut short" in refusal(tmp_path / "w.pth")


@pytest.mark.parametrize("end", [9, -4])
def test_safetensors_that_are_cut_short(end, tmp_path):
    (tmp_path / "w.safetensors").write_bytes(save(STATE)[:end])
    assert "safetensors that are damaged or cut short" in refusal(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("content", "name"),
    [(save(STATE), "w.pth"), (save(STATE), "w.bin"), (of_torch(), "w.safetensors"), (of_torch(), "w.bin")],
)
def test_weights_are_read_by_their_content_whatever_they_are_called(content, name, tmp_path):
    (tmp_path / name).write_bytes(content)
    assert foreign_kind(tmp_path / name) is None
    read = read_state(tmp_path / name).tensors
    assert read.keys() == STATE.keys() and all(torch.equal(read[k], STATE[k]) for k in STATE)


def test_the_older_format_is_still_read(tmp_path):
    (tmp_path / "w.pth").write_bytes(of_torch(_use_new_zipfile_serialization=False))
    net = torch.nn.ModuleDict({"fc": torch.nn.Linear(4, 2)})
    load_state(net, read_state(tmp_path / "w.pth"), "tiny")
    assert torch.equal(net.fc.weight, STATE["fc.weight"])


OPTIMIZER = torch.optim.Adam([torch.nn.Parameter(torch.zeros(2))]).state_dict()


@pytest.mark.parametrize(
    ("holds", "kind"),
    [
        (OPTIMIZER, "but the state of an optimizer"),
        ({"epoch": 1, "optimizer": OPTIMIZER}, "but the state of an optimizer"),
        ({"epoch": 3, "best": "x.pth"}, "but: epoch, best"),
        ([torch.zeros(1)], "but a thing of type list"),
        ({"fc.weight": np.zeros((2, 4))}, "but NumPy arrays: save them as tensors"),
    ],
)
def test_files_of_torch_that_hold_something_else(holds, kind, tmp_path):
    torch.save(holds, tmp_path / "w.pth")
    text = refusal(tmp_path / "w.pth")
    assert "contain no state dict" in text and kind in text
