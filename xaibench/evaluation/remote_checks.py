"""What must be the same where a part of a run is computed as where the run was started: versions, keys, weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xaibench.errors import XaibenchError
from xaibench.evaluation.plan import Plan
from xaibench.provenance import package_versions
from xaibench.results.cells import difference
from xaibench.results.store import Store
from xaibench.training.api import Training
from xaibench.training.resources import TrainingResources


def check_versions(wanted: dict[str, str]) -> None:
    """Raises XaibenchError where a package here has another version than where the run was started."""
    here: dict[str, Any] = package_versions()
    other = [name for name in sorted({*wanted, *here}) if wanted.get(name) != here.get(name)]
    if other:
        listed = ", ".join(f"{name} {here.get(name, 'missing')}, not {wanted.get(name, 'missing')}" for name in other)
        raise XaibenchError(f"other versions than where the run was started: {listed}; install the same")


def check_keys(plan: Plan, keys: Sequence[str], store: Store) -> None:
    """Raises XaibenchError where jobs have other result keys here; the store has those of where the run was started."""
    wanted = {key: store.cell(key) for key in set(keys) - {job.key for job in plan.jobs}}
    for key, cell in wanted.items():
        for job in plan.jobs:
            if (job.protocol.name, job.cell.method_name) == (cell.context["protocol"]["name"], cell.method_name):
                raise XaibenchError(
                    f"result key {key} of {cell.method_name} under {job.protocol.name} is {job.key} here: "
                    f"{difference(cell, job.cell)} here; make data, weights and plug-ins the same"
                )
        raise XaibenchError(f"{cell.method_name} has no result here (key {key}); make models and plug-ins the same")


def trained(training: Training, resources: TrainingResources) -> Path:
    """The weights of a training, which the run has made before it gave any order."""
    if not training.path.is_file():
        raise XaibenchError(f"weights {training.path} are not there; share the folder that XAIBENCH_HOME names")
    return training.path
