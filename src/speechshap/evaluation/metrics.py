"""The metrics of a benchmark, by name: which direction is better, what they need, and how they are computed.

A metric may have several variants (widths, masking operators); each gives one number for each utterance.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from speechshap.errors import UserError, require_choice
from speechshap.evaluation.agreement import rank_correlation
from speechshap.evaluation.case import Judged
from speechshap.evaluation.completeness import relative_gap
from speechshap.evaluation.deletion import mean_drop
from speechshap.evaluation.infidelity import infidelity
from speechshap.evaluation.localization import (
    area_under_curve,
    cells_inside,
    mass_inside,
    points_inside,
    precision_at_length,
    read_over,
)
from speechshap.evaluation.randomization import randomized
from speechshap.evaluation.sensitivity import max_sensitivity
from speechshap.evaluation.sparseness import gini

WIDTHS_MS = (20, 100, 180)
"""Widths that attributions are read over where the evidence is known, in milliseconds."""

_SHUFFLED = {"head": 0.0, "upper half": 0.5, "all": 1.0}
"""Share of the model's modules that are shuffled, from the top."""


Values = Mapping[str, Tensor]
"""``(batch,)`` for each variant; the only variant of a metric has an empty name."""


class Metric(NamedTuple):
    """A metric of the benchmark.

    Attributes:
        summary: What a value says, and what it does not, in a line.
        better: Whether higher or lower values are better; None where neither is.
        compute: Its values for an explanation.
        needs_truth: Whether it is for utterances whose evidence is known.
        explains_again: Whether it explains the utterances several times more.
        tells_apart: Whether an explanation scores worse when it is reversed in time, or is that of another utterance.
            Where it does not, a good value shows no more than that one thing is in order, and the metric is not in the
            default suite.
    """

    summary: str
    better: Literal["higher", "lower"] | None
    compute: Callable[[Judged], Values]
    needs_truth: bool = False
    explains_again: bool = False
    tells_apart: bool = True


def _localisation(measure: Callable[[Tensor, Tensor, Tensor], Tensor], judged: Judged) -> Values:
    case, values = judged.case, {}
    for width, read in _at_widths(judged, judged.frames).items():
        for kind, scores in (("signed", read), ("absolute", read.abs())):
            values[f"{kind} {width}"] = measure(scores, case.truth, case.judged)
    return values


def _at_widths(judged: Judged, frames: Tensor) -> dict[str, Tensor]:
    """Frames read over each of the widths, by its name."""
    hop_ms = 1000 * judged.case.evaluator.grid.hop_seconds
    return {f"{width} ms": read_over(frames, judged.case.valid, max(1, round(width / hop_ms))) for width in WIDTHS_MS}


def _cells(judged: Judged) -> Values:
    cells, bands = judged.attribution.time_frequency, judged.bands
    unknown = torch.full((len(judged.frames),), torch.nan)
    if cells is None or bands is None:
        return {"signed": unknown, "absolute": unknown}
    values: dict[str, list[Tensor]] = {"signed": [], "absolute": []}
    for row, (stretches, length) in enumerate(zip(judged.case.stretches, judged.case.evaluator.lengths, strict=True)):
        truth = cells_inside(stretches, bands, length).to(cells.device)
        own = cells[row, 0, :, : truth.shape[1]].flatten()[None]
        for kind, scores in (("signed", own), ("absolute", own.abs())):
            values[kind].append(area_under_curve(scores, truth.flatten()[None], torch.ones_like(scores).bool()))
    return {kind: torch.cat(rows) for kind, rows in values.items()}


def _by_operator(measure: Callable[[Judged, str], Tensor], judged: Judged) -> Values:
    return {operator: measure(judged, operator) for operator in judged.case.operators}


def _area(kind: Literal["deletion", "insertion"], judged: Judged, operator: str) -> Tensor:
    return judged.curves(kind, operator).area


def _drop(kind: Literal["deletion", "insertion"], judged: Judged, operator: str) -> Tensor:
    return mean_drop(judged.curves(kind, operator), judged.case.output)


def _infidelity(judged: Judged, operator: str) -> Tensor:
    return infidelity(judged.frames, judged.case.perturbations(operator))


def _max_sensitivity(judged: Judged) -> Values:
    case = judged.case
    found = max_sensitivity(case.evaluator, judged.again, n_perturbations=2, seed=case.seed, original=judged.frames)
    return {"": found}


def _seed_agreement(judged: Judged) -> Values:
    other = judged.again(judged.case.evaluator, judged.seed + 1)
    own, others = _at_widths(judged, judged.frames), _at_widths(judged, other)
    return {width: rank_correlation(own[width], others[width], judged.case.valid) for width in own}


def _randomization(judged: Judged) -> Values:
    evaluator = judged.case.evaluator
    if evaluator.module is None:
        raise UserError("`randomization` shuffles the weights of the model, which is not known as a module")
    values = {}
    for name, top in _SHUFFLED.items():
        first = evaluator.waveform(0)[None]
        with randomized(evaluator.module, top, partial(evaluator.outputs_at, first, [0]), judged.case.seed):
            frames = judged.again(evaluator.with_inputs(evaluator.inputs))
        values[name] = rank_correlation(judged.frames, frames, judged.case.valid).abs()
    return values


def _completeness(judged: Judged) -> Values:
    return {"": relative_gap(judged.frames.sum(1), judged.attribution.completeness_gap[:, 0])}


METRICS: dict[str, Metric] = {
    "auc": Metric(
        "how often a frame of the known evidence outranks one of the rest; 0.5 by chance",
        "higher", partial(_localisation, area_under_curve), needs_truth=True,
    ),
    "pointing": Metric(
        "whether the highest frame lies in the known evidence; by chance the share of the frames that it has",
        "higher", partial(_localisation, points_inside), needs_truth=True,
    ),
    "mass": Metric(
        "share of the positive attribution in the known evidence; by chance the share of the frames that it has",
        "higher", partial(_localisation, mass_inside), needs_truth=True,
    ),
    "precision": Metric(
        "share of the known evidence among as many highest frames; by chance the share of the frames that it has",
        "higher", partial(_localisation, precision_at_length), needs_truth=True,
    ),
    "time_frequency_auc": Metric(
        "as `auc`, of bands and frames; for methods that attribute to both",
        "higher", _cells, needs_truth=True,
    ),
    "deletion": Metric(
        "mean output while the highest frames are replaced first, in the unit of the output; compare with `random`",
        "lower", partial(_by_operator, partial(_area, "deletion")),
    ),
    "insertion": Metric(
        "mean output while the highest frames are put back first, in the unit of the output; compare with `random`",
        "higher", partial(_by_operator, partial(_area, "insertion")),
    ),
    "comprehensiveness": Metric(
        "what the output loses without the highest frames (up to half of them)",
        "higher", partial(_by_operator, partial(_drop, "deletion")),
    ),
    "sufficiency": Metric(
        "what the output lacks with the highest frames alone (up to half of them)",
        "lower", partial(_by_operator, partial(_drop, "insertion")),
    ),
    "infidelity": Metric(
        "share of the falls of the output without stretches that attributions, scaled, leave unexplained; 1 for none",
        "lower", partial(_by_operator, _infidelity),
    ),
    "max_sensitivity": Metric(
        "relative change of the explanation when a little noise is added; low values alone prove nothing",
        "lower", _max_sensitivity, explains_again=True, tells_apart=False,
    ),
    "seed_agreement": Metric(
        "rank correlation of the frames between two seeds; agreement does not make an explanation right",
        "higher", _seed_agreement, explains_again=True, tells_apart=False,
    ),
    "randomization": Metric(
        "absolute rank correlation with the explanation of the model with shuffled weights; near 0 if it depends on "
        "what was learnt",
        "lower", _randomization, explains_again=True, tells_apart=False,
    ),
    "completeness": Metric(
        "what is missing from the sum that attributions must come to, relative to it; it sees no order of frames",
        "lower", _completeness, tells_apart=False,
    ),
    "sparseness": Metric(
        "Gini index: on how few frames the weight lies; neither direction is better",
        None, lambda judged: {"": gini(judged.frames, judged.case.valid)}, tells_apart=False,
    ),
}  # fmt: skip
"""All metrics, by the names that a user types."""


def choose_metrics(text: str) -> list[str]:
    """Names of metrics from a text with commas; ``default`` are those that tell right explanations from wrong ones.

    Raises:
        UserError: There is no such metric.

    Example:
        >>> choose_metrics("deletion, sparseness")
        ['deletion', 'sparseness']
    """
    named = {"all": list(METRICS), "default": [name for name, metric in METRICS.items() if metric.tells_apart]}
    chosen: dict[str, None] = {}
    for name in (part.strip() for part in text.split(",")):
        if name not in named:
            require_choice("metrics", name, [*named, *METRICS])
        chosen.update(dict.fromkeys(named.get(name, [name])))
    return list(chosen)
