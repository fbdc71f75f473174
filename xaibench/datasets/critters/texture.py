"""Backgrounds: ten kinds of natural ground, made of integer noise and a palette.

A kind is a function of (size, key) to a field of levels in 0..255, int64 (size, size), which a palette of a few colours
turns into pixels. Noise lives on lattices in units of the image, so that a scene looks alike at every size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Colour = tuple[int, int, int]


def lattice(key: int, rows: int, columns: int) -> np.ndarray:
    """Noise in 0..255 on a lattice, int64 (rows, columns): a hash of (key, row, column) by 32-bit multiplications."""
    x = np.arange(columns, dtype=np.uint32)[None, :] * np.uint32(0x9E3779B1)
    y = np.arange(rows, dtype=np.uint32)[:, None] * np.uint32(0x85EBCA77)
    h = (x ^ y) + np.uint32(key & 0xFFFFFFFF)
    for multiplier in (0x7FEB352D, 0x846CA68B):
        h = (h ^ (h >> np.uint32(16))) * np.uint32(multiplier)
    return (h >> np.uint32(24)).astype(np.int64)


def _steps(size: int, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """For each pixel its lattice cell and a smooth weight in 0..256 of the next one."""
    position = (2 * np.arange(size, dtype=np.int64) + 1) * cells * 128 // size
    t = position & 255
    return position >> 8, t * t * (768 - 2 * t) >> 16


def noise(key: int, size: int, across: int, down: int) -> np.ndarray:
    """Smooth noise in 0..255, int64 (size, size), with the given numbers of cells across and down the image."""
    values = lattice(key, down + 1, across + 1)
    column, wx = _steps(size, across)
    row, wy = _steps(size, down)
    values = values[:, column] * (256 - wx) + values[:, column + 1] * wx
    return (values[row] * (256 - wy)[:, None] + values[row + 1] * wy[:, None]) >> 16


def fractal(key: int, size: int, across: int, down: int, octaves: int) -> np.ndarray:
    """Noise of several octaves, each twice as fine and half as strong, stretched to use most of 0..255."""
    total = sum(noise(key + 77 * i, size, across << i, down << i) << (octaves - 1 - i) for i in range(octaves))
    level = total // ((1 << octaves) - 1)
    return np.clip((level - 128) * 3 // 2 + 128, 0, 255)


def cells(key: int, size: int, across: int, stretch: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A jittered mosaic, `across` cells wide: for each pixel its distance from the cell's seed (256 to a cell's width),
    how much farther the second nearest seed is (0..255, zero on borders), and a noise of its cell in 0..255.

    `stretch` flattens the cells, by a quarter for each unit.
    """
    grid = lattice(key, across + 2, across + 2) * 3 // 4 + 32, lattice(key + 1, across + 2, across + 2) * 3 // 4 + 32
    shade = lattice(key + 2, across + 2, across + 2)
    position = (2 * np.arange(size, dtype=np.int64) + 1) * across * 128 // size
    cell = position >> 8
    first = np.full((size, size), 1 << 40, dtype=np.int64)
    second, owner = first.copy(), np.zeros((size, size), dtype=np.int64)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            row, column = (cell + dy)[:, None], (cell + dx)[None, :]
            x = column * 256 + grid[0][row, column] - position[None, :]
            y = (row * 256 + grid[1][row, column] - position[:, None]) * (4 + stretch) // 4
            distance = x * x + y * y
            nearer = distance < first
            second = np.where(nearer, first, np.minimum(second, distance))
            owner = np.where(nearer, shade[row, column], owner)
            first = np.where(nearer, distance, first)
    # The square roots are of integers below 2**53, hence exact in their floor.
    near, far = np.sqrt(first).astype(np.int64), np.sqrt(second).astype(np.int64)
    return near, np.minimum(far - near, 255), owner


def _grass(size: int, key: int) -> np.ndarray:
    blades = noise(key, size, 40, 9) + noise(key + 1, size, 28, 5)
    return (fractal(key + 2, size, 4, 4, 2) + blades) // 3


def _sand(size: int, key: int) -> np.ndarray:
    down = np.arange(size, dtype=np.int64)[:, None] * 256 * 9 // size
    ripple = (down + noise(key, size, 4, 4) * 3) & 255
    return (np.abs(ripple - 128) + fractal(key + 1, size, 8, 8, 3) + noise(key + 2, size, 48, 48)) * 2 // 5


def _water(size: int, key: int) -> np.ndarray:
    wave = np.abs(noise(key, size, 6, 18) - 128) + np.abs(noise(key + 1, size, 4, 11) - 128)
    return np.clip(235 - 2 * wave + noise(key + 2, size, 3, 3) // 4 - 30, 0, 255)


def _pebbles(size: int, key: int) -> np.ndarray:
    _, border, shade = cells(key, size, 8)
    return np.where(border < 26, border, 70 + shade * 5 // 8 + np.minimum(border, 120) // 5)


def _leaves(size: int, key: int) -> np.ndarray:
    _, border, shade = cells(key, size, 7, stretch=3)
    return np.clip(shade * 3 // 4 + np.minimum(border, 90) // 2 + noise(key + 3, size, 24, 24) // 6 - 10, 0, 255)


def _snow(size: int, key: int) -> np.ndarray:
    drift = fractal(key, size, 2, 4, 3)
    return np.clip(drift * 3 // 4 + noise(key + 1, size, 40, 40) // 4, 0, 255)


def _bricks(size: int, key: int) -> np.ndarray:
    across, down = 5, 9
    y = (2 * np.arange(size, dtype=np.int64) + 1) * down * 128 // size + key % 256
    row = (y >> 8)[:, None]
    x = (2 * np.arange(size, dtype=np.int64) + 1)[None, :] * across * 128 // size + (row & 1) * 128 + (key >> 8) % 256
    shade = lattice(key, down + 2, across + 3)[row, x >> 8]
    mortar = (y[:, None] & 255 < 48) | (x & 255 < 26)
    return np.where(mortar, 236, shade // 2 + noise(key + 1, size, 36, 36) // 4)


def _wood(size: int, key: int) -> np.ndarray:
    x = (2 * np.arange(size, dtype=np.int64) + 1) * 5 * 128 // size + key % 256
    grain = np.abs((noise(key + 1, size, 24, 2) * 3 + noise(key + 2, size, 9, 3)) % 256 - 128)
    plank = lattice(key, 1, 8)[0, x >> 8]
    return np.where((x & 255)[None, :] < 22, 0, 50 + plank[None, :] // 3 + grain * 3 // 4)


def _clouds(size: int, key: int) -> np.ndarray:
    height = np.arange(size, dtype=np.int64)[:, None] * 70 // size
    return np.clip(fractal(key, size, 3, 4, 4) + height - 40, 0, 255)


def _night(size: int, key: int) -> np.ndarray:
    near, _, shade = cells(key, size, 10)
    star = np.clip(88 + shade // 8 - 2 * near, 0, 52) * 4 * (shade > 160)
    return np.maximum(star, fractal(key + 3, size, 2, 3, 3) // 2)


# Kind: its field and the colours of its levels from 0 to 255, evenly spaced.
KINDS: dict[str, tuple[Callable[[int, int], np.ndarray], tuple[Colour, ...]]] = {
    "grass": (_grass, ((44, 84, 40), (84, 132, 58), (124, 168, 76), (176, 204, 112))),
    "sand": (_sand, ((190, 156, 108), (216, 186, 138), (234, 210, 166), (246, 230, 194))),
    "water": (_water, ((36, 98, 138), (58, 134, 170), (104, 176, 198), (206, 234, 236))),
    "pebbles": (_pebbles, ((58, 56, 58), (104, 102, 102), (146, 142, 138), (190, 184, 176))),
    "leaves": (_leaves, ((74, 46, 32), (128, 70, 40), (170, 104, 52), (150, 132, 66), (204, 160, 92))),
    "snow": (_snow, ((178, 198, 220), (210, 224, 238), (234, 242, 248), (252, 253, 254))),
    "bricks": (_bricks, ((122, 58, 48), (158, 80, 66), (186, 108, 90), (206, 192, 178))),
    "wood": (_wood, ((62, 42, 32), (110, 78, 54), (138, 102, 72), (168, 130, 94))),
    "clouds": (_clouds, ((98, 152, 212), (142, 186, 228), (196, 218, 240), (250, 250, 252))),
    "night": (_night, ((20, 24, 56), (40, 42, 88), (84, 76, 128), (250, 244, 206))),
}


def palette(colours: Sequence[Colour]) -> np.ndarray:
    """256 colours that run evenly through the given ones, uint8 (256, 3)."""
    stops = np.array(colours, dtype=np.int64)
    position = np.arange(256, dtype=np.int64) * (len(stops) - 1)
    i = np.minimum(position // 255, len(stops) - 2)
    t = (position - 255 * i)[:, None]
    return ((stops[i] * (255 - t) + stops[i + 1] * t + 127) // 255).astype(np.uint8)


def ground(kind: str, size: int, key: int, tint: Colour) -> np.ndarray:
    """The pixels of a background, uint8 (size, size, 3); `tint` is added to each colour of the kind's palette."""
    field, colours = KINDS[kind]
    tinted = [tuple(min(255, max(0, c + d)) for c, d in zip(colour, tint, strict=True)) for colour in colours]
    return palette(tinted)[field(size, key)]
