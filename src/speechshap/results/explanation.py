"""The record of an explanation: what is known of one utterance, from the estimator to Parquet, TensorBoard and page."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from speechshap.attribution.targets import Target
from speechshap.frames import SAMPLE_RATE, FrameGrid

NOISY = 0.5
"""Relative error from which on pictures warn that much of them is Monte Carlo noise."""

REACH_95 = 1.96
"""Standard errors to either side of a 95 % interval."""

UNITS = {"logit": "logits", "log_odds": "log odds", "probability": "probability"}
"""Of the attributions to each kind of output."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Values, and how sure they are.

    Attributes:
        values: Of any shape.
        standard_error: Of each value, of the same shape; None where the method knows none.
    """

    values: np.ndarray
    standard_error: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.standard_error is not None and self.standard_error.shape != self.values.shape:
            raise ValueError(f"errors {self.standard_error.shape} of values {self.values.shape}; expected one for each")


@dataclass(frozen=True, slots=True)
class LayerAttribution:
    """Neuron attributions, summed up by layer; the neurons' own are in files beside the table.

    Attributes:
        names: Of the layers, from the first.
        frames: Signed sum over the neurons of each layer and frame, ``(targets, layers, frames)``.
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
        hop_seconds: From one column to the next; the first is centred on 0.
        estimate: ``(targets, bands, columns)``.
    """

    frequencies: np.ndarray
    hop_seconds: float
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class Provenance:
    """What an explanation was computed from, and when.

    Attributes:
        method: Name of the method.
        settings: Its settings, as plain values (:meth:`speechshap.attribution.Settings.as_dict`).
        model: Fingerprint of the weights.
        precision: Arithmetic of the model (``32-true``).
        settings_fingerprint: Of all that is common to the explanations of a run: model, precision, references,
            settings.
        fingerprint: Of the above and the sound: explanations with the same one hold the same numbers.
        explained_at: When it was computed (UTC).
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
    """Attributions of an utterance to one or more targets, computed alike.

    Attributes:
        utterance: Its id.
        path: Its sound file.
        label: Its true class, None where unknown.
        prediction: Class that the model predicts; None for a regression.
        probability: That the model gives to it; None for a regression.
        targets: What was explained: the predicted class first, then classes by falling output, then contrasts; the
            first is the one whose strongest frames are marked and heard.
        outputs: Explained outputs for the utterance, ``(targets,)``.
        logits: The same before they were turned into log-odds or probabilities, ``(targets,)``.
        grid: Where the frames lie.
        num_samples: Length of the waveform.
        frames: Frame attributions, ``(targets, frames)``.
        completeness_gap: What is missing from the sum that the attributions must come to, ``(targets,)``; NaN where
            the method has no such sum.
        n_draws: Points on the paths, or other evaluations of the model, that the attributions are the mean of.
        n_replicates: Independent replicates that these make.
        provenance: What it was computed from.
        layers: Neuron attributions by layer, where asked for.
        bands: Attribution by time and frequency, where asked for.
        embedding: What the classifier's head hears of the utterance, ``(features,)``; None where the model does not
            tell.
    """

    utterance: str
    path: str
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
    n_replicates: int
    provenance: Provenance
    layers: LayerAttribution | None = None
    bands: BandAttribution | None = None
    embedding: np.ndarray | None = None

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.num_samples / SAMPLE_RATE

    @property
    def frame_edges(self) -> np.ndarray:
        """Bounds of the frames in seconds, ``(frames + 1,)``."""
        return self.grid.edges(self.num_samples).numpy() / SAMPLE_RATE

    @property
    def unit(self) -> str:
        """Of the attributions (``logits``)."""
        return UNITS[self.provenance.settings["output"]]

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
        """Why the attribution to a target is not to be read as it stands; None where nothing speaks against it."""
        frames, error = self.frames.values[target], float(self.relative_error[target])
        if not np.isfinite(frames).all():
            return f"{np.sum(~np.isfinite(frames))} of {frames.size} frames have no finite attribution"
        if not frames.any():
            return "the attribution is 0 everywhere: the output does not change between references and sound"
        if error >= NOISY or np.isinf(error):
            return f"relative error {error:.2f}: much of this is Monte Carlo noise, take more samples"
        gap = float(self.completeness_gap.values[target])
        errors = self.completeness_gap.standard_error
        gap_error = 0.0 if errors is None else float(errors[target])
        if abs(gap) > max(4 * gap_error, 0.02):
            return f"{gap:+.2f} ± {gap_error:.2f} {self.unit} are unaccounted for, take other baselines"
        return None
