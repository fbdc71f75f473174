"""Prompts and text encoders: where context and name stand, who sees whom, what open_clip gives for the same tokens."""

from __future__ import annotations

import pytest
import torch

from xaibench.errors import XaibenchError
from xaibench.training.lico.prompts import Prompts
from xaibench.training.lico.text import TextSource, Words

NAMES = ["cat", "grey tabby_cat"]  # one and three words


def prompts(kind, seed=0, contexts=4, names=NAMES):
    return Prompts(Words(), names, kind, contexts, seed)


def filled(module, order=None, classes=(0, 1)):
    order = torch.arange(4) if order is None else order
    return module(torch.tensor(classes), order)


def is_word(row, word):
    return torch.equal(row, Words().embed(word)[0])


def is_mark(row, number):
    return torch.equal(row, Words().marks()[number])


@pytest.mark.parametrize("kind", ["shared", "class-specific"])
def test_the_context_stands_before_the_name(kind):
    module = prompts(kind)
    short, long = filled(module).detach()
    assert short.shape == (4 + 2 + 3, 512)
    for row, own in ((short, module.contexts[0]), (long, module.contexts[-1])):
        assert is_mark(row[0], 0) and torch.equal(row[1:5], own)
    assert is_word(short[5], "cat") and is_mark(short[6], 1) and is_mark(short[7], 2) and is_mark(short[8], 2)
    assert [is_word(long[5 + i], word) for i, word in enumerate(("grey", "tabby", "cat"))] == [True] * 3
    assert is_mark(long[8], 1) and len(module.contexts) == (1 if kind == "shared" else 2)


def test_the_name_at_the_front():
    module = prompts("label-first")
    short, long = filled(module).detach()
    assert is_word(short[1], "cat") and torch.equal(short[2:6], module.contexts[0]) and is_mark(short[6], 1)
    assert is_word(long[3], "cat") and torch.equal(long[4:8], module.contexts[0]) and is_mark(long[8], 1)


def test_an_order_permutes_the_context_alone():
    module, order = prompts("class-specific"), torch.tensor([2, 0, 3, 1])
    plain, permuted = filled(module), filled(module, order)
    assert torch.equal(permuted[:, 1:5], plain[:, 1:5][:, order])
    assert torch.equal(permuted[:, 5:], plain[:, 5:]) and torch.equal(permuted[:, 0], plain[:, 0])


def test_gradients_reach_the_context_of_the_class_alone():
    module = prompts("class-specific")
    filled(module, classes=(1,)).sum().backward()
    assert (module.contexts.grad[0] == 0).all() and (module.contexts.grad[1] == 1).all()


def test_contexts_are_normal_and_drawn_from_the_seed():
    first, again, other = prompts("shared", 3), prompts("shared", 3), prompts("shared", 4)
    assert torch.equal(first.contexts, again.contexts) and not torch.equal(first.contexts, other.contexts)
    assert abs(first.contexts.mean().item()) < 0.1 and abs(first.contexts.std().item() - 1) < 0.1


@pytest.mark.parametrize(
    ("names", "words"), [(["ox " * 300], "takes 256; take fewer"), (["a", " _"], "without a name")]
)
def test_names_that_make_no_prompt(names, words):
    with pytest.raises(XaibenchError, match=words):
        prompts("shared", names=names)


def test_words_are_means_of_what_came_before():
    seen = torch.randn(2, 5, 512, generator=torch.Generator().manual_seed(0))
    features = Words()(seen)
    mean = seen[1, :3].double().mean(0)
    expected = (mean - mean.mean()) / (mean.var(unbiased=False) + 1e-5).sqrt()
    assert torch.allclose(features[1, 2].double(), expected, atol=1e-5)


def see_only_what_came_before(encoder, width, count=6):
    one = torch.randn(1, count, width, generator=torch.Generator().manual_seed(0))
    other = one.clone()
    other[:, 3] = torch.randn(width, generator=torch.Generator().manual_seed(1))
    changed = ((encoder(one) - encoder(other)).abs() > 1e-6).any(2)[0]
    assert changed.tolist() == [False] * 3 + [True] * (count - 3)


def test_words_see_only_what_came_before():
    see_only_what_came_before(Words(), 512)


class Letters:
    """A tokenizer for tests: a letter is a token."""

    sot_token_id, eot_token_id = 62, 63

    @staticmethod
    def encode(text):
        return [ord(letter) - ord("a") + 1 for letter in text.replace(" ", "")]


@pytest.fixture(scope="module")
def clip():
    """A small CLIP of open_clip with random weights, and its text half."""
    package = pytest.importorskip("open_clip", reason="the extra lico is not installed")
    from xaibench.training.lico.clip import ClipText

    torch.manual_seed(0)
    vision = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}
    text = {"context_length": 12, "vocab_size": 64, "width": 32, "heads": 2, "layers": 2}
    net = package.CLIP(embed_dim=16, vision_cfg=vision, text_cfg=text).eval()
    return net, ClipText(net, Letters())


def test_the_features_are_those_of_clip(clip):
    """The feature of the end, projected, is what open_clip itself gives for the tokens."""
    net, encoder = clip
    marks = encoder.marks()
    prompt = torch.cat([marks[:1], encoder.embed("fox"), marks[1:2]])[None]
    tokens = torch.tensor([[62, *Letters.encode("fox"), 63] + [0] * 7])
    expected = net.encode_text(tokens)[0]
    assert torch.allclose((encoder(prompt) @ net.text_projection)[0, 4], expected, atol=1e-5)


def test_clip_sees_only_what_came_before(clip):
    see_only_what_came_before(clip[1], 32)


def test_clip_is_frozen_but_passes_gradients(clip):
    encoder = clip[1]
    module = Prompts(encoder, ["ox", "bee"], "shared", 4, 0)
    encoder(module(torch.tensor([0, 1]), torch.arange(4))).square().sum().backward()
    assert module.contexts.grad.abs().sum() > 0 and all(p.grad is None for p in encoder.parameters())
    with pytest.raises(XaibenchError, match="the text encoder takes 12; take fewer --contexts"):
        Prompts(encoder, ["ox", "bee"], "shared", 8, 0)


def test_weights_of_a_file_are_loaded(clip, tmp_path):
    import open_clip

    from xaibench.models.state import save_state
    from xaibench.training.lico.clip import load_weights

    net = clip[0]
    save_state(net, tmp_path / "clip.safetensors", {})
    torch.manual_seed(1)
    vision = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}
    text = {"context_length": 12, "vocab_size": 64, "width": 32, "heads": 2, "layers": 2}
    other = open_clip.CLIP(embed_dim=16, vision_cfg=vision, text_cfg=text).eval()
    tokens = torch.randint(1, 60, (2, 12))
    projection = other.text_projection.data.copy_(net.text_projection.data)
    assert not torch.allclose(other.encode_text(tokens), net.encode_text(tokens)) and len(projection)
    load_weights(other, tmp_path / "clip.safetensors")
    assert torch.allclose(other.encode_text(tokens), net.encode_text(tokens), atol=1e-5)
    save_state(torch.nn.Linear(2, 2), tmp_path / "other.safetensors", {})
    with pytest.raises(XaibenchError, match="do not fit this text encoder: missing"):
        load_weights(other, tmp_path / "other.safetensors")


def test_sources_of_text(tmp_path, monkeypatch):
    pytest.importorskip("open_clip", reason="the extra lico is not installed")
    from xaibench.training.lico.clip import text_source

    monkeypatch.setenv("XAIBENCH_HOME", str(tmp_path))
    assert text_source("words", "openai", False) == TextSource()
    assert text_source("ViT-B-32", "none", False).key_fields == {"encoder": "ViT-B-32", "weights": "none"}
    with pytest.raises(XaibenchError, match=r"are not here; fetch them by --download, .* --text-encoder words"):
        text_source("ViT-B-32", "openai", False)
    with pytest.raises(XaibenchError, match="--text-encoder 'ViT-B-23' is not known; did you mean ViT-B-32"):
        text_source("ViT-B-23", "openai", False)
    with pytest.raises(XaibenchError, match="--text-weights 'opnai' is not known; did you mean openai"):
        text_source("ViT-B-32", "opnai", False)
    file = tmp_path / "downloads" / "timm-vit_base_patch32_clip_224.openai-open_clip_model.safetensors"
    file.parent.mkdir()
    file.write_bytes(b"weights")
    found = text_source("ViT-B-32", "openai", False)
    assert found.file == file and found.description == "ViT-B-32 (openai)" and len(found.key_fields["weights"]) == 20
    assert text_source("ViT-B-32", str(file), False).key_fields == found.key_fields


def test_without_the_package_the_extra_is_named(monkeypatch):
    import sys

    from xaibench.training.lico.clip import text_source

    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(XaibenchError, match=r"pip install 'xaibench\[lico\]'; or take --text-encoder words"):
        text_source("ViT-B-32", "openai", False)
