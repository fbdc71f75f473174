"""Photos as Pillow opens them: what becomes RGB, bit for bit as torchvision's loaders make it, and what is refused."""

from __future__ import annotations

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets.folder import pil_loader

from xaibench.datasets import images
from xaibench.datasets.images import read_image
from xaibench.errors import XaibenchError

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 30, 3), dtype=np.uint8)
PHOTO = Image.fromarray(PIXELS)


def opaque(mode: str) -> Image.Image:
    return PHOTO.convert("L").convert(mode) if mode == "LA" else PHOTO.convert(mode)


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        ("1", "a.png"), ("L", "a.png"), ("L", "a.jpg"), ("LA", "a.png"), ("P", "a.png"), ("P", "a.gif"),
        ("RGB", "a.jpg"), ("RGB", "a.png"), ("RGB", "a.bmp"), ("RGB", "a.webp"), ("RGB", "a.tif"), ("RGB", "a.ppm"),
        ("RGBA", "a.png"), ("RGBA", "a.webp"), ("CMYK", "a.jpg"), ("CMYK", "a.tif"), ("YCbCr", "a.jpg"),
    ],
)  # fmt: skip
def test_eight_bit_photos_become_what_torchvisions_loader_makes_of_them(mode, name, tmp_path):
    opaque(mode).save(tmp_path / name)
    found = read_image(tmp_path / name)
    assert found.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(found), np.asarray(pil_loader(str(tmp_path / name))))


def test_the_orientation_in_exif_is_ignored_as_torchvision_ignores_it(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    PHOTO.save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").size == PHOTO.size


def test_a_second_picture_as_phones_write_it_is_no_animation(tmp_path):
    PHOTO.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[PHOTO.rotate(180)])
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.n_frames == 2
    assert read_image(tmp_path / "a.jpg").size == PHOTO.size


@pytest.mark.parametrize(
    ("name", "how"), [("a.gif", {}), ("a.png", {}), ("a.webp", {"lossless": True}), ("a.tif", {})], ids=lambda v: str(v)
)
def test_animations_are_refused_with_the_number_of_their_frames(name, how, tmp_path):
    others = [PHOTO.rotate(90), PHOTO.rotate(180)]
    PHOTO.save(tmp_path / name, save_all=True, append_images=others, **how)
    with pytest.raises(XaibenchError, match=r"a\.\w+ has 3 frames; save one of them as a still image"):
        read_image(tmp_path / name)


def with_hole(mode: str) -> Image.Image:
    image = opaque(mode)
    alpha = Image.new("L", image.size, 255)
    alpha.putpixel((3, 3), 254)
    image.putalpha(alpha)
    return image


@pytest.mark.parametrize(
    ("image", "name", "how"),
    [
        (with_hole("RGBA"), "a.png", {}),
        (with_hole("RGBA"), "a.webp", {"lossless": True}),
        (with_hole("LA"), "a.png", {}),
        (PHOTO.quantize(8), "a.png", {"transparency": 0}),
        (PHOTO.quantize(8), "a.png", {"transparency": bytes([255, 255, 128])}),
        (PHOTO.quantize(8), "a.gif", {"transparency": 0}),
        (PHOTO, "a.png", {"transparency": tuple(int(v) for v in PIXELS[2, 5])}),
    ],
)
def test_transparent_parts_are_refused(image, name, how, tmp_path):
    image.save(tmp_path / name, **how)
    with pytest.raises(XaibenchError, match=r"has transparent parts; flatten it onto a background"):
        read_image(tmp_path / name)


def test_a_palette_whose_transparent_colour_no_pixel_has_is_a_photo(tmp_path):
    PHOTO.quantize(8).save(tmp_path / "a.png", transparency=200)
    assert read_image(tmp_path / "a.png").mode == "RGB"


def png(depth: int, colour: int, channels: int, said: int = 20) -> bytes:
    """A black PNG of 20 x 20 pixels of any depth and kind of colour; its header may say another size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + bytes(20 * channels * depth // 8)) * 20
    header = struct.pack(">IIBBBBB", said, said, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "data",
    [png(16, 0, 1), png(16, 2, 3), png(16, 4, 2), png(16, 6, 4), b"P6 20 20 65535\n" + bytes(2400),
     b"P6 20 20 1023\n" + bytes(2400), b"P5 20 20 65535\n" + bytes(800)],
)  # fmt: skip
def test_sixteen_bits_are_refused_also_where_pillow_would_cut_them(data, tmp_path):
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(XaibenchError, match="has 16 bits a channel; convert it to 8-bit RGB"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("mode", ["I", "F", "LAB", "I;16"])
def test_other_modes_are_refused(mode, tmp_path):
    Image.new(mode, (20, 20)).save(tmp_path / "a.tif")
    with pytest.raises(XaibenchError, match="convert it to 8-bit RGB"):
        read_image(tmp_path / "a.tif")


def test_huge_photos_are_refused_before_they_are_decoded_and_large_ones_warn_nobody(tmp_path, monkeypatch):
    (tmp_path / "huge.png").write_bytes(png(8, 0, 1, said=1 << 15))
    with pytest.raises(XaibenchError, match=r"huge.png has more than 178 million pixels; reduce it"):
        read_image(tmp_path / "huge.png")
    PHOTO.save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 24 * 30 - 1)
    with warnings.catch_warnings(action="error"):
        assert read_image(tmp_path / "a.png").size == (30, 24)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    monkeypatch.setattr(images, "MAX_PIXELS", 24 * 30 - 1)
    with pytest.raises(XaibenchError, match="million pixels"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize(("size", "fits"), [((16, 16), True), ((15, 400), False), ((400, 15), False), ((1, 1), False)])
def test_tiny_photos_are_refused_with_their_size(size, fits, tmp_path):
    Image.new("RGB", size).save(tmp_path / "a.png")
    if fits:
        assert read_image(tmp_path / "a.png").size == size
        return
    with pytest.raises(XaibenchError, match=f"is only {size[0]} x {size[1]} pixels; photos need 16"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp", "a.webp", "a.tif", "a.ppm", "a.gif"])
def test_no_damage_is_more_than_one_line(name, tmp_path):
    buffer = io.BytesIO()
    PHOTO.save(buffer, Image.registered_extensions()[f".{name[2:]}"])
    random, whole, refused = np.random.default_rng(0), buffer.getvalue(), 0
    for trial in range(300):
        data = bytearray(whole[: random.integers(len(whole))] if trial % 2 else whole)
        for at in random.integers(0, min(len(data), 60), 4 * (trial % 2 == 0) * (len(data) > 0)):
            data[at] = random.integers(256)
        (tmp_path / name).write_bytes(data)
        try:
            read_image(tmp_path / name)
        except XaibenchError as error:
            refused += 1
            assert str(error).startswith(f"{tmp_path / name} ") and "\n" not in str(error)
    assert refused > 100
