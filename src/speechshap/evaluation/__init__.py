"""Are explanations right? Measures of attributions, and where the evidence is known, how well it is found."""

from speechshap.bootstrap import Estimate
from speechshap.evaluation.agreement import rank_correlation
from speechshap.evaluation.completeness import relative_gap
from speechshap.evaluation.deletion import Curves, deletion_curves, insertion_curves, mean_drop
from speechshap.evaluation.infidelity import Perturbations, infidelity, perturb
from speechshap.evaluation.localization import (
    area_under_curve,
    frames_inside,
    mass_inside,
    points_inside,
    precision_at_length,
    read_over,
)
from speechshap.evaluation.permutation import Difference, SpeakerTotals, compare_groups, compare_speakers
from speechshap.evaluation.randomization import randomized
from speechshap.evaluation.reliance import Reliance, reliance
from speechshap.evaluation.replacement import draw_references, replaced_outputs
from speechshap.evaluation.scores import MeanOverUtterances, mean_of_speakers, mean_with_interval
from speechshap.evaluation.sensitivity import max_sensitivity
from speechshap.evaluation.sparseness import gini

__all__ = [
    "Curves",
    "Difference",
    "Estimate",
    "MeanOverUtterances",
    "Perturbations",
    "Reliance",
    "SpeakerTotals",
    "area_under_curve",
    "compare_groups",
    "compare_speakers",
    "deletion_curves",
    "draw_references",
    "frames_inside",
    "gini",
    "infidelity",
    "insertion_curves",
    "mass_inside",
    "max_sensitivity",
    "mean_drop",
    "mean_of_speakers",
    "mean_with_interval",
    "perturb",
    "points_inside",
    "precision_at_length",
    "randomized",
    "rank_correlation",
    "read_over",
    "relative_gap",
    "reliance",
    "replaced_outputs",
]
