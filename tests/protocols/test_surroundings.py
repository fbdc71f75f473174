"""The public scores do not depend on what is around a call."""

from __future__ import annotations

import pytest
import torch
from surroundings import SURROUNDINGS

from xaibench import functional

DICE = torch.Generator().manual_seed(0)


def draw(*shape):
    return torch.rand(shape, generator=DICE)


MAPS, OTHERS, REGIONS = draw(3, 1, 16, 16) - 0.3, draw(3, 1, 16, 16) - 0.3, draw(3, 16, 16) > 0.5
BOXES = torch.tensor([[1.0, 2, 9, 8], [3, 3, 12, 14]])
ORDERS = torch.stack([torch.randperm(256, generator=DICE) for _ in range(3)])
GIVEN = {
    "adcc_score": (draw(3), draw(3), draw(3)), "average_drop_score": (draw(3), draw(3)),
    "average_gain_score": (draw(3), draw(3)), "coherency_score": (MAPS, OTHERS),
    "complexity_rise_score": (draw(3), draw(3)), "histogram_entropy": (MAPS, 10),
    "saco_score": (draw(3, 6), draw(3, 6)),
    "salience_groups": (MAPS, ORDERS, 7), "scaled_map": (MAPS, "absolute"), "structural_similarity": (MAPS, OTHERS),
    "area_under_curve": (torch.linspace(0, 1, 6).double(), draw(3, 6)), "average_ranks": (draw(3, 10),),
    "best_threshold": (MAPS, REGIONS), "box_iou": (MAPS, REGIONS), "box_masks": (BOXES, (16, 16), 0.1),
    "box_salience": (MAPS[0, 0].double().clamp(min=0), REGIONS), "cell_masks": ((16, 16), 4, torch.arange(3)),
    "cell_share": (MAPS, 2, torch.arange(3)), "cell_sums": (MAPS, 4), "constant_or_not_finite": (draw(3, 10),),
    "corrupted_accuracy_score": (draw(3, 5, 4), torch.arange(3)), "energy_share": (MAPS, REGIONS),
    "equivariance_similarity": (MAPS, OTHERS, REGIONS), "f_fidelity_score": (draw(3), draw(3, 2, 4)),
    "folded_blur": (draw(2, 3, 16, 16), 31, 5.0), "gaussian_blur": (draw(2, 3, 16, 16), 31, 5.0),
    "incremental_deletion_score": (draw(3, 6), "most"), "infidelity_score": (draw(3, 7), draw(3, 7)),
    "intensities": (MAPS, "raw"), "map_difference": (MAPS, OTHERS),
    "max_sensitivity_score": (MAPS, draw(4, 3, 1, 16, 16)),
    "noisy_imputation": (draw(3, 16, 16), REGIONS[0], draw(3, 16, 16)),
    "part_deletion_score": (draw(3, 4), draw(3, 4), torch.ones(3, 4, dtype=torch.bool)),
    "part_sums": (MAPS, draw(3, 4, 16, 16) > 0.5), "pearson": (draw(3, 10), draw(3, 10)),
    "pointing_hit": (MAPS, REGIONS),
    "positive_part": (MAPS,), "rank_similarity": (MAPS, OTHERS), "relative_change": (MAPS, OTHERS),
    "relative_heights": (draw(3, 6), draw(3), draw(3) - 1), "removal_counts": (256, 8),
    "removal_places": (draw(3, 256), ORDERS), "road_score": (draw(3, 6), draw(3, 6)), "scaled_positive_part": (MAPS,),
    "sensitivity_n_score": (draw(3, 8), draw(3, 8)), "single_deletion_score": (draw(3, 16), MAPS),
    "smoothed_kl_divergence": (draw(3, 16, 16), draw(3, 16, 16)), "sparseness_score": (MAPS,),
    "softmax_difference": (draw(3, 5).softmax(1), draw(3, 5).softmax(1)), "spearman": (draw(3, 10), draw(3, 10)),
    "spread": (draw(3, 16), (16, 16)), "symmetric_relevance_gain": (draw(3, 6), draw(3, 6)),
    "tied_share": (draw(3, 256),),
    "top_images": (draw(7, 3), 1, 3), "weighted_iou": (draw(16, 16).double(), draw(2, 16, 16) > 0.5),
}  # fmt: skip


@pytest.mark.parametrize("around", SURROUNDINGS)
@pytest.mark.parametrize("name", [name for name in functional.__all__ if name != "GROUPS"])
def test_public_scores_do_not_depend_on_what_is_around_the_call(name, around):
    score, given = getattr(functional, name), GIVEN[name]
    expected = score(*given)
    with SURROUNDINGS[around]():
        found = score(*given)
    if not isinstance(expected, torch.Tensor | tuple):
        assert found == expected
        return
    for one, other in zip(*(each if isinstance(each, tuple) else (each,) for each in (found, expected)), strict=True):
        assert one.dtype == other.dtype and one.device == other.device
        assert torch.equal(one.nan_to_num(7), other.nan_to_num(7))
