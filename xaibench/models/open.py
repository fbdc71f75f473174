"""From a model's name to a model with weights: built, its last stage dilated for small images, weights found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xaibench import registry
from xaibench.cards import Alignment, DatasetCard, Geometry, ModelCard, PublishedWeights
from xaibench.datasets.open import parameters_of
from xaibench.errors import XaibenchError
from xaibench.home import home
from xaibench.models.base import Encoding, Model
from xaibench.models.build import attention_in, brings_weights, build_network, checked_classes, is_finished, own_state
from xaibench.models.dilate import dilate_last_stage, sample_input
from xaibench.models.download import fetch, stored_at
from xaibench.models.probe import default_cam_layer, map_size
from xaibench.models.state import StateFile, class_count, load_state, read_state
from xaibench.models.tokens import check_size, transformer_in
from xaibench.models.trained import TrainedWeights, trained_weights

DEFAULT_ALIGNMENT = Alignment(grid=4, baseline="zero", probability=0.5)


def model_card(name: str) -> ModelCard:
    """The card of a registered model, of `timm:NAME`, or of a builder in a Python file, `path/to/file.py:make`."""
    if name.rpartition(":")[0].endswith(".py"):
        from xaibench.plugins import model_in_file

        return model_in_file(name)
    if name.startswith("timm:"):
        from xaibench.models import timm_cnn

        return timm_cnn.card(name)
    return registry.card("model", name)


def encoding_of(card: ModelCard) -> Encoding:
    """How the model of a card sees images."""
    return Encoding(card.mean, card.std, card.complement)


def build_model(card: ModelCard, num_classes: int, geometry: Geometry, min_cam_grid: int = 0) -> Model:
    """A model for a data set's class count and image size, without weights unless its builder brings them.

    Where the map of the CAM layer is smaller than min_cam_grid, the last stage is dilated, and the notes say so. Raises
    XaibenchError where the network cannot be built, cannot take such images or has another number of classes (which one
    that brings its weights may have).
    """
    net = build_network(card, num_classes)
    encoding = encoding_of(card)
    look = sample_input(encoding.channels, geometry.crop)
    check_size(net, tuple(look.shape[2:]), card.name)
    classes = checked_classes(card, net, look)
    if classes != num_classes and not is_finished(card):
        raise XaibenchError(f"model {card.name} gives {classes} logits where it was built for {num_classes} classes")
    tokens = transformer_in(net) is not None
    attends = attention_in(net) and not tokens
    layer = card.cam_layer or ("" if attends else default_cam_layer(net, look))
    if layer and not any(path == layer for path, _ in net.named_modules()):
        raise XaibenchError(f"model {card.name} has no layer {layer!r}, which its cam_layer names")
    lost = [path for path in card.stages.values() if all(path != known for known, _ in net.named_modules())]
    if lost:
        raise XaibenchError(f"model {card.name} has no layer {lost[0]!r}, which its stages name")
    times = dilate_last_stage(net, layer, look, min_cam_grid) if layer and min_cam_grid and not tokens else 0
    notes = ("last stage dilated" if times == 1 else f"last {times} stages dilated",) if times else ()
    return Model(
        name=card.name, net=net, encoding=encoding, cam_layer=layer, classes=classes,
        cam_grid=map_size(net, layer, look), family=card.family, probability=card.probability, notes=notes,
        version=card.version, source=registry.source(card), stages=card.stages,
    )  # fmt: skip


@dataclass(frozen=True)
class Wanted:
    """Which weights a run asks for: `plain`, `aligned` (then with which deletions), or a path."""

    choice: str
    alignment: Alignment = DEFAULT_ALIGNMENT

    def fits(self, alignment: dict | None) -> bool:
        """Whether weights with this alignment are what is asked for."""
        if self.choice == "plain":
            return alignment is None
        return alignment is not None and self.alignment.suits(Alignment(**alignment))


def find_weights(
    card: ModelCard, dataset: DatasetCard, wanted: Wanted, download: bool, options: dict[str, Any] | None = None
) -> Path | None:
    """The file of the weights that are wanted: trained here, or published and fetched (if download allows it).

    Of several trainings, those count that learnt from images with the same options of the data set, of these those by
    the usual recipe, and of these that of seed 0, as in a run; what a task made is found by its path or name alone.
    None where there are none yet. Raises XaibenchError where a path does not exist, where a file that the model's card
    names is gone, and where several trainings fit.
    """
    if wanted.choice not in ("plain", "aligned"):
        return named_file(wanted.choice)
    if path := own_file(card, dataset, wanted):
        return path
    size = dataset.geometry.facts
    fitting = [
        w
        for w in trained_weights(card.name, dataset.name, registry.source(card))
        if wanted.fits(w.facts["alignment"]) and w.facts.get("geometry", size) == size and not w.facts.get("task")
    ]
    here = [w.path for w in _nearest(fitting, card, dataset, parameters_of(dataset, options or {}, "train"))]
    if len(here) > 1:
        raise XaibenchError(
            f"several {wanted.choice} weights fit; choose one by --weights: {', '.join(map(str, here))}"
        )
    if here:
        return here[0]
    published = published_weights(card, dataset, wanted)
    if published is None:
        return None
    url, sha256 = address(published)
    path = stored_at(url)
    return fetch(url, path, sha256) if download or path.is_file() else None


def named_file(choice: str) -> Path:
    """The file that --weights names; raises XaibenchError where there is none."""
    path = Path(choice)
    if not path.is_file():
        raise XaibenchError(f"--weights {choice} is neither plain, nor aligned, nor a file")
    return path


def _nearest(
    trained: list[TrainedWeights], card: ModelCard, dataset: DatasetCard, parameters: dict[str, Any]
) -> list[TrainedWeights]:
    """Those trainings that learnt from images of these parameters, of these those by the usual recipe, of these those
    of seed 0; all, where none did."""
    from xaibench.training.recipe import recipe_for

    unasked = {"drop_parts"} - parameters.keys()  # the alignment's doing

    def same_images(facts: dict) -> bool:
        return {k: v for k, v in facts.get("train", {}).items() if k not in unasked} == parameters

    def usual(facts: dict) -> bool:
        return facts.get("recipe") == recipe_for(card, dataset).facts

    for wanted in (same_images, usual, lambda facts: facts.get("seed", 0) == 0):
        trained = [w for w in trained if wanted(w.facts)] or trained
    return trained


def own_file(card: ModelCard, dataset: DatasetCard, wanted: Wanted) -> Path | None:
    """The file that the card of a named training has for the weights that are wanted; None for other models.

    Raises XaibenchError where the file is gone, and where it is for another data set.
    """
    said = card.aligned if wanted.choice == "aligned" else card.plain
    if said is None or not said.file or not wanted.fits(said.alignment.facts if said.alignment else None):
        return None
    path = file_of(card, said)
    if said.dataset != dataset.name:
        raise XaibenchError(
            f"model {card.name} was trained on {said.dataset}, not on {dataset.name}; "
            f"judge it there all the same by --weights {path}"
        )
    return path


def file_of(card: ModelCard, said: PublishedWeights) -> Path:
    """The file of this machine that a model's card names; raises XaibenchError where it is gone."""
    path = home() / said.file
    if not path.is_file():
        raise XaibenchError(
            f"weights {path} of model {card.name} are gone; train it again, or name a file by --weights"
        )
    return path


def published_weights(card: ModelCard, dataset: DatasetCard, wanted: Wanted) -> PublishedWeights | None:
    """What the model's card says of published weights for this data set that are what is wanted."""
    published = card.aligned if wanted.choice == "aligned" else card.plain
    alignment = published.alignment.facts if published and published.alignment else None
    return published if published and published.dataset == dataset.name and wanted.fits(alignment) else None


def address(weights: PublishedWeights) -> tuple[str, str]:
    """URL and (beginning of the) sha256 of published weights; torchvision's file names end in that beginning."""
    if not weights.enum:
        return weights.url, weights.sha256
    from xaibench.models.torchvision_cnn import weights_url

    url = weights_url(weights.enum)
    return url, url.rsplit("-", 1)[-1].removesuffix(".pth")


def missing_weights(card: ModelCard, dataset: DatasetCard, wanted: Wanted) -> XaibenchError:
    """The error where no weights were found: what to train, or what may be downloaded."""
    name = f"{wanted.choice} weights of {card.name} on {dataset.name}"
    return XaibenchError(f"no {name} here; {ways_to_weights(card, dataset, wanted)}")


def ways_to_weights(card: ModelCard, dataset: DatasetCard, wanted: Wanted) -> str:
    """How a user comes by the weights that are wanted, in words."""
    made = f"--model {card.name} --dataset {dataset.name}{' --data-root DIR' if dataset.needs_root else ''}"
    if wanted.choice == "aligned":
        verb, deletions = training_words(wanted.alignment)
        ways = [f"make them: xaibench train {verb} {made}{deletions}"]
    else:
        ways = [f"make them: xaibench train classifier {made}"]
    if published := published_weights(card, dataset, wanted):
        ways.insert(0, f"fetch the published ones ({address(published)[0]}) by --download")
    return "; ".join([*ways, "or name a file by --weights PATH"])


def training_words(alignment: Alignment) -> tuple[str, str]:
    """The verb of `xaibench train` that makes weights of an alignment, and its options that are not as usual."""
    if alignment.kind == "parts":
        return "part-deletion", ""
    if alignment.kind == "pixels":
        return "random-masks", f" --share {alignment.probability:g} --baseline {alignment.baseline}"
    usual = DEFAULT_ALIGNMENT.suits(alignment)
    return "patch-deletion", "" if usual else f" --grid {alignment.grid} --baseline {alignment.baseline}"


def open_model(
    card: ModelCard, dataset: DatasetCard, classes: int, choice: str, weights: Callable[[], Path], any_classes: bool
) -> tuple[Model, StateFile, int | None]:
    """The model with its weights, what these were read from, and their number of classes where it is not `classes`.

    weights gives the file of what `choice` asks for; it is not called for a finished network where the choice is
    `plain`. Raises XaibenchError where the weights are for other classes, unless any_classes allows that.
    """
    own = choice == "plain" and brings_weights(card)
    # a finished network stays as it is: larger last maps would change what it learnt
    geometry, grid = dataset.geometry, 0 if own else dataset.min_cam_grid
    model = build_model(card, classes, geometry, grid)
    state = own_state(card, model.net) if own else read_state(weights())
    other = class_count(model.net, state) or (model.classes if model.classes != classes else None)
    if other and not any_classes:
        raise XaibenchError(
            f"weights {state.path} are for {other} classes, {dataset.name} has {classes}; "
            "name weights for these classes, or explain what the model says by --target prediction"
        )
    if other and other != model.classes:
        model = build_model(card, other, geometry, grid)
    return load_weights(model, state, "own" if own else choice, card), state, other


def load_weights(model: Model, state: StateFile, choice: str, card: ModelCard) -> Model:
    """Loads weights that were read and notes in model.weights its digest, its alignment (or None) and words for titles.

    The alignment is what xaibench wrote into the file when it trained it, or, for a file of the published name, what
    the model's card says of it. A network that was trained here has the probability of its loss.
    """
    load_state(model.net, state, model.name)
    if loss := state.facts.get("recipe", {}).get("loss"):
        model.probability = "sigmoid" if loss == "binary-cross-entropy" else "softmax"
    alignment = state.facts.get("alignment")
    if card.aligned and card.aligned.alignment and address(card.aligned)[0].endswith("/" + state.path.name):
        alignment = card.aligned.alignment.facts
    kinds = {"cell": "aligned", "pixels": "trained on random masks", "parts": "trained on dropped parts"}
    kind = kinds[alignment.get("kind", "cell")] if alignment else ""
    made = state.facts["task"]["name"] if state.facts.get("task") else kind or "plain"
    known = {"plain": made, "aligned": kind, "own": "its own weights"}
    words = known.get(choice) or f"{kind + ' ' if kind == 'aligned' else ''}weights {state.path.name}"
    model.weights = {"digest": state.digest, "alignment": alignment, "label": words}
    return model
