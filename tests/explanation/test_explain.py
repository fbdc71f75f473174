"""`xaibench.explain`: what it says of a photo, which maps it gives, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import xaibench
from xaibench.errors import XaibenchError
from xaibench.explanation.photos import target_index
from xaibench.models.state import save_state


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    """Plug-ins of other tests are not there, and those of these leave with them."""
    from xaibench import registry

    monkeypatch.setattr(registry, "_decorated", {})


@pytest.fixture
def folder_weights(home, tmp_path):
    """A tiny network for two classes, its weights in a file."""
    from xaibench_test_network import build

    torch.manual_seed(0)
    net = build(2).eval()
    save_state(net, tmp_path / "two.safetensors", {})
    return net, tmp_path / "two.safetensors"


@pytest.fixture
def trained(home):
    """A run on `mini`, after which its home has aligned weights."""
    return xaibench.run("idsds", model="tiny", dataset="mini", methods="ixg", images=1, out="trained", quiet=True)


def test_maps_are_those_of_attribute_for_the_same_network(folder_weights, photos):
    from xaibench import registry
    from xaibench.datasets.images import displayed, read_image
    from xaibench.models.base import Encoding

    net, path = folder_weights
    photo = photos / "ape" / "3.png"
    (seen,) = xaibench.explain(
        photo, model="tiny", weights=str(path), dataset="imagefolder", data_root=photos, methods="ixg-sg,grad-cam"
    )
    geometry = registry.card("dataset", "imagefolder").geometry
    image = displayed(read_image(photo), geometry)
    assert seen.image_id == "3.png" and np.array_equal(seen.image, image)
    inputs = Encoding((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))(image[None])
    chances = net(inputs).softmax(-1)[0].tolist()
    assert seen.prediction.name == ("ape", "bee")[int(np.argmax(chances))]
    assert seen.prediction.probability == pytest.approx(max(chances), abs=1e-6) and len(seen.top) == 2
    for name in ("ixg-sg", "grad-cam"):
        own = xaibench.attribute(
            net, inputs, torch.tensor([seen.target.index]), name, cam_layer="4", image_ids=["3.png"]
        )
        assert torch.allclose(seen.maps[name], own[0, 0], atol=1e-6), name
    assert list(seen.maps) == ["ixg-sg", "grad-cam"]


def test_how_a_checkpoint_is_taken_for_weights_is_said(folder_weights, photos, capsys):
    net, path = folder_weights
    state = {f"student.{name}": tensor for name, tensor in net.state_dict().items()}
    words = {"model": "tiny", "dataset": "imagefolder", "data_root": photos, "methods": "ixg"}
    (plain,) = xaibench.explain(photos / "ape" / "3.png", weights=str(path), **words)
    assert capsys.readouterr().err == ""
    torch.save({"state_dict": state | {"criterion.weight": torch.ones(2)}}, path.with_name("last.ckpt"))
    (seen,) = xaibench.explain(photos / "ape" / "3.png", weights=str(path.with_name("last.ckpt")), **words)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "begin with 'student.', and leave out 1 beside them: criterion.weight" in said
    assert np.array_equal(seen.maps["ixg"], plain.maps["ixg"])


def test_another_class_by_index_or_name_and_other_maps(folder_weights, photos):
    _, path = folder_weights
    words = {"model": "tiny", "weights": str(path), "dataset": "imagefolder", "data_root": photos, "methods": ["ixg"]}
    (by_name,) = xaibench.explain(photos / "ape" / "0.png", target="BEE", **words)
    (by_index,) = xaibench.explain(photos / "ape" / "0.png", target=1, **words)
    (other,) = xaibench.explain(photos / "ape" / "0.png", target="0", **words)
    assert by_name.target == by_index.target and by_name.target.name == "bee" and other.target.index == 0
    assert torch.equal(by_name.maps["ixg"], by_index.maps["ixg"])
    assert not torch.equal(by_name.maps["ixg"], other.maps["ixg"])
    for wrong in ("bees", "7", -1):
        with pytest.raises(XaibenchError, match=r"--target .* is no class"):
            xaibench.explain(photos / "ape" / "0.png", target=wrong, **words)


def test_classes_without_known_names_are_numbers(folder_weights, photos):
    _, path = folder_weights
    words = {"model": "tiny", "weights": str(path), "methods": "saliency"}
    for dataset in ("imagefolder", "imagenet"):
        (seen,) = xaibench.explain(photos / "ape" / "0.png", dataset=dataset, **words)
        assert seen.prediction.name in ("class 0", "class 1")


@pytest.mark.process
def test_the_default_list_fits_and_says_what_does_not(trained, photos):
    words = {"model": "tiny", "weights": "aligned", "dataset": "mini"}
    (seen,) = xaibench.explain(photos / "ape" / "0.png", **words)
    assert list(seen.maps) == ["grad-cam", "layer-cam", "saliency", "ixg-sg", "ig-u"] and not seen.skipped
    (every,) = xaibench.explain(photos / "ape" / "0.png", methods="all", **words)
    assert {"rollout", "oracle"} <= set(every.skipped) and "rise" in every.maps
    with pytest.raises(XaibenchError, match="oracle is drawn by a protocol"):
        xaibench.explain(photos / "ape" / "0.png", methods="oracle", **words)


def test_a_methods_failure_keeps_the_other_maps(folder_weights, photos, tmp_path):
    _, path = folder_weights
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "import xaibench\n@xaibench.method('explain-breaks')\ndef breaks(evidence):\n    raise KeyError('a\\nb')\n"
    )
    words = {"model": "tiny", "weights": str(path), "dataset": "imagefolder", "plugins": [plugin]}
    (seen,) = xaibench.explain(photos / "ape" / "0.png", **words)
    assert seen.failed == {"explain-breaks": "KeyError: 'a\\nb' (mine.py, line 4)"} and len(seen.maps) == 5
    with pytest.raises(XaibenchError, match="no map to draw: method explain-breaks failed"):
        xaibench.explain(photos / "ape" / "0.png", methods="explain-breaks", **words)


def test_the_embedded_data_set_by_image_id_once_something_is_trained(trained):
    with pytest.raises(XaibenchError, match=r"^no plain weights of tiny on critters here; make them: xaibench train"):
        xaibench.explain("test/000000", model="tiny", dataset="critters")
    from xaibench.datasets.critters import Critters

    image_id = trained.images[0]
    (seen,) = xaibench.explain(image_id, model="tiny", dataset="mini", weights="aligned", methods="ixg")
    assert seen.image.shape == (32, 32, 3) and seen.prediction.name in Critters(size=32).classes
    row = trained.rows.iloc[0]
    assert seen.prediction.index == row["prediction"]
    with pytest.raises(XaibenchError, match="is no file, nor an image id of mini"):
        xaibench.explain("nothing.png", model="tiny", dataset="mini", weights="aligned", methods="ixg")


def test_mistakes_are_one_line_and_found_before_the_work(folder_weights, photos, tmp_path):
    _, path = folder_weights
    photo = photos / "ape" / "0.png"
    words = {"model": "tiny", "weights": str(path), "dataset": "imagefolder"}
    for wrong, message in (
        ({"methods": "gradcam"}, "did you mean grad-cam"), ({"out": tmp_path / "x.jpg"}, "a figure is a .png"),
        ({"out": tmp_path / "none" / "x.png"}, "there is no folder"), ({"weights": "none.pth"}, "nor a file"),
        ({"style": "loud", "out": "x.png"}, "style is 'overlay' or 'map', not 'loud'"),
        ({"dataset": "imagnet"}, "did you mean imagenet"),
        ({"model": "tinny"}, "unknown model"), ({"device": "tpu9"}, "cannot be used"),
    ):  # fmt: skip
        with pytest.raises(XaibenchError, match=message) as error:
            xaibench.explain(photo, **(words | wrong))
        assert "\n" not in str(error.value)
    (tmp_path / "text.png").write_text("no picture")
    for bad, message in ((tmp_path / "text.png", "cannot be read"), (photos, "is a folder"), ("no.png", "no file")):
        with pytest.raises(XaibenchError, match=message):
            xaibench.explain(bad, **words)
    with pytest.raises(XaibenchError, match="name one photo"):
        xaibench.explain([], **words)


def test_a_number_that_is_an_index_and_the_name_of_another_class_is_refused():
    names = [str(index) for index in sorted(range(12), key=str)]  # "0", "1", "10", "11", "2", ...
    assert names[2] == "10"
    with pytest.raises(XaibenchError, match=r"--target 10 is the index of class '8' and the name of class number 2"):
        target_index("10", names)
    assert target_index(10, names) == 10, "an int is an index"
    assert target_index("0", names) == 0 and target_index("1", names) == 1
    assert target_index("3", ["ape", "bee", "cat", "dog"]) == 3 and target_index("cat", ["ape", "bee", "cat"]) == 2
    assert target_index("7", ["5", "7", "9"]) == 1, "a name that is no index"


SEGMENTATION = """
import torch
from torch import nn
from torch.nn import functional as F


class Dense(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.backbone = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU())
        self.head = nn.Conv2d(6, 4, 1)

    def forward(self, images):
        return {"out": F.interpolate(self.head(self.backbone(images)), images.shape[2:], mode="bilinear")}


def seg():
    return Dense().eval()


def untrained(num_classes):
    return Dense().eval()
"""


@pytest.fixture
def dense(home, tmp_path):
    """A segmentation network, also in a file; a photo of three colours, which is drawn as it is at 32 pixels."""
    (tmp_path / "seg.py").write_text(SEGMENTATION)
    names = {}
    exec(SEGMENTATION, names)
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:, :12, 0], pixels[10:, 12:, 1], pixels[:10, 12:, 2] = 250, 200, 220
    from PIL import Image

    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return names["seg"](), pixels


def explained(**fields):
    (seen,) = xaibench.explain("photo.png", model="seg.py:seg", dataset="mini", methods="ixg,grad-cam", **fields)
    return seen


def test_the_predicted_region_of_a_segmentation_network_is_explained(dense):
    from xaibench.models.base import Encoding

    net, pixels = dense
    inputs = Encoding((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))(pixels[None])
    labels = net(inputs)["out"][0].argmax(0)
    most, *others = labels.unique(return_counts=True)[1].argsort(descending=True).tolist()
    most, *others = (labels.unique()[place].item() for place in (most, *others))
    seen = explained(region="predicted")
    assert seen.target.index == most and np.array_equal(seen.region, (labels == most).numpy())
    logits = torch.stack([net(inputs)["out"][0, k][labels == most].mean() for k in range(4)])
    assert seen.target.probability == pytest.approx(float(logits.detach().softmax(0)[most]), rel=1e-4)
    classifier = xaibench.RegionLogits(net, labels == most)
    for name in ("ixg", "grad-cam"):
        own = xaibench.attribute(classifier, inputs, [most], name, image_ids=["photo.png"])
        assert torch.allclose(seen.maps[name], own[0, 0], rtol=1e-4, atol=1e-6), name
    assert f"a region of {float((labels == most).float().mean()):.0%} of the image" in seen.model
    other = explained(region="predicted", target=others[0])
    assert np.array_equal(other.region, (labels == others[0]).numpy())


def test_the_whole_image_or_a_mask_is_explained_and_drawn(dense, tmp_path):
    from PIL import Image

    whole = explained(region="image", target=2)
    assert whole.region is None and "the whole image" in whole.model
    mask = np.zeros((32, 32), np.uint8)
    mask[4:20, 5:9] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    seen = explained(region="mask.png", target=2, out=tmp_path / "panel.png")
    assert np.array_equal(seen.region, mask > 0) and (tmp_path / "panel.png").stat().st_size > 5000
    assert not torch.allclose(seen.maps["ixg"], whole.maps["ixg"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"region": "here"}, "--region is predicted, image or the file of a mask, and here is no file"),
        ({"region": "predicted", "model": "tiny"}, "--region is of a segmentation network with its weights"),
        (
            {"region": "predicted", "model": "seg.py:untrained"},
            "--region is of a segmentation network with its weights",
        ),
        ({"region": "predicted", "target": 17}, "17"),
        ({"region": "black.png"}, "has no place on the displayed photo"),
        ({}, "not logits"),
    ],
)
def test_regions_that_cannot_be_explained(fields, message, dense, tmp_path):
    from PIL import Image

    Image.new("L", (32, 32)).save(tmp_path / "black.png")
    with pytest.raises(XaibenchError, match=message):
        xaibench.explain("photo.png", **({"model": "seg.py:seg", "dataset": "mini", "methods": "ixg"} | fields))
