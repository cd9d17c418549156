"""The strongest frames of an attribution."""

import numpy as np

TOP_K_FRAMES = 20
"""Strongest frames that are marked by default."""


def strongest_frames(frames: np.ndarray, count: int) -> np.ndarray:
    """Indices of the frames with the greatest finite absolute attribution other than 0, the strongest first.

    Example:
        >>> strongest_frames(np.array([0.5, 0.0, -2.0, np.nan]), 3)
        array([2, 0])
    """
    size = np.where(np.isfinite(frames), np.abs(frames), 0.0)
    order = np.argsort(-size, kind="stable")[:count]
    return order[size[order] > 0]
