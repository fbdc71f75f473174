"""A study in words: what it repeats; what each scale runs, what of that is stored, what is missing; and its claims."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from xaibench import registry
from xaibench.analysis.comparison import ENOUGH
from xaibench.analysis.stored import StoredResults
from xaibench.cards import Sheet, StudyCard, StudyScale
from xaibench.cards.study import Scale
from xaibench.comparison.config import ComparisonConfig
from xaibench.comparison.stored import StoredStep, lacking_trainings, stored_steps
from xaibench.errors import XaibenchError
from xaibench.evaluation.config import RunConfig
from xaibench.evaluation.stored import stored_board
from xaibench.masks.config import MasksConfig
from xaibench.reproduction.measure import comparison_requests, run_requests
from xaibench.reproduction.needs import needed
from xaibench.reproduction.prepare import masks_requests, training_requests, untrained
from xaibench.reproduction.reported import rows_of
from xaibench.training.api import fields_without_start
from xaibench.training.config import TrainingConfig

RequestOfData = TypeVar("RequestOfData", RunConfig, ComparisonConfig, TrainingConfig, MasksConfig)


def describe(card: StudyCard, results: StoredResults | None = None) -> str:
    """The text of `xaibench study show`; results: folders whose boards count as stored."""
    lines = [f"{card.item}: {card.title}", f"{card.paper.title} ({card.paper.year})", "", card.shows]
    lines += [card.notes] if card.notes else []
    for scale in card.scales:
        lines += ["", *describe_scale(card, scale, results)]
    for one in card.printed:
        lines += ["", f"printed numbers: {one.file}, {len(rows_of(card, one))} rows, {one.value or 'not compared'}"]
    for claim in card.claims:
        why = f" ({claim.why})" if claim.why else ""
        lines += ["", f"{claim.name}: {claim.text}", f"  decided by: {claim.statistic}{why}"]
    return "\n".join(lines)


def describe_scale(
    card: StudyCard, scale: Scale, results: StoredResults | None = None, trainings: int = 0
) -> Iterator[str]:
    """What a scale runs, as commands; what of it is stored and missing; what to fetch, and the cost. trainings: as of
    `comparison_requests`."""
    one = card.scales[scale]
    yield f"scale {scale}:"
    if one.missing:
        yield f"  cannot run: {one.missing}"
    if one.runs_something:
        root = " --data-root DIR --download" if one.fetch else ""
        of_each = f" --trainings {trainings}" if trainings else ""
        yield f"  xaibench study run {card.name} --scale {scale}{root}{of_each}"
    if text := needed(one):
        yield f"  {text}"
    for folder, masks in masks_requests(one).items():
        yield f"  first masks {folder}: {_with_data(masks, one).to_command('masks make')}"
    for name, training in training_requests(one).items():
        there = "trained" if name in registry.names("model") else "missing"
        yield f"  first {name}, {there}: {_with_data(training, one).to_command(f'train {training.task}')}"
    for name, request in run_requests(one).items():
        yield f"  run {name}{_stored_run(request, results)}: {_with_data(request, one).to_command('run')}"
    for name, sheet in one.sheets.items():
        yield f"  images {name}: {_networks(sheet)}; drawn from the networks, whose weights are made first"
    for name, comparison in comparison_requests(one, trainings).items():
        yield f"  comparison {name}: {_with_data(comparison, one).to_command('compare')}"
        if results is not None and not untrained(one, comparison.models):
            yield from (f"    {line}" for line in _stored_comparison(comparison, results))
        claims = ", ".join(claim.name for claim in card.claims if claim.comparison == name)
        if claims and comparison.trainings < ENOUGH:
            enough = f"{ENOUGH} trainings of each arm (--trainings {ENOUGH})"
            yield f"    does not decide {claims}: such claims take {enough}"


def _with_data(request: RequestOfData, one: StudyScale) -> RequestOfData:
    """The request with what its user adds where a scale's data must be fetched: their folder, and `--download`."""
    if not one.fetch:
        return request
    name = request.dataset or registry.card("comparison", request.comparison).dataset
    root = Path("DIR") if registry.card("dataset", name).needs_root else None
    return request.model_copy(update={"data_root": root, "download": True})


def together(cards: Sequence[StudyCard], scale: Scale, results: StoredResults, trainings: int = 0) -> str:
    """How many runs and trainings of arms several studies lack in results folders; what they share counts once."""
    runs: set[str] = set()
    trained: dict[str, StoredStep] = {}
    first: set[str] = set()
    for one in (card.scales[scale] for card in cards):
        lacking = [each for each in run_requests(one).values() if stored_board(results.boards, each) is None]
        runs |= {each.to_toml() for each in lacking}
        first |= set(untrained(one, [each.model for each in lacking]))
        for comparison in comparison_requests(one, trainings).values():
            if names := untrained(one, comparison.models):
                first |= set(names)
                continue  # which arms are stored is known once their models are
            for _, found in stored_steps(comparison, results):
                trained |= {_identity(step): step for step in found if step.board is None}
    epochs = sum(_epochs(one) for one in trained.values() if one.step.training)
    own = f" ({epochs} epochs for a task of their own)" if epochs else ""
    hours = sum(card.scales[scale].gpu_hours or 0 for card in cards)
    cost = f"; at most {hours:.0f} hours of an H200 GPU, as the studies share trainings and runs" if hours else ""
    named = f"; {len(first)} networks are trained first, and arms of theirs are not counted" if first else ""
    return f"together: {len(runs)} runs and {len(trained)} trainings of arms{own} are missing{named}{cost}"


def _identity(one: StoredStep) -> str:
    """What two arms have alike that are the same training of the same network."""
    return f"{one.step.model} {one.step.number} {one.step.training or one.step.run_arguments!r}"


def _networks(sheet: Sheet) -> str:
    """Such as `attacks of resnet18` and `maps of bcos_critters_cnn by b-cos, arms Energy, L1 of guidance-loss`."""
    models = [str(fields.get("model")) for fields in sheet.networks.values()]
    models = ", ".join(models or sheet.comparison.get("models", ["the comparison's model"]))
    by = f" by {sheet.method}" if sheet.method else ""
    arms = f", arms {', '.join(sheet.arms)} of {sheet.comparison.get('comparison')}" if sheet.arms else ""
    return f"{sheet.kind} of {models}{by}{arms}"


def _stored_run(request: RunConfig, results: StoredResults | None) -> str:
    if results is None:
        return ""
    board = stored_board(results.boards, request)
    if board is None:
        return ", missing"
    return f", stored ({len(board.cells)} methods, {board.run.images['count']} images)"


def _stored_comparison(comparison: ComparisonConfig, results: StoredResults) -> Iterator[str]:
    """By protocol how many trainings are stored and which are missing, and what these train."""
    trained: dict[tuple[str, int], StoredStep] = {}
    for protocol, found in stored_steps(comparison, results):
        lacking = "".join(f"; missing {each}" for each in lacking_trainings(found))
        stored = sum(one.board is not None for one in found)
        yield f"{protocol.description}: {stored} of {len(found)} stored{lacking}"
        trained |= {(one.step.name, one.step.number): one for one in found if one.board is None and one.step.training}
    if trained:
        yield _cost_of(list(trained.values()))


def _cost_of(found: Sequence[StoredStep]) -> str:
    """Trainings that are made if the weights are not here: how many, of how many epochs, and how long such took."""
    epochs = [_epochs(one) for one in found]
    text = f"{len(found)} trainings of {sum(epochs)} epochs in all, where their weights are not here"
    known = {one.step.name: one.seconds for one in found if math.isfinite(one.seconds)}
    seconds = [known.get(one.step.name, math.nan) * n for one, n in zip(found, epochs, strict=True)]
    if all(map(math.isfinite, seconds)):
        text += f"; about {sum(seconds) / 60:.0f} minutes on the machine of the stored ones"
    return text


def _epochs(one: StoredStep) -> int:
    try:
        return int(fields_without_start(one.step.training)["recipe"]["epochs"])
    except XaibenchError:
        return 0
