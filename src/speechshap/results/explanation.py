"""The record of an explanation, which estimators, Parquet, TensorBoard and the report share."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from speechshap.attribution.methods import find_method, method_names
from speechshap.attribution.segments import LADDER_SECONDS, width_name
from speechshap.attribution.targets import Target
from speechshap.data import Stretch
from speechshap.frames import SAMPLE_RATE, FrameGrid
from speechshap.results.estimate import NOISY, Estimate
from speechshap.results.evidence import Evidence, evidence_windows, spread_over_frames
from speechshap.results.segments import Resolution, SegmentAttribution

UNITS = {"logit": "logits", "log_odds": "log odds", "probability": "probability"}
"""Unit of the attributions to each kind of output of a classifier."""


def own_unit(method: str) -> str | None:
    """Unit of a method whose numbers are no amounts of the output; None for those of others, and of unknown ones."""
    return find_method(method).unit if method in method_names() else None


def unit_of(method: str, output: str, prediction: str | None) -> str:
    """Unit of a method's attributions to an output of this kind; ``prediction`` is None for a regression.

    Example:
        >>> unit_of("occlusion", "logit", "happy"), unit_of("saliency", "logit", "happy")
        ('logits', '|gradient|')
    """
    return own_unit(method) or ("output units" if prediction is None else UNITS[output])


@dataclass(frozen=True, slots=True)
class LayerAttribution:
    """Neuron attributions summed by layer; those of single neurons are in files of their own.

    Attributes:
        names: Names of the layers, from the first.
        frames: Signed sum over the neurons of each layer and frame, ``(targets, layers, frames)``, with the error of
            that sum; NaN for a layer whose outputs are not those of frames.
        mass: Sum of the absolute attributions of each layer's neurons, ``(targets, layers)``.
    """

    names: tuple[str, ...]
    frames: Estimate
    mass: np.ndarray

    @property
    def shares(self) -> np.ndarray:
        """Percentage of the absolute neuron attributions that each layer has, ``(targets, layers)``."""
        mass = np.nan_to_num(self.mass)
        return 100 * mass / np.maximum(mass.sum(1, keepdims=True), np.finfo(float).tiny)


@dataclass(frozen=True, slots=True)
class BandAttribution:
    """Attribution by time and frequency.

    Attributes:
        frequencies: Centres of the bands in Hz, ``(bands,)``.
        hop_seconds: Time from one column to the next; the first is centred on 0.
        estimate: Attributions, ``(targets, bands, columns)``.
    """

    frequencies: np.ndarray
    hop_seconds: float
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class CueMeans:
    """What prosody lies where the evidence lies, and where it does not (:mod:`speechshap.data.cues`).

    Attributes:
        names: Names of the cues.
        evidence: Mean of each cue over the frames of the evidence, ``(targets, cues)``; NaN where none of them has it.
        rest: The same over the other frames.
        rules: What counts as evidence of each target: the ``significant`` frames, or the ``top_fifth``; None where
            there is no evidence.
    """

    names: tuple[str, ...]
    evidence: np.ndarray
    rest: np.ndarray
    rules: tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Provenance:
    """What an explanation was computed from, and when.

    Attributes:
        method: Name of the method.
        settings: Its settings, as plain values (:meth:`speechshap.attribution.Settings.as_dict`).
        model: Fingerprint of the weights.
        precision: Arithmetic of the model (``32-true``).
        settings_fingerprint: Fingerprint of all that the explanations of a run have in common: model, precision,
            references, settings.
        fingerprint: Fingerprint of that and the sound: explanations with the same one hold the same numbers.
        explained_at: Time when it was computed (UTC).
    """

    method: str
    settings: Mapping[str, Any]
    model: str
    precision: str
    settings_fingerprint: str
    fingerprint: str
    explained_at: datetime


@dataclass(frozen=True, slots=True)
class Explanation:
    """Attributions of an utterance to one or more targets, computed with the same settings.

    Attributes:
        utterance: Id of the utterance.
        path: Its sound file.
        speaker: Who speaks; None where unknown.
        label: Its true class; None where unknown.
        prediction: Class that the model predicts; None for a regression.
        probability: Probability of that class; None for a regression.
        targets: What was explained: the predicted class first, then classes by falling output, then contrasts; the
            first is the one whose strongest frames are marked and played.
        outputs: Explained outputs for the utterance, ``(targets,)``.
        logits: The same before they were turned into log-odds or probabilities, ``(targets,)``.
        grid: Where the frames lie on the waveform.
        num_samples: Length of the waveform in samples.
        frames: Frame attributions, ``(targets, frames)``.
        completeness_gap: Sum of the attributions minus the value it must have, ``(targets,)``; NaN where the method
            has no such value.
        n_draws: Number of points on the paths, or of other evaluations of the model, that were averaged.
        provenance: What the explanation was computed from.
        probabilities: Of all classes, by name, in the model's order; None for a regression, and where unknown.
        layers: Neuron attributions by layer, where asked for.
        bands: Attribution by time and frequency, where asked for.
        embedding: Input of the classifier's head for the utterance, ``(features,)``; None where unknown.
        cues: Prosody of the evidence and of the rest, where asked for.
        segments: Sums of the frames over stretches that people read, and over stretches of equal length.
        truth: Where the evidence of the label is known to be; empty where it is not known.
        evidence: What is heard as evidence, and what the model says to it, where it was asked.
    """

    utterance: str
    path: str
    speaker: str | None
    label: str | None
    prediction: str | None
    probability: float | None
    targets: tuple[Target, ...]
    outputs: np.ndarray
    logits: np.ndarray
    grid: FrameGrid
    num_samples: int
    frames: Estimate
    completeness_gap: Estimate
    n_draws: int
    provenance: Provenance
    probabilities: Mapping[str, float] | None = None
    layers: LayerAttribution | None = None
    bands: BandAttribution | None = None
    embedding: np.ndarray | None = None
    cues: CueMeans | None = None
    segments: SegmentAttribution | None = None
    truth: tuple[Stretch, ...] = ()
    evidence: Evidence | None = None

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.num_samples / SAMPLE_RATE

    @property
    def frame_edges(self) -> np.ndarray:
        """Bounds of the stretches that the frames own, in seconds, ``(frames + 1,)``."""
        return self.grid.edges(self.num_samples).numpy() / SAMPLE_RATE

    @property
    def unit(self) -> str:
        """Unit of the attributions (``logits``)."""
        return unit_of(self.provenance.method, self.provenance.settings["output"], self.prediction)

    @property
    def is_signed(self) -> bool:
        """Whether a frame's sign says if it speaks for the target or against it."""
        return own_unit(self.provenance.method) is None

    @property
    def relative_error(self) -> np.ndarray:
        """Norm of the frames' standard errors relative to that of the frames, ``(targets,)``; NaN where unknown."""
        return self.frames.relative_error

    @property
    def read_tiers(self) -> list[SegmentAttribution]:
        """Segments that were asked for, tier by tier, without the stretches that a picture chooses from by itself."""
        if self.segments is None:
            return []
        asked = self.provenance.settings.get("segment_seconds")
        unasked = {width_name(seconds) for seconds in LADDER_SECONDS if seconds != asked}
        return [self.segments.tier(name) for name in self.segments.tier_names if name not in unasked]

    def resolution(self, target: int = 0) -> Resolution:
        r"""The finest resolution that the draws support for a target: frames, or stretches of equal length.

        It is the finest whose relative error is below :data:`~speechshap.results.estimate.NOISY` or, where none is, the
        coarsest. This is one number for a resolution and no test of each stretch, so that having many of them makes
        nothing more likely. Where all is noise, it is about 1: the squared attributions of independent stretches are
        then as large as their squared errors. They are :math:`1 / 0.5^2 = 4` times as large in at most 1 of 20
        utterances, which happens with the two stretches of a sound of a second, and hardly ever with more.
        """
        frames = Resolution("frames", self.frame_edges, self.frames)
        finer_first = [frames] if self.segments is None else [frames, *self.segments.ladder()]
        known = (each for each in finer_first if not each.estimate.relative_error[target] >= NOISY)
        return next(known, finer_first[-1])

    def evidence_weights(self, target: int = 0) -> np.ndarray:
        """Attribution of each frame to a target, 0 where not significant at its :meth:`resolution`, ``(frames,)``.

        The attribution of a longer stretch is distributed over its frames by their lengths. Where errors are unknown,
        nothing is 0 for lack of significance.
        """
        shown = self.resolution(target)
        own = shown.estimate.of(target)
        known = np.nan_to_num(own.values[0], posinf=0.0, neginf=0.0)
        if (is_significant := own.significant) is not None:
            known = np.where(is_significant[0], known, 0.0)
        return known if shown.is_frames else spread_over_frames(known, shown.edges, self.frame_edges)

    def evidence_windows(self, target: int = 0) -> np.ndarray:
        """Stretches that are heard as the evidence of a target, ``(windows, 2)`` in seconds.

        Those that the model was asked about; where it was not, those that it would have been.
        """
        if self.evidence is not None:
            return self.evidence.windows[target]
        return evidence_windows(self.evidence_weights(target), self.frame_edges)

    def shown(self, target: int = 0) -> str:
        """What a picture of a target shows, in words: at which :meth:`resolution`, and why."""
        resolution = self.resolution(target)
        if resolution.is_frames:
            return "frame attribution"
        errors = (estimate.relative_error[target] for estimate in (resolution.estimate, self.frames))
        return "attribution of {} each: relative error {:.2f}, but {:.2f} for single frames".format(
            resolution.name, *errors
        )

    def reservation(self, target: int = 0) -> str | None:
        """Why the attribution to a target, at its :meth:`resolution`, should not be relied on; None for no reason."""
        frames, shown = self.frames.values[target], self.resolution(target)
        error = float(shown.estimate.relative_error[target])
        if not np.isfinite(frames).all():
            return f"{np.sum(~np.isfinite(frames))} of {frames.size} frames have no finite attribution"
        if not frames.any():
            why = ": the output does not change between references and sound"
            return "the attribution is 0 everywhere" + (why if self.is_signed else "")
        if error >= NOISY:
            even = "" if shown.is_frames else f" even of {shown.name}"
            is_drawn = self.frames.n_replicates != 1
            why = "mostly Monte Carlo noise; take more draws" if is_drawn else "the integral has not converged"
            return f"relative error {error:.2f}{even}: {why}"
        gap = float(self.completeness_gap.values[target])
        errors = self.completeness_gap.of(target).standard_error
        gap_error = 0.0 if errors is None else float(errors[0])
        if abs(gap) > max(4 * gap_error, 0.02):
            spread = "" if errors is None else f" ± {gap_error:.2f}"
            return f"{gap:+.2f}{spread} {self.unit} are unaccounted for; try other baselines"
        return None
