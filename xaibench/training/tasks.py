"""Ways of training by name, with the options of `xaibench train`: what cards of comparisons ask for."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from typing import Any

from xaibench.attribution.stages import INPUT
from xaibench.errors import XaibenchError
from xaibench.training.adversarial import Adversarial
from xaibench.training.cgc import Cgc
from xaibench.training.fit_level import FitLevel
from xaibench.training.guidance.guided import Guided
from xaibench.training.guidance.targets import Annotations
from xaibench.training.lico.clip import text_source
from xaibench.training.lico.task import TERMS, Lico
from xaibench.training.task import Task


def guided(
    loss: str = "energy", attribution: str = "ixg", layer: str = INPUT, weight: float = 1e-3,
    annotations: str = "boxes", fraction: float = 1.0, dilate: float = 0.0, subset: int = 0, share_masks: float = 0.1,
    alpha: float = 0.5, over: str = "annotated", match: str | None = None, loss_option: dict[str, Any] | None = None,
) -> Guided:  # fmt: skip
    """Guidance at one lambda, which is `weight`."""
    guides = Annotations(annotations, fraction, dilate, subset, share_masks)
    stage = INPUT if layer.lower() == INPUT.lower() else layer
    return Guided(loss, attribution, stage, weight, guides, alpha, over, match, loss_options=loss_option or {})


def lico(
    terms: tuple[str, ...] = TERMS, prompt: str = "shared", contexts: int = 12, alpha: float = 10.0, beta: float = 1.0,
    epsilon: float = 0.1, iterations: int = 1000, text_encoder: str = "ViT-B-32", text_weights: str = "openai",
    download: bool = False,
) -> Lico:  # fmt: skip
    """LICO beside the text encoder of two options."""
    source = text_source(text_encoder, text_weights, download)
    return Lico(tuple(terms), prompt, alpha, beta, contexts, epsilon, iterations, source)


WAYS: dict[str, Callable[..., Task]] = {
    "guided": guided, "lico": lico, "cgc": Cgc, "adversarial": Adversarial, "classifier": FitLevel,
}  # fmt: skip
LAMBDA = {"guided": "weight", "cgc": "weight"}  # a word of Python's own
"""What `lambda` is called, of the ways that have one."""


def task_of(way: str, options: dict[str, Any]) -> Task:
    """The task of a way of training, `guided`, `lico`, `cgc`, `adversarial` or `classifier` (`fit`: over or under).

    options are those of the way's command, with `_` for `-`. Raises XaibenchError for a way or an option that there is
    not, and for values that are none.
    """
    if way not in WAYS:
        raise XaibenchError(f"no way of training is called {way!r}; take {', '.join(WAYS)}")
    renamed = {"lambda": LAMBDA.get(way)} | ({"fit": "level"} if way == "classifier" else {})
    known = [n for n in inspect.signature(WAYS[way]).parameters if n not in (*renamed.values(), "name", "keep")]
    known += [option for option, name in renamed.items() if name]
    for option in options:
        if option not in known:
            close = difflib.get_close_matches(option, known, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise XaibenchError(f"training {way} has no option {option!r}; {hint}it has {', '.join(known)}")
    try:
        return WAYS[way](**{renamed.get(option) or option: value for option, value in options.items()})
    except (TypeError, AttributeError) as error:
        raise XaibenchError(f"training {way} with {options}: {error}") from None
