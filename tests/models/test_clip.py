"""CLIP as a zero-shot classifier: open_clip as the oracle, class names, keys, and what is refused."""

from __future__ import annotations

import importlib
import json
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import xaibench
from xaibench import registry
from xaibench.attribution.attention import maps_of, recorded, transformer_of
from xaibench.attribution.chefer import attention_relevances, modules_of_rules, through_block
from xaibench.attribution.evidence import Evidence
from xaibench.attribution.lrp import attn_lrp, cp_lrp
from xaibench.attribution.relevance import through_pool
from xaibench.attribution.runner import ModelRunner
from xaibench.errors import XaibenchError
from xaibench.evaluation.config import RunConfig
from xaibench.evaluation.resolve import resolve
from xaibench.models import clip
from xaibench.models.build import build_network, own_state
from xaibench.models.class_names import read_class_names
from xaibench.models.open import model_card
from xaibench.protocols.api import make_protocol
from xaibench.results.store import Store

open_clip = pytest.importorskip("open_clip", reason="the extra clip is not installed")
CONFIG = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": 32, "layers": 4, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
NAMES = ["cat", "dog", "red car"]
TARGETS = torch.tensor([0, 2])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With two small architectures that open_clip is told of, class names, and weights for both."""
    path = tmp_path_factory.mktemp("clip")
    for name, changes in {"mini": {}, "mini-quick": {"quick_gelu": True}, "mini-pool": {"custom_text": True}}.items():
        (path / f"{name}-zero-shot.json").write_text(json.dumps(CONFIG | changes))
        open_clip.add_model_config(path / f"{name}-zero-shot.json")
    (path / "names.txt").write_text("\n".join(NAMES) + "\n")
    torch.manual_seed(0)
    net = open_clip.CLIP(**CONFIG)
    for name, parameter in net.named_parameters():
        if name.startswith("visual") and "ln" not in name:
            parameter.data += 0.1 * torch.randn(parameter.shape)
    torch.save(net.state_dict(), path / "weights.pt")
    return path


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def request(folder, **changes) -> clip.ZeroShot:
    given = {"classes_file": folder / "names.txt", "weights": str(folder / "weights.pt")}
    return clip.ZeroShot(**(given | changes))


@cache
def classifier(folder, name: str = "mini") -> nn.Module:
    return build_network(clip.card(f"clip:{name}-zero-shot", request(folder)), 3).double().requires_grad_(False)


@cache
def original(folder, quick: bool = False):
    """open_clip's network, and from its embedding of images (N, D) to logits."""
    net = open_clip.CLIP(**CONFIG, quick_gelu=quick).eval()
    net.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
    tokens = open_clip.get_tokenizer("mini-zero-shot")([f"a photo of a {name}." for name in NAMES])
    texts = net.encode_text(tokens, normalize=True).double().detach()
    scale = net.logit_scale.exp().item()
    return net.double().requires_grad_(False), lambda x: scale * nn.functional.normalize(x, dim=-1) @ texts.T


@pytest.mark.parametrize(("name", "quick"), [("mini", False), ("mini-quick", True)])
def test_logits_are_the_scaled_cosines_of_open_clip(name, quick, folder, images):
    net, logits = original(folder, quick)
    expected, found = logits(net.encode_image(images)), classifier(folder, name)(images)
    assert torch.allclose(found, expected, atol=1e-5) and found.std() > 0.01
    other, _ = original(folder, not quick)
    assert not torch.allclose(found, logits(other.encode_image(images)), atol=1e-3)


# Methods, on open_clip's own network ---------------------------------------------------------------------------------


class Watched:
    """A pass of open_clip's image half, block by block: attention maps, queries, keys and values of its own weights."""

    def __init__(self, net, logits, images):
        visual, self.blocks = net.visual, []
        x = visual._embeds(images)
        for block in visual.transformer.resblocks:
            y, attn = block.ln_1(x), block.attn
            q, k, v = (y @ attn.in_proj_weight.T + attn.in_proj_bias).chunk(3, -1)
            _, weights = attn(y, y, y, need_weights=True, average_attn_weights=False)
            weights = weights.detach().requires_grad_()
            mixed = (weights @ v.unflatten(2, (2, -1)).transpose(1, 2)).transpose(1, 2).flatten(2)
            x = x + attn.out_proj(mixed)
            x = x + block.mlp(block.ln_2(x))
            self.blocks.append({"weights": weights, "q": q, "k": k, "v": v, "mixed": mixed, "out": x})
        self.end = lambda tokens: logits(visual.ln_post(tokens) @ visual.proj)
        self.picked = self.end(x[:, 0]).gather(1, TARGETS[:, None]).sum()


def test_gradients_are_those_of_open_clip(folder, images):
    net, logits = original(folder)
    at = images.clone().requires_grad_()
    (expected,) = torch.autograd.grad(logits(net.encode_image(at)).gather(1, TARGETS[:, None]).sum(), at)
    found = xaibench.attribute(classifier(folder), images, TARGETS, "ixg")[:, 0]
    assert torch.allclose(found, (expected * images).sum(1), atol=1e-5) and expected.abs().max() > 1e-2


def test_legrad_is_that_of_the_authors_code(folder, images):
    """The mean token of each of the last two layers, normalised, projected and compared with the text; the gradient on
    that layer's attention, its positive part, the mean over heads and queries; and the class token in its own form."""
    seen = Watched(*original(folder), images)

    def layers(pool, last: int) -> torch.Tensor:
        parts = []
        for block in seen.blocks[-last:]:
            score = seen.end(pool(block["out"])).gather(1, TARGETS[:, None]).sum()
            (slope,) = torch.autograd.grad(score, block["weights"], retain_graph=True)
            parts.append(slope.clamp(min=0).mean((1, 2))[:, 1:])
        return torch.stack(parts).mean(0).unflatten(1, (4, 4))

    net = classifier(folder)
    for method, expected in (
        ("legrad-clip", layers(lambda tokens: tokens.mean(1), 2)), ("legrad", layers(lambda tokens: tokens[:, 0], 4))
    ):  # fmt: skip
        found = xaibench.attribute(net, images, TARGETS, method)[:, 0]
        enlarged = nn.functional.interpolate(expected[:, None], (32, 32), mode="bilinear", align_corners=False)[:, 0]
        assert torch.allclose(found, enlarged, atol=1e-5 * enlarged.max().item()) and enlarged.max() > 0


def test_rollout_and_grad_eclip_are_those_of_open_clips_attention(folder, images):
    seen, net = Watched(*original(folder), images), classifier(folder)
    mixed = torch.stack([b["weights"].detach().mean(1) for b in seen.blocks], 1) + torch.eye(17)
    mixed = mixed / mixed.sum(-1, keepdim=True)
    flow = (mixed[:, 3] @ mixed[:, 2] @ mixed[:, 1])[:, 0, 1:].unflatten(1, (4, 4))
    assert torch.allclose(xaibench.attribute(net, images, TARGETS, "rollout")[:, 0, ::8, ::8], flow, atol=1e-6)
    last = seen.blocks[-1]
    (slope,) = torch.autograd.grad(seen.picked, last["mixed"])
    cosines = torch.cosine_similarity(last["q"][:, :1], last["k"][:, 1:], dim=-1)
    low = cosines.amin(1, keepdim=True)
    similarity = (cosines - low) / (cosines.amax(1, keepdim=True) - low)
    expected = ((slope[:, :1] * last["v"][:, 1:]).sum(-1) * similarity).relu().unflatten(1, (4, 4)).detach()
    enlarged = nn.functional.interpolate(expected[:, None], (32, 32), mode="bilinear", align_corners=False)
    found = xaibench.attribute(net, images, TARGETS, "grad-eclip")
    assert torch.allclose(found, enlarged, atol=1e-5) and expected.amax((1, 2)).min() > 1e-3


def z_plus(relevance: np.ndarray, inputs: np.ndarray, weight: np.ndarray) -> np.ndarray:
    found = np.zeros_like(inputs)
    for n, o in np.ndindex(*relevance.shape):
        parts = np.clip(inputs[n] * weight[o], 0, None)
        found[n] += relevance[n, o] * parts / parts.sum()
    return found


def test_chefers_relevance_goes_through_both_layers_of_the_head(folder, images):
    net, start = classifier(folder), torch.eye(3, dtype=torch.float64)[TARGETS]
    with ModelRunner(net) as runner:
        e = Evidence(runner, images, TARGETS, ["a", "b"])
        vit = transformer_of(e)
        with torch.no_grad(), recorded(vit, [*vit.attention, *modules_of_rules(vit)]) as kept:
            runner.call(images)
            assert len(maps_of(vit, kept, 2)) == 4
        found = attention_relevances(vit, kept, start)
        tokens = kept[net.norm][1]
        features = tokens[:, 0] @ net.head.projection.weight.T
        unit = features / features.norm(dim=1, keepdim=True)
        relevance = z_plus(start.numpy(), unit.numpy(), net.head.classes.weight.numpy())
        relevance = z_plus(relevance, tokens[:, 0].numpy(), net.head.projection.weight.numpy())
        relevance = through_pool(torch.from_numpy(relevance), tokens, net.pool)
        for block, ours in zip(reversed(net.blocks), reversed(found), strict=True):
            relevance, expected = through_block(relevance, block, kept)
            assert torch.allclose(ours, expected, atol=1e-9)


def test_the_length_of_an_embedding_is_a_constant_for_relevance(images):
    """Without biases the map adds up to the logit through the head of CLIP too, at any gammas."""
    torch.manual_seed(0)
    layers = nn.Flatten(), nn.Linear(3 * 32 * 32, 6, bias=False), clip.UnitLength(), nn.Linear(6, 3, bias=False)
    net = nn.Sequential(*layers).double().eval()
    with ModelRunner(net) as runner:
        e = Evidence(runner, images, TARGETS, ["a", "b"])
        logits = e.logits().gather(1, TARGETS[:, None])[:, 0]
        for method in (attn_lrp, cp_lrp):
            for gammas in ((0.0, 0.0), (0.25, 0.05)):
                assert torch.allclose(method(e, *gammas).sum((1, 2, 3)), logits, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", ["grad-cam", "vit-grad-cam", "chefer-lrp", "attn-lrp", "cp-lrp-lxt", "grad-eclip-code", "ig", "rise"]
)
def test_methods_of_transformers_explain_it(method, folder, images):
    parameters = {"masks": 20} if method == "rise" else {"steps": 3} if method == "ig" else {}
    maps = xaibench.attribute(classifier(folder), images, TARGETS, method, **parameters)
    assert maps.shape == (2, 1, 32, 32) and maps.isfinite().all()


# Keys ----------------------------------------------------------------------------------------------------------------


def identity(folder, name: str = "mini", **changes) -> str:
    return clip.identity(**clip.card(f"clip:{name}-zero-shot", request(folder, **changes)).parameters)


def test_classes_prompt_and_weights_are_in_the_key(folder, tmp_path):
    usual = identity(folder)
    (tmp_path / "elsewhere.pt").write_bytes((folder / "weights.pt").read_bytes())
    (tmp_path / "moved.txt").write_bytes((folder / "names.txt").read_bytes())
    same = identity(folder, weights=str(tmp_path / "elsewhere.pt"), classes_file=tmp_path / "moved.txt")
    assert same == usual
    (tmp_path / "other.txt").write_text("dog\ncat\nred car\n")
    changed = [
        identity(folder, classes_file=tmp_path / "other.txt"), identity(folder, prompt="{}"),
        identity(folder, weights="none"), identity(folder, "mini-quick"),
    ]  # fmt: skip
    assert len({usual, *changed}) == 5
    card = clip.card("clip:mini-zero-shot", request(folder, weights="none"))
    assert own_state(card, build_network(card, 3)).digest == changed[2]
    first, second = (build_network(card, 3) for _ in range(2))  # random weights are always the same
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert clip.key_fields(card) == clip.key_fields(clip.card("clip:mini-zero-shot", request(folder)))
    assert clip.key_fields(card) != clip.key_fields(clip.card("clip:mini-zero-shot", request(folder, prompt="{}")))


@pytest.mark.slow
@pytest.mark.process
def test_a_run_and_an_explanation_by_command(folder, tmp_path, command, monkeypatch):
    monkeypatch.setenv("XAIBENCH_HOME", str(tmp_path))
    (folder / "ten.txt").write_text("".join(f"kind {k}\n" for k in range(10)))
    words = [
        "run", "sds", "--model", "clip:mini-zero-shot", "--classes-file", str(folder / "ten.txt"), "--weights", "none",
        "--image-size", "32", "--images", "2", "--methods", "legrad,grad-eclip,random", "--device", "cpu", "--workers",
        "0", "--out", str(tmp_path / "results"),
    ]  # fmt: skip
    status, printed, problem = command(*words)
    assert status == 0, problem
    assert "legrad" in printed and "zero-shot, weights none" in printed
    assert command(*words, "--prompt", "{}")[0] == 0
    status, _, problem = command(*[str(folder / "names.txt") if str(w).endswith("ten.txt") else w for w in words])
    assert status != 0 and "--classes-file names 3 classes, critters has 10" in problem
    cells = Store(tmp_path / "results").cells()
    prompts = {cell.context["model"]["zero_shot"]["prompt"] for cell in cells.values()}
    assert prompts == {"a photo of a {}.", "{}"} and len(cells) == 6


@pytest.mark.slow
@pytest.mark.process
def test_photos_are_explained_with_the_names_of_the_file(folder, tmp_path):
    photo = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)).save(photo)
    (found,) = xaibench.explain(
        str(photo), model="clip:mini-zero-shot", classes_file=folder / "names.txt", weights=str(folder / "weights.pt"),
        methods=["legrad", "grad-eclip"], target="red car",
    )  # fmt: skip
    assert {guess.name for guess in found.top} == set(NAMES) and found.target.name == "red car"
    assert set(found.maps) == {"legrad", "grad-eclip"}


def test_clip_may_be_the_second_model_and_the_first(folder):
    """The classes file belongs to whichever of both is CLIP, and each has weights of its own."""
    (folder / "ten.txt").write_text("".join(f"kind {k}\n" for k in range(10)))
    given = {"classes_file": folder / "ten.txt", "image_size": 32}
    name, file = "clip:mini-zero-shot", str(folder / "weights.pt")
    protocol = next(
        p for p in registry.names("protocol") if make_protocol(registry.card("protocol", p), {}).needs_reference
    )
    given["protocols"] = (protocol,)
    first = resolve(RunConfig(model=name, weights="none", reference_model="resnet18", **given))
    assert (clip.is_clip(first.model), clip.is_clip(first.reference[0])) == (True, False)
    second = resolve(RunConfig(model="resnet18", reference_model=name, reference_weights=file, **given))
    assert not clip.is_clip(second.model) and second.reference[0].parameters["weights"] == "weights.pt"
    assert second.reference[1].choice == "plain"
    both = resolve(RunConfig(model=name, weights="none", reference_weights=file, **given))
    assert [c.parameters["weights"] for c in (both.model, both.reference[0])] == ["none", "weights.pt"]


# Refused -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"cat\n\ndog\n", "line 2 is empty"),
        (b"cat\ndog\n\n", "line 3 is empty"),
        (b"", "line 1 is empty"),
        (b"cat\ndog\ncat\n", "line 3 repeats 'cat' of line 1"),
        (b"cat\nd\tog\n", "line 2 has a control character"),
        ("cat\nd\u202eog\n".encode(), "line 2 has a control character"),
        (b"cat\rdog\n", "line 1 has a control character"),
        (b"cat\n dog\n", "line 2 has spaces before or after the name"),
        (b"cat\n", "has one class"),
        (b"cat\n\xff\n", "is not UTF-8"),
        (None, "cannot be read"),
    ],
)
def test_class_files_are_read_strictly(content, message, tmp_path):
    if content is not None:
        (tmp_path / "names.txt").write_bytes(content)
    with pytest.raises(XaibenchError, match=message) as caught:
        read_class_names(tmp_path / "names.txt")
    assert "\n" not in str(caught.value) and "--classes-file" in str(caught.value)


def test_names_of_any_language_and_line_breaks_of_windows_are_read(tmp_path):
    (tmp_path / "names.txt").write_bytes("\ufeffKätzchen\r\n赤い車\r\n".encode())
    assert read_class_names(tmp_path / "names.txt") == ("Kätzchen", "赤い車")


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("ViT-B-23", {}, "'ViT-B-23' is not known; did you mean ViT-B-32"),
        ("hf-hub:owner/name", {}, "CLIP architecture 'hf-hub:owner/name' is not known"),  # not asked of any host
        ("local-dir:/", {}, "CLIP architecture 'local-dir:/' is not known"),
        ("RN50", {}, "a ResNet whose last map is pooled by attention, which is not explained here"),
        ("coca_ViT-B-32", {}, "is not built as CLIP's plain transformers .attentional_pool"),
        ("ViT-B-16-SigLIP", {}, "is not built as CLIP's plain transformers"),
        ("ViT-B-32", {"weights": "opnai"}, "--weights 'opnai' is not known; did you mean openai"),
        ("ViT-B-32", {"weights": None}, "weights openai of clip:ViT-B-32 are not here; fetch them by --download"),
        ("mini-zero-shot", {"weights": None}, "has no weights of OpenAI; name some by --weights"),
        ("mini-zero-shot", {"classes_file": None}, "needs the names of the classes: --classes-file FILE"),
        ("mini-zero-shot", {"prompt": "a photo"}, "--prompt is a text with one {} for the class name"),
        ("mini-zero-shot", {"prompt": "{} {}"}, "--prompt is a text with one {}"),
        ("mini-zero-shot", {"prompt": "{0} {}"}, "--prompt is a text with one {}"),
        ("mini-zero-shot", {"prompt": "very " * 20 + "{}"}, r"the text of class 'cat' has 21 tokens, .* reads 18"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(name, changes, message, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XAIBENCH_HOME", str(tmp_path))
    with pytest.raises(XaibenchError, match=message) as caught:
        model_card(f"clip:{name}", request(folder, **changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("names", "prompt", "message"),
    [
        ("Cat\ncat", "a {}.", "reads classes 'Cat' and 'cat' as the same text"),
        ("red car\ncat\nred  car", "a {}.", "reads classes 'red car' and 'red  car' as the same text"),
        ("caf\u00e9\ncafe\u0301", "a {}.", "as the same text"),
        ("cat &amp; dog\ncat & dog", "a {}.", "as the same text"),
        ("dog\n<end_of_text>cat", "a {}.", "'<end_of_text>cat' has a mark that ends or begins texts"),
        ("dog\ncat", "<start_of_text>{}", "'dog' has a mark that ends or begins texts"),
        ("dog\ncat", "a {}\n", "--prompt has a control character"),
        ("dog\ncat", "\u202ea {}", "--prompt has a control character"),
    ],
)
def test_texts_that_are_read_alike_or_not_at_all_are_refused(names, prompt, message, folder, tmp_path):
    (tmp_path / "names.txt").write_text(names)
    with pytest.raises(XaibenchError, match=message) as caught:
        model_card("clip:mini-zero-shot", request(folder, classes_file=tmp_path / "names.txt", prompt=prompt))
    assert "\n" not in str(caught.value)


def test_other_models_have_no_classes_file_and_clip_needs_the_package(folder, monkeypatch):
    with pytest.raises(XaibenchError, match="leave it out for model resnet18"):
        model_card("resnet18", request(folder))
    with pytest.raises(XaibenchError, match="only run and explain take"):
        model_card("clip:ViT-B-32")

    def missing(name: str):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(XaibenchError, match=r"pip install 'xaibench\[clip\]'"):
        model_card("clip:ViT-B-32", request(folder))
