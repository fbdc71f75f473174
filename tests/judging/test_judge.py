"""A protocol that is the truth is right, one that is noise is half wrong, one that looks at the centre is attacked."""

import json
import os
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xaibench import registry
from xaibench.errors import XaibenchError
from xaibench.judging import judge as judging
from xaibench.judging.config import JudgeConfig
from xaibench.judging.figure import draw, responses
from xaibench.judging.ladder import KINDS
from xaibench.judging.store import RECORD, JudgedFolder
from xaibench.judging.summary import attacks, of_truth, stability, stored_protocols
from xaibench.judging.table import judged_table

PLUGIN = '''
"""Protocols whose judgement is known."""
from dataclasses import dataclass

import torch
import xaibench
from xaibench.judging.truths import truth
from xaibench.protocols.base import status_of
from xaibench.seeds import derive


def defined(values):
    never = torch.zeros(len(values), dtype=torch.bool)
    return status_of(values.nan_to_num(0.0), never, never)


class OfTruth(xaibench.Protocol):
    kind = "intervention"

    def prepare(self, e):
        known = e.annotations.dataset.known
        return torch.stack([truth(known, i, self.kind).map for i in e.image_ids])

    def score(self, prepared, maps):
        a, b = maps[:, 0].double().flatten(1), prepared.flatten(1)
        a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
        return defined((a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)))


KNOWN = {"metric": "score", "range": (-1, 1), "higher_is_better": True, "undefined_cost": 0.0}


@xaibench.protocol("is-intervention", **KNOWN)
@dataclass(frozen=True)
class IsIntervention(OfTruth):
    kind = "intervention"


@xaibench.protocol("is-shapley", **KNOWN)
@dataclass(frozen=True)
class IsShapley(OfTruth):
    kind = "shapley"


@xaibench.protocol("is-association", **KNOWN)
@dataclass(frozen=True)
class IsAssociation(OfTruth):
    kind = "association"


@xaibench.protocol("is-noise", metric="score", range=(0, 1), higher_is_better=False, undefined_cost=1.0)
@dataclass(frozen=True)
class IsNoise(xaibench.Protocol):
    def prepare(self, e):
        return e.image_ids

    def score(self, prepared, maps):
        drawn = [derive(0, i, m.numpy().tobytes()) / 2**63 for i, m in zip(prepared, maps)]
        return defined(torch.tensor(drawn, dtype=torch.float64))


@xaibench.protocol("is-centre", metric="score", range=(0, 1), higher_is_better=True, undefined_cost=0.0)
@dataclass(frozen=True)
class IsCentre(xaibench.Protocol):
    def prepare(self, e):
        return None

    def score(self, prepared, maps):
        positive = maps.double().clamp(min=0)[:, 0]
        inside = positive[:, 24:40, 24:40].sum((1, 2))
        return defined(inside / positive.sum((1, 2)))
'''
TRUTHS = ("intervention", "shapley", "association")
pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """A folder in which the known protocols are judged on two networks, and the request."""
    folder = tmp_path_factory.mktemp("judged")
    (folder / "known_protocols.py").write_text(PLUGIN)
    names = ["is-intervention", "is-shapley", "is-association", "is-noise", "is-centre"]
    config = JudgeConfig.parse({
        "protocols": names, "networks": ["and", "sum"], "images": 6, "out": folder / "out",
        "plugins": [folder / "known_protocols.py"],
    })  # fmt: skip
    before = dict(registry._decorated)
    outcome = judging.judge(config, quiet=True)
    found = {each.label: each for each in stored_protocols(config)}
    registry._decorated.clear()
    registry._decorated.update(before)
    return config, outcome, found


@pytest.mark.slow
def test_rows_of_networks_of_an_earlier_version_do_not_mix_with_those_of_today(judged, tmp_path):
    """They are stored under another key, as a network whose images were drawn otherwise is another one."""
    config, _, found = judged
    shutil.copytree(config.out, tmp_path / "out")
    folder, config = JudgedFolder(tmp_path / "out"), config.model_copy(update={"out": tmp_path / "out"})
    for key, record in list(folder.records().items()):
        old = record["identity"] | {"network": record["identity"]["network"] | {"images": "of an earlier version"}}
        folder.write(old, folder.rows(key).to_dict("records"), record["cost"])
    assert len(folder.records()) == 60
    for each in stored_protocols(config):
        assert {name: len(parts) for name, parts in each.rows.items()} == {"and": 3, "sum": 3}
        assert stability(each) == pytest.approx(stability(found[each.label]), nan_ok=True)


def test_every_part_is_stored_once(judged):
    config, outcome, found = judged
    assert outcome.computed == 5 * 2 * 3 and outcome.found == 0 and not outcome.refused
    assert len(found) == 5 and all(len(each.rows) == 2 for each in found.values())
    assert len(list((config.out / "rows").iterdir())) == 30


@pytest.mark.parametrize("kind", TRUTHS)
def test_the_oracle_of_each_truth_finds_the_order_of_every_ladder(judged, kind):
    numbers = of_truth(judged[2][f"is-{kind}"], kind)
    assert numbers["ladders"] > 30
    assert numbers["discordant"] == 0 and numbers["unreached"] == 0
    assert numbers["high"] < 0.35


def test_noise_is_wrong_in_half_of_the_pairs(judged):
    numbers = [of_truth(judged[2]["is-noise"], kind) for kind in TRUTHS]
    assert np.mean([each["discordant"] for each in numbers]) == pytest.approx(0.5, abs=0.06)
    assert all(each["tied"] == 0 for each in numbers)
    assert all(each["images"] > 20 for each in numbers)


def test_what_looks_at_the_centre_alone_is_found_by_an_attack(judged):
    gaps = attacks(judged[2]["is-centre"], "intervention")
    known = [gap for gap in gaps.values() if np.isfinite(gap)]
    assert not known or min(known) < 0  # worth more than the true map
    found = judged[2]["is-centre"].of("and", "attack").groupby("name")["quality"].mean()
    assert found["searched"] > 2 * found["ones"] and found["centre"] > found["random"]


def test_attacks_on_the_truth_itself_stay_behind(judged):
    gaps = attacks(judged[2]["is-intervention"], "intervention")
    assert set(gaps) == {"ones", "centre", "edges", "contrast", "searched"}
    assert min(gaps.values()) > 0.3


def test_noise_ranks_methods_otherwise_each_time_and_the_truth_does_not(judged):
    assert stability(judged[2]["is-intervention"])["seed"] > 0.8
    assert abs(stability(judged[2]["is-noise"])["images"]) < 0.8


def test_the_same_command_computes_nothing_again(judged, monkeypatch):
    config = judged[0]
    monkeypatch.setattr(judging, "measured", lambda *_: pytest.fail("computed again"))
    again = judging.judge(config, quiet=True)
    assert again.computed == 0 and again.found == 30
    with pytest.raises(pytest.fail.Exception):  # another seed is another result
        judging.judge(config.model_copy(update={"seed": 1, "protocols": ("is-centre",)}), quiet=True)


def test_only_what_is_missing_is_computed(judged, tmp_path):
    config = judged[0]
    gone = sorted((config.out / "rows").iterdir())[0]
    content = gone.read_bytes()
    gone.unlink()
    try:
        outcome = judging.judge(config, quiet=True)
        assert (outcome.computed, outcome.found) == (1, 29)
        rows = JudgedFolder(config.out).rows(gone.stem)
        gone.write_bytes(content)
        assert rows.equals(JudgedFolder(config.out).rows(gone.stem))
    finally:
        gone.write_bytes(content)


def test_the_table_has_a_row_for_each_stored_protocol(judged):
    table = judged_table(judged[0])
    rows = {row["protocol"]: row for row in json.loads(table.to_json())["rows"]}
    assert set(rows) == set(judged[2])
    assert rows["is-shapley"]["discordant_shapley"] == 0
    assert "is-noise" in table.to_text(200) and "never" in table.to_text(400)


@pytest.mark.slow
def test_a_figure_has_a_panel_for_each_protocol(judged, tmp_path):
    text = draw(judged[0], tmp_path / "judges.svg").read_text()
    for label in judged[2]:
        assert f"{label} (" in text
    lines = responses(judged[2]["is-shapley"], "shapley")
    assert set(lines) == set(KINDS)
    assert all(line[0, 0] == pytest.approx(1) and (np.diff(line[:, 0]) < 0).all() for line in lines.values())
    with pytest.raises(XaibenchError, match="figure"):
        draw(judged[0], tmp_path / "judges.txt")


@pytest.mark.parametrize("damage", ["renamed", "twice", "half", "none", "column", "identity", "cost", "pipe"])
def test_rows_that_are_not_what_was_written_are_named(judged, tmp_path, damage):
    shutil.copytree(judged[0].out, tmp_path / "out")
    config = judged[0].model_copy(update={"out": tmp_path / "out"})
    path = sorted((tmp_path / "out" / "rows").iterdir())[0]
    table = pq.read_table(path)
    record = json.loads(table.schema.metadata[RECORD])
    if damage == "renamed":
        path = path.rename(path.with_name("0123456789abcdef.parquet"))
    elif damage == "pipe":
        path = path.with_name("pipe.parquet")
        os.mkfifo(path)
    else:
        table = {
            "twice": pa.concat_tables([table, table]), "half": table.slice(0, len(table) // 2),
            "none": table.slice(0, 0), "column": table.drop(["quality"]),
        }.get(damage, table)  # fmt: skip
        if damage == "identity":
            del record["identity"]["seed"]
        if damage == "cost":
            record["cost"] = {"passes": "many"}
        pq.write_table(table.replace_schema_metadata({RECORD: json.dumps(record).encode()}), path)
    with pytest.raises(XaibenchError, match=f"{path.name} .*move it away"):
        stored_protocols(config)


def test_networks_that_are_named_twice_are_judged_once():
    assert JudgeConfig.parse({"networks": ["and", "sum", "and"]}).networks == ("and", "sum")


def test_a_damaged_file_is_one_line(judged, tmp_path):
    folder = JudgedFolder(tmp_path / "out")
    folder.create()
    (tmp_path / "out" / "rows" / "0.parquet").write_bytes(b"no parquet")
    with pytest.raises(XaibenchError, match="move it away"):
        folder.records()


@pytest.mark.parametrize(("name", "reason"), [
    ("sds-accuracy", "measures the model alone"), ("model-similarity", "measures the model alone"),
    ("ses", "needs the method"), ("grid-pg", "shows other images"),
])  # fmt: skip
def test_what_cannot_be_judged_says_why(tmp_path, name, reason):
    config = JudgeConfig.parse({"protocols": [name], "networks": ["and"], "images": 4, "out": tmp_path / "out"})
    with pytest.raises(XaibenchError, match=reason):
        judging.judge(config, quiet=True)


@pytest.mark.parametrize(("words", "text"), [
    (["judge", "sdss"], "unknown protocol 'sdss'"), (["judge", "sds", "--networks", "nand"], "unknown network 'nand'"),
    (["judge", "sds", "--images", "3"], "4"), (["judge", "sds", "--setting", "nothing=2"], "nothing"),
    (["judge"], "nothing is judged"), (["judge", ""], "is empty"), (["judge", "sds", "--device", "abacus"], "abacus"),
    (["judge", "sds", "--figure", "missing/judges.png"], "folder missing of the figure"),
    (["judge", "sds", "--networks", "and", "--images", "6000"], "has 5000 images"),
])  # fmt: skip
def test_mistakes_are_one_line(command, tmp_path, words, text):
    status, _, printed = command(*words, "--out", tmp_path / "out")
    assert status == 2 and text in printed and len(printed.strip().splitlines()) == 1
