"""`--hub` against a stand-in of the Hub on this machine: what arrives there, and what is said when it is refused."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # test folders are no packages

from stand_in import Hub

from xaibench.errors import XaibenchError
from xaibench.publication.api import withdraw
from xaibench.publication.hub import push

huggingface_hub = pytest.importorskip("huggingface_hub", reason="needs the extra `hub`")

TOKEN = "hf_a_secret_of_mine"


@pytest.fixture
def hub(monkeypatch):
    """The stand-in, current for this test; the storage behind Xet has none."""
    server = Hub()
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.delenv("HF_HUB_DISABLE_XET", raising=False)
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between retries
    yield server
    server.shutdown()
    server.server_close()


def files(root) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_everything_arrives_in_one_commit(hub, board):
    address = push(board, "ann/boards", private=True)
    arrived = hub.repositories["ann/boards"]
    assert arrived.pop(".gitattributes")
    assert arrived == files(board)
    assert hub.visibility["ann/boards"] in ("private", True)
    assert [one["summary"] for one in hub.commits] == ["Version 1"]
    assert address == f"{hub.address}/datasets/ann/boards"
    assert {token for *_, token in hub.seen if token} == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize("switch", [None, "0"])
def test_large_files_go_by_lfs_unless_the_environment_lets_the_client_use_xet(hub, board, monkeypatch, switch):
    """Where `hf_xet` is installed the client takes it by itself; here it is one that says that it was asked."""
    from huggingface_hub import _commit_api, constants

    asked = []

    def xet(*, additions, **more):
        asked.extend(one.path_in_repo for one in additions)
        raise RuntimeError("no storage behind Xet here")

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    monkeypatch.setattr("huggingface_hub.utils._runtime.is_package_available", lambda name: True)
    monkeypatch.setattr(_commit_api, "_upload_xet_files", xet)
    if switch is None:
        push(board, "ann/boards")
        batches = [path for _, path, _ in hub.seen if path.endswith("/objects/batch")]
        assert batches and not asked and "scores.parquet" in hub.repositories["ann/boards"]
    else:
        monkeypatch.setenv("HF_HUB_DISABLE_XET", switch)
        with pytest.raises(XaibenchError, match="not pushed to ann/boards: no storage behind Xet here"):
            push(board, "ann/boards")
        assert "scores.parquet" in asked and not hub.commits
    assert constants.HF_HUB_DISABLE_XET is False, "as it was"


@pytest.mark.slow
def test_what_is_stale_is_deleted_and_what_is_of_others_stays(hub, board, tmp_path):
    push(board, "ann/boards")
    hub.repositories["ann/boards"]["NOTES.txt"] = b"of others"
    mine = shutil.copytree(board, tmp_path / "board")
    (mine / "site").mkdir()
    (mine / "site" / "index.html").write_text("not pushed")
    withdraw(mine, ["vgg16"], "wrong weights")
    push(mine, "ann/boards")
    arrived = hub.repositories["ann/boards"]
    assert (arrived.pop(".gitattributes"), arrived.pop("NOTES.txt")) == (b"*.parquet filter=lfs", b"of others")
    expected = files(mine)
    del expected["site/index.html"]
    assert arrived == expected
    assert [one["summary"] for one in hub.commits] == ["Version 1", "Version 2"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "status", "words"),
    [
        ("create", 401, "does not accept the token in HF_TOKEN"), ("create", 403, "may not write there"),
        ("create", 500, "the Hub has an error"), ("preupload", 403, "may not write there"),
        ("preupload", 500, "the Hub has an error"), ("commit", 409, "another change of it is under way"),
        ("commit", 412, "it was changed meanwhile"), ("commit", 500, "the Hub has an error"),
    ],
)  # fmt: skip
def test_what_the_hub_refuses_is_one_line_without_the_token(hub, board, command, kind, status, words):
    hub.errors[kind] = status
    code, out, err = command("publish", board, "--hub", "ann/boards")
    line = err.splitlines()[-1]
    assert code == 2
    assert line.startswith(f"xaibench: not pushed to ann/boards: {status}: ") and words in line
    assert line.endswith(f"{board} is written")
    assert TOKEN not in out + err and "Traceback" not in err
    assert not hub.commits


def test_a_change_meanwhile_is_not_overwritten(hub, board, monkeypatch):
    push(board, "ann/boards")
    api = huggingface_hub.HfApi.list_repo_files

    def slow(self, *words, **more):
        hub.commits.append({"summary": "of another"})
        return api(self, *words, **more)

    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", slow)
    with pytest.raises(XaibenchError, match="412: it was changed meanwhile"):
        push(board, "ann/boards")


def test_without_a_hub_a_token_or_a_name(hub, board, monkeypatch):
    with pytest.raises(XaibenchError, match="not pushed to a/b/c/d"):
        push(board, "a/b/c/d")
    hub.shutdown()
    hub.server_close()
    with pytest.raises(XaibenchError, match="not pushed to ann/boards"):
        push(board, "ann/boards")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(XaibenchError, match="HF_TOKEN="):
        push(board, "ann/boards")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(XaibenchError, match=r"xaibench\[hub\]"):
        push(board, "ann/boards")


def test_publishing_pushes_and_a_dry_run_does_not(hub, results, tmp_path, command):
    words = ("publish", results, "--to", tmp_path / "board", "--model", "vgg16", "--hub", "ann/boards")
    assert command(*words, "--dry-run")[0] == 0
    assert not hub.seen
    status, out, _ = command(*words)
    assert status == 0 and f"pushed: {hub.address}/datasets/ann/boards" in out
    assert "board.json" in hub.repositories["ann/boards"]
    assert command("publish", results, "--to", tmp_path / "board", "--private")[0] == 2


def test_the_card_is_one_of_the_hub(board):
    """The Hub's own reader takes the front matter, and the files that its viewer is to show are tables."""
    card = huggingface_hub.DatasetCard.load(board / "README.md")
    assert card.data.pretty_name == "Boards of attribution methods"
    assert card.data.license == "unknown"
    content = card.data.to_dict()
    shown = {one["config_name"]: one["data_files"][0]["path"] for one in content["configs"]}
    assert list(shown) == ["leaderboard", "scores", "results", "rows"]
    assert len(pd.read_csv(board / shown["leaderboard"])) == 8
    assert len(pd.read_parquet(board / shown["scores"])) == 8 * 12
    assert len(pd.read_parquet(board / shown["results"])) == 8
    assert len(list(board.glob(shown["rows"]))) == 8


def test_titles_and_licences_of_any_kind_stay_texts(board, tmp_path):
    from xaibench.publication.build import write_index
    from xaibench.publication.index import read_index

    mine = shutil.copytree(board, tmp_path / "board")
    title = 'A: "quoted" [x](javascript:y) # <b> \\ ---\n- é'
    write_index(read_index(mine).model_copy(update={"title": title, "license": "yes"}), mine)
    card = huggingface_hub.DatasetCard.load(mine / "README.md")
    assert (card.data.pretty_name, card.data.license) == (title, "yes")
    assert "[x](javascript:y)" not in card.text and "<b>" not in card.text
