"""Published weights of a text encoder, from a server on this machine: fetched once, checked, and those of open_clip."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from safetensors.torch import save

from xaibench.errors import XaibenchError
from xaibench.models.state import read_header, save_state
from xaibench.training.lico.encoders import load_encoder

open_clip = pytest.importorskip("open_clip", reason="the extra lico is not installed")
CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}
FILE = "/timm/mini_clip.openai/resolve/main/open_clip_model.safetensors"
NAME = "timm-mini_clip.openai-open_clip_model.safetensors"
WORDS = (
    "train", "lico", "--model", "tiny", "--dataset", "mini", "--device", "cpu", "--workers", "0", "--quiet",
    "--epochs", "1", "--contexts", "3", "--text-encoder", "mini-clip", "--text-weights", "openai",
)  # fmt: skip


class Hub(BaseHTTPRequestHandler):
    """Sends to another address, and tells the hash of what is there, as Hugging Face does for large files."""

    content, told, sent, asked = b"", "", None, []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path == FILE:
            self.send_response(302)
            self.send_header("Location", "/storage/17")
            self.send_header("X-Linked-Etag", f'"{self.told}"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        found = self.path == "/storage/17"
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(self.content) if found else 0))
        self.end_headers()
        self.wfile.write(self.content[: self.sent] if found else b"")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def published() -> torch.nn.Module:
    """A small CLIP with the activation of OpenAI's."""
    torch.manual_seed(0)
    return open_clip.CLIP(**CONFIG, quick_gelu=True).eval()


@pytest.fixture
def hub(published, monkeypatch, tmp_path):
    """A server that stands for the hub, and `mini-clip`, which open_clip takes for one of its own."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "mini-clip.json").write_text(json.dumps(CONFIG))
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIG_PATHS", [tmp_path / "configs"])
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", {"mini-clip": CONFIG})
    own = {"openai": {"hf_hub": "timm/mini_clip.openai/", "quick_gelu": True}}
    monkeypatch.setattr(open_clip.pretrained, "_PRETRAINED", {"mini-clip": own})
    content = save({k: v.contiguous() for k, v in published.state_dict().items()})
    handler = type(
        "Handler", (Hub,), {"content": content, "told": hashlib.sha256(content).hexdigest(), "asked": [], "sent": None}
    )
    web = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setattr("xaibench.models.clip_package.HUB", f"http://127.0.0.1:{web.server_port}")
    monkeypatch.setenv("XAIBENCH_HOME", str(tmp_path))
    yield handler
    web.shutdown()
    web.server_close()
    thread.join()


def source(download):
    from xaibench.training.lico.clip import text_source

    return text_source("mini-clip", "openai", download)


def test_nothing_is_fetched_without_being_asked(hub, tmp_path):
    with pytest.raises(XaibenchError, match=r"openai of the text encoder mini-clip are not here; fetch them by --down"):
        source(False)
    assert not hub.asked and not (tmp_path / "downloads").exists()


def test_weights_are_fetched_once(hub, tmp_path):
    first = source(True)
    assert first.file == tmp_path / "downloads" / NAME and first.file.read_bytes() == hub.content
    asked = len(hub.asked)
    assert source(False) == source(True) == first and len(hub.asked) == asked == 2


def test_the_features_are_those_that_open_clip_gives_with_the_file(hub):
    """With OpenAI's activation, and open_clip's own tokens of a name."""
    text = source(True)
    encoder = load_encoder(text)
    net = open_clip.create_model("mini-clip", pretrained=str(text.file), force_quick_gelu=True).eval()
    tokens = open_clip.get_tokenizer("mini-clip")(["grey tabby cat"])
    marks = encoder.marks()
    prompt = torch.cat([marks[:1], encoder.embed("grey tabby cat"), marks[1:2]])[None]
    found = encoder(prompt)[0, -1] @ net.text_projection
    assert prompt.shape[1] == int(tokens.argmax()) + 1
    torch.testing.assert_close(found, net.encode_text(tokens)[0].detach(), atol=1e-5, rtol=1e-5)
    plain = open_clip.create_model("mini-clip", pretrained=str(text.file)).eval()
    assert not torch.allclose(found, plain.encode_text(tokens)[0], atol=1e-4), "the activation is another"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sent": 5000}, r"cannot download|sent 5000 of \d+ bytes; try again"),
        ({"told": "0" * 64}, r"sent sha256 [0-9a-f]{16}\.\.\., the server announced 0000000000000000\.\.\.; try again"),
    ],
)
def test_what_is_torn_or_changed_on_the_way_is_not_kept(hub, changes, words, tmp_path):
    for name, value in changes.items():
        setattr(hub, name, value)
    with pytest.raises(XaibenchError, match=words) as caught:
        source(True)
    assert "\n" not in str(caught.value) and not list((tmp_path / "downloads").iterdir())


def test_a_hash_that_is_none_says_nothing(hub):
    hub.told = "an etag"
    assert source(True).file.is_file()


def test_networks_that_are_no_clip_are_refused_before_they_are_fetched(hub, monkeypatch):
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", {"mini-clip": CONFIG | {"custom_text": True}})
    with pytest.raises(XaibenchError, match="the text half of mini-clip is not built as CLIP's"):
        source(True)
    assert not hub.asked


def test_a_file_that_is_no_text_encoder_is_one_line(hub, tmp_path):
    save_state(torch.nn.Linear(2, 2), tmp_path / "other.safetensors", {})
    hub.content = (tmp_path / "other.safetensors").read_bytes()
    hub.told = ""
    with pytest.raises(XaibenchError, match="do not fit this text encoder: missing"):
        load_encoder(source(True))


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::torch.jit.TracerWarning")
def test_archives_of_torchscript_are_refused_with_a_way_out(published, hub, tmp_path):
    """As OpenAI's own server has CLIP; the same weights are read from safetensors and from a state dict of torch."""
    from xaibench.training.lico.clip import build_clip, load_weights

    tokens = torch.tensor([[49406, 320, 2368, 49407] + [0] * 16])
    archive, plain = tmp_path / "ViT-B-32.pt", tmp_path / "plain.pt"
    torch.jit.trace_module(published, {"encode_text": tokens}).save(str(archive))
    torch.save(published.state_dict(), plain)
    net, _ = build_clip("mini-clip", "openai")
    with pytest.raises(XaibenchError, match=r"are an archive of TorchScript.*take --text-weights openai --download"):
        load_weights(net, archive)
    load_weights(net, plain)
    net.text_projection.data.copy_(published.text_projection.data)
    torch.testing.assert_close(net.eval().encode_text(tokens), published.encode_text(tokens), atol=1e-5, rtol=1e-5)


@pytest.mark.process
def test_command_fetches_trains_and_needs_no_network_again(hub, home, command, monkeypatch, tmp_path):
    from xaibench.models.state import file_digest

    monkeypatch.setenv("XAIBENCH_HOME", str(tmp_path))
    (tmp_path / "cards").symlink_to(home / "cards")
    status, _, err = command(*WORDS)
    assert status == 2 and err.count("\n") == 1 and "fetch them by --download" in err and not hub.asked
    status, out, err = command(*WORDS, "--download")
    assert status == 0, err
    assert "text encoder: mini-clip (openai)" in out and len(hub.asked) == 2
    (path,) = tmp_path.glob("models/tiny-mini-lico-*/weights.safetensors")
    assert read_header(path)["task"]["text"] == {
        "encoder": "mini-clip", "weights": file_digest(tmp_path / "downloads" / NAME)
    }  # fmt: skip
    status, _, err = command(*WORDS, "--seed", "1")
    assert status == 0 and len(hub.asked) == 2, err
