"""The mel scale (O'Shaughnessy 1987, page 150)."""

import numpy as np


def mel(hz: np.ndarray | float) -> np.ndarray:
    """Frequency in mel.

    Example:
        >>> float(mel(1000.0).round(1))
        1000.0
    """
    return 2595 * np.log10(1 + np.asarray(hz) / 700)


def hertz(mels: np.ndarray | float) -> np.ndarray:
    """Frequency in Hz, the inverse of :func:`mel`."""
    return 700 * (10 ** (np.asarray(mels) / 2595) - 1)
