"""Downloads from a server on this machine: whole, checked, or not at all."""

from __future__ import annotations

import hashlib
import socket
import threading
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from xaibench import registry
from xaibench.cards import PublishedWeights
from xaibench.errors import XaibenchError
from xaibench.models.download import CHUNK, fetch, stored_at
from xaibench.progress import Bar
from xaibench.training.find import WeightsRequest, find_weights

GOOD = bytes(range(256)) * (CHUNK // 128)  # two blocks
SHA = hashlib.sha256(GOOD).hexdigest()


class Replies(BaseHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        body, announced, kind = {
            "/good.pth": (GOOD, len(GOOD), 200),
            "/unannounced.pth": (GOOD, None, 200),
            "/one/resolve/main/model.safetensors?download=true": (GOOD, len(GOOD), 200),
            "/two/resolve/main/model.safetensors": (GOOD[:CHUNK], CHUNK, 200),
            "/page.pth": (b"\n  <!DOCTYPE HTML><p>Sign in", 28, 200),
            "/page2.pth": (b"<html><body>", 12, 200),
            "/short.pth": (GOOD[:1000], len(GOOD), 200),
            "/gone.pth": (b"not here", 8, 404),
        }.get(self.path, (b"", None, 200))
        self.send_response(kind)
        if self.path == "/torn.pth":
            self.send_header("Transfer-Encoding", "chunked")
        if announced is not None:
            self.send_header("Content-Length", str(announced))
        self.end_headers()
        self.wfile.write(b"ff\r\nonly this" if self.path == "/torn.pth" else body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server():
    handler = type("Handler", (Replies,), {"asked": []})
    web = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{web.server_port}", handler.asked
    web.shutdown()
    web.server_close()
    thread.join()


@pytest.mark.parametrize("name", ["good.pth", "unannounced.pth"])
@pytest.mark.parametrize("sha256", ["", SHA, SHA[:8]])
def test_a_good_file_arrives_whole(name, sha256, server, tmp_path):
    path = tmp_path / "new" / "weights.pth"
    assert fetch(f"{server[0]}/{name}", path, sha256) == path
    assert path.read_bytes() == GOOD and [p.name for p in path.parent.iterdir()] == ["weights.pth"]


def test_what_is_there_is_not_fetched_again(server, tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"mine")
    before = len(server[1])
    assert fetch(f"{server[0]}/good.pth", path) == path
    assert path.read_bytes() == b"mine" and len(server[1]) == before


@pytest.mark.parametrize(
    ("name", "sha256", "message"),
    [
        ("page.pth", "", "sent a web page, not weights"),
        ("page2.pth", "", "sent a web page, not weights"),
        ("short.pth", "", f"sent 1000 of {len(GOOD)} bytes"),
        ("good.pth", "0123456789", r"has sha256 .*, the card has 0123456789\.\.\.; do not use it"),
        ("gone.pth", "", r"cannot download .*gone\.pth: Not Found"),
        ("torn.pth", "", r"cannot download .*torn\.pth"),
    ],
)
def test_bad_replies_are_errors_and_leave_nothing_behind(name, sha256, message, server, tmp_path):
    with pytest.raises(XaibenchError, match=message):
        fetch(f"{server[0]}/{name}", tmp_path / "downloads" / "weights.pth", sha256)
    assert not list((tmp_path / "downloads").iterdir())


def test_files_of_one_name_are_kept_apart(server, empty_home):
    urls = [f"{server[0]}/{rest}/resolve/main/model.safetensors" for rest in ("one", "two")]
    urls[0] += "?download=true"
    paths = [fetch(url, stored_at(url)) for url in urls]
    assert [path.read_bytes() for path in paths] == [GOOD, GOOD[:CHUNK]]
    assert [path.name for path in paths] == ["model.safetensors"] * 2 and stored_at(urls[0]) == paths[0]
    assert all(path.is_relative_to(empty_home / "downloads") for path in paths)


def test_published_weights_that_share_a_file_name_are_each_models_own(server, empty_home, monkeypatch, make_net):
    """Two cards whose files have the same name, as those of hubs do: neither is taken for the other."""
    card, data = registry.card("model", "resnet18"), registry.card("dataset", "imagenet")
    for rest, body in (
        ("one/resolve/main/model.safetensors?download=true", GOOD),
        ("two/resolve/main/model.safetensors", GOOD[:CHUNK]),
    ):
        plain = PublishedWeights(dataset="imagenet", url=f"{server[0]}/{rest}", sha256=hashlib.sha256(body).hexdigest())
        own = card.model_copy(update={"plain": plain})
        assert find_weights(own, data, WeightsRequest("plain"), download=False) is None
        assert find_weights(own, data, WeightsRequest("plain"), download=True).read_bytes() == body
        assert find_weights(own, data, WeightsRequest("plain"), download=False).read_bytes() == body


def test_a_refused_connection_is_an_error_and_leaves_nothing_behind(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/weights.pth"
    with pytest.raises(XaibenchError, match=f"cannot download {url}: .*refused"):
        fetch(url, tmp_path / "weights.pth")
    assert not list(tmp_path.glob("weights*"))


@pytest.mark.parametrize("url", ["no address", "nothing://here/weights.pth"])
def test_what_is_no_address_is_an_error(url, tmp_path):
    with pytest.raises(XaibenchError, match="cannot download"):
        fetch(url, tmp_path / "weights.pth")


def test_an_interrupted_download_leaves_nothing_behind(server, tmp_path, monkeypatch):
    class Interrupted(Bar):
        def advance(self, amount: int = 1, note: str = "") -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr("xaibench.models.download.bar", lambda *_: nullcontext(Interrupted()))
    with pytest.raises(KeyboardInterrupt):
        fetch(f"{server[0]}/good.pth", tmp_path / "weights.pth")
    assert not list(tmp_path.glob("weights*"))
