"""Computing what a plan lacks in a results folder, and the record of that whatever happens.

The evaluator alone decides what is complete, from rows and the job list; executors only compute.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from xaibench.datasets.photos import turned_since
from xaibench.errors import XaibenchError
from xaibench.evaluation.closing import closing_warnings
from xaibench.evaluation.compute import Missing, Tally, ready
from xaibench.evaluation.config import RunConfig
from xaibench.evaluation.disk import check_disk, least_map_bytes
from xaibench.evaluation.engine import Engine, Executor, Work
from xaibench.evaluation.executor import local
from xaibench.evaluation.plan import Plan
from xaibench.evaluation.resources import Resources
from xaibench.evaluation.shards import Shard, cut, part_of
from xaibench.evaluation.until_stable import UntilStable, looks
from xaibench.locks import living
from xaibench.masks.dataset import mask_key_fields
from xaibench.printing import logger
from xaibench.progress import bar
from xaibench.results.claims import Claims
from xaibench.results.completion import Completion
from xaibench.results.current import write_current
from xaibench.results.manifest import RunManifest, load_runs
from xaibench.results.maps import MapIndex, MapStore
from xaibench.results.store import Store

WAIT_SECONDS = 1.0  # between two looks at shards that another process computes


@dataclass(frozen=True)
class Evaluator:
    """A request with its plan, and where its results are stored.

    command: how the run was started, for the record. say is told what a user should know while it runs; quiet shows no
    progress. objects: what of the request was an object of a Python session.
    engine makes the executor. warnings: what the user was told already, for the record. stop: decides after how many of
    the plan's images the run ends, None for all. trace: the file for a profile of some batches.
    """

    config: RunConfig
    plan: Plan
    store: Store
    resources: Resources
    command: str
    say: Callable[[str], None]
    quiet: bool
    objects: Sequence[str] = ()
    engine: Engine = local
    warnings: Sequence[str] = ()
    stop: UntilStable | None = None
    trace: Path | None = None

    def evaluate(self) -> tuple[RunManifest, Tally]:
        """Computes what the folder lacks, except for what other processes are computing right now, which is waited for.

        The record is the one that the folder keeps; the tally counts what was computed here. Raises XaibenchError where
        an image was replaced since its rows were stored, where kept maps do not fit on the disk, and where nothing can
        be written.
        """
        plan, config = self.plan, self.config
        completion = self.opened()
        if config.keep_maps and not self.stop:  # which may end after few images
            needed = least_map_bytes(plan, self.missing(completion)[1], completion.maps, config.precision)
            check_disk(needed, self.store.root, "its maps (--keep-maps)")
        chunk = ready(plan, self.resources.device, self.resources.chunk, config.precision)
        manifest = self._manifest(chunk)
        self._log_begin(manifest)
        self.store.register(job.cell for job in plan.jobs)
        with living(self.store.root / "locks", manifest.lock):
            manifest.save(self.store)
            write_current(self.store)  # at once: rows are read while they are computed, too
            tally = self._compute(manifest, completion, chunk)
        return manifest, tally

    def _log_begin(self, manifest: RunManifest) -> None:
        logger.info("run %s: %s", manifest.run, manifest.command)
        logger.info("with %s", ", ".join(f"{name} {version}" for name, version in manifest.versions.items()))
        logger.info(
            "on %s in %s: batches of %s images, passes of %s inputs", manifest.device, manifest.precision,
            manifest.batch_size, manifest.chunk_size,
        )  # fmt: skip
        for line in (*manifest.warnings, *(f"{name} is skipped: {why}" for name, why in manifest.skipped.items())):
            logger.warning("%s", line, extra={"printed": line in manifest.warnings})

    def _compute(self, manifest: RunManifest, completion: Completion, chunk: int) -> Tally:
        """Computes and stores what is missing, and records how that ended."""
        plan, config = self.plan, self.config
        shards, missing = self.missing(completion)
        todo = len(set().union(*missing.values()))
        logger.info("%d of %d images of this part lack any of %d results", todo, sum(len(s.images) for s in shards),
                    len(plan.jobs))  # fmt: skip
        title = f"{','.join(manifest.protocols)} on {' against '.join(model.name for model in plan.models)}"
        try:
            with self.claims(completion.claimed(missing)) as claims, bar(title, todo, self.quiet or not todo) as shown:
                work = Work(
                    config,
                    plan,
                    self.store,
                    completion,
                    claims,
                    missing,
                    self.resources,
                    chunk,
                    shown,
                    self.quiet,
                    self.trace,
                )
                with self.engine(work) as executor:
                    manifest.fitted = executor.fitted
                    if manifest.fitted:
                        manifest.save(self.store)  # other parts of the same run need not choose again
                    tally = executor.tally
                    try:
                        images = self._execute_until(executor, work, shards)
                    finally:  # an interrupted run has costs, too
                        manifest.costs = {name: cost.per_image() for name, cost in tally.costs.items()}
        except BaseException as error:
            manifest.finish("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
            manifest.save(self.store)
            raise
        if self.stop:
            manifest.images = {"list": self.store.save_list(images), "count": len(images)}
            manifest.stop = self.stop.record(sorted(tally.failed))
        self._finish(manifest, tally, completion, images)
        return tally

    def claims(self, keys: Iterable[str]) -> Claims:
        """Claims to results of these keys, for a process that computes some of this run."""
        return Claims(self.store.root / "locks", keys, self.command)

    def _execute_until(self, executor: Executor, work: Work, shards: Sequence[Shard]) -> Sequence[str]:
        """Computes shards until nothing is missing or the stop rule has enough; returns the images that the run has."""
        if self.stop is None:
            self._execute(executor, work, shards)
            return self.plan.images
        images: list[str] = []
        for some in looks(shards):
            self._execute(executor, work, some)
            images += [image for shard in some for image in shard.images]
            if executor.tally.failed or self.stop.look(images):
                break
        return images

    def opened(self) -> Completion:
        """What the folder has and lacks; raises XaibenchError where its rows are not to be extended. Nothing is
        written."""
        self._check_images([job.key for job in self.plan.jobs])
        self._check_arithmetic()
        return self.completion()

    def completion(self) -> Completion:
        """What the folder has and lacks, without looking at the images again."""
        plan, keys = self.plan, [job.key for job in self.plan.jobs]
        maps = MapIndex(MapStore(self.store.root), {job.key: job.maps for job in plan.jobs})
        return Completion(self.store, keys, plan.images, maps, self.config.keep_maps)

    def missing(self, completion: Completion) -> tuple[list[Shard], Missing]:
        """The shards of this part of the run, and the images of them that each result key lacks."""
        shards = part_of(cut(self.plan.images, self.resources.batch), self.config.part)
        return shards, completion.missing(image for shard in shards for image in shard.images)

    def _check_images(self, keys: Sequence[str]) -> None:
        """Raises XaibenchError where an image was replaced since its rows were stored."""
        if self.plan.dataset.on_disk:
            wanted = set(self.plan.images)
            for image_id, digest in self.store.digests(keys).items():
                if image_id in wanted and self.plan.dataset.digest(image_id) != digest:
                    raise XaibenchError(
                        f"photo {image_id} has changed since its rows were stored in {self.store.root}"
                        f"{turned_since(self.plan.dataset, image_id)}; restore it, or use another --out"
                    )

    def _check_arithmetic(self) -> None:
        """Raises XaibenchError where rows of a board of this run were computed in TF32 and stored as float32."""
        boards = {job.cell.board for job in self.plan.jobs}
        for run in load_runs(self.store):
            if run.is_tf32_as_float32 and boards & set(run.boards):
                raise XaibenchError(
                    f"{self.store.root} holds rows of this board that run {run.run} computed on a GPU in TF32 and "
                    "stored as float32, which are not extended; name another folder by --out"
                )

    def _manifest(self, chunk: int) -> RunManifest:
        plan = self.plan
        return RunManifest(
            command=self.command,
            whole=self.config.whole.to_command("run") if self.config.shard and not self.objects else None,
            config=self.config.changed(),
            warnings=list(self.warnings),
            objects=list(self.objects),
            protocols=[run.name for run in plan.protocols],
            boards=sorted({job.cell.board for job in plan.jobs}),
            cells=[job.key for job in plan.jobs],
            images={"list": self.store.save_list(plan.images), "count": len(plan.images)},
            classes=list(plan.dataset.classes),
            device=self.resources.device,
            precision=self.config.precision,
            arithmetic="tf32" if self.config.precision == "tf32" else "ieee",
            batch_size=self.resources.batch,
            chunk_size=chunk,
            workers=self.resources.workers,
            training=plan.training,
            masks=mask_key_fields(plan.dataset) or None,
            skipped=plan.skipped,
        )

    def _execute(self, executor: Executor, work: Work, shards: Sequence[Shard]) -> None:
        """Computes shards, and waits for those that other processes compute: whoever dies leaves them free."""
        if not work.completion.missing(image for shard in shards for image in shard.images):
            return
        busy = executor.execute(shards)
        if busy:
            images, owner = sum(len(shard.images) for shard in busy), work.claims.owner(busy[0].span)
            self.say(f"waiting for {images} images that are being computed by {owner}")
        while busy:
            time.sleep(WAIT_SECONDS)
            work.completion.refresh()
            busy = executor.execute(busy)

    def _finish(self, manifest: RunManifest, tally: Tally, completion: Completion, images: Sequence[str]) -> None:
        """Decides how the run ended, and stores its record."""
        completion.refresh()
        manifest.accuracy = self._accuracy(manifest.cells, images)
        manifest.forward_equivalents = tally.forward_equivalents / tally.images if tally.images else None
        manifest.warnings = [
            *self.warnings,
            *closing_warnings(self.config, self.plan, self.store, images, tally, completion),
        ]
        whole = "partial" if completion.missing(images) else "complete"
        manifest.finish("failed" if tally.failed else whole)
        manifest.save(self.store)
        for line in manifest.warnings[len(self.warnings) :]:
            logger.warning("%s", line)
        logger.info("run %s is %s after %.1f s, %d images computed", manifest.run, manifest.status, manifest.seconds,
                    tally.images)  # fmt: skip

    def _accuracy(self, keys: Sequence[str], images: Sequence[str]) -> dict[str, int] | None:
        """How many of the images the model gets right, of those with finite logits; None where its classes are not
        those of the data set."""
        if not self.plan.comparable:
            return None
        rows = self.store.rows(keys, columns=["image_id", "prediction"]).drop_duplicates("image_id")
        found = dict(zip(rows["image_id"], rows["prediction"], strict=True))
        known = [i for i in images if pd.notna(found.get(i))]
        return {"correct": sum(int(found[i]) in self.plan.dataset.labels(i) for i in known), "images": len(known)}
