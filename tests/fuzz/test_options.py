"""Every option takes any text: a command ends in one line, or begins what was asked for, and leaves no file behind."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from damage import EVIL_TEXTS
from fuzzing import each, files
from hypothesis import strategies as st

pytestmark = pytest.mark.slow

OLD = Path(__file__).parents[1] / "golden" / "results_0_1" / "results"
PER_OPTION = 10
NUMBERS = ("-1", "0", "1e400", "9" * 400, "0x10", "1_0", "nan", "inf", "-0", "1.5", "²", "9223372036854775808")
KEYS = ("grid", "baseline", "target", "sds.grid", "x", "", "..", ".".join("a" * 2000))
WORDS = (*(text for text in EVIL_TEXTS if "\x00" not in text), *NUMBERS)  # a command line has no null characters
TEXTS = st.one_of(
    st.sampled_from(WORDS),
    st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=30),
    st.builds("{}={}".format, st.sampled_from(KEYS), st.sampled_from(WORDS)),
    st.lists(st.sampled_from(WORDS), max_size=3).map(",".join),
)  # fmt: skip
TINY = ("--model", "tiny", "--dataset", "mini", "--print-config")
TRAIN = ("--recipe", "--seed", "--epochs", "--batch-size", "--learning-rate", "--name", "--dataset-option",
         "--precision", "--image-size", "--device", "--workers", "--weights")  # fmt: skip
CASES = {
    ("run", "sds", *TINY): (
        "--setting", "--images", "--profile", "--layer", "--precision", "--batch-size", "--chunk-size", "--seed",
        "--shard", "--methods", "--weights", "--image-size", "--dataset-option", "--device", "--workers", "--recipe",
        "--out", "--data-root", "--masks", "--target", "--plugin", "--cards", "--config", "--training-seed",
    ),
    ("run", "--print-config"): ("", "--model", "--dataset"),
    ("train", "classifier", *TINY): TRAIN,
    ("train", "patch-deletion", *TINY): (*TRAIN, "--grid", "--baseline", "--probability"),
    ("train", "guided", *TINY): (
        "--loss", "--loss-option", "--attribution", "--layer", "--lambda", "--match", "--alpha",
    ),
    ("compare", "depth", "--dataset", "mini", "--print-config"): (
        "--model", "--trainings", "--protocol", "--methods", "--images", "--recipe", "--setting", "--out", "--seed",
    ),
    ("leaderboard", "sds", "--out", "FOLDER"): (
        "--model", "--dataset", "--board", "--metric", "--by", "--class", "--sort", "--correlate", "--format",
    ),
    ("leaderboard", "--out", "FOLDER"): ("",), ("leaderboard", "sds"): ("--out",),
    ("survey",): ("", "--counts", "--t"), ("survey", "--counts", "1,2"): ("--t", "--format"),
    ("status",): ("--out",), ("validate",): ("",), ("ls",): ("",), ("show", "method"): ("",),
    ("show", "model"): ("", "--plugin", "--cards"), ("show", "dataset"): ("",), ("show", "protocol"): ("",),
    ("show", "run", "FOLDER"): ("--protocol", "--model", "--board", "--run", "--methods", "--images"),
    ("show", "run"): ("",), ("explain",): ("",),
    ("explain", "nowhere.png"): ("--model", "--methods", "--dataset", "--target", "--layer", "--style", "--seed"),
    ("data", "check"): ("",), ("data", "check", "imagefolder"): ("--data-root", "--dataset-option", "--images"),
    ("data", "check", "mini"): ("--dataset-option", "--format", "--images"),
    ("masks", "make", "--dataset", "nothing"): ("--with", "--setting", "--images", "--image-size", "--chunk-size"),
}  # fmt: skip
EXAMPLES = {words: PER_OPTION * len(options) for words, options in CASES.items()}


def pictures(folder: Path) -> set[Path]:
    """What `show run` and `data check` draw where the text asks for nothing wrong."""
    return {*folder.glob("*.png"), *folder.glob("results/figures/*.png")}


@pytest.mark.parametrize("words", CASES, ids=" ".join)
def test_any_text(words, said, home, tmp_path):
    folder = tmp_path / "results"
    shutil.copytree(OLD, folder)
    before = files(tmp_path.parent)

    def check(case: tuple[str, str]) -> None:
        option, text = case
        given = [f"{option}={text}"] if option else ["--", text] if text.startswith("-") else [text]
        said(*(folder if word == "FOLDER" else word for word in words), *given)
        made = {path: time for path, time in files(tmp_path.parent).items() if path not in pictures(tmp_path)}
        assert made == before

    each(st.tuples(st.sampled_from(CASES[words]), TEXTS), EXAMPLES[words], check)
