"""One leaderboard across models: every method of every model, on the images that all models were evaluated on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from xaibench.analysis.boards import Board, accuracy_of, choose, fitting, rest_of
from xaibench.analysis.leaderboard import Leaderboard
from xaibench.analysis.letters import letters
from xaibench.analysis.models_apart import better_models
from xaibench.analysis.ranking import RANKED, statistics_of
from xaibench.analysis.scores import bounds_of
from xaibench.analysis.stored import StoredResults
from xaibench.errors import XaibenchError
from xaibench.presentation import Presentable
from xaibench.results.cells import metric_declaration
from xaibench.results.store import Store

COLUMNS = ("rank", "model", "method", "mean", "ci_low", "ci_high", "n_images", "rank_low", "rank_high", "group",
           "kind")  # fmt: skip
MODEL_COLUMNS = ("model", "accuracy", "accuracy_on", "best_method", "best", "ci_low", "ci_high", "group", "mean",
                 "n_methods")  # fmt: skip
NUMBERS = ("accuracy", "best", "ci_low", "ci_high", "mean")  # floats also where no model has one
OF_A_MODEL = ("model", "weights", "reference")  # parts of a context that differ between models


@dataclass(frozen=True)
class AcrossModels(Presentable):
    """The boards of several models as one.

    table: one row per model and method, best first, with `COLUMNS`; ranks are among the ranked methods of all models,
    and null where the protocol's scores may not be compared across models. models: one row per model, by its best
    ranked method (chosen on these images), with `MODEL_COLUMNS`: accuracy in [0, 1] or NaN and on what, mean over its
    ranked methods, and group: models that share a letter cannot be told apart by their best methods ("" where nothing
    is ranked). titles: of each model's board. n_images: images that all models have. surely_better: bool, models in the
    order of `models` by themselves (`models_apart.better_models`).
    """

    layout: ClassVar[str] = "across-models"

    table: pd.DataFrame
    models: pd.DataFrame
    titles: dict[str, str]
    context: dict[str, Any]
    metric: str
    higher_is_better: bool
    comparable: bool
    n_images: int
    notes: tuple[str, ...]
    surely_better: pd.DataFrame = field(repr=False, compare=False)

    @property
    def title(self) -> str:
        """Protocol, data and profile in one line."""
        parts = (self.context.get(part) or {} for part in ("protocol", "dataset", "profile"))
        return " · ".join([*(part["label"] for part in parts if part.get("label")), f"{len(self.models)} models"])

    @property
    def matrix(self) -> pd.DataFrame:
        """Means, one row per method and one column per model, the highest rows and the best models first."""
        found = self.table.pivot(index="method", columns="model", values="mean")[self.models["model"].tolist()]
        order = found.mean(axis=1).sort_values(ascending=not self.higher_is_better).index
        return found.loc[order]


def across_models(
    results: StoredResults | Store | str | Path, protocol: str, *, model: str | None = None, dataset: str | None = None,
    board: str | None = None, metric: str | None = None, comparable: bool,
    newest: Callable[[str, str], int | None] = lambda kind, name: None,
) -> AcrossModels:  # fmt: skip
    """The boards of a results folder that differ from the selected one only in the model, as one.

    Args as for `open_leaderboard`; model is a wildcard, and newest is of a folder: `StoredResults` have their own.
    comparable: whether the protocol's scores may be compared across models, as its card says. A note names boards that
    a newer one has replaced, and those made with cards that are newer now. Raises XaibenchError where fewer than two
    boards are left.
    """
    results = StoredResults.of(results, newest)
    taken, others = choose(results.boards, results.root, protocol, model=model, dataset=dataset, board=board)
    every = fitting(results.boards, protocol, model=model, dataset=dataset)
    alike: list[Board] = []
    for first in [taken, *([] if board else others)]:  # the newest board that another model has too
        alike = [other for other in every if rest_of(other, OF_A_MODEL) == rest_of(first, OF_A_MODEL)]
        if len(alike) > 1:
            taken = first
            break
    else:
        raise XaibenchError(
            f"only one model was evaluated like {taken.title}; run others: xaibench run {protocol} --model A,B,C"
        )
    named = named_by_model(alike)
    found = {name: results.open(each, metric) for name, each in named.items()}
    right = {name: accuracy_of(each.run) for name, each in named.items()}
    joined = _joined(found, right, taken.context, comparable)
    return replace(joined, notes=(*joined.notes, *_ages(named, found)))


def _ages(named: dict[str, Board], found: dict[str, Leaderboard]) -> Iterator[str]:
    """What is not of the newest versions, one line for each board."""
    for name, board in named.items():
        if board.age:
            yield f"{name}: {board.age}; its newer board has no other model beside it"
        elif found[name].age:
            yield f"{name}: {found[name].age}; the same run command computes the newer version"


def named_by_model(alike: list[Board]) -> dict[str, Board]:
    """Boards by the model's name, with its weights where they are not its usual ones; the oldest first."""
    ordered = sorted(alike, key=lambda board: board.newest)
    labels: dict[str, list[str]] = {}
    for board in ordered:
        labels.setdefault(board.context["model"]["name"], []).append(_weights(board))
    names: dict[str, Board] = {}
    for board in ordered:
        name = board.context["model"]["name"]
        usual = min(labels[name], key=len)
        if own := _weights(board).removeprefix(usual).lstrip(", "):
            name = f"{name} ({own})"
        names[f"{name} {board.key[:6]}" if name in names else name] = board
    return names


def _weights(board: Board) -> str:
    return (board.context.get("weights") or {}).get("label", "")


def _joined(
    found: dict[str, Leaderboard], right: dict[str, tuple[float, str]], context: dict[str, Any], comparable: bool
) -> AcrossModels:
    frames = {name: board.image_scores() for name, board in found.items()}
    images = sorted(set.intersection(*(set(frame.index) for frame in frames.values())))
    if not images:
        raise XaibenchError("these models have no image in common; run them with the same --images")
    scores = pd.concat({name: frame.loc[images] for name, frame in frames.items()}, axis=1)
    first = next(iter(found.values()))
    kinds = [board.table.set_index("method")["kind"] for board in found.values()]
    kind = pd.concat(dict(zip(found, kinds, strict=True))).loc[scores.columns].to_numpy()
    ranked = pd.Series(kind).isin(RANKED).to_numpy()
    complete = scores.notna().all().to_numpy()
    declared = context["protocol"] | metric_declaration(context["protocol"], first.metric)
    numbers = statistics_of(scores, complete, ranked & comparable, first.higher_is_better, bounds_of(declared))
    table = pd.DataFrame({
        "model": scores.columns.get_level_values(0), "method": scores.columns.get_level_values(1),
        "n_images": scores.notna().sum().to_numpy(), "kind": kind,
    })  # fmt: skip
    table = pd.concat([table, numbers.table], axis=1)
    order = table.assign(by=-table["mean"] if first.higher_is_better else table["mean"])
    table = table.loc[order.sort_values(["by", "model", "method"]).index, list(COLUMNS)].reset_index(drop=True)
    notes = []
    longest = max(board.n_list for board in found.values())
    if longest > len(images):
        notes.append(f"on the {len(images)} images that all models have; the longest list has {longest}")
    if not comparable:
        notes.append(f"{context['protocol']['name']} is not made for comparing models: nothing is ranked across them")
    usable = comparable & ranked & complete
    own = {name: scores[name].loc[:, usable[scores.columns.get_level_values(0) == name]] for name in found}
    models = _models(table, right, first.higher_is_better)
    names = models["model"].tolist()
    found_better = better_models([own[name].to_numpy() for name in names], first.higher_is_better)
    better = pd.DataFrame(found_better, index=names, columns=names)
    models["group"] = models["group"].mask(
        [own[name].shape[1] > 0 for name in models["model"]], letters(better.to_numpy(), range(len(models)))
    )
    return AcrossModels(
        table, models, {name: board.title for name, board in found.items()}, context, first.metric,
        first.higher_is_better, comparable, len(images), tuple(notes), better,
    )  # fmt: skip


def _models(table: pd.DataFrame, right: dict[str, tuple[float, str]], higher: bool) -> pd.DataFrame:
    rows = []
    for name, (accuracy, on) in right.items():
        own = table[(table["model"] == name) & table["kind"].isin(RANKED) & table["mean"].notna()]
        best = own.iloc[0] if len(own) else {}
        rows.append({
            "model": name, "accuracy": accuracy, "accuracy_on": on, "best_method": best.get("method"),
            "best": best.get("mean"), "ci_low": best.get("ci_low"), "ci_high": best.get("ci_high"),
            "group": "", "mean": own["mean"].mean(), "n_methods": len(own),
        })  # fmt: skip
    made = pd.DataFrame(rows, columns=list(MODEL_COLUMNS)).astype(dict.fromkeys(NUMBERS, float))
    return made.sort_values(["best", "model"], ascending=[not higher, True]).reset_index(drop=True)
