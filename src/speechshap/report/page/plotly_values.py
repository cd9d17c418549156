"""What plotly and the page are given: text without tags, numbers that take little room."""

import html

import numpy as np


def float32(values: np.ndarray) -> np.ndarray:
    """Numbers that take half the room in the page."""
    return np.asarray(values, dtype=np.float32)


def number(value: float, digits: int = 4) -> float | None:
    """A number to so many significant digits; None for infinity and NaN, which JSON does not have."""
    return float(f"{float(value):.{digits}g}") if np.isfinite(value) else None


def numbers(values: np.ndarray, digits: int = 4) -> list[float | None]:
    """Numbers to so many significant digits; None for infinity and NaN, which JSON does not have.

    Example:
        >>> numbers(np.array([1 / 3, np.nan]))
        [0.3333, None]
    """
    return [number(value, digits) for value in np.asarray(values, np.float64)]


def escape(text: str) -> str:
    """Escape what plotly would read as tags, and as fields of a template, which labels are as well as hover texts.

    Example:
        >>> escape("<b> %{x}")
        '&lt;b&gt; %&#123;x}'
    """
    return html.escape(text, quote=False).replace("%{", "%&#123;")
