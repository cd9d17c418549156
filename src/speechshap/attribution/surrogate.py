"""Surrogate models: what a linear function of the parts of an utterance says of the model's output.

A *coalition* is a set of features of an utterance; the others are replaced by those of a reference. The model is asked
for many coalitions, and a linear function of which features were there is fitted to its answers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from speechshap.attribution.attribution import Attribution
from speechshap.attribution.baselines import Baseline
from speechshap.attribution.draws import draw_generator
from speechshap.attribution.errors import UtteranceError
from speechshap.attribution.evaluator import Evaluator, within
from speechshap.attribution.features import FEATURE_KINDS, FeatureKind, Features, spread
from speechshap.attribution.settings import ReferenceSettings
from speechshap.attribution.spectrum import SpectralGrid
from speechshap.attribution.targets import Targets
from speechshap.errors import UserError, require_at_least, require_choice

_COALITIONS_PER_FEATURE = 4
"""The fewest: with paired coalitions two equations for each unknown."""

_COALITION_DRAW = -1
"""Number of the draw of an utterance's coalitions; those of its references count from 0."""


@dataclass(frozen=True, kw_only=True)
class SurrogateSettings(ReferenceSettings):
    """Settings of the methods that fit a surrogate model.

    Attributes:
        features: What is there or replaced: ``stretches`` of time, frequency ``bands``, or ``cells`` (bands by
            stretches).
        stretch_frames: Frames of a stretch (10 frames of WavLM are 200 ms); where they do not divide an utterance,
            its stretches are a little longer or shorter.
        num_bands: Mel bands.
        n_samples: Coalitions that the model is asked for, 4 for each feature at least.
        n_draws: References that the features are replaced by, dealt out among the coalitions; from two on there are
            standard errors.

    Raises:
        UserError: A value is not legal, or does not fit the others.
    """

    features: FeatureKind = "stretches"
    stretch_frames: int = 10
    num_bands: int = 16
    n_samples: int = 256
    n_draws: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("features", self.features, FEATURE_KINDS)
        require_at_least(1, stretch_frames=self.stretch_frames, n_draws=self.n_draws)
        require_at_least(2, num_bands=self.num_bands)
        require_at_least(_COALITIONS_PER_FEATURE, n_samples=self.n_samples)
        if 2 * self.n_draws > self.n_samples:
            raise UserError(
                f"`n_draws` is {self.n_draws}; expected {self.n_samples // 2} at most, so that each reference is in "
                f"two of the coalitions (`n_samples` is {self.n_samples})"
            )
        try:
            self.spectrum  # noqa: B018 - checks the bands
        except ValueError as error:
            raise UserError(f"`num_bands` is {self.num_bands}: {error}") from error

    @property
    def spectrum(self) -> SpectralGrid | None:
        """Transform whose bands are features; None where only stretches are."""
        return None if self.features == "stretches" else SpectralGrid(num_mel_bands=self.num_bands)


class Coalitions(NamedTuple):
    """Coalitions of one utterance.

    Attributes:
        present: Which features are on, ``(rows, features)`` bool.
        references: Number of the reference that replaces the others, ``(rows,)`` int64.
    """

    present: Tensor
    references: Tensor


class Fit(NamedTuple):
    """A surrogate of the outputs of one utterance; in double precision, on the CPU.

    Attributes:
        coefficients: ``(targets, features)``.
        deviations: What each reference adds to their error, ``(references, targets, features)``: the squares sum to
            the variance, of any sum of coefficients too. None where there is one reference.
        gap: Completeness gap, ``(targets,)``.
        gap_standard_error: Its standard error; None where it has none.
    """

    coefficients: Tensor
    deviations: Tensor | None
    gap: Tensor
    gap_standard_error: Tensor | None = None


class Surrogate(NamedTuple):
    """A way to draw coalitions, and to fit a surrogate to what the model answers.

    Attributes:
        is_exact: Whether so many features are explained without drawing; else they must not be too many.
        draw: Coalitions of so many features.
        fit: Takes the coalitions, the outputs for them, ``(rows, targets)``, and that for the utterance ``(targets,)``.
    """

    is_exact: Callable[[int], bool]
    draw: Callable[[int, torch.Generator], Coalitions]
    fit: Callable[[Coalitions, Tensor, Tensor], Fit]


def explain_by_surrogate(
    evaluator: Evaluator, targets: Targets, baseline: Baseline, settings: SurrogateSettings, surrogate: Surrogate
) -> Attribution:
    """Attribute a batch by a surrogate, whose coefficients are dealt out evenly to the frames of their features.

    Raises:
        ValueError: The model does not have the targets, or a reference does not fit.
        UtteranceError: An utterance has too many features, or an output for it is not finite; the error names it.
    """
    targets = evaluator.targets(targets)
    features = [
        Features.of(settings.features, length, evaluator.grid, settings.stretch_frames, settings.spectrum)
        for length in evaluator.lengths
    ]
    for name, own in zip(evaluator.ids, features, strict=True):
        if len(own) * _COALITIONS_PER_FEATURE > settings.n_samples and not surrogate.is_exact(len(own)):
            raise _too_many(name, own, settings.n_samples)
    coalitions = [
        surrogate.draw(len(own), draw_generator(settings.seed, name, _COALITION_DRAW))
        for name, own in zip(evaluator.ids, features, strict=True)
    ]
    outputs = targets(evaluator.logits)
    answers = _answers(evaluator, targets, baseline, settings.seed, features, coalitions)
    fits = [
        surrogate.fit(drawn, answer, output)
        for drawn, answer, output in zip(coalitions, answers, outputs.cpu().double(), strict=True)
    ]
    return _attribution(evaluator, targets, settings, features, coalitions, fits)


def clustered(influences: Tensor, references: Tensor, count: int) -> Tensor | None:
    """What each reference adds to the error of an estimate, ``(references, ...)``; None where there is one.

    The rows of a reference depend on each other through it, so that they are summed before they are squared
    (Liang & Zeger 1986, equation 7).

    Args:
        influences: Of each row on the estimate, ``(rows, ...)``.
        references: Of each row, ``(rows,)``.
        count: References.

    Example:
        >>> values = torch.tensor([1.0, 2.0, 4.0])  # the error of a mean is that of the textbook
        >>> deviations = clustered(values / 3, torch.arange(3), 3)
        >>> bool(deviations.square().sum().sqrt().isclose(values.std() / 3**0.5))
        True
    """
    if count == 1:
        return None
    sums = influences.new_zeros(count, *influences.shape[1:]).index_add_(0, references, influences)
    return (sums - sums.mean(0)) * (count / (count - 1)) ** 0.5


def _answers(
    evaluator: Evaluator,
    targets: Targets,
    baseline: Baseline,
    seed: int,
    features: list[Features],
    coalitions: list[Coalitions],
) -> list[Tensor]:
    """Outputs of the model for each utterance's coalitions, ``(rows, targets)``, in double precision on the CPU."""
    # One reference after the other, so that one at a time is in memory.
    orders = [drawn.references.argsort(stable=True) for drawn in coalitions]
    rows = [(utterance, row) for utterance, order in enumerate(orders) for row in order.tolist()]

    @lru_cache(maxsize=1)
    def difference(utterance: int, reference: int) -> Tensor:
        waveform = evaluator.waveform(utterance)
        drawn = evaluator.reference(baseline, utterance, seed, reference)
        wide = torch.promote_types(waveform.dtype, torch.float32)
        return features[utterance].transform(waveform.to(wide) - drawn.to(waveform.device, wide))

    def with_features_replaced(number: int) -> Tensor:
        utterance, row = rows[number]
        present, references = coalitions[utterance]
        transformed = difference(utterance, int(references[row]))
        return evaluator.waveform(utterance) - features[utterance].removed(transformed, present[row])

    utterances = [utterance for utterance, _ in rows]
    logits = evaluator.evaluate(utterances, with_features_replaced)
    answers = targets(logits, evaluator.indices(utterances)).cpu().double()
    evaluator.check_finite(answers, utterances)
    own = answers.split([len(order) for order in orders])
    return [answer[order.argsort()] for answer, order in zip(own, orders, strict=True)]


def _attribution(
    evaluator: Evaluator,
    targets: Targets,
    settings: SurrogateSettings,
    features: list[Features],
    coalitions: list[Coalitions],
    fits: list[Fit],
) -> Attribution:
    """The coefficients by frame, and by band and frame where bands are features."""
    outputs, spectrum = targets(evaluator.logits), settings.spectrum
    frames = outputs.new_zeros(*outputs.shape, evaluator.num_frames)
    columns = 0 if spectrum is None else spectrum.num_frames(max(evaluator.lengths))
    cells = outputs.new_zeros(*outputs.shape, features[0].num_bands, columns)
    frame_errors, cell_errors = torch.zeros_like(frames), torch.zeros_like(cells)
    for utterance, (own, fit) in enumerate(zip(features, fits, strict=True)):
        values = own.cells(fit.coefficients)  # (targets, bands, stretches)
        _put(frames[utterance], spread(values.sum(-2), own.bounds))
        if spectrum is not None:
            _put(cells[utterance], spread(values, own.columns))
        if fit.deviations is not None:
            deviations = own.cells(fit.deviations)
            _put(frame_errors[utterance], spread(deviations.sum(-2).norm(dim=0), own.bounds))
            if spectrum is not None:
                _put(cell_errors[utterance], spread(deviations.norm(dim=0), own.columns))
    has_errors = settings.n_draws > 1
    gap_errors = [fit.gap_standard_error for fit in fits if fit.gap_standard_error is not None]
    return Attribution(
        frames=frames,
        frames_standard_error=frame_errors if has_errors else None,
        frame_lengths=evaluator.frame_lengths,
        targets=targets,
        logits=evaluator.logits,
        outputs=outputs,
        completeness_gap=_stacked([fit.gap for fit in fits], outputs),
        completeness_gap_standard_error=_stacked(gap_errors, outputs) if gap_errors else None,
        n_samples=evaluator.indices([len(drawn.present) for drawn in coalitions]),
        n_replicates=evaluator.indices([settings.n_draws] * len(fits)),
        time_frequency=None if spectrum is None else cells,
        time_frequency_standard_error=cell_errors if has_errors and spectrum is not None else None,
    )


def _put(place: Tensor, values: Tensor) -> None:
    """Values, where they may be smaller than their place."""
    place[within(values.shape)] = values.to(place.dtype)


def _stacked(values: list[Tensor], like: Tensor) -> Tensor:
    return torch.stack(values).to(like.dtype).to(like.device)


def _too_many(name: str, features: Features, n_samples: int) -> UtteranceError:
    kinds = (
        (features.num_stretches, "stretches", "longer `stretch_frames`"),
        (features.num_bands, "bands", "fewer `num_bands`"),
    )
    counts, ways = zip(*((f"{count} {kind}", way) for count, kind, way in kinds if count > 1), strict=True)
    return UtteranceError(
        name,
        f"utterance {name} has {len(features)} features ({' x '.join(counts)}), and `n_samples` is {n_samples}; "
        f"expected {_COALITIONS_PER_FEATURE * len(features)} at least, {_COALITIONS_PER_FEATURE} for each, or "
        f"{' or '.join(ways)}",
    )
