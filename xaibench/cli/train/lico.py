"""`xaibench train lico`: beside a frozen text encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from xaibench.cli.train.options import verb

if TYPE_CHECKING:
    from xaibench.cli.train.options import _Training

EPILOG = """
\b
Examples:
  xaibench train lico --model resnet18 --dataset critters --text-encoder words --name my_lico
  xaibench train lico --model resnet18 --dataset imagenet-s50 --data-root INS --download --epochs 100 --batch-size 128
  xaibench train lico --model resnet18 --dataset critters --text-encoder words --terms ot --prompt label-first
  xaibench train classifier --model resnet18 --dataset critters --recipe schedule=lico --recipe gradient_clip=0.5
"""


def _carry_out(options: _Training, wanted: dict[str, Any]) -> None:
    """Trains, and says with which text encoder."""
    from xaibench.training.tasks import task_of

    task = task_of("lico", wanted | {"download": options.download})
    typer.echo(f"text encoder: {task.text.description}")
    options.run(task)


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
) -> dict[str, Any]:
    """Train with LICO: image features are matched to those of a text about the class.

    The loss is cross entropy + alpha x manifold matching + beta x optimal transport, from scratch, with the published
    schedule and clip; the baseline is `xaibench train classifier` with the same two. Only the image model is kept.
    """
    names = tuple(part.strip() for part in terms.split(",") if part.strip())
    return {
        "terms": names, "prompt": prompt, "contexts": contexts, "alpha": alpha, "beta": beta, "epsilon": epsilon,
        "iterations": iterations, "text_encoder": encoder, "text_weights": text_weights,
    }  # fmt: skip
