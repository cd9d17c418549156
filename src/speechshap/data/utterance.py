"""An utterance, and a file that was left out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

SplitName = Literal["train", "val", "test"]


class Stretch(NamedTuple):
    """Where in a recording the evidence of its label is known to be.

    Attributes:
        start: Start in seconds.
        end: End in seconds.
        low_hz: Lowest frequency of the evidence; None where it is not known.
        high_hz: Highest frequency.
    """

    start: float
    end: float
    low_hz: float | None = None
    high_hz: float | None = None


@dataclass(frozen=True, slots=True)
class Utterance:
    """One recording of a corpus.

    Attributes:
        id: Name that is unique within the corpus and the same on every machine: the path below the corpus root (or
            the manifest's key). Random draws, TensorBoard tags and result rows are keyed by it.
        path: The sound file.
        label: Name of the emotion, or None where it is unknown.
        speaker: Name of the speaker, or None where it is unknown.
        corpus: Name of the corpus.
        sentence: Name of what is said, the same for all takes of a sentence; None where it is unknown.
        stretches: Where the evidence of the label is known to be; empty where it is not known.
        split: The split that a manifest assigns, if any.
        session: Name of the session in which it was recorded, or None where it is unknown.
        duration: Length in seconds as a manifest has it, or None where it is unknown.

    Example:
        >>> Utterance("03a01Fa.wav", Path("wav/03a01Fa.wav"), "happy", "03", "emodb").label
        'happy'
    """

    id: str
    path: Path
    label: str | None = None
    speaker: str | None = None
    corpus: str = "files"
    sentence: str | None = None
    stretches: tuple[Stretch, ...] = ()
    split: SplitName | None = None
    session: str | None = None
    duration: float | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that was left out, with the reason in one line."""

    path: Path
    reason: str
