"""Every option takes any text: a command ends in one line, or begins what was asked for."""

from __future__ import annotations

import pytest
from damage import EVIL_TEXTS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.slow

MANY = settings(
    derandomize=True, deadline=None, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
NUMBERS = ("-1", "0", "1e400", "9" * 400, "0x10", "1_0", "nan", "inf", "-0", "1.5", "²")
KEYS = ("grid", "baseline", "target", "sds.grid", "x", "", "..", ".".join("a" * 2000))
# a command line has no null characters; what is printed goes to the test alone
TEXTS = st.one_of(
    st.sampled_from([text for text in EVIL_TEXTS if "\x00" not in text]), st.sampled_from(NUMBERS),
    st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=30),
    st.builds("{}={}".format, st.sampled_from(KEYS), st.sampled_from(NUMBERS)),
)  # fmt: skip
RUN = ("run", "sds", "--model", "tiny", "--dataset", "mini", "--print-config")
CASES = (
    (RUN, ("--setting", "--images", "--profile", "--layer", "--precision", "--batch-size", "--chunk-size", "--seed",
           "--shard", "--methods", "--weights", "--image-size", "--dataset-option", "--device", "--workers",
           "--recipe")),
    (("train", "classifier", "--model", "tiny", "--dataset", "mini", "--print-config"),
     ("--recipe", "--seed", "--epochs", "--batch-size", "--learning-rate", "--name", "--dataset-option",
      "--precision")),
    (("leaderboard", "sds"), ("--out", "--model", "--dataset", "--board", "--metric", "--by", "--format", "--figure")),
    (("status",), ("--out",)), (("validate",), ("",)), (("ls",), ("",)),
    (("show", "method"), ("",)), (("show", "model"), ("",)), (("show", "dataset"), ("",)),
    (("show", "protocol"), ("",)),
    (("explain",), ("",)), (("data", "check"), ("",)), (("masks", "make"), ("--maker", "--setting", "--out")),
)  # fmt: skip


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda n: " ".join(CASES[n][0][:2]))
def test_any_text(number, said, home, tmp_path):
    words, options = CASES[number]

    @settings(MANY, max_examples=15 * len(options) + 20)
    @given(st.sampled_from(options), TEXTS)
    def check(option: str, text: str) -> None:
        before = set(tmp_path.parent.rglob("*"))
        given_words = [f"{option}={text}"] if option else ["--", text] if text.startswith("-") else [text]
        said(*words, *given_words, lines=40)
        assert {path for path in set(tmp_path.parent.rglob("*")) - before if path.is_file()} == set()

    check()
