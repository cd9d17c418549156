"""What plotly is given: text without tags, numbers in single precision."""

import html

import numpy as np


def float32(values: np.ndarray) -> np.ndarray:
    """Numbers that take half the room in the page."""
    return np.asarray(values, dtype=np.float32)


def escape(text: str) -> str:
    """Escape what plotly would read as tags.

    Example:
        >>> escape("<b>")
        '&lt;b&gt;'
    """
    return html.escape(text, quote=False)
