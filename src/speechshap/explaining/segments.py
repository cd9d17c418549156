"""Which segments of an utterance are explained: those of its alignment and voicing, and stretches of equal length."""

import logging
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from pathlib import Path

import numpy as np
from torch import Tensor

from speechshap.attribution import Settings
from speechshap.attribution.segments import LADDER_SECONDS, NamedSegments, equal_stretches, frames_between, width_name
from speechshap.data.alignment import AlignmentError, Interval, Tier, find_alignment, read_alignment
from speechshap.explaining.cues import measured_cues
from speechshap.frames import SAMPLE_RATE, FrameGrid

logger = logging.getLogger(__name__)

VOICED = "voiced"
"""Tier of what is voiced, unvoiced, or a pause."""


def aligned_tiers(path: str, settings: Settings, folder: str | None = None) -> list[Tier]:
    """Tiers of an utterance's alignment that are asked for; warns, once, where they cannot be read or are not there.

    Args:
        path: Its sound file; empty where it has none.
        settings: Name the tiers.
        folder: Where alignments lie; None for beside the sound.
    """
    asked = [name for name in settings.segments.split(",") if name not in (VOICED, "none")]
    if not path or not asked:
        return []
    alignment = find_alignment(Path(path), None if folder is None else Path(folder))
    if alignment is None:
        if asked != ["all"]:
            _warn_of_no_alignment(settings.segments, folder)
        return []
    changed = alignment.stat().st_mtime_ns
    tiers = _read(alignment, changed)
    if "all" in asked:
        return list(tiers)
    chosen = [tier for tier in tiers if any(_is_called(tier.name, name) for name in asked)]
    missing = [name for name in asked if not any(_is_called(tier.name, name) for tier in tiers)]
    if missing and tiers:
        _warn_of_missing(alignment, changed, tuple(missing), tuple(tier.name for tier in tiers))
    return chosen


def named_segments(tiers: Sequence[Tier], sound: Tensor, settings: Settings, grid: FrameGrid) -> NamedSegments:
    """The segments of an utterance; each tier covers all of it, with segments without a label between the others.

    Args:
        tiers: Of its alignment.
        sound: ``(time,)`` at 16 kHz, without padding.
        settings: Say what else is a segment.
        grid: Where the frames lie.
    """
    edges = (grid.edges(len(sound)) / SAMPLE_RATE).tolist()
    num_frames = len(edges) - 1
    segments = NamedSegments()
    for tier in tiers:
        pieces = [(label, frames_between(edges, start, end)) for start, end, label in _without_gaps(tier, edges[-1])]
        pieces = [(label, (first, last)) for label, (first, last) in pieces if first < last]
        segments = segments.with_tier(tier.name, [label for label, _ in pieces], [bounds for _, bounds in pieces])
    if VOICED in settings.segments.split(","):
        measured = measured_cues(sound, grid)
        states = np.select([measured["pause"] > 0, measured["voicing"] > 0], ["pause", "voiced"], "unvoiced").tolist()
        runs = [
            (state, [place for place, _ in run]) for state, run in groupby(enumerate(states), key=lambda own: own[1])
        ]
        segments = segments.with_tier(
            VOICED, [state for state, _ in runs], [(places[0], places[-1] + 1) for _, places in runs]
        )
    if (asked := settings.segment_seconds) is not None:
        bounds = equal_stretches(num_frames, max(1.0, asked / grid.hop_seconds))
        segments = segments.with_tier(width_name(asked), [""] * len(bounds), bounds)
    for seconds in LADDER_SECONDS:
        bounds = equal_stretches(num_frames, max(1.0, seconds / grid.hop_seconds))
        if 1 < len(bounds) < num_frames and seconds != asked:
            segments = segments.with_tier(width_name(seconds), [""] * len(bounds), bounds, is_asked=False)
    return segments


def _without_gaps(tier: Tier, duration: float) -> Iterator[Interval]:
    """The intervals of a tier within a sound, and what is between them as intervals without a label."""
    reached = 0.0
    for start, end, label in tier.intervals:
        if start >= duration:
            break
        if start > reached:
            yield Interval(reached, start, "")
        yield Interval(start, min(end, duration), label)
        reached = max(reached, end)
    if reached < duration:
        yield Interval(reached, duration, "")


def _is_called(tier: str, name: str) -> bool:
    """Whether a tier has this name, perhaps after that of the speaker, as the Montreal Forced Aligner has it."""
    return tier == name or tier.endswith(f" - {name}")


@lru_cache(maxsize=64)
def _read(path: Path, changed: int) -> tuple[Tier, ...]:
    try:
        return tuple(read_alignment(path))
    except AlignmentError as error:
        logger.warning("%s; its utterance is explained without it", error)
        return ()


@lru_cache(maxsize=1)
def _warn_of_no_alignment(segments: str, folder: str | None) -> None:
    where = "beside them" if folder is None else f"in {folder}"
    logger.warning("there are sounds without an alignment %s (`segments` is %s); explained without", where, segments)


@lru_cache(maxsize=64)
def _warn_of_missing(path: Path, changed: int, missing: tuple[str, ...], found: tuple[str, ...]) -> None:
    logger.warning("%s: there is no tier %s (`segments`); it has %s", path, ", ".join(missing), ", ".join(found))
