"""Scores of protocols, and helpers of protocol authors, as functions of tensors.

Each function is the one that the protocol itself calls. Shapes: P maps are (P, 1, H, W), P regions are (P, H, W) bool.
A score is NaN where it is undefined; none of these functions needs a model, a data set or a batch.

    >>> import torch, xaibench
    >>> xaibench.functional.spearman(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([3.0, 2.0, 1.0])).tolist()
    -1.0
"""

from __future__ import annotations

from xaibench.protocols.activations import top_images
from xaibench.protocols.complexity.sparseness import sparseness_score
from xaibench.protocols.curves import removal_counts, removal_places, tied_share
from xaibench.protocols.energy_pointing import energy_share
from xaibench.protocols.faithfulness.adcc import adcc_score, coherency_score
from xaibench.protocols.faithfulness.average_drop import average_drop_score
from xaibench.protocols.faithfulness.average_gain import average_gain_score
from xaibench.protocols.faithfulness.f_fidelity import f_fidelity_score
from xaibench.protocols.faithfulness.ids import incremental_deletion_score
from xaibench.protocols.faithfulness.infidelity import infidelity_score
from xaibench.protocols.faithfulness.part_deletion import part_deletion_score, part_sums
from xaibench.protocols.faithfulness.road import noisy_imputation, road_score
from xaibench.protocols.faithfulness.saco import saco_score, salience_groups
from xaibench.protocols.faithfulness.sds import single_deletion_score
from xaibench.protocols.faithfulness.sensitivity_n import sensitivity_n_score
from xaibench.protocols.faithfulness.srg import symmetric_relevance_gain
from xaibench.protocols.insertion_deletion import relative_heights
from xaibench.protocols.localization.box_iou import best_threshold, box_iou, scaled_positive_part
from xaibench.protocols.localization.grid_pg import cell_share
from xaibench.protocols.localization.mosu import box_salience, smoothed_kl_divergence
from xaibench.protocols.localization.obey import intensities, weighted_iou
from xaibench.protocols.localization.pointing_game import pointing_hit
from xaibench.protocols.masked_image import scaled_map
from xaibench.protocols.masks import box_masks, positive_part
from xaibench.protocols.model_checks.model_similarity import map_difference, softmax_difference
from xaibench.protocols.model_checks.sds_accuracy import corrupted_accuracy_score
from xaibench.protocols.patches import cell_masks, cell_sums, folded_blur, gaussian_blur, spread
from xaibench.protocols.randomization.efficient_mprt import complexity_rise_score, histogram_entropy
from xaibench.protocols.randomization.random_logit import structural_similarity
from xaibench.protocols.randomization.randomization import rank_similarity
from xaibench.protocols.robustness.max_sensitivity import max_sensitivity_score, relative_change
from xaibench.protocols.robustness.ses import equivariance_similarity
from xaibench.protocols.statistics import area_under_curve, average_ranks, constant_or_not_finite, pearson, spearman

# The functions by the category of their protocols; the last two groups are for authors of protocols.
GROUPS = {
    "Faithfulness": (
        single_deletion_score, area_under_curve, relative_heights, incremental_deletion_score,
        symmetric_relevance_gain, road_score, f_fidelity_score, infidelity_score, sensitivity_n_score,
        part_deletion_score, average_drop_score, average_gain_score, coherency_score, adcc_score, saco_score,
    ),
    "Localization": (
        energy_share, box_iou, best_threshold, pointing_hit, cell_share, weighted_iou, smoothed_kl_divergence,
    ),
    "Robustness": (max_sensitivity_score, relative_change, equivariance_similarity),
    "Randomization": (rank_similarity, complexity_rise_score, structural_similarity),
    "Complexity": (sparseness_score, histogram_entropy),
    "Checks of models": (corrupted_accuracy_score, softmax_difference, map_difference, top_images),
    "Maps and regions": (
        positive_part, scaled_positive_part, scaled_map, intensities, box_masks, box_salience, cell_masks, cell_sums,
        spread, salience_groups,
        part_sums, gaussian_blur, folded_blur, noisy_imputation,
    ),
    "Orders and statistics": (
        average_ranks, spearman, pearson, constant_or_not_finite, removal_counts, removal_places, tied_share,
    ),
}  # fmt: skip

__all__ = [
    "GROUPS", "adcc_score", "area_under_curve", "average_drop_score", "average_gain_score", "average_ranks",
    "best_threshold", "box_iou", "box_masks", "box_salience", "cell_masks", "cell_share", "cell_sums",
    "coherency_score", "complexity_rise_score", "constant_or_not_finite", "corrupted_accuracy_score",
    "energy_share", "equivariance_similarity", "f_fidelity_score", "folded_blur", "gaussian_blur",
    "histogram_entropy", "incremental_deletion_score", "infidelity_score", "intensities", "map_difference",
    "max_sensitivity_score", "noisy_imputation", "part_deletion_score", "part_sums", "pearson", "pointing_hit",
    "positive_part", "rank_similarity", "relative_change", "relative_heights", "removal_counts", "removal_places",
    "road_score", "saco_score", "salience_groups", "scaled_map", "scaled_positive_part", "sensitivity_n_score",
    "single_deletion_score", "smoothed_kl_divergence", "softmax_difference", "sparseness_score", "spearman",
    "spread", "structural_similarity", "symmetric_relevance_gain", "tied_share", "top_images", "weighted_iou",
]  # fmt: skip
