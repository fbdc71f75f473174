"""Protocols of other people that are wrong in some way are refused in one line, and spoil nothing for the next one."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from xaibench.errors import XaibenchError
from xaibench.judging import judge as judging
from xaibench.judging.config import JudgeConfig
from xaibench.judging.store import JudgedFolder

pytestmark = pytest.mark.process
PLUGIN = """
from dataclasses import dataclass
import torch, xaibench
from xaibench.protocols.base import Scores, status_of

CALLS = [0]

def ok(values):
    never = torch.zeros(len(values), dtype=torch.bool)
    return status_of(values, never, never)

@xaibench.protocol("foreign", metric="score", range=(-1, 1), higher_is_better={higher}, undefined_cost=0.0)
@dataclass(frozen=True)
class Foreign(xaibench.Protocol):
    def prepare(self, e):
        return e

    def score(self, e, maps):
        mean = maps.double().mean((1, 2, 3))
        {body}
"""
MEAN = "return ok(mean)"
WRONG = {
    "return Scores(mean[:, None], ['ok'] * len(mean))": "gave",
    "return Scores(mean.sum(), ['ok'] * len(mean))": "TypeError: len() of a 0-d tensor",
    "return Scores(mean.to(torch.complex64), ['ok'] * len(mean))": "TypeError: must be real number",
    "raise RuntimeError('two\\nlines')": "RuntimeError: two lines (foreign.py, line 20)",
    "raise SystemExit(0)": "SystemExit",
    "return ok(torch.rand(len(mean)).double())": "another score each time",
    "return ok(torch.arange(len(mean)).double())": "when its image is alone",
    "return ok(mean - mean.mean())": "when its image is alone",
    "e.images.data.zero_(); return ok(mean)": "changes the images in place",
    "next(e.runner.net.parameters()).data.zero_(); return ok(mean)": "changes the network's weights",
    "e.runner.net.register_forward_hook(lambda *given: None); return ok(mean)": "leaves hooks",
    "torch.set_default_dtype(torch.float64); return ok(mean)": "default type",
}


def request(folder: Path, body: str, protocols=("foreign",), higher: bool = True, **more) -> JudgeConfig:
    path = folder / "foreign.py"
    path.write_text(PLUGIN.format(body=body, higher=higher))
    return JudgeConfig.parse({
        "protocols": list(protocols), "networks": ["sum"], "images": 4, "out": folder / "out", "plugins": [path],
        **more,
    })  # fmt: skip


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    from xaibench import registry

    monkeypatch.setattr(registry, "_decorated", dict(registry._decorated))


def qualities(out: Path, protocol: str) -> pd.DataFrame:
    """All rows of a protocol in a folder, in a fixed order."""
    folder = JudgedFolder(out)
    keys = [key for key, each in folder.records().items() if each["identity"]["protocol"]["name"] == protocol]
    return pd.concat([folder.rows(key) for key in sorted(keys)], ignore_index=True)


@pytest.mark.parametrize("body", WRONG)
def test_what_gives_no_scores_of_single_maps_is_refused_in_one_line(tmp_path, body):
    with pytest.raises(XaibenchError) as refused:
        judging.judge(request(tmp_path, body), quiet=True)
    assert WRONG[body] in str(refused.value) and "\n" not in str(refused.value)
    assert torch.get_default_dtype() == torch.float32
    assert not list((tmp_path / "out" / "rows").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("body", [
    "maps.zero_(); return ok(mean)", "next(e.runner.net.parameters()).data.zero_(); return ok(mean)",
    "e.images.data.zero_(); return ok(mean)",
    "next(e.annotations.dataset.known.network.parameters()).data.zero_(); return ok(mean)",
])  # fmt: skip
def test_a_protocol_spoils_nothing_for_the_next_one(tmp_path, body):
    judging.judge(request(tmp_path, MEAN, ["border-energy"], out=tmp_path / "alone"), quiet=True)
    judging.judge(request(tmp_path, body, ["foreign", "border-energy"]), quiet=True)
    alone, after = (qualities(tmp_path / name, "border-energy") for name in ("alone", "out"))
    pd.testing.assert_frame_equal(alone, after, check_exact=True)


def test_maps_changed_in_place_are_scored_as_they_were(tmp_path):
    judging.judge(request(tmp_path, MEAN, out=tmp_path / "plain"), quiet=True)
    judging.judge(request(tmp_path, "maps.zero_(); return ok(mean)"), quiet=True)
    plain, changed = (qualities(tmp_path / name, "foreign") for name in ("plain", "out"))
    order = ["what", "truth", "name", "dose", "image_id"]
    assert plain.sort_values(order, ignore_index=True).equals(changed.sort_values(order, ignore_index=True))


def test_a_part_that_fails_later_leaves_out_that_part_alone(tmp_path):
    body = "CALLS[0] += 1\n        if CALLS[0] > 60: raise ValueError('too late')\n        return ok(mean)"
    outcome = judging.judge(request(tmp_path, body, ["foreign", "border-energy"]), quiet=True)
    assert 3 < outcome.computed < 6
    assert "too late" in outcome.refused["foreign on sum"]


def test_what_a_protocol_prints_is_no_part_of_the_table(tmp_path, command):
    config = request(tmp_path, "print('HELLO'); return ok(mean)")
    words = ("--networks", "sum", "--images", "4", "--out", config.out, "--plugin", config.plugins[0], "--quiet")
    status, printed, other = command("judge", "foreign", *words, "--format", "json")
    assert status == 0 and json.loads(printed)["rows"][0]["protocol"] == "foreign"
    assert "HELLO" in other


@pytest.mark.slow
def test_rows_of_a_plug_in_before_it_was_changed_are_left_out_and_named(tmp_path, command):
    words = ("--networks", "sum", "--images", "4", "--out", tmp_path / "out", "--quiet", "--format", "json")
    tables = []
    for body in (MEAN, "return ok(-mean)"):
        plugin = request(tmp_path, body).plugins[0]
        status, printed, _ = command("judge", "foreign", "--plugin", plugin, *words)
        assert status == 0
        tables.append(json.loads(printed))
    assert [len(table["rows"]) for table in tables] == [1, 1]
    assert tables[0]["rows"] != tables[1]["rows"]
    assert any("earlier code" in note for note in tables[1]["notes"])
    _, printed, _ = command("judge", *words)  # without the plug-in, none is known to be of today
    labels = [row["protocol"] for row in json.loads(printed)["rows"]]
    assert len(set(labels)) == 2 and all(label.startswith("foreign [code ") for label in labels)


@pytest.mark.slow
def test_a_changed_module_beside_a_plug_in_is_another_key(tmp_path):
    (tmp_path / "factor_of_mine.py").write_text("FACTOR = 1.0\n")
    body = "from factor_of_mine import FACTOR; return ok(FACTOR * mean)"
    judging.judge(request(tmp_path, body), quiet=True)
    (tmp_path / "factor_of_mine.py").write_text("FACTOR = -1.0\n")
    assert judging.judge(request(tmp_path, body), quiet=True).computed == 3
