"""The moments of an attribution that are marked."""

import numpy as np

TOP_K_FRAMES = 20
"""Frames that are marked at most by default."""


def marked_frames(values: np.ndarray, significant: np.ndarray | None, count: int) -> np.ndarray:
    """Indices of the frames to mark: the significant ones with the greatest absolute values, the strongest first.

    Args:
        values: Of frames or longer stretches, ``(frames,)``; those that are 0 or not finite are never marked.
        significant: Which of them are, ``(frames,)`` bool; None where it is unknown, and the strongest are marked.
        count: Of how many at most.

    Example:
        >>> values = np.array([0.5, 0.0, -2.0, np.nan, 1.0])
        >>> marked_frames(values, None, 2), marked_frames(values, np.array([True, True, True, True, False]), 2)
        (array([2, 4]), array([2, 0]))
    """
    size = np.where(np.isfinite(values), np.abs(values), 0.0)
    if significant is not None:
        size = np.where(significant, size, 0.0)
    order = np.argsort(-size, kind="stable")[:count]
    return order[size[order] > 0]
