"""Figure of the prosody of the evidence, utterance by utterance (:mod:`speechshap.report.beeswarm`)."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

from speechshap.data.cues import CUES
from speechshap.report.beeswarm import DOTS_MIDDLE, MARK, Beeswarm, Layout, lay_out
from speechshap.report.colours import LOW_TO_HIGH
from speechshap.report.corpus_figures import (
    FADED_NOTE,
    fade,
    headline,
    is_weak,
    of_how_many,
    panels_in_grid,
    title_panel,
)
from speechshap.report.cue_profile import FEWEST_SPEAKERS
from speechshap.report.panels import plain

_ROW_INCHES, _BAR_ASPECT = 0.46, 6  # the bar is as wide as a sixth of an inch
_FAINT, _HOLLOW_LINE = 0.35, 0.8

TITLE = "Prosody of the evidence, less that of the rest, of each utterance"
AXIS = "evidence less rest (standard deviations of the cue over the corpus)"
LEVEL = "cue in the utterance: mean of evidence and rest"

LEVEL_MAP = LinearSegmentedColormap.from_list("level", list(LOW_TO_HIGH))


def beeswarm_figure(swarm: Beeswarm) -> Figure:
    """Draw the utterances of each emotion by how their evidence differs from the rest, with a row for each cue.

    Args:
        swarm: Result of :func:`speechshap.report.beeswarm.beeswarm`.
    """
    profile = swarm.profile
    count = len(profile.names)
    figure, panels = panels_in_grid(len(profile.emotions), 0.3 + _ROW_INCHES * count)
    weak = [is_weak(*own) for own in zip(profile.num_utterances, profile.num_speakers, strict=True)]
    for emotion, axes in enumerate(panels):
        number, speakers = int(profile.num_utterances[emotion]), int(profile.num_speakers[emotion])
        title_panel(axes, profile.emotions[emotion], of_how_many(number, speakers), weak[emotion])
    panels[0].set_yticks(range(count), [plain(CUES[name].title if name in CUES else name) for name in profile.names])
    panels[0].set_ylim(count - 0.5, -0.5)  # the first cue above
    panels[0].set_xlim(-swarm.reach, swarm.reach)
    levels = ScalarMappable(Normalize(0, 1), LEVEL_MAP)
    bar = figure.colorbar(levels, ax=panels, ticks=[0, 1], aspect=_BAR_ASPECT * figure.get_figheight(), pad=0.01)
    bar.ax.set_yticklabels(["low", "high"], fontsize="small")
    bar.set_label(LEVEL, fontsize="small", labelpad=-12)
    figure.supxlabel(AXIS, fontsize="medium")
    headline(figure, TITLE, legend(swarm))
    # Dots are laid out for panels of the size that text leaves.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    box = panels[0].get_window_extent()
    layout = lay_out(swarm, box.width * 72 / figure.dpi, box.height * 72 / figure.dpi / count)
    for emotion, axes in enumerate(panels):
        _draw(axes, swarm, emotion, levels.to_rgba(swarm.levels[emotion]), layout)
        if weak[emotion]:
            fade(axes)
    return figure


def _draw(axes: Axes, swarm: Beeswarm, emotion: int, colours: np.ndarray, layout: Layout) -> None:
    """Dots of an emotion in their ``colours`` ``(utterances, cues, 4)``, and the means below them."""
    axes.axvline(0, color="0.5", linewidth=0.8, zorder=1)
    for row in range(1, len(swarm.profile.names)):
        axes.axhline(row - 0.5, color="0.9", linewidth=0.6, zorder=0.5)
    dots, places = swarm.dots[emotion], swarm.places(emotion)
    rows = np.arange(places.shape[1]) + DOTS_MIDDLE + layout.offsets[emotion]
    for chosen, line in ((dots.are_significant, 0.0), (~dots.are_significant, _HOLLOW_LINE)):
        own = colours[chosen].reshape(-1, 4)
        axes.scatter(
            places[chosen].ravel(), rows[chosen].ravel(), s=(layout.diameter - line) ** 2, linewidths=line,
            facecolors="none" if line else own, edgecolors=own if line else "none", zorder=2,
        )  # fmt: skip
    for row, (mean, low, high) in enumerate(swarm.intervals[:, emotion].T):
        alpha = 1.0 if swarm.profile.differs[emotion, row] else _FAINT
        if np.isfinite(low):
            axes.plot([low, high], [row + MARK] * 2, color="black", alpha=alpha, linewidth=1.8, zorder=3)
        axes.plot(
            [mean], [row + MARK], marker="D", markersize=4, color="black", alpha=alpha, linestyle="none", zorder=3
        )


def legend(swarm: Beeswarm) -> list[str]:
    """What the marks of a beeswarm mean."""
    lines = [
        "diamond: mean of all utterances, with its 95 % interval over speakers",
        f"faint: may be 0, or of fewer than {FEWEST_SPEAKERS} speakers",
    ]
    if not all(dots.are_significant.all() for dots in swarm.dots):
        lines.append("hollow: no frame is known to be significant, and the strongest fifth stands for the evidence")
    if any(is_weak(*own) for own in zip(swarm.profile.num_utterances, swarm.profile.num_speakers, strict=True)):
        lines.append(FADED_NOTE)
    return [*lines, *([note] if (note := str(swarm)) else [])]
