"""Import paths of protocols before each category had a folder. They still work, and warn of deprecation.

Cards and plug-ins of users name these paths, for example `target = "xaibench.protocols.box_iou:BoxIoU"`. The target of
a user's card is part of the keys of its results, so existing cards keep their results as long as they keep the target.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

PACKAGE = "xaibench.protocols"

# The last part of an old path -> the modules, below PACKAGE, that now define its names.
MOVED_MODULES: dict[str, tuple[str, ...]] = {
    "box_iou": ("localization.box_iou",),
    "corrupted_accuracy": ("model_checks.sds_accuracy",),
    "equivariance": ("robustness.ses", "transforms"),
    "f_fidelity": ("faithfulness.f_fidelity",),
    "grid_pointing": ("localization.grid_pg", "localization.difull"),
    "model_similarity": ("model_checks.model_similarity", "activations"),
    "multi_object": ("localization.mosu",),
    "object_evidence": ("localization.obey",),
    "part_deletion": ("faithfulness.part_deletion",),
    "pointing_game": ("localization.pointing_game",),
    "road": ("faithfulness.road",),
}


def register() -> None:
    """Makes every path of MOVED_MODULES importable. Its names are looked up in the new modules at first use."""
    for name, modules in MOVED_MODULES.items():
        path = f"{PACKAGE}.{name}"
        module = ModuleType(path, f"Deprecated: its names are now in {', '.join(modules)}.")
        module.__getattr__ = forwarding(path, *modules)
        sys.modules.setdefault(path, module)


def forwarding(path: str, *modules: str) -> Callable[[str], Any]:
    """The `__getattr__` of a module that no longer defines names which the given modules, below PACKAGE, define now.

    It gives the named object with a DeprecationWarning, and raises AttributeError where no module defines the name.
    """

    def find(name: str) -> Any:
        for module in modules if not name.startswith("_") else ():
            names = vars(import_module(f"{PACKAGE}.{module}"))
            if name in names:
                warnings.warn(f"{path}.{name} is now {PACKAGE}.{module}.{name}", DeprecationWarning, stacklevel=2)
                return names[name]
        raise AttributeError(f"module {path!r} has no attribute {name!r}")

    return find
