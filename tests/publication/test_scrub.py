"""Private text is replaced, and nothing else is."""

from __future__ import annotations

import pytest

from xaibench.publication.scrub import COMMON, Scrubber, mapped, texts_of

KNOWN = Scrubber().knowing(["alice", "gpu-box.lan", "Alice Liddell"], ["/home/alice/my photos", "/srv/x"])


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("image /home/bob/a.png is broken", "image PATH/a.png is broken"),
        ("in /data/imagenet/val, skipped", "in PATH, skipped"),
        ("see /home/alice/my photos/sub dir/x.png now", "see PATH/x.png now"),
        ("warn: /mnt/my disk/photo.png is broken", "warn: PATH/photo.png is broken"),
        ("'C:\\Users\\bob\\net.py' twice", "'PATH/net.py' twice"),
        ("D:/data/x", "PATH"),
        ("C:\\Users\\bob smith\\x.png", "PATH/x.png"),
        ("\\\\server\\share\\x", "PATH"),
        ("/work/net.py:Net", "PATH/net.py:Net"),
        ("--path=/a/b:/c/d", "--path=PATH:PATH"),
        ("file:///home/q/x", "PATH"),
        ("~/w.pt and ~bob/x", "PATH/w.pt and PATH"),
        ("https://user:secret@example.org/home/page", "https://example.org/home/page"),
        ("ssh://gpu-box/home/alice", "PATH"),
        ("mail bob.b@example.org", "mail EMAIL"),
        ("by Alice Liddell on GPU-BOX.lan", "by NAME on NAME"),
        ("alice_net.py:Alice", "NAME_net.py:NAME"),
        ("nothing of malice, alices", "nothing of malice, alices"),
        ("https://download.pytorch.org/models/resnet18-f37072fd.pth", None),
        (
            "idsds (grid 4, zero baseline), 3/4 and/or a / b, mean(x)/std, ig@layer4.conv1, x@blocks/attn, s3://b/c",
            None,
        ),
        ("test/000123 n01440764/ILSVRC_1.JPEG ./results ../data", None),
        ("0.5 % of 1e-3; 20:31:49; a:b; C: 3; features[0]/relu", None),
    ],
)
def test_running_text(text, public):
    found = KNOWN.text(text)
    assert found == (text if public is None else public)
    assert KNOWN.text(found) == found
    assert not list(KNOWN.leaks(found))


def test_a_value_that_is_a_path_goes_as_a_whole():
    assert KNOWN.word("/mnt/a b/c d") == "PATH"
    assert KNOWN.word("/mnt/a b/weights 3.pt") == "PATH"
    assert KNOWN.word("C:\\a b\\w.pt") == "PATH/w.pt"
    assert KNOWN.word("a b/c") == "a b/c"


def test_names_of_users_are_learnt_from_paths():
    found = Scrubber().knowing_texts(
        ["load /home/carol/x", "C:\\Users\\Dave\\y", "https://h.org/home/page", "/Users/eve"]
    )
    assert sorted(found.names) == ["Dave", "carol", "eve"]


def test_common_and_short_and_allowed_names_are_left():
    found = Scrubber().knowing([*COMMON, "al", "Carol", "Bert"], [], allowed=["carol"])
    assert found.names == ("Bert",)


def test_what_is_left_is_found():
    assert list(KNOWN.leaks("x /home/zoe/y")) == ["/home/zoe/y"]
    assert list(KNOWN.leaks('{"a": "C:\\\\Users\\\\zoe"}'))
    assert list(KNOWN.leaks("ALICE")) == ["ALICE"]
    assert list(KNOWN.leaks("in /srv/x")) == ["/srv/x"]
    assert not list(KNOWN.leaks("https://example.org/home/zoe"))


def test_every_text_of_a_value_is_reached():
    value = {"a": ["x", {"b": ("y", 1, None)}], "c": 2.5}
    assert list(texts_of(value)) == ["x", "y"]
    assert mapped(value, str.upper) == {"A": ["X", {"B": ["Y", 1, None]}], "C": 2.5}
