"""The card of an attribution method."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from xaibench.cards.part import Card


class MethodCard(Card):
    """An attribution method. Its target is a function of evidence, or a class of captum, pytorch-grad-cam or zennit."""

    kind: ClassVar[str] = "method"
    role: Literal["method", "variant", "control", "oracle"] = "method"
    """How boards treat it: a method or variant is ranked, a control or oracle is shown without a rank."""
    transform: Literal["raw", "abs"] = "raw"
    """The transform of the channel sum of the attributions: `abs` takes the absolute value, `raw` changes nothing."""
    at_stage: bool = False
    """Whether its maps may be taken at a stage of the model (`--layer`), as those of a CAM layer always may."""
    families: tuple[str, ...] = ()
    """The model families that it is defined for; empty: all."""
    resize: Literal["bilinear", "nearest"] = "bilinear"
    """How its maps are enlarged to the size of the image; with `nearest`, every position becomes one constant block."""
    needs: tuple[Literal["cam-layer", "gradients", "relu", "completeness", "biases", "attention"], ...] = ()
    """Requirements on a model. `relu` (no other activation functions), `completeness`, `biases` (none but
    those that the method reads) and `attention` (of a kind that the method has rules for) are tested before a run."""
    formula: str = ""
    """What it computes, in one line of plain text."""
    family_parameters: dict[str, dict[str, Any]] = {}
    """Parameters that have other values for models of a family, by the name of the family."""

    def for_family(self, family: str) -> MethodCard:
        """The card with the parameters that the method has for models of a family."""
        own = self.family_parameters.get(family)
        return self.model_copy(update={"parameters": self.parameters | own}) if own else self
