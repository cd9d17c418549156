"""Augmentation of waveforms: recordings sound as another speaker, room, background or microphone might have them."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechshap.data.audio import MIN_SAMPLES, find_audio
from speechshap.data.sound_changes import Change, Range, as_loud, at_other_speed, reverberated, with_noise
from speechshap.errors import UserError
from speechshap.frames import SAMPLE_RATE

READABLE = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".aif", ".aiff")
"""Sounds that noise and impulse responses may be in."""

_SLOPES = (-6.0, 0.0)
"""Of the spectrum of noise, in dB for each octave: brown to white."""


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a waveform, by audiomentations; each one that is asked for is made with ``probability``.

    They are made in the order of the sound's way: the speaker's speed, the room's reverberation, the noise, the gain of
    the microphone. Nothing is clipped. Whatever is drawn comes from the generators of Python and NumPy.

    Args:
        noise_snr: Add noise; lowest and highest ratio (dB) of the mean power of the recording, pauses included, to that
            of the noise, such as [5, 30]. Its spectrum is straight, from white noise to brown (-6 dB an octave).
        noise_folder: Folder of noise (MUSAN, say) that is taken instead of this, at any depth. Of a long one a stretch
            is taken, a short one is repeated.
        gain: Lowest and highest change of the level (dB), such as [-6, 6]. A backbone that normalises each waveform
            (WavLM large, say) does not hear it.
        speed: Lowest and highest factor of the speed, such as [0.9, 1.1], by resampling (Ko et al. 2015): duration,
            pitch and formants change together. A recording stays within the lengths that the model takes.
        reverberation: Shortest and longest reverberation time (seconds until it is 60 dB down), such as [0.2, 0.8]. The
            impulse response is the direct sound, and noise of the same energy that decays exponentially (Polack 1988).
        impulse_responses: Folder of recorded impulse responses, one of which is taken instead of this. The level and
            the length of the recording stay as they are with both.
        probability: With which each change is made.

    Raises:
        UserError: An option is out of range or does not go with another; or, as soon as it is used or checked, a folder
            has no sounds or audiomentations is not installed.

    Example:
        >>> import random
        >>> random.seed(0)
        >>> Augmentation(speed=(2.0, 2.0), probability=1.0)(torch.randn(16000)).shape
        torch.Size([8000])
    """

    noise_snr: Range | None = None
    noise_folder: str | None = None
    gain: Range | None = None
    speed: Range | None = None
    reverberation: Range | None = None
    impulse_responses: str | None = None
    probability: float = 0.5

    def __post_init__(self) -> None:
        _check_range("noise_snr", self.noise_snr, -100, 100, "dB")
        _check_range("gain", self.gain, -100, 100, "dB")
        _check_range("speed", self.speed, 0.5, 2)
        _check_range("reverberation", self.reverberation, 0.01, 20, "s")
        if not 0 < self.probability <= 1:
            raise UserError(f"`probability` is {self.probability}; expected a number above 0, and 1 at most")
        if self.noise_folder is not None and self.noise_snr is None:
            raise UserError("`noise_folder` is given, but not how loud its noise is; add `noise_snr`, such as [5, 30]")
        if self.reverberation is not None and self.impulse_responses is not None:
            raise UserError(
                "`reverberation` draws impulse responses, and `impulse_responses` are recorded ones; give one of them"
            )

    @property
    def asked(self) -> dict[str, Any]:
        """What is asked for, by name; nothing where no change is.

        Example:
            >>> Augmentation(gain=(-6, 6)).asked, Augmentation().asked
            ({'gain': (-6, 6), 'probability': 0.5}, {})
        """
        given = {name: value for name, value in asdict(self).items() if value is not None}
        return given if len(given) > 1 else {}

    def check(self) -> None:
        """Raise a UserError where audiomentations is not installed, or a folder has no sounds, or one without any."""
        if not self.asked:
            return
        _require_library()
        for name in ("noise_folder", "impulse_responses"):
            for path in _sounds(name, getattr(self, name)):
                _require_sound(name, path)

    def __call__(self, waveform: Tensor, shortest: int = MIN_SAMPLES, longest: int | None = None) -> Tensor:
        """Change a waveform.

        Args:
            waveform: ``(time,)``.
            shortest: Samples that it may have at least afterwards.
            longest: Samples that it may have at most; None: any number.

        Returns:
            ``(time,)`` float32; of another length where ``speed`` is asked for.
        """
        changes, samples = self._changes, waveform.numpy().astype(np.float32)
        if self.speed is not None:
            samples = at_other_speed(samples, self.speed, self.probability, shortest, longest)
        for change in changes:
            samples = change(samples, SAMPLE_RATE)
        return torch.from_numpy(np.ascontiguousarray(samples, np.float32))

    @cached_property
    def _changes(self) -> list[Change]:
        """Changes that keep the length. They are made in the process that uses them, since not all can be sent."""
        return list(self._made_changes())

    def _made_changes(self) -> Iterator[Change]:
        if not self.asked:
            return
        _require_library()
        import audiomentations

        probability = self.probability
        if self.reverberation is not None:
            yield audiomentations.Lambda(partial(reverberated, seconds=self.reverberation), p=probability)
        if self.impulse_responses is not None:
            responses = _sounds("impulse_responses", self.impulse_responses)
            yield partial(as_loud, change=audiomentations.ApplyImpulseResponse(responses, p=probability))
        if self.noise_snr is not None:
            lowest, highest = self.noise_snr
            if self.noise_folder is None:
                yield audiomentations.AddColorNoise(lowest, highest, *_SLOPES, p=probability)
            else:
                noise = _sounds("noise_folder", self.noise_folder)
                yield partial(
                    with_noise, change=audiomentations.AddBackgroundNoise(noise, lowest, highest, p=probability)
                )
        if self.gain is not None:
            yield audiomentations.Gain(*self.gain, p=probability)


def _require_library() -> None:
    if find_spec("audiomentations") is None:
        raise UserError("`augment` takes audiomentations, which is not installed: pip install 'speechshap[augment]'")


def _check_range(name: str, given: Range | None, least: float, most: float, unit: str = "") -> None:
    if given is not None and not (len(given) == 2 and least <= given[0] <= given[1] <= most):
        raise UserError(
            f"`{name}` is {list(given)}; expected a lowest and a highest number, from {least:g} to {most:g}"
            f"{unit and f' {unit}'}"
        )


def _sounds(name: str, folder: str | None) -> list[str]:
    """Sounds of a folder, in an order that is the same on every machine."""
    if folder is None:
        return []
    path = Path(folder).expanduser()
    found = [str(file) for file in find_audio(path) if file.suffix.lower() in READABLE] if path.is_dir() else []
    if not found:
        raise UserError(f"`{name}` is {folder}; expected a folder with sounds in it ({', '.join(READABLE)})")
    return found


def _require_sound(name: str, path: str) -> None:
    import soundfile

    try:
        is_empty = soundfile.info(path).frames == 0
    except soundfile.SoundFileError as error:
        raise UserError(f"`{name}`: {path} cannot be read: {error}; remove it") from error
    if is_empty:
        raise UserError(f"`{name}`: {path} is empty; remove it")


UNCHANGED = Augmentation()
"""Changes nothing."""
