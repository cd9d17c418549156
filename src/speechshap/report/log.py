"""What explanations are shown in while a run goes on: TensorBoard, and other loggers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Literal, Protocol

import numpy as np

from speechshap.report.rendering import Rendering
from speechshap.report.settings_summary import SettingsSummary
from speechshap.report.sound import LONGEST_SOUND_SECONDS, WORDS
from speechshap.report.wording import grade, predicted_text
from speechshap.results.explanation import Explanation

Kind = Literal["figure", "methods"]


@dataclass(frozen=True, slots=True)
class Shown:
    """An utterance with its picture and its sounds.

    Attributes:
        utterance: Its id.
        key: Different for every picture.
        kind: A ``figure`` is of one explanation, another picture of those by several ``methods``.
        target: What is explained; None for several methods.
        caption: What is to be seen, in a sentence.
        rendering: Picture and sounds.
        sample_rate: Of the sounds, in Hz.
    """

    utterance: str
    key: str
    kind: Kind
    target: str | None
    caption: str
    rendering: Rendering
    sample_rate: int

    @property
    def sounds(self) -> dict[str, np.ndarray]:
        """The sounds ``(time,)`` by what they are called, as the report calls them."""
        return {sound_name(variant, self.target): sound for variant, sound in self.rendering.sounds.items()}

    @property
    def seconds(self) -> float:
        """Length of the sounds; 0 where there are none."""
        return max((len(sound) / self.sample_rate for sound in self.rendering.sounds.values()), default=0.0)

    @property
    def is_long(self) -> bool:
        """Whether the sounds are too long to be kept in many places."""
        return self.seconds > LONGEST_SOUND_SECONDS


class Log(Protocol):
    """What shows explanations. It never fails for what it cannot show, but says so."""

    def has_picture(self, key: str) -> bool:
        """Whether the picture with this key is there already."""

    def settings(self, settings: Mapping[str, Any], step: int) -> None:
        """Show the settings of a run; ``step`` is the training step of the explained model, as it is below."""

    def picture(self, shown: Shown, step: int) -> None:
        """Show an utterance."""

    def seconds(self, seconds: float, key: str, count: int) -> None:
        """Show the time that an explanation with this key took, the ``count``-th of the run."""

    def summary(
        self, found: SettingsSummary, settings: Mapping[str, Any], seconds: float | None, fingerprint: str, step: int
    ) -> None:
        """Show what all explanations with the same settings, of this fingerprint, have in common.

        Args:
            found: The explanations.
            settings: The settings.
            seconds: Mean time of an utterance; None where unknown.
            fingerprint: Of settings and model.
            step: See above.
        """

    def close(self) -> None:
        """Say if something could not be shown."""


def sound_name(variant: str, target: str | None) -> str:
    """What a sound of an explanation is called.

    Example:
        >>> sound_name("kept", "happy"), sound_name("original", "happy")
        ('the evidence alone for happy', 'the sound')
    """
    return WORDS[variant] if variant == "original" else f"{WORDS[variant]} for {target}"


def caption(explanation: Explanation) -> str:
    """What the picture of an explanation shows, in a sentence; of its first target."""
    label = [] if explanation.label is None else [f"labelled {explanation.label}"]
    error = float(explanation.relative_error[0])
    known = "unknown" if np.isnan(error) else f"{error:.2f} ({grade(error)})"
    gap = float(explanation.completeness_gap.values[0])
    gaps = [] if np.isnan(gap) else [f"completeness gap {gap:+.2f} {explanation.unit}"]
    parts = [
        predicted_text(explanation),
        *label,
        f"explained {explanation.targets[0]}",
        f"relative error {known}",
        *gaps,
    ]
    return f"{explanation.utterance}: {', '.join(parts)}"


def common_folder(utterances: Iterable[str]) -> str:
    """The folders that all of these ids begin with, with the slash behind them; empty for none.

    Example:
        >>> common_folder(["/data/corpus/01/a.wav", "/data/corpus/01/b.wav", "/data/corpus/02/a.wav"])
        '/data/corpus/'
        >>> common_folder(["01/a.wav", "011/a.wav"])
        ''
    """
    folders = [utterance.split("/")[:-1] for utterance in utterances]
    first, last = min(folders, default=[]), max(folders, default=[])  # between which all others lie
    common = list(takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False)))
    return "".join(f"{name}/" for name, _ in common)


def short_name(utterance: str, folder: str) -> str:
    """The id of an utterance as tags have it: without the folders that all have in common.

    No two utterances have the same one: a name that does not lie in the folder keeps all of its own, behind ``%2F``.
    A leading slash is written so, too, since TensorBoard strips it, and it may be all that tells two names apart.

    Args:
        utterance: Its id.
        folder: From :func:`common_folder`.

    Example:
        >>> [short_name(name, "a/b/") for name in ("a/b/c/1.wav", "2.wav")]
        ['c/1.wav', '%2F2.wav']
        >>> short_name("/1.wav", "")
        '%2F1.wav'
    """
    if folder and not utterance.startswith(folder):
        return f"%2F{utterance}"
    rest = utterance.removeprefix(folder)
    return f"%2F{rest[1:]}" if rest.startswith("/") else rest
