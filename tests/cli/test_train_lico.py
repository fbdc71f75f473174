"""`xaibench train lico` and `cgc` end to end on a tiny network, and what they say when something is missing."""

from __future__ import annotations

import pytest

COMMON = ("--model", "tiny", "--dataset", "mini", "--device", "cpu", "--workers", "0", "--quiet", "--epochs", "1")


def test_lico_trains_and_names_a_model(home, command):
    words = ("--text-encoder", "words", "--terms", "mm, ot", "--prompt", "label-first", "--name", "my_lico")
    status, out, err = command("train", "lico", *COMMON, *words)
    assert status == 0, err
    assert "text encoder: words (random directions)" in out and "judge it:" in out
    status, out, err = command(
        "run", "ses", "--model", "my_lico", "--dataset", "mini", "--methods", "grad-cam", "--images", "2", "--device",
        "cpu", "--quiet",
    )  # fmt: skip
    assert status == 0, err


def test_cgc_trains(home, command):
    status, out, err = command("train", "cgc", *COMMON, "--lambda", "0.25", "--crop", "0.2")
    assert status == 0, err
    assert "validation accuracy" in out and "-cgc-" in out.replace("tiny-mini-plain", "tiny-mini-cgc")


@pytest.mark.parametrize(
    ("verb", "options", "words"),
    [
        ("lico", ("--terms", "mm,op", "--text-encoder", "words"), "--terms 'mm,op' is none of mm, ot and mm,ot"),
        ("lico", ("--prompt", "front", "--text-encoder", "words"), "--prompt 'front' is no prompt"),
        ("cgc", ("--lambda", "-1"), "--lambda is a number from 0"),
        ("cgc", ("--batch-size", "1"), "take a --batch-size of 2 or more"),
    ],
)
def test_mistakes_are_one_line(home, command, verb, options, words):
    status, _, err = command("train", verb, *COMMON, *options)
    assert status == 2 and words in err and len(err.strip().splitlines()) == 1


def test_published_text_weights_are_not_fetched_unasked(home, command):
    pytest.importorskip("open_clip", reason="the extra lico is not installed")
    status, _, err = command("train", "lico", *COMMON)
    assert status == 2 and "--download" in err and "--text-encoder words" in err
    assert len(err.strip().splitlines()) == 1
