"""Figure of the prosody of the evidence (:mod:`speechshap.report.cue_profile`)."""

import math
from collections.abc import Sequence
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from speechshap.data.cues import CUES
from speechshap.report.colours import CLASSES, WARNING
from speechshap.report.corpus_figures import FADED, FADED_NOTE, headline, is_weak, of_how_many
from speechshap.report.cue_profile import FEWEST_SPEAKERS, CueProfile
from speechshap.report.panels import plain

_WIDTH, _DPI, _COLUMNS = 10.0, 100, 4
_FAINT = 0.35
_NAME_LETTERS, _LINE_INCHES = 24, 0.13
"""Letters of a line of an emotion's name, and the height of one."""


def cue_figure(profile: CueProfile) -> Figure:
    """Draw evidence less rest, one panel for each cue, with a point and its 95 % interval for each emotion.

    Faint is what may be 0: its interval contains it, or comes from fewer than six speakers. An emotion of one utterance
    or one speaker is named in the colour of a warning, and fainter still.

    Args:
        profile: Result of :func:`speechshap.report.cue_profile.cue_profile`.
    """
    count = len(profile.emotions)
    of_each = list(zip(profile.num_utterances.tolist(), profile.num_speakers.tolist(), strict=True))
    weak = [is_weak(*numbers) for numbers in of_each]
    names = [
        f"{fill(name, _NAME_LETTERS)}\n{of_how_many(*numbers)}"
        for name, numbers in zip(profile.emotions, of_each, strict=True)
    ]
    columns = min(_COLUMNS, len(profile.names))
    rows = math.ceil(len(profile.names) / columns)
    lines = sum(name.count("\n") + 1 for name in names)
    height = 1.3 + rows * (0.8 + _LINE_INCHES * (lines + count))
    figure = Figure(figsize=(_WIDTH, height), dpi=_DPI, layout="constrained")
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel().tolist()
    for cue, axes in enumerate(grid[: len(profile.names)]):
        _panel(axes, profile, cue, weak)
    grid[0].set_ylim(count - 0.4, -0.6)  # the first emotion above
    grid[0].set_yticks(range(count), [plain(name) for name in names])
    for first in grid[: len(profile.names) : columns]:
        for label, is_faded in zip(first.get_yticklabels(), weak, strict=True):
            label.set(fontsize="x-small", color=WARNING if is_faded else "black")
    for empty in grid[len(profile.names) :]:
        empty.remove()
    legend = [
        "mean over utterances, with its 95 % interval over speakers",
        f"faint: may be 0, or of fewer than {FEWEST_SPEAKERS} speakers",
    ]
    headline(figure, "Prosody of the evidence, less that of the rest", [*legend, FADED_NOTE] if any(weak) else legend)
    return figure


def _panel(axes: Axes, profile: CueProfile, cue: int, weak: Sequence[bool]) -> None:
    name = profile.names[cue]
    axes.axvline(0, color="0.5", linewidth=0.8, zorder=1)
    for row in range(len(profile.emotions)):
        mean, low, high = (values[row, cue] for values in (profile.mean, profile.low, profile.high))
        style: dict[str, Any] = {
            "color": CLASSES[row % len(CLASSES)],
            "alpha": (1.0 if profile.differs[row, cue] else _FAINT) * (FADED if weak[row] else 1.0),
        }
        if np.isfinite(low):
            axes.plot([low, high], [row, row], linewidth=2.0, solid_capstyle="butt", zorder=2, **style)
        axes.plot([mean], [row], marker="o", markersize=5, linestyle="none", markeredgecolor="0.25", zorder=3, **style)
    known = CUES.get(name)
    axes.set_title(plain(known.title if known else name), fontsize="small", loc="left", pad=3)
    if known:
        axes.set_xlabel(known.unit, fontsize="small")
    axes.tick_params(labelsize="small")
    axes.xaxis.set_major_locator(MaxNLocator(5, symmetric=True))
    # Zero is in the middle, so that panels are read alike.
    reach = np.nanmax(np.abs([profile.mean[:, cue], profile.low[:, cue], profile.high[:, cue]]), initial=0.0)
    axes.set_xlim(-1.1 * (reach or 1.0), 1.1 * (reach or 1.0))
