"""`xaibench train lico`: beside a frozen text encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from xaibench.cli.train.options import verb

if TYPE_CHECKING:
    from xaibench.cli.train.options import _Training
    from xaibench.training.lico.task import Lico

EPILOG = """
\b
Examples:
  xaibench train lico --model resnet18 --dataset critters --text-encoder words --name my_lico
  xaibench train lico --model resnet18 --dataset imagenet-s50 --data-root INS --download --epochs 100 --batch-size 128
  xaibench train lico --model resnet18 --dataset critters --text-encoder words --terms ot --prompt label-first
  xaibench train classifier --model resnet18 --dataset critters --recipe schedule=lico --recipe gradient_clip=0.5
"""


def _carry_out(options: _Training, wanted: tuple[Lico, str, str]) -> None:
    """Trains with the text encoder that two options name."""
    from dataclasses import replace

    from xaibench.training.lico.clip import text_source

    task, encoder, weights = wanted
    text = text_source(encoder, weights, options.download)
    typer.echo(f"text encoder: {text.words}")
    options.carry_out(replace(task, text=text))


@verb("lico", EPILOG, _carry_out)
def lico(
    terms: Annotated[str, typer.Option("--terms", help="mm (manifold matching), ot (transport), or both.")] = "mm,ot",
    prompt: Annotated[str, typer.Option("--prompt", help="shared, class-specific or label-first.")] = "shared",
    contexts: Annotated[int, typer.Option("--contexts", help="Trainable vectors in a prompt.")] = 12,
    alpha: Annotated[float, typer.Option("--alpha", help="The weight of manifold matching.")] = 10.0,
    beta: Annotated[float, typer.Option("--beta", help="The weight of transport.")] = 1.0,
    epsilon: Annotated[float, typer.Option("--epsilon", help="Of Sinkhorn; published 1e-4.")] = 0.1,
    iterations: Annotated[int, typer.Option("--iterations", help="Of Sinkhorn, at most; published 100.")] = 1000,
    encoder: Annotated[
        str, typer.Option("--text-encoder", metavar="NAME", help="Of open_clip, or words, which needs no file.")
    ] = "ViT-B-32",
    text_weights: Annotated[
        str, typer.Option("--text-weights", metavar="NAME|PATH|none", help="Published ones need --download once.")
    ] = "openai",
) -> tuple[Lico, str, str]:
    """Train with LICO: image features are matched to those of a text about the class.

    The loss is cross entropy + alpha x manifold matching + beta x optimal transport, from scratch, with the published
    schedule and clip; the baseline is `xaibench train classifier` with the same two. Only the image model is kept.
    """
    from xaibench.training.lico.task import Lico

    names = tuple(part.strip() for part in terms.split(",") if part.strip())
    task = Lico(names, prompt, alpha, beta, contexts, epsilon, iterations)
    return task, encoder, text_weights
