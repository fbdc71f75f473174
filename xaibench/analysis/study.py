"""The result of a comparison of designs: its pairs, its arms, and notes on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

import pandas as pd

from xaibench.analysis.accuracy import worst_groups
from xaibench.analysis.arm import Arm
from xaibench.analysis.comparison import ENOUGH, Comparison, compare, spread
from xaibench.analysis.ranking import RANKED
from xaibench.analysis.scored_board import ScoredBoard
from xaibench.analysis.scores import bounds_of
from xaibench.presentation import Presentable
from xaibench.results.cells import metric_declaration

ARM_COLUMNS = ("arm", "training", "accuracy", "best_method", "best", "mean", "n_images", "n_methods")
SOMETIMES = ("worst_group", "epoch_seconds")
"""Further columns: the accuracy of the worst group of images, where there are groups; seconds of an epoch of training,
without evaluation, where arms are trained differently."""


class DesignArm(Protocol):
    """The fields of an arm that are read here; see `cards.ComparisonArm`."""

    model: str
    way: str
    training: int | None


class Design(Protocol):
    """What is compared: the fields that are read here; `cards.ComparisonCard` has them."""

    name: str
    title: str
    question: str
    claim: str
    pairs: Sequence[tuple[str, str]]
    confounded: Sequence[str]

    @property
    def arms(self) -> Mapping[str, DesignArm]: ...
    def arm(self, name: str) -> DesignArm: ...


@dataclass(frozen=True)
class Study(Presentable):
    """What `xaibench compare` found.

    pairs: the comparisons, in the order of the card. arms: by name. summary: one row per training, with `ARM_COLUMNS`:
    accuracy in [0, 1] or NaN, the best method that is ranked with its mean over images, the mean over all such methods;
    and those of `SOMETIMES` that any training has. spread: how scores vary between trainings of the arms that are
    single trainings of one design, None elsewhere. titles: those of the arms' boards. protocol, dataset, metric,
    higher_is_better: as on the boards. protocol_label: the protocol with its settings.
    """

    layout: ClassVar[str] = "study"

    card: Design
    pairs: tuple[Comparison, ...]
    arms: dict[str, Arm]
    summary: pd.DataFrame
    spread: pd.DataFrame | None
    titles: dict[str, str]
    protocol: str
    dataset: str
    metric: str
    higher_is_better: bool
    notes: tuple[str, ...]
    protocol_label: str

    @property
    def title(self) -> str:
        """The card's title with what was measured on what."""
        return f"{self.card.title} · {self.protocol_label} · {self.dataset}"

    @property
    def across_models(self) -> bool:
        """Whether arms are different models."""
        return _across_models(self.card)

    @property
    def trained(self) -> bool:
        """Whether arms are trained in ways of their own."""
        return any(arm.way for arm in self.card.arms.values())

    @property
    def table(self) -> pd.DataFrame:
        """One row per pair and method."""
        return pd.concat([
            pair.table.assign(
                pair=f"{pair.before} -> {pair.after}", judge=self.protocol_label, enough_trainings=pair.enough
            )
            for pair in self.pairs
        ], ignore_index=True)  # fmt: skip


def make_study(
    card: Design,
    boards: Mapping[str, Sequence[ScoredBoard]],
    arms: dict[str, Arm],
    pairs: Iterable[tuple[str, str]],
    notes: Iterable[str] = (),
    protocol_label: str = "",
    *,
    comparable: bool,
) -> Study:
    """The study of a card: boards (one per training) and scores of each arm, and which arms are compared.

    protocol_label: the protocol with its settings, by default its name. comparable: whether its scores may be compared
    across models, as its card says.
    """
    first = next(iter(boards.values()))[0]
    higher = first.higher_is_better
    bounds = bounds_of(first.context["protocol"] | metric_declaration(first.context["protocol"], first.metric))
    found = tuple(
        replace(compare(arms[before], arms[after], higher, bounds), confounded=bool(card.confounded))
        for before, after in pairs
    )
    shown = dict.fromkeys(board.context["dataset"].get("label", "") for each in boards.values() for board in each)
    notes = [*notes, *_warnings(card, found, first, arms, comparable)]
    single = [arm for name, arm in arms.items() if card.arms.get(name) and card.arms[name].training is not None]
    return Study(
        card, found, arms, _summary(arms, higher), spread(single) if len(single) > 1 else None,
        {name: each[0].title for name, each in boards.items()}, first.context["protocol"]["name"],
        " / ".join(shown), first.metric, higher, tuple(notes),
        protocol_label or first.context["protocol"]["name"],
    )  # fmt: skip


def _summary(arms: Mapping[str, Arm], higher: bool) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for arm in arms.values():
        ranked = [m for m, kind in enumerate(arm.kinds) if kind in RANKED]
        worst = worst_groups(arm)
        for training, (name, value) in enumerate(arm.best(higher)):
            rows.append({
                "arm": arm.name, "training": training,
                "accuracy": arm.accuracies[training] if arm.accuracies else float("nan"), "best_method": name,
                "best": value, "mean": float(arm.scores[training][:, ranked].mean()), "n_images": len(arm.images),
                "n_methods": len(ranked), "worst_group": worst[training],
                "epoch_seconds": arm.seconds[training] if arm.seconds else float("nan"),
            })  # fmt: skip
    table = pd.DataFrame(rows, columns=[*ARM_COLUMNS, *SOMETIMES])
    return table.drop(columns=[name for name in SOMETIMES if table[name].isna().all()])


def _across_models(card: Design) -> bool:
    return len({card.arm(name).model for pair in card.pairs for name in pair}) > 1


def _warnings(
    card: Design, pairs: Sequence[Comparison], board: ScoredBoard, arms: Mapping[str, Arm], comparable: bool
) -> list[str]:
    """What a reader must know of these numbers."""
    notes = ["how many methods improve is a description: methods share evidence and are not independent"]
    poor = sorted({pair.trainings for pair in pairs if not pair.enough})
    if card.confounded:
        notes.append(
            f"{', '.join(card.confounded)} change together between these networks: this describes the networks, and "
            "says nothing of a design, however many trainings there are"
        )
    elif poor and not any(arm.training is not None for arm in card.arms.values()):
        fewest = min(min(each) for each in poor)
        few = "one training" if fewest == 1 else f"{fewest} trainings"
        notes.append(
            f"{few} an arm: this describes these networks, and says nothing of the design; a claim about a design "
            f"rests on at least {ENOUGH} trainings (--trainings {ENOUGH})"
        )
    elif poor:
        notes.append("each arm is one training: intervals speak of other images for these networks")
    if _across_models(card) and not comparable:
        notes.append(f"{board.context['protocol']['name']} is not made for comparing models: its scale is the model's")
    weak = [
        f"{arm.name} {min(arm.accuracies):.1%}" for arm in arms.values() if arm.accuracies and min(arm.accuracies) < 0.5
    ]
    if weak:
        notes.append(f"less than half of the images right: {', '.join(weak)}; such a network says little of its design")
    for pair in pairs:
        if pair.missing:
            notes.append(f"{pair.before} and {pair.after}: only one has {', '.join(pair.missing)}")
    if not metric_declaration(board.context["protocol"], board.metric).get("higher_is_better", True):
        notes.append("lower is better: a change below zero is an improvement")
    return notes
