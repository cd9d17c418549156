"""Figures of the statistics over many utterances (:mod:`speechshap.report.corpus`)."""

import math
from collections.abc import Sequence
from textwrap import fill
from unicodedata import bidirectional

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from speechshap.data.wording import counted
from speechshap.mel import mel
from speechshap.report.colours import CLASSES, WARNING
from speechshap.report.corpus import ClassAgreement, Profile
from speechshap.report.panels import ATTRIBUTION_MAP, plain
from speechshap.report.spectrogram import MEL_TICKS_HZ, is_mel

_WIDTH, _WIDE, _DPI = 8.0, 10.5, 100  # inches
_MOST_IN_TWO_COLUMNS = 12
_TITLE_LETTERS_PER_INCH, _HEADLINE_LETTERS_PER_INCH = 17, 12
"""Letters that there is room for."""

FADED, FADED_NOTE = 0.4, "faded: of one utterance or speaker"
"""Opacity of what comes from one utterance or one speaker, and what the figure says of it."""

_AGREEING_LETTERS, _LETTER_INCHES = 22, 0.085
"""Letters of a line beside the agreement of classes, and the width of one."""

_FEW_UTTERANCES = 6
"""Of a pair of classes, whose agreement is faded where there are less."""

_NAMED_AT_MOST = 13
"""Layers named on an axis; where there are more, every second, third, ... is named."""
OUTLINE = withStroke(linewidth=1.9, foreground="0.25")  # yellow is faint on white


def time_profile_figure(profile: Profile, unit: str = "logits") -> Figure:
    """Draw the mean attribution to each emotion over normalised time, one panel for each emotion.

    Args:
        profile: Result of :func:`time_profile`.
        unit: Unit of the explained output.
    """
    count = len(profile.positions)
    figure, panels = _panels_of_emotions(profile, np.linspace(0, 1, count + 1), 1.0)
    for axes in panels:
        axes.axhline(0, color="0.5", linewidth=0.8, zorder=1.5)
        axes.set_xlim(0, 1)
    figure.supxlabel("time (share of the duration)", fontsize="medium")
    figure.supylabel(f"mean attribution\n({unit} per {100 / count:.3g} % of the duration)", fontsize="medium")
    headline(figure, "Attribution over time", _legend(profile))
    return figure


def band_profile_figure(profile: Profile, unit: str = "logits") -> Figure:
    """Draw the mean attribution to each emotion by frequency band, one panel for each emotion.

    Args:
        profile: Result of :func:`band_profile`; bands that are not equally spaced in Hz are drawn over the mel scale.
        unit: Unit of the explained output.
    """
    figure, panels = _panels_of_emotions(profile, band_edges(profile.positions), 1.0)
    for axes in panels:
        axes.axhline(0, color="0.5", linewidth=0.8, zorder=1.5)
    figure.supxlabel(name_bands(panels[0], profile.positions), fontsize="medium")
    figure.supylabel(f"mean attribution\n({unit} a band)", fontsize="medium")
    headline(figure, "Attribution by frequency band", _legend(profile))
    return figure


def layer_profile_figure(profile: Profile) -> Figure:
    """Draw the mean share of each layer, one panel for each emotion.

    Args:
        profile: Result of :func:`layer_profile`.
    """
    count = len(profile.positions)
    figure, panels = _panels_of_emotions(profile, np.arange(count + 1.0), 100.0)
    every = math.ceil(count / _NAMED_AT_MOST)
    names = [plain(name.removeprefix("layer_")) for name in profile.positions[::every].tolist()]
    panels[0].set_xticks(np.arange(count)[::every] + 0.5, names)
    panels[0].set_xlim(0, count)
    panels[0].set_ylim(bottom=0)
    if max(map(len, names)) * len(names) > 45:
        for axes in panels:
            axes.tick_params(axis="x", rotation=90)
    figure.supxlabel("layer", fontsize="medium")
    figure.supylabel("share of the absolute\nneuron attributions (%)", fontsize="medium")
    headline(figure, "Share of the layers", _legend(profile))
    return figure


def class_agreement_figure(agreement: ClassAgreement) -> Figure:
    """Draw how similar the attributions to any two classes are, and of how many utterances; grey where none has both.

    Pairs of few utterances are faded.

    Args:
        agreement: Result of :func:`class_agreement`.
    """
    count = len(agreement.classes)
    names = [plain(fill(name, _AGREEING_LETTERS)) for name in agreement.classes]
    beside = 0.7 + _LETTER_INCHES * max(len(line) for name in names for line in name.splitlines())
    size = 0.6 * max(count, 4)
    figure = Figure(figsize=(size + beside + 1.2, size + beside + 0.6), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    opacity = np.where(agreement.counts < _FEW_UTTERANCES, FADED, 1.0)
    image = axes.imshow(
        np.ma.masked_invalid(agreement.correlation),
        norm=Normalize(-1, 1),
        cmap=ATTRIBUTION_MAP.with_extremes(bad="0.8"),
        alpha=np.where(agreement.counts == 0, 1.0, opacity),
    )
    axes.set_xticks(range(count), names, rotation=90)
    axes.set_yticks(range(count), names)
    axes.set_xlabel("explained class")
    axes.set_ylabel("explained class")
    for row, column in np.ndindex(count, count):
        value, number = agreement.correlation[row, column], int(agreement.counts[row, column])
        text = f"{value:z.2f}".replace("-", "−") if np.isfinite(value) else "none"
        is_few = 0 < number < _FEW_UTTERANCES
        colour = "0.4" if is_few else "white" if abs(value) > 0.7 else "black"
        axes.text(column, row - 0.12, text, ha="center", va="center", color=colour, fontsize="small")
        if number:
            axes.text(column, row + 0.26, f"{number:,}", ha="center", va="center", color=colour, fontsize="xx-small")
    bar = figure.colorbar(ScalarMappable(image.norm, image.cmap), ax=axes, shrink=0.9)
    bar.set_label("mean correlation of the frame attributions")
    few = (agreement.counts > 0) & (agreement.counts < _FEW_UTTERANCES)
    legend = ["small: number of utterances"]
    if few.any():
        legend.append(f"faded: fewer than {_FEW_UTTERANCES}")
    if agreement.left_out:
        legend.append(f"{counted(agreement.left_out, 'attribution')} left out")
    headline(figure, "Agreement between classes", legend)
    return figure


def panels_in_grid(count: int, inches: float | None = None) -> tuple[Figure, list[Axes]]:
    """A figure with as many panels, which share their axes.

    Args:
        count: How many.
        inches: Height of a panel with its title; left out, that of a curve.
    """
    columns = 1 if count == 1 else 2 if count <= _MOST_IN_TWO_COLUMNS else 3
    rows = math.ceil(count / columns)
    height = 1.3 + rows * (inches or (2.2 if rows == 1 else 1.35))
    figure = Figure(figsize=(_WIDTH if columns < 3 else _WIDE, height), dpi=_DPI, layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel().tolist()
    for number, axes in enumerate(grid):
        axes.tick_params(labelsize="small", labelbottom=number + columns >= count)
    for empty in grid[count:]:
        empty.remove()
    return figure, grid[:count]


def name_panel(axes: Axes, name: str, utterances: int, speakers: int) -> None:
    """Give a panel its title, and fade what is drawn in it where it is of one utterance or one speaker.

    Args:
        axes: The panel, in which everything is drawn.
        name: Of the emotion.
        utterances: How many it has.
        speakers: How many speak these; 0 for unknown.
    """
    weak = is_weak(utterances, speakers)
    title_panel(axes, name, of_how_many(utterances, speakers), weak)
    if weak:
        fade(axes)


def fade(axes: Axes) -> None:
    """Fade all that is drawn in a panel."""
    for artist in [*axes.lines, *axes.patches, *axes.collections]:
        alpha = artist.get_alpha()
        artist.set_alpha(FADED * (1.0 if alpha is None else alpha))


def title_panel(axes: Axes, name: str, note: str, warn: bool = False) -> None:
    """Write a name and what is to be said of it above a panel, on several lines where one is too short."""
    letters = int(_TITLE_LETTERS_PER_INCH * axes.bbox.width / _DPI)
    axes.set_title(
        plain(fill(f"{_isolated(name)} ({note})", letters)), fontsize="small", loc="left", pad=3,
        color=WARNING if warn else "black",
    )  # fmt: skip


def _isolated(name: str) -> str:
    """A name that leaves what follows it where it is, also one that is written from right to left."""
    is_leftward = any(bidirectional(letter) in ("R", "AL") for letter in name)
    return f"\u200e{name}\u200e" if is_leftward else name  # left-to-right marks, which are not seen


def is_weak(utterances: int, speakers: int) -> bool:
    """Whether a mean is of one utterance, or of one speaker, and says nothing of others.

    Args:
        utterances: How many.
        speakers: How many; 0 for unknown.
    """
    return utterances == 1 or speakers == 1


def of_how_many(utterances: int, speakers: int) -> str:
    """Utterances and speakers in words.

    Example:
        >>> of_how_many(12, 3), of_how_many(1, 0)
        ('12 utterances, 3 speakers', '1 utterance')
    """
    return counted(utterances, "utterance") + (f", {counted(speakers, 'speaker')}" if speakers else "")


def band_edges(positions: np.ndarray) -> np.ndarray:
    """Bounds ``(bands + 1,)`` of bands with these centres in Hz on an axis in mel, or else in kHz."""
    return _edges_between(mel(positions) if _in_mel(positions) else positions / 1000)


def name_bands(axes: Axes, positions: np.ndarray) -> str:
    """Set limits and ticks of the axis on which :func:`band_edges` are, and return its label."""
    edges, in_mel = band_edges(positions), _in_mel(positions)
    axes.set_xlim(max(0.0, edges[0]), edges[-1])  # of all that share it
    if in_mel:
        ticks = [hz for hz in (0, *MEL_TICKS_HZ) if edges[0] <= mel(hz) <= edges[-1]]
        # A few bands may contain none of these ticks: then each band is named.
        ticks = ticks if len(ticks) > 1 else positions.tolist()
        axes.set_xticks([float(mel(hz)) for hz in ticks], [f"{hz / 1000:.3g}" for hz in ticks])
    return f"frequency (kHz{', mel scale' if in_mel else ''})"


def _in_mel(positions: np.ndarray) -> bool:
    return len(positions) > 1 and is_mel(positions)


def _panels_of_emotions(profile: Profile, edges: np.ndarray, factor: float) -> tuple[Figure, list[Axes]]:
    """Panels with the same axes, one for each emotion: its mean and error in colour, the other means in grey."""
    figure, panels = panels_in_grid(count := len(profile.emotions))
    mean, error = factor * profile.mean, factor * profile.standard_error
    middles = (edges[:-1] + edges[1:]) / 2
    weak = [is_weak(*own) for own in zip(profile.counts, profile.speakers, strict=True)]
    for number, axes in enumerate(panels):
        colour = CLASSES[number % len(CLASSES)]
        for other in range(count):
            if other != number:
                axes.plot(middles, mean[other], color="0.92" if weak[other] else "0.8", linewidth=0.7, zorder=1)
        low, high = mean[number] - error[number], mean[number] + error[number]
        if np.isfinite(error[number]).all():
            axes.fill_between(
                edges, np.append(low, low[-1]), np.append(high, high[-1]), step="post", color=colour, alpha=0.3,
                linewidth=0, zorder=2,
            )  # fmt: skip
        effects = None if weak[number] else [OUTLINE]
        axes.stairs(mean[number], edges, baseline=None, color=colour, linewidth=1.2, zorder=3, path_effects=effects)
        name_panel(axes, profile.emotions[number], int(profile.counts[number]), int(profile.speakers[number]))
    return figure, panels


def _edges_between(positions: np.ndarray) -> np.ndarray:
    """Bounds ``(bands + 1,)`` of bands with these centres ``(bands,)``, halfway between them."""
    if len(positions) == 1:
        width = positions[0] or 1.0
        return np.array([positions[0] - width / 2, positions[0] + width / 2])
    half = np.diff(positions) / 2
    return np.concatenate([[positions[0] - half[0]], positions[:-1] + half, [positions[-1] + half[-1]]])


def headline(figure: Figure, text: str, legend: Sequence[str] = ()) -> None:
    """Write a title, and below it what the marks mean, on as many lines as it takes."""
    letters = int(_HEADLINE_LETTERS_PER_INCH * figure.get_figwidth())
    figure.suptitle(f"{fill(text, letters)}\n{fill('; '.join(legend), letters)}".strip(), fontsize="medium")


def _legend(profile: Profile) -> list[str]:
    legend = []
    if np.isfinite(profile.standard_error).any():
        legend.append("shaded: ± standard error between utterances")
    if len(profile.emotions) > 1:
        legend.append("grey: the other emotions")
    if any(is_weak(*own) for own in zip(profile.counts, profile.speakers, strict=True)):
        legend.append(FADED_NOTE)
    if profile.left_out:
        legend.append(f"{counted(profile.left_out, 'utterance')} left out")
    return legend
