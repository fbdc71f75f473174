"""MNIST, MNIST-ML and CIFAR against torchvision's readers, hand-drawn digits, and files that are broken."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from torchvision import datasets
from torchvision.datasets.mnist import read_image_file, read_label_file

import xaibench
from xaibench import registry
from xaibench.cards import Geometry
from xaibench.datasets.cifar import CIFAR10, CIFAR100
from xaibench.datasets.mnist import MNIST, read_idx
from xaibench.datasets.mnist_ml import MNISTML
from xaibench.datasets.open import open_dataset
from xaibench.errors import XaibenchError

SAME = Geometry(resize=28, crop=28)
SQUARE = Geometry(resize=56, crop=56)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}i", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


@pytest.fixture
def mnist(tmp_path) -> Path:
    """MNIST/raw: 8 test digits, packed, and 40 training digits, unpacked; the label of digit n is n % 10.

    Digit n is a bar of 200 in the rows 4 to 9 and the columns n % 7 to n % 7 + 2, with a rim of 100 below.
    """
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for stem, count, pack in (("t10k", 8, gzip.compress), ("train", 40, bytes)):
        digits = np.zeros((count, 28, 28), np.uint8)
        for n in range(count):
            digits[n, 4:10, n % 7 : n % 7 + 3], digits[n, 10, n % 7 : n % 7 + 3] = 200, 100
        ending = ".gz" if pack is gzip.compress else ""
        (raw / f"{stem}-images-idx3-ubyte{ending}").write_bytes(pack(idx(digits)))
        (raw / f"{stem}-labels-idx1-ubyte{ending}").write_bytes(pack(idx(np.arange(count) % 10)))
    return tmp_path


def test_the_real_test_digits_are_what_torchvision_reads(real, tmp_path):
    folder = real / "mnist"
    data = MNIST(folder, SAME)
    for file in ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        (tmp_path / file).write_bytes(gzip.decompress((folder / "MNIST" / "raw" / f"{file}.gz").read_bytes()))
    images = read_image_file(str(tmp_path / "t10k-images-idx3-ubyte")).numpy()
    labels = read_label_file(str(tmp_path / "t10k-labels-idx1-ubyte")).tolist()
    assert len(data.ids) == len(images) == 10_000 and data.ids[123] == "test/000123"
    assert [data.label(i) for i in data.ids] == labels
    for number in range(0, 10_000, 97):
        known, sample = data.annotate(data.ids[number]), data.load(data.ids[number])
        np.testing.assert_array_equal(sample.image, np.repeat(images[number][:, :, None], 3, 2))
        np.testing.assert_array_equal(known.instances[0], images[number] > 127)
        x0, y0, x1, y1 = known.boxes[0]
        assert (images[number] > 127).sum() == (images[number, y0:y1, x0:x1] > 127).sum()
        edges = images[number, y0:y1, x0:x1] > 127
        assert edges[0].any() and edges[-1].any() and edges[:, 0].any() and edges[:, -1].any()


def test_digits_and_boxes_are_where_they_were_drawn(mnist):
    for root in (mnist, mnist / "MNIST", mnist / "MNIST" / "raw"):
        data = MNIST(root, SAME)
        assert len(data.ids) == 8 and [data.annotate(i).boxes.tolist() for i in data.ids] == [
            [[n % 7, 4, n % 7 + 3, 10]] for n in range(8)
        ]
    assert MNIST(mnist, SAME, threshold=99).annotate("test/000002").boxes.tolist() == [[2, 4, 5, 11]]
    nothing = MNIST(mnist, SAME, threshold=200).annotate("test/000002")
    assert nothing.boxes.shape == (0, 4) and nothing.instances.shape == (0, 28, 28) and nothing.labels == (2,)
    small, larger = (MNIST(mnist, g).annotate("test/000003") for g in (SAME, SQUARE))
    assert larger.boxes.tolist() == [[6, 8, 12, 20]]
    np.testing.assert_array_equal(larger.instances, small.instances.repeat(2, 1).repeat(2, 2))


def test_splits_part_the_training_digits(mnist):
    train, val, both = (MNIST(mnist, SAME, split) for split in ("train", "val", "trainval"))
    assert len(both.ids) == 40 and {*train.ids, *val.ids} == set(both.ids) and not set(train.ids) & set(val.ids)
    assert train.ids and val.ids and all(i.startswith("train/") for i in both.ids)
    assert [both.label(i) for i in both.ids] == [n % 10 for n in range(40)]
    assert {val.label(i) for i in val.ids} == {int(i[-6:]) % 10 for i in val.ids}, "an id is a place in the file"


def test_digests_are_of_the_pixels(mnist):
    data = MNIST(mnist, SAME)
    pixels = read_idx(mnist / "MNIST/raw/t10k-images-idx3-ubyte.gz", 3)
    assert data.digest("test/000001") == hashlib.blake2b(pixels[1].tobytes(), digest_size=10).hexdigest()
    assert data.digest("test/000000") == data.load("test/000007").digest, "the same bar"


@pytest.mark.parametrize(
    ("file", "spoil", "message"),
    [
        ("images-idx3", lambda data: data[:-9], "t10k-images-idx3-ubyte.gz cannot be unpacked: .*; fetch it again"),
        ("images-idx3", lambda data: b"<html>", "t10k-images-idx3-ubyte.gz cannot be unpacked: Not a gzipped"),
        ("images-idx3", lambda data: data[:40] + b"\0\0" + data[42:], "t10k-images-idx3-ubyte.gz cannot be unpacked"),
        ("images-idx3", lambda data: b"", "images-idx3-ubyte.gz is no IDX file of bytes with 3 axes"),
        (
            "images-idx3",
            lambda data: gzip.compress(gzip.decompress(data)[:-1]),
            "has 6271 bytes, but 8 x 28 x 28 by its header",
        ),
        ("images-idx3", lambda data: gzip.compress(idx(np.zeros((8, 5, 7)))), "images of 7 x 5 pixels, not 28 x 28"),
        ("images-idx3", lambda data: gzip.compress(idx(np.zeros(8))), "is no IDX file of bytes with 3 axes"),
        ("labels-idx1", lambda data: gzip.compress(idx(np.zeros((8, 1)))), "is no IDX file of bytes with 1 axis"),
        ("labels-idx1", lambda data: gzip.compress(idx(np.zeros(7))), "mnist: 8 images but 7 labels"),
        ("labels-idx1", lambda data: gzip.compress(idx(np.full(8, 12))), "mnist: label 12 is none of its 10 classes"),
        ("labels-idx1", None, "has no MNIST/raw/t10k-labels-idx1-ubyte.gz; --data-root is the folder"),
    ],
)
def test_broken_files_are_one_line(file, spoil, message, mnist):
    path = mnist / "MNIST" / "raw" / f"t10k-{file}-ubyte.gz"
    path.write_bytes(spoil(path.read_bytes())) if spoil else path.unlink()
    with pytest.raises(XaibenchError, match=message) as caught:
        MNIST(mnist, SAME)
    assert "\n" not in str(caught.value)
    assert MNIST(mnist, SAME, "train").ids, "a split needs its own files only"


def test_options_that_are_not_there(mnist, tmp_path):
    with pytest.raises(XaibenchError, match="mnist: split 'testing' is unknown; did you mean test"):
        MNIST(mnist, SAME, "testing")
    for threshold in (255, -1, 0.5, True):
        with pytest.raises(XaibenchError, match="threshold is a grey value from 0 to 254"):
            MNIST(mnist, SAME, threshold=threshold)
    with pytest.raises(XaibenchError, match="no image 'test/9'; ids go from test/000000 to test/000007"):
        MNIST(mnist, SAME).load("test/9")
    with pytest.raises(XaibenchError, match="nowhere is not a folder"):
        MNIST(tmp_path / "nowhere", SAME)


def test_mnist_ml_puts_four_digits_into_a_square(mnist):
    data, digits = MNISTML(mnist, SQUARE, count=60), MNIST(mnist, SAME)
    assert data.ids[-1] == "test/000059" and len({data.drawn(i) for i in data.ids}) > 55
    seen = set()
    for image_id in data.ids:
        drawn = data.drawn(image_id)
        image, known = data.load(image_id).image, data.annotate(image_id)
        quarters = [image[y : y + 28, x : x + 28] for y in (0, 28) for x in (0, 28)]
        for number, (quarter, digit) in enumerate(zip(quarters, drawn, strict=True)):
            np.testing.assert_array_equal(quarter, digits.load(digit).image)
            (box,), (y, x) = digits.annotate(digit).boxes, divmod(number, 2)
            assert known.boxes[number].tolist() == (box + np.array([x, y, x, y]) * 28).tolist()
            inside = known.instances[number].reshape(2, 28, 2, 28).swapaxes(1, 2).reshape(4, 28, 28)
            np.testing.assert_array_equal(inside[number], digits.annotate(digit).instances[0])
            assert not np.delete(inside, number, 0).any()
        labels = [digits.label(digit) for digit in drawn]
        assert known.box_labels.tolist() == labels and known.objects["digits"].shape == (4, 56, 56)
        assert known.labels == data.labels(image_id) == tuple(dict.fromkeys(labels))
        assert data.label(image_id) == data.load(image_id).label == labels[0]
        seen.update(drawn)
    assert seen == set(digits.ids), "240 draws of 8 digits"


def test_mnist_ml_is_the_same_for_any_count_and_other_for_another_seed_or_split(mnist):
    few, more, other = MNISTML(mnist, SQUARE, count=5), MNISTML(mnist, SQUARE), MNISTML(mnist, SQUARE, count=5, seed=1)
    assert [few.drawn(i) for i in few.ids] == [more.drawn(i) for i in few.ids] and len(more.ids) == 10_000
    assert [few.drawn(i) for i in few.ids] != [other.drawn(i) for i in few.ids]
    training = MNISTML(mnist, SQUARE, "train", count=50)
    assert {d for i in training.ids for d in training.drawn(i)} <= set(MNIST(mnist, SAME, "train").ids)
    for option in ({"count": 0}, {"count": 2.5}, {"seed": -1}):
        with pytest.raises(XaibenchError, match=f"mnist-ml: {next(iter(option))} is a whole number from"):
            MNISTML(mnist, SQUARE, **option)
    with pytest.raises(XaibenchError, match="no image 'test/000005'; ids go from test/000000 to test/000004"):
        few.load("test/000005")


def test_protocols_of_objects_run_on_the_real_digits(real, home):
    rows = xaibench.run(
        "epg,seg-epg,x-seg-epg,obey,mosu", model="tiny", dataset="mnist-ml", data_root=real / "mnist", images=6,
        methods="ixg,oracle", weights=str(weights(home)), quiet=True,
    ).rows  # fmt: skip
    data = open_dataset(registry.card("dataset", "mnist-ml"), real / "mnist", {})
    for image_id, found in rows.query("metric == 'epg' and method == 'oracle'").groupby("image_id"):
        assert tuple(found["target"]) == data.labels(image_id) and set(found["score"]) == {1.0}


def weights(home: Path) -> Path:
    """Weights of the tiny network for ten classes, as they are drawn."""
    import torch
    from safetensors.torch import save_file
    from xaibench_test_network import build

    torch.manual_seed(0)
    path = home / "tiny-ten.safetensors"
    save_file(build(10).state_dict(), path)
    return path


@pytest.fixture
def batches(tmp_path, monkeypatch):
    """batches(kind): a folder with the files of CIFAR10 or CIFAR100 of 12 training and 5 test images, whose MD5 sums
    torchvision takes for the published ones; returns it with what was stored."""

    def make(kind: str) -> tuple[Path, dict[str, tuple[np.ndarray, list[int]]]]:
        reader, random, stored, sums = getattr(datasets, kind), np.random.default_rng(0), {}, {}
        folder, key = tmp_path / reader.base_folder, "labels" if kind == "CIFAR10" else "fine_labels"
        folder.mkdir()
        for mode, files in (("train", reader.train_list), ("test", reader.test_list)):
            for file, _ in files:
                count = 5 if mode == "test" else 12 // len(files) or 1
                pixels = random.integers(0, 256, (count, 3072), dtype=np.uint8)
                labels = random.integers(0, int(kind[5:]), count).tolist()
                (folder / file).write_bytes(pickle.dumps({"data": pixels, key: labels}))
                known = stored.setdefault(mode, (np.zeros((0, 32, 32, 3), np.uint8), []))
                colours = np.stack([pixels[:, c * 1024 : (c + 1) * 1024].reshape(-1, 32, 32) for c in range(3)], 3)
                stored[mode] = np.concatenate([known[0], colours]), known[1] + labels
        names = [f"class {n}" for n in range(int(kind[5:]))]
        (folder / reader.meta["filename"]).write_bytes(pickle.dumps({reader.meta["key"]: names}))
        sums = {p.name: hashlib.md5(p.read_bytes()).hexdigest() for p in folder.iterdir()}
        for name in ("train_list", "test_list"):
            monkeypatch.setattr(reader, name, [[file, sums[file]] for file, _ in getattr(reader, name)])
        monkeypatch.setattr(reader, "meta", reader.meta | {"md5": sums[reader.meta["filename"]]})
        return folder, stored

    return make


@pytest.mark.parametrize("kind", [CIFAR10, CIFAR100])
def test_cifar_is_what_the_batches_hold(kind, batches):
    folder, stored = batches(kind.kind)
    for split, mode in (("test", "test"), ("trainval", "train")):
        pixels, labels = stored[mode]
        for root in (folder, folder.parent):
            data = kind(root, Geometry(resize=32, crop=32), split)
            assert [data.label(i) for i in data.ids] == labels and data.ids[0] == f"{mode}/000000"
            np.testing.assert_array_equal([data.load(i).image for i in data.ids], pixels)
    assert data.classes[-1] == f"class {len(data.classes) - 1}" and len(data.classes) == int(kind.kind[5:])
    assert open_dataset(registry.card("dataset", kind.name), folder, {}).ids[-1] == "test/000004"


def test_pickles_of_unknown_origin_are_not_opened(batches, tmp_path):
    folder, _ = batches("CIFAR10")

    class Foreign:
        def __reduce__(self):
            return Path.write_text, (tmp_path / "opened", "x")

    (folder / "data_batch_3").write_bytes(pickle.dumps(Foreign()))
    with pytest.raises(XaibenchError, match=r"data_batch_3 is not the published file .* fetch it again"):
        CIFAR10(tmp_path, SAME)
    assert not (tmp_path / "opened").exists()
    (folder / "data_batch_3").unlink()
    with pytest.raises(XaibenchError, match=r"data_batch_3 is missing; --data-root is the folder that holds cifar-10"):
        CIFAR10(tmp_path, SAME)
    with pytest.raises(XaibenchError, match="nowhere is not a folder"):
        CIFAR10(tmp_path / "nowhere", SAME)


@pytest.mark.parametrize(
    ("data", "module"), [(MNIST, "mnist"), (MNISTML, "mnist"), (CIFAR10, "cifar"), (CIFAR100, "cifar")]
)
def test_downloads_that_fail_are_one_line(data, module, monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise RuntimeError("no\nnetwork")

    monkeypatch.setattr(f"torchvision.datasets.{module}.download_and_extract_archive", refuse)
    with pytest.raises(XaibenchError, match=r"could not be fetched: .*no network") as caught:
        data.download(tmp_path)
    assert "\n" not in str(caught.value)
