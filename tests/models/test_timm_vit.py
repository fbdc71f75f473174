"""Vision transformers of timm: cards, sizes, and class activation maps against pytorch-grad-cam's reshaped tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pytorch_grad_cam import EigenCAM, GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM, XGradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

import xaibench
from xaibench import registry
from xaibench.attribution import cam
from xaibench.attribution.evidence import Evidence
from xaibench.attribution.methods import choose_methods, method_maps
from xaibench.attribution.runner import ModelRunner
from xaibench.attribution.trial import trial_of
from xaibench.cards import Geometry
from xaibench.errors import XaibenchError
from xaibench.evaluation.keys import method_part
from xaibench.models.base import ModelView
from xaibench.models.disconnected import Disconnected, cut
from xaibench.models.download import address
from xaibench.models.open import build_model, model_card
from xaibench.training.api import plan_training
from xaibench.training.config import TrainingConfig
from xaibench.training.recipe import Recipe

pytestmark = pytest.mark.process  # whole runs or large networks: not in the fast tier


def plan(model, dataset, given=None, **fields):
    """The training of a request; given: an object in the place of its task."""
    return plan_training(TrainingConfig(model=model, dataset=dataset, **fields), given)


LARGE = ["vit_base_patch16_224", "vit_small_patch16_224", "deit_small_patch16_224"]
SMALL, PHOTOS = Geometry(resize=64, crop=64), Geometry(resize=256, crop=224)


def small(architecture: str = "test_vit", **changes) -> nn.Module:
    """A vision transformer of timm's for four classes, images of 32 x 48 pixels, 2 x 3 tokens, in double precision."""
    import timm

    torch.manual_seed(3)
    net = timm.create_model(architecture, num_classes=4, img_size=(32, 48), **changes).double().eval()
    for name, parameter in net.named_parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape).double() * (1 if "norm" in name else parameter.std() + 0.5)
    return net.requires_grad_(False)


@pytest.fixture
def images() -> Tensor:
    return torch.randn(3, 3, 32, 48, generator=torch.Generator().manual_seed(4)).double()


TARGETS = torch.tensor([3, 0, 2])


# Cards ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*(pytest.param(name, marks=pytest.mark.slow) for name in LARGE[:-1]), LARGE[-1]])
def test_the_transformers_of_the_paper_and_its_kin(name):
    import timm

    card = model_card(name)
    model = build_model(card, 10, PHOTOS, 4)
    reference = timm.create_model(name, num_classes=10)
    assert [p.shape for p in model.net.parameters()] == [p.shape for p in reference.parameters()]
    config = timm.get_pretrained_cfg(name)
    assert (card.mean, card.std) == (tuple(config.mean), tuple(config.std)) and card.family == model.family == "vit"
    assert model.cam_layer == "blocks.11.norm1" and model.cam_grid == (14, 14) and not model.notes


def test_weights_that_are_published():
    base = "https://download.visinf.tu-darmstadt.de/data/2024-neurips-hesse-idsds/models_finetuned/"
    aligned = model_card("vit_base_patch16_224").aligned
    assert address(aligned)[0].startswith(base + "vit_base_patch16_224_imagenet1000_lr0.001") and aligned.alignment
    import timm

    url, sha256 = address(model_card("deit_small_patch16_224").plain)
    assert url == timm.get_pretrained_cfg("deit_small_patch16_224").url and f"-{sha256}.pth" in url


def test_the_small_one_has_tokens_smaller_than_cells_and_is_never_dilated():
    model = build_model(model_card("vit_tiny_patch8_64"), 10, SMALL, min_cam_grid=16)
    assert model.cam_grid == (8, 8) and model.cam_layer == "blocks.5.norm1" and not model.notes
    assert model.label == "vit_tiny_patch8_64 (last map 8x8)"
    assert model.net.patch_embed.proj.stride == (8, 8) and sum(p.numel() for p in model.net.parameters()) < 1e6


@pytest.mark.parametrize(
    ("name", "side", "layer"),
    [("test_vit", 160, "blocks.5.norm1"), ("test_vit2", 160, "blocks.7.norm1"), ("deit3_small_patch16_224", 224, None)],
)
def test_any_plain_transformer_of_timm_is_one(name, side, layer):
    card = model_card(f"timm:{name}")
    assert card.family == "vit" and card.target == "xaibench.models.timm_vit:build"
    model = build_model(card, 5, Geometry(resize=side, crop=side))
    assert model.cam_layer == (layer or "blocks.11.norm1") and model.cam_grid[0] == side // 16 and model.classes == 5


def test_convolutional_networks_keep_their_cards():
    card = model_card("timm:resnet10t")
    assert card.family == "cnn" and card.target == "xaibench.models.timm_cnn:build"


@pytest.mark.parametrize(
    ("name", "side", "message"),
    [
        (
            "deit_small_patch16_224", 64,
            "takes images of 224x224 pixels, for which its 14x14 position embeddings are, not 64x64; --image-size 224",
        ),
        ("vit_tiny_patch8_64", 224, "takes images of 64x64 pixels, .* not 224x224; --image-size 64 makes such"),
        ("timm:vit_tiny_patch16_224", 64, "timm:vit_tiny_patch16_224 takes images of 224x224 pixels"),
    ],
)  # fmt: skip
def test_images_of_another_size_are_refused_in_one_line(name, side, message):
    with pytest.raises(XaibenchError, match=message) as caught:
        build_model(model_card(name), 10, Geometry(resize=side, crop=side))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"architecture": "vit_tiny_patch16_224", "num_heads": 5}, "timm cannot build .* with num_heads=5"),
        ({"architecture": "resnet10t"}, "resnet10t of timm is no vision transformer"),
    ],
)
def test_builders_say_what_they_cannot_build(parameters, message):
    card = model_card("vit_tiny_patch8_64").model_copy(update={"parameters": parameters})
    with pytest.raises(XaibenchError, match=message):
        build_model(card, 10, SMALL)


def test_a_builder_of_the_users_gets_the_layer_too():
    @xaibench.model("my-vit", family="vit")
    def mine(num_classes):
        """A transformer of mine."""
        import timm

        return timm.create_model("test_vit", num_classes=num_classes, img_size=64, patch_size=8)

    model = build_model(model_card("my-vit"), 10, SMALL)
    assert model.cam_layer == "blocks.5.norm1" and model.cam_grid == (8, 8)
    names = {card.name for card in choose_methods(None, "my-vit", model.family, True, trial_of(model, 64))[0]}
    assert {"rollout", "chefer-lrp", "grad-cam"} <= names


def test_a_method_that_does_not_fit_says_so_before_a_run():
    model = build_model(model_card("timm:test_vit3"), 4, Geometry(resize=160, crop=160))
    _, skipped = choose_methods(None, "net", model.family, True, trial_of(model, 160))
    assert skipped["rollout"] == skipped["chefer-lrp"] != "" and "pools by attention" in skipped["rollout"]
    assert skipped["b-cos"] == "needs a B-cos network"


def test_only_an_unusual_enlargement_is_part_of_the_key():
    part = method_part(registry.card("method", "rollout"), {"first": 2})
    assert part["resize"] == "nearest" and part["parameters"] == {"first": 2}
    assert "resize" not in method_part(registry.card("method", "chefer-lrp"), {"first": 2})


# Recipes -------------------------------------------------------------------------------------------------------------


def test_a_models_recipe_is_over_that_of_the_data():
    data, own = registry.card("dataset", "critters").recipe, registry.card("model", "vit_tiny_patch8_64").recipe
    training = plan("vit_tiny_patch8_64", "critters")
    assert training.recipe == Recipe(**{**data, **own}) and training.recipe.optimizer == "adamw"
    assert training.key_fields["recipe"]["optimizer"] == "adamw" and training.recipe.batch_size == data["batch_size"]
    changed = plan("vit_tiny_patch8_64", "critters", recipe={"epochs": 1, "optimizer": "sgd"}).recipe
    assert (changed.epochs, changed.optimizer, changed.learning_rate) == (1, "sgd", own["learning_rate"])
    assert "optimizer" not in plan("resnet18", "critters").key_fields["recipe"], "keys are as they were"


# Class activation maps -----------------------------------------------------------------------------------------------


def reshaped(tokens: Tensor) -> Tensor:
    """What users of pytorch-grad-cam write: the last six tokens as 2 x 3."""
    return tokens[:, -6:].reshape(len(tokens), 2, 3, -1).permute(0, 3, 1, 2)


def raw_map(kind: type, net: nn.Module, x: Tensor) -> Tensor:
    """What pytorch-grad-cam computes before it scales and resizes, after its ReLU, (P, 1, h, w)."""

    class Raw(kind):
        def get_cam_image(self, *args, **kwargs):
            self.raw = super().get_cam_image(*args, **kwargs)
            return self.raw

    with Raw(model=net, target_layers=[net.blocks[-1].norm1], reshape_transform=reshaped) as peer:
        peer.compute_input_gradient = True
        peer(x, [ClassifierOutputTarget(t) for t in TARGETS.tolist()])
        return torch.from_numpy(np.maximum(peer.raw, 0))[:, None]


NETS = {
    "class token": {},
    "registers": {"reg_tokens": 4},
    "pooled": {"class_token": False, "global_pool": "avg"},
    "hidden class token": {"global_pool": "avg", "reg_tokens": 1},
}


def seen(net: nn.Module, images: Tensor, runner: ModelRunner) -> Evidence:
    count, layer = len(images), net.blocks[-1].norm1
    return Evidence(runner, images, TARGETS[:count], ["a", "b", "c"][:count], view=ModelView(layer))


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize(
    ("ours", "peer"),
    [
        (cam.grad_cam, GradCAM), (cam.xgrad_cam, XGradCAM), (cam.layer_cam, LayerCAM),
        (cam.grad_cam_plus_plus, GradCAMPlusPlus),
    ],
)  # fmt: skip
def test_maps_are_those_of_pytorch_grad_cam_on_reshaped_tokens(ours, peer, kind, images):
    net = small(**NETS[kind])
    net.head.weight *= 1e6  # steep gradients, against which the peer's epsilon in Grad-CAM++ is nothing
    with ModelRunner(net) as runner:
        maps = ours(seen(net, images, runner))
    expected = raw_map(peer, net, images)
    assert maps.shape == (3, 1, 2, 3) and expected.max() > 0
    assert (maps - expected).abs().max() < 1e-3 * expected.max(), "XGrad-CAM's epsilons differ, sums of tokens vanish"


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize(("name", "peer"), [("hires-cam", HiResCAM), ("eigen-cam", EigenCAM)])
def test_methods_of_the_package_take_tokens_as_a_map(name, peer, kind, images):
    net = small(**NETS[kind])
    maps = xaibench.attribute(net, images, TARGETS, name)
    with peer(model=net, target_layers=[net.blocks[-1].norm1], reshape_transform=reshaped) as cams:
        expected = cams(images.clone().requires_grad_(), [ClassifierOutputTarget(t) for t in TARGETS.tolist()])
    np.testing.assert_allclose(maps[:, 0], expected, atol=1e-5)
    assert not any(m._forward_hooks for m in net.modules())


@pytest.mark.parametrize("name", ["score-cam", "ablation-cam", "finer-cam", "eigen-grad-cam", "grad-cam-elementwise"])
def test_the_others_run_image_by_image_alike(name, images):
    net = small(reg_tokens=2)
    card = registry.card("method", name)
    parameters = card.parameters | ({"comparison_categories": [1, 2]} if name == "finer-cam" else {})
    with ModelRunner(net, chunk=16) as runner:
        e = seen(net, images, runner)
        together = method_maps(card, e, parameters)
        alone = method_maps(card, e.explaining(TARGETS[1:2], torch.tensor([1])), parameters)
    assert together.shape == (3, 1, 32, 48) and together.std() > 0
    assert torch.allclose(alone[0], together[1], atol=1e-6)


def test_ablation_sets_the_channels_of_patches_to_zero(images):
    """Channels of class and register tokens stay, and patch tokens behind the layer are those of the map."""
    net = small(reg_tokens=2)
    with ModelRunner(net) as runner:
        found = method_maps(registry.card("method", "ablation-cam"), seen(net, images[:1], runner), {})
    tokens: list[Tensor] = []
    handle = net.blocks[-1].norm1.register_forward_hook(lambda module, args, output: tokens.append(output))
    logit = net(images[:1])[0, 3]
    handle.remove()
    drops = []
    for channel in range(tokens[0].shape[2]):

        def ablate(module, args, output, channel=channel):
            output = output.clone()
            output[:, 3:, channel] = 0
            return output

        handle = net.blocks[-1].norm1.register_forward_hook(ablate)
        drops.append((logit - net(images[:1])[0, 3]) / logit)
        handle.remove()
    expected = torch.relu((torch.stack(drops)[:, None, None] * reshaped(tokens[0])[0]).sum(0))
    small_map = nn.functional.interpolate(expected[None, None], (32, 48), mode="bilinear")[0, 0]
    scaled = (small_map - small_map.min()) / (small_map.max() - small_map.min())
    assert np.corrcoef(found[0, 0].flatten(), scaled.flatten())[0, 1] > 0.999


def test_the_default_layer_of_a_call_is_the_first_norm_of_the_last_block(images):
    net = small()
    given = xaibench.attribute(net, images, TARGETS, "grad-cam", cam_layer="blocks.5.norm1")
    assert torch.equal(xaibench.attribute(net, images, TARGETS, "grad-cam"), given) and given.std() > 0
    behind = xaibench.attribute(net, images, TARGETS, "grad-cam", cam_layer="blocks.5")
    assert behind.abs().max() == 0, "behind the last attention no patch reaches the class token"


def test_a_grid_of_cells_has_one_map_of_tokens(images):
    """Of a network that answers for one of four cells only that cell's tokens have a gradient."""
    net = small()
    grids = torch.cat([torch.cat([images, images.flip(0)], 3)] * 2, 2)
    disconnected = Disconnected(net, "blocks.5.norm1", 2, 1)
    assert torch.allclose(disconnected(grids), net(cut(grids, 2)).unflatten(0, (3, 4))[:, 1])
    with ModelRunner(disconnected) as runner:
        e = Evidence(runner, grids, TARGETS, ["a", "b", "c"], view=ModelView(disconnected.stage))
        maps, stage = cam.layer_cam(e), e.activations_and_gradients()
    assert maps.shape == (3, 1, 4, 6) and stage.gradients[:, :, 2:].abs().max() == 0
    with ModelRunner(net) as runner:
        alone = cam.layer_cam(
            Evidence(runner, images.flip(0), TARGETS, list("abc"), view=ModelView(net.blocks[-1].norm1))
        )
    assert torch.allclose(maps[:, :, :2, 3:], alone) and maps[:, :, :, :3].abs().max() == 0
