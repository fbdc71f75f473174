"""From names to objects: settings of all protocols and of one, and what a plan spends."""

from __future__ import annotations

from pathlib import Path

import pytest

from xaibench import registry
from xaibench.errors import XaibenchError
from xaibench.evaluation.config import RunConfig
from xaibench.evaluation.resolve import protocol_settings, resolve


def settings_of(names, given):
    return protocol_settings([registry.card("protocol", name) for name in names], given)


def test_settings_of_all_and_of_one_protocol():
    assert settings_of(["sds", "ids"], {"grid": 2}) == [{"grid": 2}, {"grid": 2}]
    assert settings_of(["sds", "ids"], {"grid": 2, "sds": {"grid": 8}}) == [{"grid": 8}, {"grid": 2}]
    assert settings_of(["sds", "epg"], {"grid": 2}) == [{"grid": 2}, {}]
    assert settings_of(["sds"], {"sds": {"baseline": "blur"}}) == [{"baseline": "blur"}]


@pytest.mark.parametrize(
    ("names", "given", "message"),
    [
        (["sds", "epg"], {"gird": 2}, "none of sds, epg has the setting 'gird'"),
        (["sds"], {"ids": {"grid": 2}}, "settings of 'ids': the protocols of this run are sds"),
        (["sds"], {"grid": 2, "sds": {"grid": 4}}, "setting grid is given twice for sds: grid=2 and sds.grid=4"),
        (["sds", "ids"], {"grid": 2, "sds": {"grid": 4}, "ids": {"grid": 4}}, "given twice for sds and ids"),
    ],
)
def test_settings_without_effect_are_refused(names, given, message):
    with pytest.raises(XaibenchError, match=message):
        settings_of(names, given)


def test_an_unknown_setting_of_one_protocol_names_those_that_it_has(home):
    config = RunConfig(protocols=("sds",), model="tiny", dataset="mini", settings={"sds": {"gird": 2}})
    with pytest.raises(XaibenchError, match="protocol sds has no setting 'gird'; it has grid"):
        resolve(config)


def test_resolving_trains_and_stores_nothing(home, tmp_path):
    before = sorted(home.rglob("*.safetensors"))
    resolved = resolve(RunConfig(protocols=("idsds", "epg"), model="tiny", dataset="mini", methods=("ixg", "grad-cam")))
    assert [card.name for card, _ in resolved.protocols] == ["idsds", "epg"]
    assert [card.name for card in resolved.methods] == ["ixg", "grad-cam"]
    assert resolved.weights.choice == "aligned" and resolved.images == 8
    assert sorted(home.rglob("*.safetensors")) == before and not list(tmp_path.iterdir())


def test_each_method_is_looked_up_once(home, monkeypatch):
    looked = []
    card = registry.card
    monkeypatch.setattr(registry, "card", lambda kind, name: (looked.append((kind, name)), card(kind, name))[1])
    resolve(RunConfig(protocols=("sds",), model="tiny", dataset="mini", methods=("ixg", "grad-cam")))
    assert looked.count(("method", "ixg")) == looked.count(("method", "grad-cam")) == 1
    assert looked.count(("protocol", "sds")) == looked.count(("dataset", "mini")) == 1


@pytest.mark.process
def test_a_run_from_a_file_and_what_the_command_line_says_instead(home, command):
    words = ("run", "sds,ids", "--model", "tiny", "--dataset", "mini", "--methods", "ixg", "--images", 4, "--quiet")
    status, toml, _ = command(*words, "--setting", "sds.grid=2", "--print-config")
    assert status == 0
    with Path("run.toml").open("w") as file:
        file.write(toml)
    assert command("run", "--config", "run.toml", "--out", "a")[0] == 0
    status, out, _ = command("run", "--config", "run.toml", "--out", "a", "--print-config")
    assert status == 0 and out == toml.replace("images = 4", 'images = 4\nout = "a"')
    status, out, _ = command(*words, "--setting", "sds.grid=2", "--out", "a")
    assert status == 0 and "nothing was missing" in out, "the same request, from a file or in words"
    status, out, _ = command("run", "--config", "run.toml", "--out", "a", "--images", 6)
    assert status == 0 and "computed 2 images" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("sds", "--model", "tiny", "--grid", "2", "--setting", "grid=4"), "--grid 2 and --setting grid=4 disagree"),
        (("--model", "tiny"), "missing PROTOCOL, a name of `xaibench ls protocols`; see `xaibench run --help`"),
        (("sds",), "missing --model; see `xaibench run --help`"),
        (("sds", "--config", "none.toml"), "--config none.toml does not exist"),
    ],
)
def test_mistakes_on_the_command_line_are_one_line(home, command, words, message):
    status, out, error = command("run", *words)
    assert status == 2 and not out and message in error and error.count("\n") == 1
