"""What a file is that was taken for weights: found out from its first bytes and its list of contents, nothing in it is
run."""

from __future__ import annotations

import errno
import struct
import zipfile
import zlib
from pathlib import Path

from xaibench.parsing import parse_json

TORCH_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the first pickle of files that torch wrote before 1.6
HEAD = 4096
BAD_ZIP = (
    zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError, OverflowError, struct.error,
    zlib.error,
)  # fmt: skip
"""What `zipfile` raises for damaged archives, besides OSError for places that are not in the file."""
WEIGHTS = {".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar"}
MOST_HEADER = 100_000_000  # bytes, of safetensors
RESAVE = "save its weights by torch.save(net.state_dict(), FILE)"
STARTS = (
    ((b"version https://git-lfs.github.com/spec/",), "a pointer of Git LFS, not the file itself: run `git lfs pull`"),
    ((b"/annex/objects/", b"../.git/annex/"), "a pointer of git-annex, not the file itself: run `git annex get`"),
    ((b"outs:\n",), "a pointer of DVC, not the file itself: run `dvc pull`"),
    ((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18"), "a compressed file: unpack it"),
    ((b"7z\xbc\xaf\x27\x1c", b"Rar!"), "an archive: unpack it, and name the file of weights in it"),
    ((b"\x89HDF\r\n\x1a\n",), "an HDF5 file, as TensorFlow and Keras write: weights of PyTorch are needed"),
    ((b"\x93NUMPY",), "one NumPy array: name a state dict, saved by torch.save or safetensors"),
    ((b"GGUF", b"ggml", b"lmgg"), "a GGUF file of quantised weights: name the safetensors that it was made of"),
    ((b"\x89PNG", b"\xff\xd8\xff", b"GIF8"), "an image, not weights"),
    ((b"%PDF",), "a PDF document, not weights"),
)
SUFFIXES = {
    ".onnx": "an ONNX model: name the state dict that it was exported from",
    ".pb": "a graph of TensorFlow: weights of PyTorch are needed",
    ".tflite": "a model of TensorFlow Lite: weights of PyTorch are needed",
    ".caffemodel": "a model of Caffe: weights of PyTorch are needed",
    ".weights": "weights of Darknet: weights of PyTorch are needed",
    ".pdparams": "weights of Paddle: weights of PyTorch are needed",
    ".msgpack": "weights of Flax: weights of PyTorch are needed",
    ".mlmodel": "a model of Core ML: weights of PyTorch are needed",
}
"""Formats that begin with nothing of their own, by the end of the file's name; asked last."""


def foreign_kind(path: Path) -> str | None:
    """What a file or folder is, and what to do, where it is neither safetensors nor written by torch.save; else None.

    The answer is one line without a full stop, such as "a web page, not weights: ...". Raises OSError where the file
    cannot be read.
    """
    if path.is_dir():
        return folder_kind(path)
    size = path.stat().st_size
    if not size:
        return "empty: copy or download it again"
    with path.open("rb") as file:
        head = file.read(HEAD)
    if _begins_safetensors(head) or (head[:1] == TORCH_LEGACY[:1] and head[2 : len(TORCH_LEGACY)] == TORCH_LEGACY[2:]):
        return None
    if head.startswith(b"PK\x03\x04"):
        return _of_zip(path)
    if kind := kind_of_head(head):
        return _with_message(kind, path, size)
    if head.startswith(b"\x80") and head[1:2] in b"\x02\x03\x04\x05":
        return "a plain pickle, which can run code: save its weights by torch.save or safetensors"
    if path.suffix.lower() in SUFFIXES:
        return SUFFIXES[path.suffix.lower()]
    # protocol buffers have no mark: ONNX writes the version of its format first, then who wrote the file
    if head[:1] == b"\x08" and 0 < head[1] < 32 and head[2:3] in (b"\x12", b"\x1a", b":", b"B"):
        return SUFFIXES[".onnx"]
    return f"in no format of weights that is known here (safetensors, torch.save): they begin with {head[:8]!r}"


def folder_kind(path: Path) -> str:
    """What a folder is, and what to do, where it was named in place of a file of weights."""
    if (path / "saved_model.pb").is_file():
        return "a SavedModel of TensorFlow: weights of PyTorch are needed"
    names = sorted(file.name for file in path.iterdir() if file.suffix in WEIGHTS and file.is_file())
    return f"a folder: name one file in it{f', such as {names[0]}' if names else ''}"


def kind_of_head(head: bytes) -> str | None:
    """What a file with these first bytes is, and what to do, where it is no weights and no zip; else None."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    lower = text[:512].lower()
    if lower.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<script")):
        return "a web page, not weights: open its address in a browser, and save the file itself"
    if lower.startswith((b"<?xml", b"<error", b"<!--", b"<svg")):
        if b"<html" in lower or b"<!doctype html" in lower:
            return "a web page, not weights: open its address in a browser, and save the file itself"
        return "an XML reply of a server, not weights: download it again"
    if text.startswith((b"{", b"[")) and _is_text(text):
        return "JSON, not weights"
    if head[257:262] == b"ustar":
        return "a tar archive: unpack it, and name the file of weights in it"
    for starts, kind in STARTS:
        if head.startswith(starts):
            return kind
    if _is_text(text):
        return "text, not weights"
    return None


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do, whatever its name is."""
    with path.open("rb") as file:
        return _begins_safetensors(file.read(9))


def is_torchscript(path: Path) -> bool:
    """Whether a file is an archive of TorchScript: a zip file with constants in it, a program."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def damaged_part(path: Path) -> str | None:
    """The first file in a zip archive of torch.save whose bytes do not have its checksum, which torch.load does not
    compare; None for a sound archive, and for other files.

    A checksum of 0 is that of a file that was written without (`torch.serialization.set_crc32_options`).
    """
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        for part in archive.infolist():
            try:
                with archive.open(part) as file:
                    while part.CRC and file.read(1 << 20):
                        pass
            except (OSError, *BAD_ZIP) as error:
                if isinstance(error, OSError) and error.errno != errno.EINVAL:  # of a place before the file
                    raise
                return part.filename.split("/", 1)[-1]
    return None


def _begins_safetensors(head: bytes) -> bool:
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= MOST_HEADER


def _is_text(data: bytes) -> bool:
    return bool(data) and all(byte >= 32 or byte in b"\t\n\r" for byte in data)


def _with_message(kind: str, path: Path, size: int) -> str:
    """The kind, with what a short text says, which is often the error of a server."""
    if kind.split(",")[0] not in ("JSON", "text") or size > 1 << 24:
        return kind
    text = path.read_text(encoding="utf-8", errors="replace")
    if kind.startswith("JSON"):
        try:
            content = parse_json(text)
        except ValueError:
            content = None
        if isinstance(content, dict) and isinstance(content.get("weight_map"), dict):
            count = len(set(content["weight_map"].values()))
            return f"the index of weights in {count} files, not the weights: join them into one file, and name that"
    shown = " ".join(text.split())
    return f"{kind}; it says: {shown[:120]}{'...' if len(shown) > 120 else ''}"


def _of_zip(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except BAD_ZIP:
        return "cut short: the end of the file is missing; copy or download it again"
    inner = {name.split("/", 1)[-1] for name in names}
    if is_torchscript(path):
        return f"an archive of TorchScript, a program that is not run here: {RESAVE}"
    if "archive_format" in inner or "serialized_exported_program.json" in names:
        return f"a program of torch.export, which is not run here: {RESAVE}"
    if "data.pkl" in inner:
        return None
    if any(name.endswith("model.weights.h5") for name in names):
        return "a model of Keras: weights of PyTorch are needed"
    if names and all(name.endswith(".npy") for name in names):
        return "an archive of NumPy arrays: name a state dict, saved by torch.save or safetensors"
    if "[Content_Types].xml" in names:
        return "an office document, not weights"
    first = ", ".join(names[:2]) + (", ..." if len(names) > 2 else "") if names else "nothing"
    return (
        f"a zip archive that no torch.save has written ({first} in it): unpack it, and name the file of weights in it"
    )
