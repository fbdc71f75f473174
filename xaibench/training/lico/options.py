"""Options of LICO."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import field_validator

from xaibench.configuration import Argument, split_names
from xaibench.training.options import TaskOptions

if TYPE_CHECKING:
    from xaibench.training.lico.task import Lico


class LicoOptions(TaskOptions):
    """LICO: image features are matched to those of a text about the class."""

    terms: Annotated[tuple[str, ...], Argument(metavar="NAME,...", default="mm,ot")] = ("mm", "ot")
    """mm (manifold matching), ot (transport), or both."""
    prompt: str = "shared"
    """shared, class-specific or label-first."""
    contexts: int = 12
    """Trainable vectors in a prompt."""
    alpha: float = 10.0
    """The weight of manifold matching."""
    beta: float = 1.0
    """The weight of transport."""
    epsilon: float = 0.1
    """Of Sinkhorn; published 1e-4."""
    iterations: int = 1000
    """Of Sinkhorn, at most; published 100."""
    text_encoder: Annotated[str, Argument(metavar="NAME")] = "ViT-B-32"
    """Of open_clip, or words, which needs no file."""
    text_weights: Annotated[str, Argument(metavar="NAME|PATH|none")] = "openai"
    """Published ones need --download once."""

    _terms = field_validator("terms", mode="before")(split_names)

    def make_task(self, download: bool = False) -> Lico:
        """`Lico`; raises XaibenchError where the text encoder is not here and download does not allow to fetch it."""
        from xaibench.training.lico.clip import text_source
        from xaibench.training.lico.task import Lico

        numbers = self.alpha, self.beta, self.contexts, self.epsilon, self.iterations
        Lico(self.terms, self.prompt, *numbers)  # mistakes are found before a file is fetched
        return Lico(self.terms, self.prompt, *numbers, text_source(self.text_encoder, self.text_weights, download))
