"""The record of an explanation, which estimators, Parquet, TensorBoard and the report share."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from speechshap.attribution.intervals import interval_reach
from speechshap.attribution.methods import find_method, method_names
from speechshap.attribution.targets import Target
from speechshap.frames import SAMPLE_RATE, FrameGrid

NOISY = 0.5
"""Relative error from which on pictures warn of Monte Carlo noise."""

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
class Estimate:
    """Values and their standard errors.

    Attributes:
        values: Array of any shape.
        standard_error: Standard error of each value, of the same shape; None where the method gives none.
        n_replicates: Independent replicates that the values are means of, 1 where nothing is drawn; None where unknown.

    Raises:
        ValueError: The shapes differ.

    Example:
        >>> Estimate(np.array([1.0, 2.0]), np.array([0.5, 0.0]), n_replicates=16).reach.round(2)
        array([1.07, 0.  ])
    """

    values: np.ndarray
    standard_error: np.ndarray | None = None
    n_replicates: int | None = None

    def __post_init__(self) -> None:
        if self.standard_error is not None and self.standard_error.shape != self.values.shape:
            raise ValueError(
                f"standard errors of shape {self.standard_error.shape} for values of shape {self.values.shape}; "
                "expected one for each value"
            )

    @property
    def reach(self) -> np.ndarray | None:
        """Half the width of the 95 % interval of each value; None where the errors are unknown.

        From Student's t, with a degree of freedom for each replicate but one; where their number is unknown, from the
        normal distribution, which is too narrow for few.
        """
        if self.standard_error is None:
            return None
        return interval_reach(math.inf if self.n_replicates is None else self.n_replicates - 1) * self.standard_error


@dataclass(frozen=True, slots=True)
class LayerAttribution:
    """Neuron attributions summed by layer; those of single neurons are in files of their own.

    Attributes:
        names: Names of the layers, from the first.
        frames: Signed sum over the neurons of each layer and frame, ``(targets, layers, frames)``; NaN for a layer
            whose outputs are not those of frames.
        mass: Sum of the absolute attributions of each layer's neurons, ``(targets, layers)``.
    """

    names: tuple[str, ...]
    frames: np.ndarray
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
        layers: Neuron attributions by layer, where asked for.
        bands: Attribution by time and frequency, where asked for.
        embedding: Input of the classifier's head for the utterance, ``(features,)``; None where unknown.
        cues: Prosody of the evidence and of the rest, where asked for.
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
    layers: LayerAttribution | None = None
    bands: BandAttribution | None = None
    embedding: np.ndarray | None = None
    cues: CueMeans | None = None

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
        if self.frames.standard_error is None:
            return np.full(len(self.targets), np.nan)
        error = np.linalg.norm(self.frames.standard_error, axis=1)
        size = np.linalg.norm(self.frames.values, axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(error == 0, 0.0, error / size)

    def reservation(self, target: int = 0) -> str | None:
        """Why the attribution to a target should not be relied on; None where no such reason is known."""
        frames, error = self.frames.values[target], float(self.relative_error[target])
        if not np.isfinite(frames).all():
            return f"{np.sum(~np.isfinite(frames))} of {frames.size} frames have no finite attribution"
        if not frames.any():
            why = ": the output does not change between references and sound"
            return "the attribution is 0 everywhere" + (why if self.is_signed else "")
        if error >= NOISY or np.isinf(error):
            is_drawn = self.frames.n_replicates != 1
            why = "mostly Monte Carlo noise; take more draws" if is_drawn else "the integral has not converged"
            return f"relative error {error:.2f}: {why}"
        gap = float(self.completeness_gap.values[target])
        errors = self.completeness_gap.standard_error
        gap_error = 0.0 if errors is None else float(errors[target])
        if abs(gap) > max(4 * gap_error, 0.02):
            spread = "" if errors is None else f" ± {gap_error:.2f}"
            return f"{gap:+.2f}{spread} {self.unit} are unaccounted for; try other baselines"
        return None
