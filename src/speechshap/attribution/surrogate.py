"""Surrogate models: what a linear function of the parts of an utterance says of the model's output.

A *coalition* is a set of features of an utterance; the others are replaced by those of a reference. The model is asked
for many coalitions, and a linear function of which features were there is fitted to its answers.
"""

import math
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
from speechshap.attribution.features import FEATURE_KINDS, FeatureKind, Features, stretch_bounds
from speechshap.attribution.settings import ReferenceSettings
from speechshap.attribution.spectrum import SpectralGrid
from speechshap.attribution.targets import Targets
from speechshap.errors import UserError, require_at_least, require_choice
from speechshap.frames import FrameGrid

_COALITIONS_PER_FEATURE = 4
"""The fewest: with paired coalitions two equations for each unknown."""

_USUAL_COALITIONS = 5
"""For each feature, where their number is left out."""

_COALITION_DRAW = -1
"""Number of the draw of an utterance's coalitions; those of its references count from 0."""


@dataclass(frozen=True, kw_only=True)
class SurrogateSettings(ReferenceSettings):
    """Settings of the methods that fit a surrogate model.

    Attributes:
        features: What is there or replaced: ``stretches`` of time, frequency ``bands``, or ``cells`` (bands by
            stretches).
        stretch_frames: Frames of a stretch (20 frames of WavLM are 400 ms); where they do not divide an utterance,
            its stretches are a little longer or shorter.
        n_divisions: Divisions into stretches, each a part of a stretch later than the one before, so that stretches
            overlap. Each is explained by itself with its part of ``n_samples``, and a frame has the mean of what they
            give it. With 1 the stretches lie side by side.
        max_stretches: Stretches of an utterance at most, and one more in a division that begins later: those of a long
            utterance (more than 10 s, with 25 of 400 ms) are longer, so that it takes no more coalitions.
        num_bands: Mel bands.
        n_samples: Coalitions that the model is asked for, 4 for each feature at least; left out, 5 for each, and 2 for
            each reference at least, so that a long utterance has more.
        n_draws: References that the features are replaced by, dealt out among the coalitions of all divisions; from
            two on there are standard errors.

    Raises:
        UserError: A value is not legal, or does not fit the others.
    """

    features: FeatureKind = "stretches"
    stretch_frames: int = 20
    n_divisions: int = 4
    max_stretches: int = 25
    num_bands: int = 16
    n_samples: int | None = None
    n_draws: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("features", self.features, FEATURE_KINDS)
        require_at_least(
            1, stretch_frames=self.stretch_frames, n_divisions=self.n_divisions, max_stretches=self.max_stretches,
            n_draws=self.n_draws,
        )  # fmt: skip
        require_at_least(2, num_bands=self.num_bands)
        require_at_least(_COALITIONS_PER_FEATURE, n_samples=self.n_samples)
        if self.n_samples is not None and 2 * self.n_draws > self.n_samples:
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

    def divisions(self, num_samples: int, grid: FrameGrid) -> list[Features]:
        """The features of an utterance, once for each division.

        Example:
            >>> settings = SurrogateSettings(stretch_frames=4, n_divisions=2)
            >>> [features.bounds for features in settings.divisions(8, FrameGrid(1, 1))]
            [[0, 4, 8], [0, 2, 6, 8]]
        """
        num_frames = grid.num_frames(num_samples)
        size = max(self.stretch_frames, math.ceil(num_frames / self.max_stretches))
        count = min(self.n_divisions, size)  # no more differ
        shifts = [number / count for number in range(count)]
        bounds = [stretch_bounds(num_frames, size, shift) for shift in shifts]
        if self.features == "bands":
            bounds = [[0, num_frames]]
        return [Features.of(num_samples, grid, own, self.spectrum) for own in bounds]

    def coalitions_of(self, num_features: int, num_divisions: int) -> int:
        """How many coalitions one of so many divisions has, which is into so many features."""
        if self.n_samples is not None:
            return self.n_samples // num_divisions
        return max(_USUAL_COALITIONS * num_features, 2 * math.ceil(self.n_draws / num_divisions))


class Coalitions(NamedTuple):
    """Coalitions of the features that one utterance is divided into.

    Attributes:
        present: Which features are on, ``(rows, features)`` bool.
        references: Number of the reference that replaces the others, ``(rows,)`` int64.
        is_drawn: Whether they were drawn at random; else they are all there are.
    """

    present: Tensor
    references: Tensor
    is_drawn: bool = True


class Fit(NamedTuple):
    """A surrogate of the outputs of one utterance, for one division; in double precision, on the CPU.

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
        draw: Coalitions of so many features, as many as asked for or, where these suffice for that, all there are;
            with the references in turn.
        fit: Takes the coalitions, the outputs for them ``(rows, targets)``, and how far the output for the utterance is
            above that for each reference, ``(references, targets)``.
        needs_references: Whether the fit is told the latter; else it gets no references, ``(0, targets)``.
    """

    draw: Callable[[int, int, torch.Generator], Coalitions]
    fit: Callable[[Coalitions, Tensor, Tensor], Fit]
    needs_references: bool


class _Division(NamedTuple):
    features: Features
    coalitions: Coalitions


def explain_by_surrogate(
    evaluator: Evaluator, targets: Targets, baseline: Baseline, settings: SurrogateSettings, surrogate: Surrogate
) -> Attribution:
    """Attribute a batch by a surrogate, whose coefficients are dealt out evenly to the frames of their features.

    Raises:
        ValueError: The model does not have the targets, or a reference does not fit.
        UtteranceError: An utterance has too many features, or an output for it is not finite; the error names it.
    """
    targets = evaluator.targets(targets)
    divisions = [
        _divisions(name, length, evaluator.grid, settings, surrogate)
        for name, length in zip(evaluator.ids, evaluator.lengths, strict=True)
    ]
    outputs = targets(evaluator.logits)
    answers = _answers(evaluator, targets, baseline, settings, divisions, settings.n_draws * surrogate.needs_references)
    fits = [
        [
            surrogate.fit(division.coalitions, answer, output - of_references)
            for division, answer in zip(own, own_answers, strict=True)
        ]
        for own, (*own_answers, of_references), output in zip(divisions, answers, outputs.cpu().double(), strict=True)
    ]
    counts = [sum(map(len, own_answers)) for own_answers in answers]
    return _attribution(evaluator, targets, settings, divisions, fits, counts)


def _divisions(
    name: str, num_samples: int, grid: FrameGrid, settings: SurrogateSettings, surrogate: Surrogate
) -> list[_Division]:
    """What an utterance is divided into, with the coalitions of each division."""
    divisions = settings.divisions(num_samples, grid)
    found = []
    for number, features in enumerate(divisions):
        count = settings.coalitions_of(len(features), len(divisions))
        generator = draw_generator(settings.seed, name, _COALITION_DRAW - number)
        drawn = surrogate.draw(len(features), count, generator)
        if drawn.is_drawn and len(features) * _COALITIONS_PER_FEATURE > count:
            raise _too_many(name, divisions, settings.n_samples)
        # Each division goes on with other references, so that all have their turn.
        first = number * settings.n_draws // len(divisions)
        found.append(_Division(features, drawn._replace(references=(drawn.references + first) % settings.n_draws)))
    return found


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
    settings: SurrogateSettings,
    divisions: list[list[_Division]],
    n_references: int,
) -> list[list[Tensor]]:
    """Outputs of the model, ``(rows, targets)`` in double precision on the CPU.

    For each utterance there are those for the coalitions of each of its divisions, and those for so many references.
    """
    rows: list[tuple[int, Features, Tensor, int]] = []
    sizes: list[int] = []
    for utterance, own in enumerate(divisions):
        nothing = torch.zeros(len(own[0].features), dtype=torch.bool)
        references = _Division(
            own[0].features, Coalitions(nothing.expand(n_references, -1), torch.arange(n_references))
        )
        for features, coalitions in (*own, references):
            own_references = coalitions.references.tolist()
            rows += [(utterance, features, *row) for row in zip(coalitions.present, own_references, strict=True)]
            sizes.append(len(coalitions.present))
    # One reference after the other, so that one at a time is in memory.
    order = sorted(range(len(rows)), key=lambda row: (rows[row][0], rows[row][3]))

    @lru_cache(maxsize=1)
    def difference(utterance: int, reference: int) -> Tensor:
        waveform = evaluator.waveform(utterance)
        drawn = evaluator.reference(baseline, utterance, settings.seed, reference)
        wide = torch.promote_types(waveform.dtype, torch.float32)
        features = divisions[utterance][0].features  # those of all divisions take the same of it
        return features.transform(waveform.to(wide) - drawn.to(waveform.device, wide))

    def with_features_replaced(number: int) -> Tensor:
        utterance, features, present, reference = rows[order[number]]
        return evaluator.waveform(utterance) - features.removed(difference(utterance, reference), present)

    utterances = [rows[row][0] for row in order]
    logits = evaluator.evaluate(utterances, with_features_replaced)
    answers = targets(logits, evaluator.indices(utterances)).cpu().double()
    evaluator.check_finite(answers, utterances)
    in_place = torch.empty_like(answers)
    in_place[order] = answers
    parts = iter(in_place.split(sizes))
    return [[next(parts) for _ in (*own, "references")] for own in divisions]


def _attribution(
    evaluator: Evaluator,
    targets: Targets,
    settings: SurrogateSettings,
    divisions: list[list[_Division]],
    fits: list[list[Fit]],
    counts: list[int],
) -> Attribution:
    """The coefficients by frame, and by band and frame where bands are features; the mean over the divisions."""
    outputs, spectrum = targets(evaluator.logits), settings.spectrum
    frames = outputs.new_zeros(*outputs.shape, evaluator.num_frames)
    columns = 0 if spectrum is None else spectrum.num_frames(max(evaluator.lengths))
    cells = outputs.new_zeros(*outputs.shape, divisions[0][0].features.num_bands, columns)
    frame_errors, cell_errors = torch.zeros_like(frames), torch.zeros_like(cells)
    segment_errors = outputs.new_zeros(*outputs.shape, evaluator.num_segments)
    has_errors = settings.n_draws > 1
    for utterance, (own, own_fits) in enumerate(zip(divisions, fits, strict=True)):
        pairs = [(division.features, fit) for division, fit in zip(own, own_fits, strict=True)]
        _put(frames[utterance], _mean([features.by_frame(fit.coefficients) for features, fit in pairs]))
        if spectrum is not None:
            _put(cells[utterance], _mean([features.by_column(fit.coefficients) for features, fit in pairs]))
        # The divisions have the references in common, whose part of the errors is averaged before it is squared.
        known = [(features, fit.deviations) for features, fit in pairs if fit.deviations is not None]
        if known:
            deviations = _mean([features.by_frame(own) for features, own in known])  # (references, targets, frames)
            _put(frame_errors[utterance], deviations.norm(dim=0))
            sums = evaluator.sum_segments(deviations, [utterance] * len(deviations))
            _put(segment_errors[utterance], sums.norm(dim=0))
            if spectrum is not None:
                _put(cell_errors[utterance], _mean([features.by_column(own) for features, own in known]).norm(dim=0))
    gaps = [_mean([fit.gap for fit in own]) for own in fits]
    gap_errors = [own[0].gap_standard_error for own in fits if own[0].gap_standard_error is not None]
    return Attribution(
        frames=frames,
        frames_standard_error=frame_errors if has_errors else None,
        segments_standard_error=segment_errors if has_errors and evaluator.num_segments else None,
        frame_lengths=evaluator.frame_lengths,
        targets=targets,
        logits=evaluator.logits,
        outputs=outputs,
        completeness_gap=_stacked(gaps, outputs),
        completeness_gap_standard_error=_stacked(gap_errors, outputs) if gap_errors else None,
        n_samples=evaluator.indices(counts),
        n_replicates=evaluator.indices([settings.n_draws] * len(fits)),
        time_frequency=None if spectrum is None else cells,
        time_frequency_standard_error=cell_errors if has_errors and spectrum is not None else None,
    )


def _mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean(0)


def _put(place: Tensor, values: Tensor) -> None:
    """Values, where they may be smaller than their place."""
    place[within(values.shape)] = values.to(place.dtype)


def _stacked(values: list[Tensor], like: Tensor) -> Tensor:
    return torch.stack(values).to(like.dtype).to(like.device)


def _too_many(name: str, divisions: list[Features], n_samples: int | None) -> UtteranceError:
    features = max(divisions, key=len)
    kinds = (
        (features.num_stretches, "stretches", "longer `stretch_frames`"),
        (features.num_bands, "bands", "fewer `num_bands`"),
    )
    counts, ways = zip(*((f"{count} {kind}", way) for count, kind, way in kinds if count > 1), strict=True)
    shape = " x ".join(counts) if len(divisions) == 1 else f"{' x '.join(counts)}, in {len(divisions)} divisions"
    least = _COALITIONS_PER_FEATURE * len(features) * len(divisions)
    return UtteranceError(
        name,
        f"utterance {name} has {len(features)} features ({shape}), and `n_samples` is {n_samples}; expected {least} at "
        f"least, {_COALITIONS_PER_FEATURE} for each, or {' or '.join(ways)}; left out, they are enough",
    )
