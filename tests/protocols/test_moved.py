"""Import paths from before each category had a folder: they give the same objects, with a warning."""

from __future__ import annotations

import warnings
from importlib import import_module

import pytest

from xaibench import registry
from xaibench.protocols import moved

# The targets of the shipped cards before the folders, which cards of users may name.
OLD_TARGETS = {
    "box-iou": "box_iou:BoxIoU", "combined": "insertion_deletion:Combined", "deletion": "insertion_deletion:Deletion",
    "difull": "grid_pointing:DisconnectedPointing", "epg": "energy_pointing:BoxEnergy",
    "f-fidelity": "f_fidelity:FFidelity", "grid-pg": "grid_pointing:GridPointing",
    "ids": "incremental_deletion:IncrementalDeletion", "idsds": "single_deletion:SingleDeletion",
    "infidelity": "faithfulness:Infidelity", "insertion": "insertion_deletion:Insertion",
    "max-sensitivity": "robustness:MaxSensitivity", "model-similarity": "model_similarity:ModelSimilarity",
    "mosu": "multi_object:MultiObjectUniformity", "obey": "object_evidence:ObjectEvidence",
    "part-deletion": "part_deletion:PartDeletion", "pointing-game": "pointing_game:PointingGame",
    "randomization": "randomization:Randomization", "road": "road:Road", "sch": "energy_pointing:ObjectEnergy",
    "sds-accuracy": "corrupted_accuracy:CorruptedAccuracy", "sds": "single_deletion:SingleDeletion",
    "seg-epg": "energy_pointing:ObjectEnergyInBoxes", "sensitivity-n": "faithfulness:SensitivityN",
    "ses": "equivariance:Equivariance", "sparseness": "complexity:Sparseness",
    "srg": "incremental_deletion:SymmetricRelevanceGain", "x-seg-epg": "energy_pointing:ObjectEnergy",
}  # fmt: skip


SINCE = {
    "insertion-gaussian", "average-drop", "average-gain", "adcc", "arcc", "saco", "efficient-mprt", "random-logit",
    "border-energy",
}  # fmt: skip
"""Protocols that are newer than the folders."""


def test_the_list_is_complete():
    assert set(OLD_TARGETS) == set(registry.names("protocol")) - SINCE


@pytest.mark.parametrize("name", OLD_TARGETS)
def test_cards_with_an_old_target_load_the_same_class(name):
    card = registry.card("protocol", name)
    old = card.model_copy(update={"name": f"my-{name}", "target": f"xaibench.protocols.{OLD_TARGETS[name]}"})
    with pytest.warns(DeprecationWarning, match=f"is now {card.target.replace(':', '.')}"):
        found = registry.load(old)
    assert found is registry.load(card)
    held = old.target if card.version == 1 else f"{old.target} {card.version}"
    assert registry.source(old) == held, "the key of a user's card still holds the target that the card names"


@pytest.mark.parametrize(
    ("path", "name"),
    [("model_similarity", "most_activating"), ("equivariance", "draw_window"), ("faithfulness", "pearson"),
     ("insertion_deletion", "Deletion"), ("box_iou", "CANDIDATES")],
)  # fmt: skip
def test_functions_and_constants_are_found_too(path, name):
    with pytest.warns(DeprecationWarning, match=rf"xaibench\.protocols\.{path}\.{name} is now"):
        assert getattr(import_module(f"xaibench.protocols.{path}"), name) is not None


def test_documented_helpers_have_not_moved():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from xaibench.protocols.masks import class_masks  # noqa: F401
        from xaibench.protocols.patches import cell_sums, spread  # noqa: F401
        from xaibench.protocols.single_deletion import deletion_drops  # noqa: F401


@pytest.mark.parametrize("path", [*moved.MOVED_MODULES, "faithfulness", "single_deletion"])
def test_what_never_was_there_is_an_attribute_error(path):
    module = import_module(f"xaibench.protocols.{path}")
    assert not hasattr(module, "no_such_name") and not hasattr(module, "__wrapped__")
