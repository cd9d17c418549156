"""Pictures: plain arrays in, matplotlib figures out, no global state."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe & Ito's colours, told apart by colour-blind readers too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
SPEAKS_FOR, SPEAKS_AGAINST = "#D55E00", "#0072B2"

WARNING = "#B00020"

NOISY = 0.5
"""Relative error from which on a figure warns that much of it is Monte Carlo noise."""


def explanation_figure(
    waveform: np.ndarray,
    sample_rate: int,
    frames: np.ndarray,
    standard_error: np.ndarray,
    frame_edges: np.ndarray,
    targets: Sequence[str],
    title: str,
    relative_error: float,
    completeness_gap: tuple[float, float],
    top_k_frames: int = 20,
) -> Figure:
    """Draw an explanation: waveform, spectrogram and frame attribution on one time axis.

    Args:
        waveform: ``(time,)``.
        sample_rate: Samples a second (Hz).
        frames: Frame attribution of each target, ``(targets, frames)``; the first target is the one whose strongest
            frames are marked and whose error band is drawn.
        standard_error: Of the frames, ``(targets, frames)``.
        frame_edges: Bounds of the frames in samples, ``(frames + 1,)``.
        targets: Names of the targets.
        title: Above the figure.
        relative_error: Of the first target; above 0.5 the figure says that it is noisy.
        completeness_gap: Of the first target, with its standard error; beyond four of these the figure says so.
        top_k_frames: How many frames to mark in the waveform.
    """
    edges = np.asarray(frame_edges) / sample_rate
    duration = len(waveform) / sample_rate
    # Margins by hand: matplotlib takes half of the drawing time to work them out.
    figure = Figure(figsize=(8, 6.5), dpi=110)
    figure.subplots_adjust(left=0.115, right=0.97, bottom=0.075, top=0.915, hspace=0.22)
    wave_axes, spectrogram_axes, frame_axes = figure.subplots(3, 1, sharex=True, height_ratios=[2, 3, 3])
    figure.suptitle(title, fontsize="medium")

    time = np.arange(len(waveform)) / sample_rate
    wave_axes.plot(time, waveform, color="0.3", linewidth=0.5)
    _mark_strongest(wave_axes, frames[0], edges, top_k_frames)
    wave_axes.set_ylabel("amplitude")
    wave_axes.set_title(f"strongest frames for (orange) and against (blue) {targets[0]}", fontsize="small", loc="left")

    _draw_spectrogram(spectrogram_axes, waveform, sample_rate)

    for row, name in reversed(list(enumerate(targets))):
        colour = COLOURS[row % len(COLOURS)] if len(targets) > 1 else "0.15"
        frame_axes.stairs(
            frames[row], edges, baseline=None, color=colour, linewidth=1.2 if row == 0 else 0.9, label=name
        )
    low, high = frames[0] - 1.96 * standard_error[0], frames[0] + 1.96 * standard_error[0]
    frame_axes.stairs(high, edges, baseline=low, fill=True, color="0.5", alpha=0.35, label="95 % interval")
    frame_axes.axhline(0, color="0.6", linewidth=0.8)
    frame_axes.set_ylabel("attribution (logits per frame)")
    frame_axes.set_xlabel("time (s)")
    frame_axes.set_xlim(0, duration)
    frame_axes.legend(loc="upper right", fontsize="small", ncols=3)
    note, colour = f"relative error {relative_error:.2f}", "0.15"
    gap, gap_error = completeness_gap
    if not relative_error < NOISY:
        note, colour = f"{note}: much of this is Monte Carlo noise, take more samples", WARNING
    elif abs(gap) > max(4 * gap_error, 0.02):
        note, colour = (
            f"{note}, but {gap:+.2f} ± {gap_error:.2f} logits are unaccounted for, take other baselines",
            WARNING,
        )
    frame_axes.set_title(note, fontsize="small", loc="left", color=colour)
    return figure


def _mark_strongest(axes: Axes, frames: np.ndarray, edges: np.ndarray, count: int) -> None:
    for frame in np.argsort(-np.abs(frames))[:count]:
        if frames[frame] != 0:
            colour = SPEAKS_FOR if frames[frame] > 0 else SPEAKS_AGAINST
            axes.axvspan(edges[frame], edges[frame + 1], color=colour, alpha=0.35, linewidth=0)


def _draw_spectrogram(axes: Axes, waveform: np.ndarray, sample_rate: int) -> None:
    import librosa

    magnitude = np.abs(librosa.stft(waveform, n_fft=min(512, len(waveform)), hop_length=160))
    decibels = librosa.amplitude_to_db(magnitude, ref=np.max, top_db=80)
    extent = (0, len(waveform) / sample_rate, 0, sample_rate / 2000)
    axes.imshow(decibels, origin="lower", aspect="auto", extent=extent, cmap="magma")
    axes.set_ylabel("frequency (kHz)")
    axes.set_title("spectrogram (dB below the loudest)", fontsize="small", loc="left")


def confusion_matrix_figure(counts: np.ndarray, classes: Sequence[str]) -> Figure:
    """Draw how often each class is taken for each other one.

    Args:
        counts: ``(true classes, predicted classes)``.
        classes: Their names.

    Returns:
        The figure; colours show each row's share (recall on the diagonal), numbers the counts.
    """
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = 2.5 + 0.55 * len(classes)
    figure = Figure(figsize=(size + 0.8, size), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(share, vmin=0, vmax=1, cmap="Blues")
    axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(f"{counts.sum():.0f} utterances")
    for row in range(len(classes)):
        for column in range(len(classes)):
            colour = "white" if share[row, column] > 0.5 else "black"
            axes.text(column, row, f"{counts[row, column]:.0f}", ha="center", va="center", color=colour)
    figure.colorbar(image, ax=axes, label="share of the true class")
    return figure
