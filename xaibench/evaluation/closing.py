"""What a user should know at the end of a run, for its record."""

from __future__ import annotations

from collections.abc import Sequence

from xaibench.datasets.walk import skipped_lines
from xaibench.evaluation.compute import Tally
from xaibench.evaluation.config import RunConfig
from xaibench.evaluation.plan import Plan
from xaibench.results.completion import Completion
from xaibench.results.store import Store


def closing_warnings(
    config: RunConfig, plan: Plan, store: Store, images: Sequence[str], tally: Tally, completion: Completion
) -> list[str]:
    """Warnings of one line about the images, the rows and the maps of a run."""
    name = plan.protocols[0].context["dataset"]["name"]
    return [
        *_skipped_files(plan, name),
        *_fewer_images(config, plan, name),
        *_without_logits(plan, store, images),
        *_undefined_maps(tally),
        *_damaged(completion),
    ]


def _skipped_files(plan: Plan, name: str) -> list[str]:
    """A line where a data set leaves out entries of its folders."""
    lines = skipped_lines(plan.dataset.skipped_files())
    return [f"entries of {name}'s folders are left out: {'; '.join(lines)}"] if lines else []


def _fewer_images(config: RunConfig, plan: Plan, name: str) -> list[str]:
    """A line where a data set has fewer images than a run asks for."""
    wanted, there = config.images, len(plan.images)
    return [f"{name} has {there} images, not the {wanted} asked for"] if wanted and wanted > there else []


def _without_logits(plan: Plan, store: Store, images: Sequence[str]) -> list[str]:
    """A line where the model's logits of some of the images are not finite."""
    keys = [job.key for job in plan.jobs]
    rows = store.rows(keys, columns=["image_id", "prediction"]).drop_duplicates("image_id")
    lost = sorted(set(rows.loc[rows["prediction"].isna(), "image_id"]) & set(images))
    if not lost:
        return []
    return [
        f"logits of {plan.model.name} are not finite for {len(lost)} of {len(images)} images, such "
        f"as {lost[0]}: they are left out for all methods (undefined-reference), and of the accuracy"
    ]


def _undefined_maps(tally: Tally) -> list[str]:
    return [
        f"{number} maps of {method} are constant or not finite: {protocol} counts them at chance level"
        for (protocol, method), number in tally.undefined.items()
        if method != "constant"
    ]


def _damaged(completion: Completion) -> list[str]:
    return [
        f"{path} is damaged: its maps count as missing; remove it"
        for path in (completion.maps.damaged if completion.maps else ())
    ]
