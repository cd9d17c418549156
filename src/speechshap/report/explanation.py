"""The explanations of one utterance as plain arrays: what figures, sound and pages are made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

TOP_K_FRAMES = 20
"""Strongest frames that are marked unless said otherwise."""

NOISY = 0.5
"""Relative error from which on pictures warn that much of them is Monte Carlo noise."""

REACH_95 = 1.96
"""Standard errors to either side of a 95 % interval."""

CONTRAST = " - "
"""Between the two classes of a contrast."""

UNITS = {"logit": "logits", "log_odds": "log odds", "probability": "probability"}
"""Of the attributions to each kind of output."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Attributions of an utterance to one or more targets, computed alike.

    Attributes:
        utterance: Its id.
        path: Its sound file.
        label: Its true class, None where unknown.
        prediction: Class that the model predicts, with its ``probability``.
        targets: What was explained: the predicted class first, then classes by falling output, then contrasts; the
            first is the one whose strongest frames are marked and heard.
        unit: Of the explained output (``logits``).
        frame_edges: Bounds of the frames in seconds, ``(frames + 1,)``.
        frames: Frame attributions, ``(targets, frames)``.
        standard_error: Of the frames, ``(targets, frames)``.
        relative_error: Of each target, ``(targets,)``; NaN where unknown.
        completeness_gap: Of each target, ``(targets,)``, with its standard error; NaN where unknown.
        completeness_gap_standard_error: ``(targets,)``.
        layer_names: Explained layers, from the first.
        layer_frames: Signed sum over the neurons of each layer and frame, ``(targets, layers, frames)``.
        layer_mass: Sum of the absolute neuron attributions of each layer, ``(targets, layers)``.
        frequencies: Centres of the bands in Hz, ``(bands,)``.
        time_frequency: Attributions of each band and frame, ``(targets, bands, columns)``.
        time_frequency_hop: Seconds from one of these columns to the next; the first is centred on 0.
    """

    utterance: str
    path: str
    label: str | None
    prediction: str
    probability: float
    targets: tuple[str, ...]
    unit: str
    frame_edges: np.ndarray
    frames: np.ndarray
    standard_error: np.ndarray
    relative_error: np.ndarray
    completeness_gap: np.ndarray
    completeness_gap_standard_error: np.ndarray
    layer_names: tuple[str, ...] = ()
    layer_frames: np.ndarray | None = None
    layer_mass: np.ndarray | None = None
    frequencies: np.ndarray | None = None
    time_frequency: np.ndarray | None = None
    time_frequency_hop: float = 0.0

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, Any]]) -> "Explanation":
        """Bring together an utterance's rows of one run, one for each target (columns: ``report.results.SCHEMA``)."""
        first = rows[0]
        rows = sorted(
            rows,
            key=lambda row: (row["target"] != first["prediction"], CONTRAST in row["target"], -row["target_output"]),
        )
        optional: dict[str, Any] = {}
        if first["layer_frame_attribution"] is not None:
            optional["layer_names"] = tuple(first["layer_names"])
            optional["layer_frames"] = _stack(rows, "layer_frame_attribution")
            optional["layer_mass"] = _stack(rows, "layer_mass")
        if first["time_frequency_attribution"] is not None:
            optional["frequencies"] = np.asarray(first["frequencies_hz"])
            optional["time_frequency"] = _stack(rows, "time_frequency_attribution")
            optional["time_frequency_hop"] = first["time_frequency_hop_seconds"]
        return cls(
            utterance=first["utterance"],
            path=first["path"],
            label=first["label"],
            prediction=first["prediction"],
            probability=first["probability"],
            targets=tuple(row["target"] for row in rows),
            unit=UNITS[first["output"]],
            frame_edges=frame_edges(
                len(first["frame_attribution"]), first["hop_seconds"], first["first_frame_seconds"],
                first["duration_seconds"],
            ),
            frames=_stack(rows, "frame_attribution"),
            standard_error=_stack(rows, "frame_standard_error"),
            relative_error=_stack(rows, "relative_error"),
            completeness_gap=_stack(rows, "completeness_gap"),
            completeness_gap_standard_error=_stack(rows, "completeness_gap_standard_error"),
            **optional,
        )  # fmt: skip

    @property
    def duration(self) -> float:
        """Seconds."""
        return float(self.frame_edges[-1])

    @property
    def layer_shares(self) -> np.ndarray:
        """Percentage of the absolute neuron attributions that each layer has, ``(targets, layers)``."""
        mass = np.nan_to_num(self.layer_mass) if self.layer_mass is not None else np.zeros((len(self.targets), 0))
        return 100 * mass / np.maximum(mass.sum(1, keepdims=True), np.finfo(float).tiny)

    def reservation(self, target: int = 0) -> str | None:
        """Why the attribution to a target is not to be read as it stands; None where nothing speaks against it."""
        frames, error = self.frames[target], float(self.relative_error[target])
        if not np.isfinite(frames).all():
            return f"{np.sum(~np.isfinite(frames))} of {frames.size} frames have no finite attribution"
        if not frames.any():
            return "the attribution is 0 everywhere: the output does not change between references and sound"
        if error >= NOISY or np.isinf(error):
            return f"relative error {error:.2f}: much of this is Monte Carlo noise, take more samples"
        gap, gap_error = float(self.completeness_gap[target]), float(self.completeness_gap_standard_error[target])
        if abs(gap) > max(4 * gap_error, 0.02):
            return f"{gap:+.2f} ± {gap_error:.2f} {self.unit} are unaccounted for, take other baselines"
        return None


def target_name(target: str, against: str | None = None) -> str:
    """A class, or the contrast of two.

    Example:
        >>> target_name("happy", "sad")
        'happy - sad'
    """
    return target if against is None else f"{target}{CONTRAST}{against}"


def frame_edges(count: int, hop: float, first_center: float, duration: float) -> np.ndarray:
    """Bounds of frames in seconds, ``(count + 1,)``: between two centres, and the ends of the sound.

    Example:
        >>> frame_edges(3, 0.02, 0.0125, 0.075)
        array([0.    , 0.0225, 0.0425, 0.075 ])
    """
    inner = first_center + hop * (np.arange(max(0, count - 1)) + 0.5)
    return np.concatenate([[0.0], inner, [duration]])


def strongest_frames(frames: np.ndarray, count: int) -> np.ndarray:
    """Numbers of the frames of greatest finite absolute attribution other than 0, the strongest first.

    Example:
        >>> strongest_frames(np.array([0.5, 0.0, -2.0, np.nan]), 3)
        array([2, 0])
    """
    size = np.where(np.isfinite(frames), np.abs(frames), 0.0)
    order = np.argsort(-size, kind="stable")[:count]
    return order[size[order] > 0]


def _stack(rows: Sequence[Mapping[str, Any]], column: str) -> np.ndarray:
    return np.array([row[column] for row in rows], dtype=np.float32)
