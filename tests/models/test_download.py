"""Downloads from a server on this machine: whole, checked, or not at all."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from contextlib import nullcontext, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from xaibench import registry
from xaibench.cards import PublishedWeights
from xaibench.errors import XaibenchError
from xaibench.leftovers import is_running
from xaibench.models.download import fetch, stored_at
from xaibench.models.http_file import CHUNK
from xaibench.progress import Bar
from xaibench.training.find import WeightsRequest, find_weights

GOOD = bytes(range(256)) * (CHUNK // 128)  # two blocks
SHA = hashlib.sha256(GOOD).hexdigest()
HALF, SIZE = len(GOOD) // 2, len(GOOD)
PART = {"Accept-Ranges": "bytes", "ETag": '"v1"'}
REST = PART | {"Content-Length": str(HALF)}
LIES = {  # what is sent with the first half, and with the second
    "length-below-0": ({"Content-Length": "-5"}, None),
    "length-that-is-none": ({"Content-Length": "abc"}, None),
    "length-of-other-digits": ({"Content-Length": "\u00b2"}, None),
    "length-of-5000-digits": ({"Content-Length": "9" * 5000}, None),
    "two-lengths": ({"Content-Length": f"{HALF} and {SIZE}"}, None),
    "coding-that-is-not-chunked": ({"Transfer-Encoding": "xchunked"}, None),
    "part-not-asked-for": ({"Content-Length": str(HALF), "Content-Range": f"bytes 0-{HALF - 1}/{SIZE}"}, None),
    "part-without-a-place": (PART | {"Content-Length": str(SIZE)}, REST),
    "part-of-another-place": (
        PART | {"Content-Length": str(SIZE)}, REST | {"Content-Range": f"bytes 5-{HALF + 4}/{SIZE}"},
    ),
    "part-of-another-size": (
        PART | {"Content-Length": str(SIZE)}, REST | {"Content-Range": f"bytes {HALF}-{SIZE}/{SIZE + 1}"},
    ),
    "part-of-another-version": (
        PART | {"Content-Length": str(SIZE)},
        REST | {"Content-Range": f"bytes {HALF}-{SIZE - 1}/{SIZE}", "ETag": '"v2"'},
    ),
}  # fmt: skip


class Replies(BaseHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path.startswith("/breaks"):
            return self.send_parts()
        if self.path.startswith("/lies/"):
            return self.lie(*LIES[self.path.removeprefix("/lies/")])
        if self.path.startswith("/leads-to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/leads-to/"))
            return self.end_headers()
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

    def send_parts(self) -> None:
        """As servers of weights do: any part on request, with an ETag; each connection ends after 100,000 bytes."""
        size, tag = len(GOOD), '"v1"'
        first = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        first = first if self.headers.get("If-Range", tag) == tag else 0
        self.asked.append(f"from {first}")
        self.send_response(206 if first else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", tag)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{size - 1}/{size}")
        self.send_header("Content-Length", str(size - first))
        self.end_headers()
        self.wfile.write(GOOD[first : first + 100_000] if "forever" not in self.path else GOOD[first : first + 10])

    def lie(self, first: dict[str, str], then: dict[str, str] | None) -> None:
        """Half of the file under some headers; when it is asked for the rest, more under others."""
        more = then is not None and "Range" in self.headers
        self.send_response(206 if more or "Content-Range" in first else 200)
        for name, value in (then if more else first).items():
            for one in value.split(" and "):
                self.send_header(name, one)
        self.end_headers()
        with suppress(ConnectionError):  # a refused reply is not read
            self.wfile.write(GOOD[HALF:] if more else GOOD[:HALF])

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


@pytest.mark.parametrize(
    ("name", "sha256"),
    [*(("good.pth", sha256) for sha256 in ("", SHA, SHA[:8], SHA.upper())), ("unannounced.pth", SHA)],
)
def test_a_good_file_arrives_whole(name, sha256, server, tmp_path):
    path = tmp_path / "new" / "weights.pth"
    assert fetch(f"{server[0]}/{name}", path, sha256) == path
    assert path.read_bytes() == GOOD
    assert sorted(p.name for p in path.parent.iterdir()) == ["weights.pth", "weights.pth.sha256"]


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
        ("unannounced.pth", "", "does not say how long the file is, and no hash"),
        ("leads-to/file:///etc/hostname", "", "cannot download .*file:///etc/hostname"),
        ("leads-to/ftp://127.0.0.1/x.pth", "", "its address begins with none of https:// and http://"),
    ],
)
def test_bad_replies_are_errors_and_leave_nothing_behind(name, sha256, message, server, tmp_path):
    with pytest.raises(XaibenchError, match=message):
        fetch(f"{server[0]}/{name}", tmp_path / "downloads" / "weights.pth", sha256)
    assert not list((tmp_path / "downloads").iterdir())


@pytest.mark.parametrize("sha256", ["", SHA], ids=["no hash", "a hash"])
@pytest.mark.parametrize("lie", LIES)
def test_replies_that_contradict_themselves_are_refused(lie, sha256, server, tmp_path, monkeypatch):
    monkeypatch.setattr("xaibench.models.http_file.WAIT_SECONDS", 0.01)
    path = tmp_path / "downloads" / "weights.pth"
    with pytest.raises(XaibenchError):
        fetch(f"{server[0]}/lies/{lie}", path, sha256)
    assert not path.exists() and not any(name.name.endswith(".sha256") for name in path.parent.iterdir())
    if not sha256:
        assert not list(path.parent.iterdir())


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


@pytest.mark.parametrize(
    "url", ["no address", "nothing://here/weights.pth", "file:///etc/hostname", "data:,x", "FILE:///etc/hostname"]
)
def test_what_is_no_address_is_an_error(url, tmp_path):
    with pytest.raises(XaibenchError, match="cannot download"):
        fetch(url, tmp_path / "weights.pth")


def test_an_interrupted_download_leaves_nothing_behind(server, tmp_path, monkeypatch):
    class Interrupted(Bar):
        def advance(self, amount: int = 1, note: str = "") -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr("xaibench.models.http_file.bar", lambda *_: nullcontext(Interrupted()))
    with pytest.raises(KeyboardInterrupt):
        fetch(f"{server[0]}/good.pth", tmp_path / "weights.pth")
    assert not list(tmp_path.glob("weights*"))


@pytest.fixture
def no_waiting(monkeypatch):
    monkeypatch.setattr("xaibench.models.http_file.WAIT_SECONDS", 0.0)


def test_a_connection_that_breaks_is_taken_up_again(server, tmp_path, no_waiting, monkeypatch):
    monkeypatch.setattr("xaibench.models.http_file.ATTEMPTS", 40)
    assert len(GOOD) > 20 * 100_000
    assert fetch(f"{server[0]}/breaks.pth", tmp_path / "weights.pth").read_bytes() == GOOD
    assert [f"from {100_000 * n}" for n in range(1, 20)] == [a for a in server[1] if a.startswith("from ")][1:20]


def test_the_next_command_goes_on_where_the_last_one_stopped(server, tmp_path, no_waiting, monkeypatch):
    """What an ended process left is taken up, as the hash tells whether the parts belong together."""
    path = tmp_path / "weights.pth"
    with pytest.raises(XaibenchError, match=rf"sent 400000 of {len(GOOD)} bytes; try again"):
        fetch(f"{server[0]}/breaks.pth", path, SHA)
    (left,) = tmp_path.iterdir()
    ended = next(number for number in range(999_999, 0, -1) if not is_running(number))
    left.rename(left.with_name(left.name.replace(f"-{os.getpid()}-", f"-{ended}-")))
    server[1].clear()
    monkeypatch.setattr("xaibench.models.http_file.ATTEMPTS", 40)
    assert fetch(f"{server[0]}/breaks.pth", path, SHA).read_bytes() == GOOD
    assert server[1][1] == "from 400000"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["weights.pth", "weights.pth.sha256"]


def test_without_a_hash_nothing_is_left_and_no_server_is_asked_forever(server, tmp_path, no_waiting):
    server[1].clear()
    with pytest.raises(XaibenchError, match="sent 40 of"):
        fetch(f"{server[0]}/breaks-forever.pth", tmp_path / "weights.pth")
    assert list(tmp_path.iterdir()) == [] and len(server[1]) == 2 * 4


@pytest.mark.parametrize("limit", [len(GOOD) - 1, 1000])
@pytest.mark.parametrize("name", ["good.pth", "unannounced.pth"])
def test_no_file_is_larger_than_the_limit(name, limit, server, tmp_path, monkeypatch):
    monkeypatch.setattr("xaibench.models.http_file.MOST", limit)
    with pytest.raises(XaibenchError, match="more than 0 GiB"):
        fetch(f"{server[0]}/{name}", tmp_path / "weights.pth", SHA)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("sha256", ["", SHA[:8]])
def test_a_stored_file_that_was_changed_is_refused(sha256, server, tmp_path):
    path = fetch(f"{server[0]}/good.pth", tmp_path / "weights.pth", sha256)
    assert fetch(f"{server[0]}/good.pth", path, sha256) == path
    path.write_bytes(GOOD[:-1] + b"x")
    with pytest.raises(XaibenchError, match=r"is no longer the file of .*good\.pth: its hash is another; remove it"):
        fetch(f"{server[0]}/good.pth", path, sha256)


def test_a_stored_file_is_compared_with_the_hash_of_the_card(server, tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"another")
    with pytest.raises(XaibenchError, match="its hash is another"):
        fetch(f"{server[0]}/good.pth", path, SHA)
