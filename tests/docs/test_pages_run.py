"""The pages followed from top to bottom: every command runs, in an empty folder, on what those before it left there.

Commands are given as they are printed. What makes them long is small here: networks have a few thousand parameters
under the names that the pages use, critters are 32 pixels, and no command takes more than a few images or epochs. What
the pages call the reader's own (photos, masks, weights) is there. What needs the network, a GPU, several processes
or another program is left out, and so are the pages that test_examples.py follows.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shell_blocks import given

from xaibench import registry

pytestmark = [
    pytest.mark.slow,
    pytest.mark.process,
    pytest.mark.skipif(shutil.which("bash") is None, reason="the pages' commands are for a shell"),
]

ROOT = Path(__file__).parents[2]
NETWORKS = ("resnet18", "resnet50", "critters_cnn")
DRAWN = ("critters", "critters-spurious")
MOST = {"--images": 8, "--epochs": 1}
PAGES = (
    "docs/alignment.md", "docs/critters.md", "docs/judging.md", "docs/looking.md", "docs/protocols.md",
    "docs/reading-a-board.md", "docs/results.md", "docs/segmentation.md", "docs/stability.md", "docs/training.md",
    "docs/until-stable.md", "docs/upkeep.md",
)  # fmt: skip
CARD = """
title = "A tiny network under a name of the pages"
target = "xaibench_test_network:build"
cam_layer = "4"
stages = { Mid1 = "1", Mid2 = "2", Mid3 = "2", Final = "4" }
"""
BEFORE = {  # what these pages say is there already
    "docs/stability.md": ["run sds --model resnet50 --methods ixg"],
}
FILES_OF = {"docs/judging.md": "docs/new-protocol.md"}  # pages that go on with the files of another one
ELSEWHERE = re.compile(
    r"--download|--hub|--install-completion|--yes$"  # the network, files of the shell and of other processes
    r"|^train guided --config"  # nothing is learnt in one epoch, so there is nothing to choose; test_full_scale.py
    r"|--processes|--dataset imagefolder --data-root photos$"  # processes of their own, launchers
    r"|--device cuda|--dataset imagenet|lite0_own|--reader"  # a GPU, real networks, minutes of training
)


@pytest.fixture(scope="module")
def small_registry(tmp_path_factory) -> Path:
    """The cards that ship, with tiny networks and few images in the place of those that the pages name."""
    folder = tmp_path_factory.mktemp("cards") / "registry"
    shutil.copytree(ROOT / "registry", folder)
    for name in NETWORKS:
        (folder / "models" / f"{name}.toml").write_text(CARD)
    for name in DRAWN:
        path = folder / "datasets" / f"{name}.toml"
        text = path.read_text().replace("resize = 64, crop = 64", "resize = 32, crop = 32")
        text = text.replace("count = 2240", "count = 320").replace("count = 300", "count = 16")
        text = text.replace("images = 32", "images = 8").replace("steps = 16, masks = 200", "steps = 3, masks = 6")
        path.write_text(re.sub(r"epochs = \d+", "epochs = 1", text).replace("min_cam_grid = 4\n", ""))
    return folder


@pytest.fixture
def small(small_registry, home, monkeypatch):
    """Puts the small cards in the place of those that ship, for one test."""
    monkeypatch.setattr(registry, "shipped", lambda: small_registry)
    for known in (registry._shipped_cards, registry._shipped_versions):
        known.cache_clear()
    yield
    for known in (registry._shipped_cards, registry._shipped_versions):
        known.cache_clear()


def bring_inputs(folder: Path) -> None:
    """What the pages call the reader's own: photos, and weights of a network for the classes of ImageNet."""
    from safetensors.torch import save_file
    from xaibench_test_network import build

    pixels = np.random.default_rng(0).integers(0, 255, (70, 90, 3), dtype=np.uint8)
    for name in ("photo.jpg", "photo.png"):
        Image.fromarray(pixels).save(folder / name)
    Image.fromarray(pixels[..., 0] > 127).save(folder / "mask.png")
    save_file(build(1000).state_dict(), folder / "my.safetensors")


def write_files(text: str, folder: Path) -> None:
    """The files that a page tells to write: blocks with a title."""
    for title, body in re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```$', text, re.MULTILINE | re.DOTALL):
        (folder / title).parent.mkdir(parents=True, exist_ok=True)
        (folder / title).write_text(body)


def shrunk(words: list[str]) -> list[str]:
    """A command with few images and epochs."""
    less = list(words)
    for place, word in enumerate(words[:-1]):
        if word in MOST and words[place + 1].isdigit():
            less[place + 1] = str(min(int(words[place + 1]), MOST[word]))
    if words[0] == "judge":
        less += ["--images", "4", "--networks", "and,or"]
    if words[0] == "train" and "--epochs" not in words:
        less += ["--epochs", "1"]
    return less


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_a_page_run_in_their_order(page, small, tmp_path, command):
    text = (ROOT / page).read_text()
    bring_inputs(tmp_path)
    for known in (FILES_OF.get(page, page), page):
        write_files((ROOT / known).read_text(), tmp_path)
    (tmp_path / "scratch").mkdir()
    shown = [words for words in given(text, tmp_path / "scratch") if not ELSEWHERE.search(" ".join(words))]
    assert shown
    for words in [line.split() for line in BEFORE.get(page, ())] + [shrunk(words) for words in shown]:
        status, out, err = command(*words)
        assert status == 0 and out, f"{page}: xaibench {' '.join(words)}\n{out}\n{err}"
