"""Evidence: a model's outputs, gradients and activations for a batch of images, computed once and shared by methods."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from xaibench.attribution.costs import Part
from xaibench.attribution.deprecated import with_old_names
from xaibench.attribution.reach import apart, gradient_of, layer_layout, leaf
from xaibench.attribution.runner import ModelRunner
from xaibench.datasets.image_annotations import ImageAnnotations
from xaibench.errors import XaibenchError
from xaibench.models.base import NOTHING_KNOWN, ModelView
from xaibench.models.layouts import MapLayout, check_output
from xaibench.models.outputs import probabilities
from xaibench.seeds import generator, normal, uniform

if TYPE_CHECKING:
    from xaibench.models.base import Encoding

Draw = Callable[..., Tensor]
SPACES = ("encoded", "pixels")  # where uniform baselines and noise are drawn


@dataclass(frozen=True)
class Stage:
    """Activations and gradients of the CAM layer, both (P, K, h, w), one entry per pair.

    For a layer of tokens, those of the patches, in their grid.
    """

    activations: Tensor
    gradients: Tensor


@dataclass(frozen=True)
class Moments:
    """Mean (first) and mean square (second) over noisy samples of multiplier x gradient, both (P, C, H, W)."""

    first: Tensor
    second: Tensor


@with_old_names(
    stage="activations_and_gradients",
    passes="runner",
    scenes="annotations",
    through="with_model",
    beside="with_reference",
)
class Evidence:
    """Everything that methods and protocols use about (image, target) pairs: computed on demand, cached, and shared.

    images (B, C, H, W) are encoded (normalised), image_ids (B,) identify them: noise and masks are drawn from (seed,
    purpose, image id), so nothing depends on how images are batched. targets (B,) are class indices, one per image,
    whose logits are explained; `explaining` gives evidence about other pairs, and about probabilities. view is what is
    known of the model besides its network: CAM layer, stages, encoding, zero baseline, and the function from logits to
    probabilities. annotations, in a run, are the data set's annotations of the images. reference, for
    protocols that compare two models, is evidence of the second model about the same pairs. Results that need no target
    are computed once per image, also across `explaining`.

    Public members, stable for plug-ins: images, targets, owner, inputs, image_ids, pair_ids, seed, output, logits,
    scores, objective, gradient, gradient_moments, path_moments, activations_and_gradients, noise, noisy, baseline,
    random, logits_under, once, at, with_model, runner, annotations, reference. Their names before 0.2 (`stage`,
    `through`, `passes`, `scenes`) still work, with a DeprecationWarning.
    """

    def __init__(
        self,
        runner: ModelRunner,
        images: Tensor,
        targets: Tensor,
        image_ids: Sequence[str],
        *,
        view: ModelView = NOTHING_KNOWN,
        seed: int = 0,
        annotations: ImageAnnotations | None = None,
    ):
        if len(images) != len(image_ids):
            raise XaibenchError(f"{len(images)} images but {len(image_ids)} image ids")
        self.runner, self.images, self.image_ids, self.seed = runner, images, list(image_ids), seed
        self.annotations, self.reference = annotations, None
        self.cam_layer, self._function, self.stages, self.encoding = (
            view.cam_layer, view.probability, view.stages, view.encoding
        )  # fmt: skip
        self.zero = torch.zeros(images.shape[1]) if view.zero is None else view.zero
        self._image_memo: dict[tuple, object] = {}
        self._image_parts: dict[tuple, Part] = {}
        self._explain(targets, None, "logit")

    def _explain(self, targets: Tensor, owner: Tensor | None, output: str) -> None:
        """Sets the pairs and what is explained of them.

        Numbers are read from tensors as they are given, before they are moved: reading from a GPU waits for it.
        """
        if output not in ("logit", "probability"):
            raise XaibenchError(f"output is logit or probability, not {output!r}")
        device, count = self.images.device, len(self.images)
        self.targets, self.output = targets.to(device), output
        self.owner = torch.arange(count, device=device) if owner is None else owner.to(device)
        self._owners = range(count) if owner is None else owner.tolist()
        if len(self.targets) != len(self.owner):
            raise XaibenchError(f"{len(self.targets)} targets but {len(self.owner)} owners; one image each")
        self._range = _range_of(targets) if targets.device.type == "cpu" else None
        self._pair_memo: dict[tuple, object] = {}
        self._pair_parts: dict[tuple, Part] = {}

    @property
    def view(self) -> ModelView:
        """What is known of the model besides its network."""
        return ModelView(self.cam_layer, self._function, self.zero, self.stages, self.encoding)

    @property
    def probability(self) -> str:
        """What makes a logit a probability, `softmax` or `sigmoid`: always the latter for a network with one output."""
        if self._function != "sigmoid" and self.runner.one_logit is None and len(self.images):
            self.runner.logits(1, lambda index: self.images[index])  # to see how many outputs there are
        return "sigmoid" if self.runner.one_logit else self._function

    def explaining(self, targets: Tensor, owner: Tensor | None = None, output: str = "logit") -> Evidence:
        """Evidence about other pairs of the same images; what was computed per image is shared.

        targets (P,) are class indices and owner (P,) the index of each pair's image, by default one pair per image.
        """
        other = copy.copy(self)
        other._explain(targets, owner, output)
        other.reference = self.reference and self.reference.explaining(targets, owner, output)
        return other

    def with_reference(self, second: Evidence) -> Evidence:
        """The same evidence, sharing all results, with a second model's evidence about the same pairs as
        `reference`."""
        if second.pair_ids != self.pair_ids or second.targets.tolist() != self.targets.tolist():
            raise XaibenchError("two models are compared on the same images and targets")
        other = copy.copy(self)
        other.reference = second
        return other

    def at(self, inputs: Tensor) -> Evidence:
        """Evidence about the same pairs at other encoded images, one of each pair (P, C, H, W); nothing is shared.

        Noise and masks are those of the pair's own image id.
        """
        other = Evidence(self.runner, inputs, self.targets, self.pair_ids, view=self.view, seed=self.seed)
        other.output, other._range = self.output, self._range
        return other

    def with_model(self, runner: ModelRunner, cam_layer: nn.Module | None) -> Evidence:
        """Evidence about the same pairs of another network, whose CAM layer is given; nothing is shared."""
        other = copy.copy(self)
        other.runner, other.cam_layer, other.reference = runner, cam_layer, None
        other._image_memo, other._image_parts = {}, {}
        other._pair_memo, other._pair_parts = {}, {}
        return other

    def once(self, key: tuple, compute: Callable[[], object], *, per_image: bool = False):
        """The result of `compute`, computed at the first call with this key."""
        memo, parts = (self._image_memo, self._image_parts) if per_image else (self._pair_memo, self._pair_parts)
        ledger = self.runner.ledger
        if key in memo:
            if ledger is not None:
                ledger.use(parts.get(key))
        elif ledger is not None:
            memo[key], parts[key] = ledger.shared(compute)
        else:
            memo[key] = compute()
        return memo[key]

    # Images, pairs and randomness --------------------------------------------------------------------------------

    @property
    def pair_ids(self) -> list[str]:
        """The image id of each pair (P,)."""
        return [self.image_ids[i] for i in self._owners]

    @property
    def inputs(self) -> Tensor:
        """The encoded image of each pair, (P, C, H, W)."""
        return self.images[self.owner]

    def random(self, purpose: str, shape: Sequence[int], draw: Draw = torch.randn) -> Tensor:
        """(B, *shape) drawn per image from (seed, purpose, image id) by a torch function such as randn or rand.

        In float32 on the CPU, then cast: other dtypes and devices get the same numbers.
        """
        single = {torch.randn: normal, torch.rand: uniform}.get(draw)
        dice = [generator(self.seed, purpose, image_id) for image_id in self.image_ids]
        drawn = [single(each, *shape) if single else draw(*shape, generator=each) for each in dice]
        return torch.stack(drawn).to(self.images)

    def noise(self, sample: int) -> Tensor:
        """The standard normal noise number `sample` of every image, (B, C, H, W)."""
        key = ("noise", sample)
        return self.once(key, lambda: self.random(f"noise {sample}", self.images.shape[1:]), per_image=True)

    def noisy(self, sample: int | None, sigma: float, space: str = "encoded") -> Tensor:
        """The input of each pair plus sigma times a noise sample (P, C, H, W); without a sample, the input itself.

        In the space `pixels`, sigma is that of pixels in [0, 1], and the channels 1 - x lose what x gains.
        """
        if sample is None:
            return self.inputs
        noise, encoding = self.noise(sample), self.pixel_encoding(space)
        noise = encoding.of_change(noise[:, : len(encoding.mean)]) if encoding else noise
        return (self.images + sigma * noise)[self.owner]

    def baseline(self, name: str, space: str = "encoded") -> Tensor:
        """A baseline image (C, H, W): `zero` of the encoded space, or `uniform`, one image for the run.

        The latter is drawn from U(-1, 1) in encoded space, or, in the space `pixels`, from all pixels in [0, 1].
        """
        shape, encoding = self.images.shape[1:], self.pixel_encoding(space)
        if name == "zero":
            return self.zero[:, None, None].expand(shape).to(self.images)
        if name != "uniform":
            raise XaibenchError(f"unknown baseline {name!r}; it is zero or uniform")
        dice = generator(self.seed, "uniform baseline")
        if encoding:
            return encoding.of_pixels(uniform(dice, len(encoding.mean), *shape[1:])).to(self.images)
        return (uniform(dice, *shape) * 2 - 1).to(self.images)

    def pixel_encoding(self, space: str) -> Encoding | None:
        """How pixels are encoded where `space` is `pixels`, None where it is `encoded`; raises XaibenchError for other
        spaces, and where the encoding is unknown."""
        if space not in SPACES:
            raise XaibenchError(f"unknown space {space!r}; it is {' or '.join(SPACES)}")
        if space == "encoded":
            return None
        if self.encoding is None:
            raise XaibenchError("the space pixels needs a model whose encoding is known: one of the registry")
        return self.encoding

    # Outputs -----------------------------------------------------------------------------------------------------

    def logits(self) -> Tensor:
        """Logits (B, K) of the images."""

        def compute() -> Tensor:
            return self.runner.logits(len(self.images), lambda image: self.images[image], self.images.device)

        return self.once(("logits",), compute, per_image=True)

    def logits_under(
        self, key: tuple, count: int, edit: Callable[[Tensor, Tensor], Tensor], device: torch.device | str | None = None
    ) -> Tensor:
        """Logits (B, count, K) of every image under `count` edits, cached by a key that identifies the edits.

        edit(image indices (n,), edit indices (n,)) returns encoded inputs (n, C, H, W). The indices are on the device
        of the images unless one is given: `cpu` for an edit that reads them as numbers.
        """

        def compute() -> Tensor:
            at = self.images.device if device is None else device
            total = len(self.images) * count
            logits = self.runner.logits(total, lambda index: edit(index // count, index % count), at)
            return logits.unflatten(0, (-1, count))

        return self.once(("logits under", *key), compute, per_image=True)

    def scores(self, logits: Tensor, output: str | None = None) -> Tensor:
        """The explained scalar of each pair (P, ...) from logits (B, ..., K) of the images."""
        return self._pick(logits[self.owner], self.targets, output or self.output)

    def _pick(self, logits: Tensor, targets: Tensor, output: str) -> Tensor:
        self._check_range(logits.shape[-1])
        if output == "probability":
            logits = probabilities(logits, self.probability)
        index = targets.view(-1, *[1] * (logits.ndim - 1)).expand(*logits.shape[:-1], 1)
        return logits.gather(-1, index)[..., 0]

    def check_range(self) -> None:
        """Raises XaibenchError for targets that are no classes of the network, by a pass of one image where none has
        shown how many it has."""
        if self.runner.outputs is None:
            self.runner.logits(1, lambda image: self.images[image])
        self._check_range(max(self.runner.outputs, 2))

    def _check_range(self, classes: int) -> None:
        if self._range is None:
            self._range = _range_of(self.targets)
        low, high = self._range
        if low < 0 or high >= classes:
            raise XaibenchError(f"target {low if low < 0 else high} is no class of {classes}")

    # Gradients ---------------------------------------------------------------------------------------------------

    def gradient_at(self, inputs: Tensor) -> Tensor:
        """Gradient (P, C, H, W) of each pair's score at other inputs of the same shape; not cached."""
        parts = self._gradients(len(inputs), lambda i: inputs[i], lambda i: i)
        return torch.cat([part for _, part in parts])

    def _gradients(
        self, count: int, inputs: Callable[[Tensor], Tensor], pair: Callable[[Tensor], Tensor]
    ) -> Iterator[tuple[slice, Tensor]]:
        """Gradients (n, C, H, W) of `count` inputs, a chunk at a time; pair returns the pairs (n,) whose scores are
        differentiated."""
        objective = lambda logits, index: self.objective(logits, pair(index))  # noqa: E731
        return self.runner.gradients(count, inputs, objective, self.images.device)

    def objective(self, logits: Tensor, pairs: Tensor) -> Tensor:
        """The explained scalar (n,) of some pairs (indices (n,)) from logits (n, K) of their inputs."""
        return self._pick(logits, self.targets[pairs], self.output)

    def gradient(self) -> Tensor:
        """Gradient (P, C, H, W) of each pair's score at its image."""
        return self.once(("gradient",), lambda: self.gradient_at(self.inputs))

    def gradient_moments(self, samples: int, sigma: float, space: str = "encoded") -> Moments:
        """Moments over noisy samples of noisy input x gradient there (SmoothGrad with Input x Gradient)."""

        def one(sample: int) -> Tensor:
            at = self.noisy(sample, sigma, space)
            return at * self.gradient_at(at)

        return self.once(("gradient moments", samples, sigma, space), lambda: _moments(one, samples))

    def path_gradient(self, start: Tensor, steps: int, end: Tensor) -> Tensor:
        """(P, C, H, W): gradient averaged over the straight path from an image (C, H, W) to `end` (P, C, H, W).

        Gauss-Legendre quadrature with `steps` nodes; not cached, unlike `path_moments`.
        """
        if steps < 1:
            raise XaibenchError(f"integrated gradients need at least one step, not {steps}")
        positions, weights = self._quadrature(steps)
        total = torch.zeros_like(end)

        def inputs(index: Tensor) -> Tensor:
            return torch.lerp(start, end[index // steps], positions[index % steps, None, None, None])

        for part, gradient in self._gradients(len(end) * steps, inputs, lambda index: index // steps):
            index = torch.arange(part.start, part.stop, device=total.device)
            total.index_add_(0, index // steps, gradient * weights[index % steps, None, None, None])
        return total

    def _quadrature(self, steps: int) -> tuple[Tensor, Tensor]:
        """Positions and weights (steps,) on the way from 0 to 1, once for all samples."""

        def compute() -> tuple[Tensor, Tensor]:
            nodes, weights = (torch.from_numpy(a).to(self.images) for a in np.polynomial.legendre.leggauss(steps))
            return (nodes + 1) / 2, weights / 2

        return self.once(("quadrature", steps), compute, per_image=True)

    def path_moments(
        self, baseline: str, steps: int, samples: int = 0, sigma: float = 0.0, space: str = "encoded"
    ) -> Moments:
        """Moments over noisy samples of (input - baseline) x path gradient; one noiseless sample where samples is 0."""
        start = self.baseline(baseline, space)

        def one(sample: int | None) -> Tensor:
            end = self.noisy(sample, sigma, space)
            return (end - start) * self.path_gradient(start, steps, end)

        key = ("path moments", baseline, steps, samples, sigma, space)
        return self.once(key, lambda: _moments(one, samples) if samples else _moments(lambda _: one(None), 1))

    # The CAM layer -----------------------------------------------------------------------------------------------

    def cam_layout(self) -> MapLayout | None:
        """How what the CAM layer gives is a map, None where it is none; found out once for the network and the size of
        its images.

        Raises XaibenchError without a CAM layer.
        """
        if self.cam_layer is None:
            raise XaibenchError("this model has no layer with a spatial map, which class activation maps need")
        return layer_layout(self.runner, self.cam_layer, self.images)

    def activations_and_gradients(self, sample: int | None = None, sigma: float = 0.0, space: str = "encoded") -> Stage:
        """Activations and gradients of the CAM layer at each pair's image, or at a noisy sample of it."""
        return self.once(("stage", sample, sigma, space), lambda: self._stage_at(self.noisy(sample, sigma, space)))

    def _stage_at(self, inputs: Tensor) -> Stage:
        layout = self.cam_layout()

        def step(index: Tensor) -> tuple[Tensor, Tensor]:
            kept: list[Tensor] = []

            def keep(module: nn.Module, args: tuple, output: Tensor) -> Tensor:
                check_output(output, len(index), layout)
                kept.append(leaf(output))
                return apart(kept[-1])

            handle = self.cam_layer.register_forward_hook(keep)
            try:
                with torch.enable_grad():
                    at = inputs[index].detach().requires_grad_()
                    logits = self.runner.call(at)
                    if len(kept) != 1:
                        raise XaibenchError(
                            f"the CAM layer must run once in a pass and give a map (N, K, h, w); it runs {len(kept)} "
                            "times"
                        )
                    score = self.objective(logits, index).sum()
            finally:
                handle.remove()
            gradient = gradient_of(self.runner, score, kept[0], at, self.cam_layer)
            return tuple(layout.to_map(part.to(inputs.dtype)) for part in (kept[0].detach(), gradient))

        parts = [part for _, part in self.runner.stream(len(inputs), step, inputs.device)]
        return Stage(torch.cat([a for a, _ in parts]), torch.cat([g for _, g in parts]))


def _range_of(targets: Tensor) -> tuple[int, int]:
    """The least and the greatest of targets (P,)."""
    low, high = torch.stack(targets.aminmax()).tolist() if len(targets) else (0, 0)
    return low, high


def _moments(sample: Callable[[int], Tensor], count: int) -> Moments:
    """Mean and mean square of `count` samples, adding them up one at a time."""
    first = second = None
    for index in range(count):
        value = sample(index)
        first = value if first is None else first + value
        second = value**2 if second is None else second + value**2
    return Moments(first / count, second / count)
