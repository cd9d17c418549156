"""Voices that are on both sides of a split."""

from typing import NamedTuple

from speechshap.data.splits import Splits, speakers_of
from speechshap.data.wording import counted


class SpeakerOverlap(NamedTuple):
    """Whether voices of the test are heard in training.

    Attributes:
        shared: Speakers of the test split who are in the train or the val split, too.
        tested: Speakers of the test split.
        unknown: Utterances of the test split, or of those that training hears, whose speaker is not known.

    Example:
        >>> print(SpeakerOverlap(shared=[], tested=4, unknown=0))
        speaker-independent: none of the 4 test speakers is heard in training or validation
        >>> print(SpeakerOverlap(shared=["Anna"], tested=1, unknown=0))
        speaker-dependent: the test speaker is heard in training or validation
        >>> print(SpeakerOverlap(shared=[], tested=0, unknown=0))
        speakers unknown: nobody is tested
    """

    shared: list[str]
    tested: int
    unknown: int

    @property
    def is_independent(self) -> bool | None:
        """Whether no voice is on both sides; None where this is not known, or nobody is tested."""
        return False if self.shared else None if self.unknown or not self.tested else True

    def __str__(self) -> str:
        where, of_all = "heard in training or validation", f"of the {self.tested} test speakers"
        if self.shared:
            some = f"{len(self.shared)} {of_all} {'is' if len(self.shared) == 1 else 'are'}"
            return f"speaker-dependent: {'the test speaker is' if self.tested == 1 else some} {where}"
        if self.unknown:
            of_unknown = counted(self.unknown, "utterance")
            return f"speakers unknown: those of {of_unknown}, so that voices of the test may be heard in training, too"
        if not self.tested:
            return "speakers unknown: nobody is tested"
        return f"speaker-independent: {'the test speaker is not' if self.tested == 1 else f'none {of_all} is'} {where}"


def speaker_overlap(splits: Splits) -> SpeakerOverlap:
    """Speakers of the test split who are heard in training or validation."""
    heard, tested = {*speakers_of(splits.train), *speakers_of(splits.val)}, speakers_of(splits.test)
    unknown = sum(utterance.speaker is None for part in splits for utterance in part)
    return SpeakerOverlap([speaker for speaker in tested if speaker in heard], len(tested), unknown)
