"""`xaibench train adversarial`: on images that are changed so that the model is wrong about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from xaibench.cli.train.options import verb

if TYPE_CHECKING:
    from xaibench.training.adversarial import Adversarial

EPILOG = """
\b
Examples:
  xaibench train classifier --model critters_cnn --dataset critters
  xaibench train adversarial --model critters_cnn --dataset critters --epsilon 4/255 --name my_robust
  xaibench run obey --model my_robust --methods grad-cam
  xaibench train adversarial --model resnet18 --dataset pet --data-root pets --norm l2 --epsilon 0.3
"""


@verb("adversarial", EPILOG)
def adversarial(
    norm: Annotated[str, typer.Option("--norm", metavar="linf|l2", help="How a change is measured.")] = "linf",
    epsilon: Annotated[
        str, typer.Option("--epsilon", help="The largest change, of pixels in [0, 1]: a number or a fraction.")
    ] = "2/255",
    steps: Annotated[int, typer.Option("--steps", help="Of an attack.")] = 7,
    step_size: Annotated[
        str | None, typer.Option("--step-size", help="Of a step; by default 2.5 epsilon / steps.")
    ] = None,
) -> Adversarial:
    """Fine-tune on attacked images (projected gradient descent), from the weights of the plain model.

    By default all layers for ten epochs by Adam at 1e-4. Accuracy under attack stands beside that on clean images in
    the metrics of each epoch, and chooses the epoch that is kept.
    """
    from xaibench.training.adversarial import Adversarial

    size = None if step_size is None else _number("--step-size", step_size)
    return Adversarial(norm, _number("--epsilon", epsilon), steps, size)


def _number(option: str, text: str) -> float:
    """The value of `0.3` or `2/255`; raises XaibenchError that names the option for anything else."""
    from fractions import Fraction

    from xaibench.errors import XaibenchError

    try:
        return float(Fraction(text.replace(" ", "")))
    except (ValueError, ZeroDivisionError, OverflowError):
        raise XaibenchError(f"{option} {text!r} is no number; give one such as 0.3 or 2/255") from None
