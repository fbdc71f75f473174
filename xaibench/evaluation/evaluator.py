"""Computing what a plan lacks in a results folder, and the record of that whatever happens."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

from xaibench.attribution.runner import PRECISIONS, ModelRunner
from xaibench.errors import XaibenchError
from xaibench.evaluation.calibration import fit_protocols
from xaibench.evaluation.executor import Loop, Tally
from xaibench.evaluation.plan import Cells, Plan
from xaibench.evaluation.resolve import ResolvedRun
from xaibench.evaluation.resources import choose_chunk
from xaibench.locks import claim
from xaibench.masks.dataset import mask_key_fields
from xaibench.models.dilate import sample_input
from xaibench.progress import bar
from xaibench.results.manifest import RunManifest, load_runs
from xaibench.results.maps import MapStore
from xaibench.results.store import Store


@dataclass(frozen=True)
class Sizes:
    """How the work is cut: images whose evidence lives together, inputs per pass (or `auto`), loading processes."""

    batch: int
    chunk: int | str
    workers: int


def compute(
    order: ResolvedRun, plan: Plan, cells: Cells, store: Store, sizes: Sizes, device: str, keep_maps: bool, quiet: bool,
    command: str,
) -> tuple[RunManifest, Tally]:  # fmt: skip
    """Computes what a plan lacks in a store, unless another process is computing it right now.

    cells are the plan's. The record is the one that the store keeps; the tally counts what was computed now.
    """
    keys = [cell.key for cell in cells.values()]
    maps = MapStore(store.root) if keep_maps else None
    _check_photos(plan, keys, store)
    missing = _missing(plan, keys, store, maps)
    doing = f"the same results are being computed in {store.root} right now"
    with claim(store.root / "locks", missing, command, doing, ", or choose another --out"):
        missing = missing and _missing(plan, keys, store, maps)  # another process may just have ended
        return _fill(order, plan, cells, missing, store, maps, sizes, device, quiet, command)


def _fill(
    order: ResolvedRun, plan: Plan, cells: Cells, missing: dict[str, set[str]], store: Store, maps: MapStore | None,
    sizes: Sizes, device: str, quiet: bool, command: str,
) -> tuple[RunManifest, Tally]:  # fmt: skip
    """Computes what is missing, and keeps the record of it whatever happens."""
    keys = [cell.key for cell in cells.values()]
    models = [plan.model, *([plan.reference] if plan.reference else [])]
    for model in models:
        model.freeze(device, PRECISIONS["float64" if order.precision == "float64" else "float32"])
    examples = [sample_input(m.encoding.channels, plan.side).to(next(m.net.parameters())) for m in models]
    chunk = min(choose_chunk(sizes.chunk, m.net, example) for m, example in zip(models, examples, strict=True))
    manifest = RunManifest(
        command=command,
        protocols=[card.name for card in order.cards],
        boards=sorted({cell.board for cell in cells.values()}),
        cells=keys,
        images={"list": store.save_list(plan.images), "count": len(plan.images)},
        classes=list(plan.dataset.classes),
        device=device,
        precision=order.precision,
        batch_size=sizes.batch,
        chunk_size=chunk,
        workers=sizes.workers,
        training=plan.training,
        masks=mask_key_fields(plan.dataset) or None,
        skipped=plan.skipped,
    )
    store.register(cells.values())
    manifest.save(store)
    todo = len(set().union(*missing.values()))
    try:
        title = f"{','.join(manifest.protocols)} on {' against '.join(model.name for model in models)}"
        with ExitStack() as stack:
            progress = stack.enter_context(bar(title, todo, quiet or not todo))
            runner = [ModelRunner(model.net, chunk=chunk, precision=order.precision) for model in models]
            for each in runner:
                stack.enter_context(each)
            loop = Loop(plan, cells, missing, store, maps, device, sizes.batch, sizes.workers, order.seed, progress)
            manifest.fitted = _fit(loop, runner[0], store, quiet)
            tally = loop.run(*runner)
    except BaseException as error:
        manifest.finish("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
        manifest.save(store)
        raise
    manifest.accuracy = _accuracy(plan, store, keys)
    manifest.forward_equivalents = tally.forward_equivalents / tally.images if tally.images else None
    manifest.warnings = _fewer(order, plan) + _warnings(tally)
    manifest.finish("failed" if tally.failed else "complete")
    manifest.save(store)
    return manifest, tally


def _fit(loop: Loop, runner: ModelRunner, store: Store, quiet: bool) -> dict[str, dict[str, float]]:
    """Fits the protocols that ask for it, and gives the loop what was fitted; what earlier runs chose is kept."""
    asked = {
        place: cell.key
        for place, cell in loop.cells.items()
        if cell.key in loop.missing and loop.plan.judges[place[0]].protocol.held_out_images
    }
    known = {key: chosen for run in load_runs(store) for key, chosen in run.fitted.items()}
    for (j, m), key in asked.items():
        if key in known:
            loop.fitted[j, m] = loop.plan.judges[j].protocol.with_fitted(known[key])
    loop.fitted |= fit_protocols(loop, runner, [place for place in asked if place not in loop.fitted], quiet)
    return {asked[place]: protocol.fitted() for place, protocol in loop.fitted.items()}


def _check_photos(plan: Plan, keys: list[str], store: Store) -> None:
    """Raises XaibenchError where a photo was replaced since its rows were stored."""
    if plan.dataset.on_disk:
        wanted = set(plan.images)
        for image_id, digest in store.digests(keys).items():
            if image_id in wanted and plan.dataset.digest(image_id) != digest:
                raise XaibenchError(
                    f"photo {image_id} has changed since its rows were stored in {store.root}; "
                    "restore it, or use another --out"
                )


def _missing(plan: Plan, keys: list[str], store: Store, maps: MapStore | None) -> dict[str, set[str]]:
    """For each cell the images of the list without rows (or without maps, where those are to be kept)."""
    wanted, done = set(plan.images), store.done(keys)
    missing = {key: wanted - done[key] for key in keys}
    if maps:
        missing = {key: left | (wanted - maps.done(key)) for key, left in missing.items()}
    return {key: left for key, left in missing.items() if left}


def _accuracy(plan: Plan, store: Store, keys: list[str]) -> dict[str, int] | None:
    """How many images of the list the model gets right; None where its classes are not those of the data set."""
    if not plan.comparable:
        return None
    rows = store.rows(keys, columns=["image_id", "prediction"]).drop_duplicates("image_id")
    found = dict(zip(rows["image_id"], rows["prediction"], strict=True))
    known = [i for i in plan.images if i in found]
    return {"correct": sum(int(found[i]) in plan.dataset.labels(i) for i in known), "images": len(known)}


def _fewer(order: ResolvedRun, plan: Plan) -> list[str]:
    """A line where a data set has fewer images than a run asks for."""
    asked, there = order.images, len(plan.images)
    return [f"{order.data.name} has {there} images, not the {asked} asked for"] if asked and asked > there else []


def _warnings(tally: Tally) -> list[str]:
    return [
        f"{number} maps of {method} are constant or not finite: {protocol} counts them as knowing nothing"
        for (protocol, method), number in tally.undefined.items()
        if method != "constant"
    ]
