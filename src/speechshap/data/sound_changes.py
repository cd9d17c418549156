"""Changes of sound that augmentation draws: speed, reverberation, recorded noise."""

import math
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from speechshap.frames import SAMPLE_RATE

Range = tuple[float, float]
"""Lowest and highest number that may be drawn."""

Change = Callable[[np.ndarray, int], np.ndarray]
"""Samples ``(time,)`` float32 and their rate (Hz) to samples."""


def at_other_speed(
    samples: np.ndarray, speed: Range, probability: float, shortest: int, longest: int | None
) -> np.ndarray:
    """Samples at another speed, by resampling (Ko et al. 2015), so that pitch and formants change with the duration.

    The duration is uniform between those of the lowest and the highest speed, as far as these are allowed.

    Args:
        samples: ``(time,)`` at 16 kHz.
        speed: Lowest and highest factor.
        probability: With which it is changed.
        shortest: Samples of the result at least.
        longest: Samples of the result at most; None: any number.

    Returns:
        ``(other time,)``.
    """
    from audiomentations import Resample

    # Played at SAMPLE_RATE, samples of a higher rate are slower.
    least = math.ceil(shortest * SAMPLE_RATE / len(samples))
    most = math.inf if longest is None else math.floor(longest * SAMPLE_RATE / len(samples))
    rates = (min(max(round(SAMPLE_RATE / factor), least), most) for factor in (speed[1], speed[0]))
    return Resample(*rates, p=probability)(samples, SAMPLE_RATE)


def reverberated(samples: np.ndarray, rate: int, seconds: Range) -> np.ndarray:
    """Samples ``(time,)`` in a room whose reverberation time (s) is drawn from a range; length and level are kept."""
    from scipy.signal import fftconvolve

    generator = np.random.default_rng(random.getrandbits(64))
    response = impulse_response(generator.uniform(*seconds), rate, generator)
    return as_loud(samples, rate, lambda dry, _: fftconvolve(dry, response)[: len(dry)].astype(np.float32))


def impulse_response(seconds: float, rate: int, generator: np.random.Generator) -> np.ndarray:
    """Direct sound and a diffuse tail of the same energy, as at the critical distance of a room (Polack 1988).

    Args:
        seconds: Until the tail is 60 dB down, where it ends.
        rate: Samples a second (Hz).
        generator: Of the tail.

    Returns:
        ``(time,)``; the first sample is the direct sound, 1.

    Example:
        >>> response = impulse_response(0.1, 16000, np.random.default_rng(0))
        >>> len(response), float(response[0]), round(float((response[1:] ** 2).sum()), 6)
        (1601, 1.0, 1.0)
    """
    times = np.arange(1, round(seconds * rate) + 1) / rate
    tail = generator.normal(size=len(times)) * 10 ** (-3 * times / seconds)
    return np.concatenate([[1.0], tail / np.linalg.norm(tail)])


def as_loud(samples: np.ndarray, rate: int, change: Change) -> np.ndarray:
    """Samples ``(time,)`` after a change of the same length, at the root mean square that they had before."""
    with _without_warnings_of_rates():
        changed = change(samples, rate)
    level = _root_mean_square(changed)
    return changed * np.float32(_root_mean_square(samples) / level) if level else samples


def with_noise(samples: np.ndarray, rate: int, change: Any) -> np.ndarray:
    """Samples ``(time,)`` with recorded noise at the ratio that was drawn, also where the noise had to be repeated.

    Args:
        samples: ``(time,)``.
        rate: Of them (Hz).
        change: ``AddBackgroundNoise`` of audiomentations, which scales the noise before it repeats it.
    """
    with _without_warnings_of_rates():
        noise = change(samples, rate) - samples
    level = _root_mean_square(noise)
    if not level:  # none was to be added, or it is silent
        return samples
    wanted = _root_mean_square(samples) * 10 ** (-change.parameters["snr_db"] / 20)
    return samples + noise * np.float32(wanted / level)


def _root_mean_square(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


@contextmanager
def _without_warnings_of_rates() -> Iterator[None]:
    """Audiomentations warns of each file of another sample rate, which is resampled."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*had to be resampled")
        yield
