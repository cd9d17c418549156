"""Cues of explained utterances, measured once by however many methods an utterance is explained."""

from dataclasses import replace

import numpy as np
from torch import Tensor

from speechshap.data.cues import cues
from speechshap.fingerprint import fingerprint
from speechshap.frames import FrameGrid
from speechshap.results.cue_means import cue_means
from speechshap.results.explanation import Explanation

_KEPT = 64
_measured: dict[tuple[str, FrameGrid], dict[str, np.ndarray]] = {}
"""Of the last sounds, the oldest first."""


def measured_cues(sound: Tensor, grid: FrameGrid) -> dict[str, np.ndarray]:
    """The cues of a sound by name, ``(frames,)`` each (:func:`speechshap.data.cues.cues`).

    Args:
        sound: ``(time,)`` at 16 kHz, without padding.
        grid: Where the frames lie.
    """
    sound = sound.float()
    key = fingerprint(sound), grid
    if key not in _measured:
        while len(_measured) >= _KEPT:
            del _measured[next(iter(_measured))]
        _measured[key] = cues(sound.cpu().numpy(), grid)
    return _measured[key]


def with_cues(explanation: Explanation, waveform: Tensor) -> Explanation:
    """The explanation with the cues of its evidence and of the rest.

    Args:
        explanation: The record.
        waveform: ``(time,)`` at 16 kHz; what follows the utterance is padding.
    """
    measured = measured_cues(waveform[: explanation.num_samples], explanation.grid)
    significant = None
    if explanation.frames.standard_error is not None and explanation.frames.is_signed:
        significant = np.stack([explanation.evidence_weights(target) for target in range(len(explanation.targets))])
    return replace(explanation, cues=cue_means(explanation.frames.values, significant, measured))
