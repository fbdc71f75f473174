"""Some scores of a stored run, computed again from what their keys and the record of the run say."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from xaibench.datasets.loading import load_sample
from xaibench.errors import XaibenchError
from xaibench.evaluation.compute import open_computer, ready
from xaibench.evaluation.recorded import RecordedPlaces
from xaibench.evaluation.replay import AGAIN, Places, plan_of, request_of, stage_of
from xaibench.evaluation.resources import choose_device
from xaibench.plugins import add
from xaibench.results.cells import Cell
from xaibench.results.manifest import RunManifest


def recomputed_rows(
    cells: Sequence[Cell],
    run: RunManifest | None,
    wanted: Mapping[str, Collection[str]],
    digests: Mapping[str, str],
    places: Places,
    *,
    device: str = "auto",
) -> Iterator[dict[str, Any]]:
    """The rows of some images under some cells of one board, as `results.schema` has them; nothing is stored.

    wanted: image ids by result key. digests: the stored content digest of each image. Raises XaibenchError where photos
    or weights are not found or are others, where anything else of a key has changed, and where a method fails.
    """
    add(places.plugins, places.cards)
    recorded = RecordedPlaces.of(run)
    places = replace(places, data_root=places.data_root or recorded.data_root)
    for stage in dict.fromkeys(stage_of(cell) for cell in cells):
        same = [cell for cell in cells if stage_of(cell) == stage and wanted.get(cell.key)]
        try:
            config = request_of(same, recorded, places, device)
            plan = plan_of(same, config, run, places)
        except XaibenchError as error:
            raise XaibenchError(str(error).removeprefix(f"{AGAIN}: ")) from error
        place = choose_device(config.device)
        chunk = ready(plan, place, (run.chunk_size if run else None) or 32, config.precision)
        missing = {cell.key: set(wanted[cell.key]) for cell in same}
        with open_computer(plan, place, chunk, config.precision, config.seed) as computer:
            fitted = run.fitted if run else {}
            protocols = {job.key: job.protocol.protocol for job in plan.jobs if job.key in fitted}
            computer.fitted.update({key: one.with_fitted(fitted[key]) for key, one in protocols.items()})
            for image_id in sorted(set().union(*missing.values())):
                sample = load_sample(plan.dataset, image_id)
                if sample.digest != digests[image_id]:
                    raise XaibenchError(f"image {image_id} is another here than the one that the rows are about")
                found = computer.compute([sample], {key: {image_id} & ids for key, ids in missing.items()})
                if computer.tally.failed:
                    name, reason = next(iter(computer.tally.failed.items()))
                    raise XaibenchError(f"method {name} failed: {reason}")
                yield from found.rows
