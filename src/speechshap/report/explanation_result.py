"""What is returned for an explained waveform: a dict that notebooks show."""

import base64
from html import escape
from itertools import pairwise
from typing import Any

import numpy as np

from speechshap.errors import UserError
from speechshap.frames import SAMPLE_RATE
from speechshap.report.moments import TOP_K_FRAMES, marked_frames
from speechshap.report.notebook import show_entries
from speechshap.report.rendering import render
from speechshap.report.sound import LONGEST_SOUND_SECONDS, WORDS, flac_base64
from speechshap.report.wording import predicted_text
from speechshap.results.explanation import Explanation
from speechshap.results.segments import SegmentAttribution

_MOST_STRETCHES = 3


class ExplanationResult(dict[str, Any]):
    """The values of an explanation by name; see :meth:`speechshap.GradientSHAP.explain`.

    Printed, it is a summary of a few lines. A notebook shows it with its picture and its sounds.

    Example:
        >>> ExplanationResult(attributions=np.zeros(3), target_class=1)
        attributions (3,) to class 1
    """

    def __repr__(self) -> str:
        explanation: Explanation | None = self.get("explanation")
        if explanation is None:  # of single samples
            return f"attributions {tuple(self['attributions'].shape)} to class {self['target_class']}"
        return "\n".join(_summary(explanation))

    def _repr_html_(self) -> str | None:
        """Summary, picture and sounds, without a link to anything outside of it; None where there is no picture."""
        explanation: Explanation | None = self.get("explanation")
        if explanation is None or "waveform" not in self:
            return None
        rendering = render(self["waveform"], SAMPLE_RATE, explanation, TOP_K_FRAMES)
        summary = "<br>".join(map(escape, _summary(explanation)))
        width, _ = rendering.size
        png = base64.b64encode(rendering.png).decode()
        picture = f'<img width="{width}" src="data:image/png;base64,{png}" alt="the explanation">'
        return f"<div><p>{summary}</p>{picture}<p>{_players(rendering.sounds)}</p></div>"

    def show(self) -> None:
        """Show the explanation below the notebook cell that runs: to zoom, to hear, to compare and to save.

        The picture and sounds that a cell shows of its last value are smaller, and need no scripts.

        Raises:
            UserError: No notebook runs, or the explanation is one of single samples, which has no such picture.
        """
        explanation: Explanation | None = self.get("explanation")
        if explanation is None or "waveform" not in self:
            raise UserError('attributions of single samples have no picture; explain with `resolution="frame"`')
        from speechshap.report.page.entry import ReportEntry, Variant  # loads plotly

        variant = Variant(explanation.provenance.method, explanation, self["waveform"])
        show_entries([ReportEntry([variant])], explanation.utterance)


def _summary(explanation: Explanation) -> list[str]:
    error = f"{explanation.relative_error[0]:.2f}"
    count = explanation.frames.values.shape[1]
    lines = [
        f"{explanation.utterance}: {predicted_text(explanation)}",
        f"explained: {explanation.targets[0]}, {count} frames in {explanation.duration:.2f} s, relative error {error}",
    ]
    stretches = strongest_stretches(explanation.evidence_weights(), explanation.frame_edges)
    kind = "strongest" if explanation.frames.of(0).significant is None else "significant"
    if stretches:
        named = (f"{start:.2f} to {end:.2f} s ({total:+.3g})" for start, end, total in stretches[:_MOST_STRETCHES])
        lines.append(f"{kind}: {', '.join(named)} {explanation.unit}")
    elif kind == "significant":
        lines.append("significant: nothing at this number of draws")
    lines += [f"{tier.tiers[0]}: {text}" for tier in explanation.read_tiers if (text := _known(tier))]
    return lines


def _known(tier: SegmentAttribution) -> str:
    """The strongest segments of a tier in which something is said and that are significant."""
    estimate = tier.estimate.of(0)
    (values,), reach, is_significant = estimate.values, estimate.reach, estimate.significant
    is_known = values != 0 if is_significant is None else is_significant[0]
    known = [place for place in np.argsort(-np.abs(values)) if tier.labels[place] and is_known[place]]
    return ", ".join(
        f"{tier.labels[place]} ({values[place]:+.3g}" + (")" if reach is None else f" ± {reach[0, place]:.2g})")
        for place in known[:_MOST_STRETCHES]
    )


def strongest_stretches(frames: np.ndarray, edges: np.ndarray) -> list[tuple[float, float, float]]:
    """Runs of neighbours among the strongest frames that have the same sign: start and end in seconds, and sum.

    Args:
        frames: ``(frames,)``, 0 where not significant.
        edges: Bounds of the frames in seconds, ``(frames + 1,)``.

    Returns:
        The one with the greatest absolute sum first.

    Example:
        >>> strongest_stretches(np.array([0.0, 1.0, 2.0, -4.0, 0.0]), np.arange(6) / 10)
        [(0.3, 0.4, -4.0), (0.1, 0.3, 3.0)]
    """
    strong = np.zeros(len(frames))
    chosen = marked_frames(frames, None, TOP_K_FRAMES)
    strong[chosen] = np.sign(frames[chosen])
    bounds = [0, *(np.flatnonzero(np.diff(strong)) + 1), len(frames)]
    runs = [
        (float(edges[start]), float(edges[end]), float(frames[start:end].sum()))
        for start, end in pairwise(bounds)
        if strong[start]
    ]
    return sorted(runs, key=lambda run: -abs(run[2]))


def _players(sounds: dict[str, np.ndarray]) -> str:
    seconds = len(sounds["original"]) / SAMPLE_RATE
    if seconds > LONGEST_SOUND_SECONDS:
        return f"without sound: {seconds:.0f} s are too long to be stored in a notebook"
    return " ".join(_player(WORDS[name], sound) for name, sound in sounds.items())


def _player(caption: str, waveform: np.ndarray) -> str:
    player = f'<audio controls src="data:audio/flac;base64,{flac_base64(waveform, SAMPLE_RATE)}"></audio>'
    return f'<label style="display: inline-block">{caption}<br>{player}</label>'
