"""Recognition of the recordings that a checkpoint was trained with, wherever they are stored now.

Ids are paths relative to a root, and the root may be another one next time. A recording is therefore recognised by the
end of its path (``Actor_01/a.wav`` is ``RAVDESS/Actor_01/a.wav``), by its name together with its speaker, and by a
digest of its decoded samples.

Another corpus may have the same names and speakers. Digests cannot tell, since a copy that was resampled or made louder
has another one; the energy envelope of such a copy is nearly the same. If most of the recordings found by name have
another envelope than in training, those with another envelope are not the checkpoint's.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, cast

from speechshap.data.audio import AudioFacts, envelope_distance
from speechshap.data.checking import FileChecker
from speechshap.data.corpora import with_speakers_and_sentences
from speechshap.data.decoding import AUDIO_SUFFIXES
from speechshap.data.splits import Splits, draw_subset
from speechshap.data.utterance import SplitName, Utterance
from speechshap.data.wording import counted, name_some
from speechshap.errors import UserError

_NUM_COMPARED = 64
"""Largest number of recordings found by name that are decoded to see whether the names of a corpus can be trusted."""

_SAME_ENVELOPE = 15
"""Largest distance of the envelopes of two copies of a recording: of pairs of recordings of RAVDESS, one in a thousand
is as close, while copies at another rate differ in 5 bits at most, and MP3 copies in 12."""


class Recording(NamedTuple):
    """What a checkpoint keeps of one recording.

    Attributes:
        split: Split of the training run.
        id: Id of the utterance in the training run.
        name: Name of the file without extension.
        speaker: Name of the speaker, or None where it is unknown.
        digest: Digest of the samples (:class:`speechshap.data.audio.AudioFacts`), or None where it is unknown.
        envelope: Energy envelope (likewise), or None where it is unknown.
    """

    split: SplitName
    id: str
    name: str
    speaker: str | None
    digest: str | None
    envelope: str | None = None

    def sounds_different(self, facts: AudioFacts | None) -> bool:
        """Whether a sound file is known to be another recording than this one."""
        if facts is None or self.envelope is None or facts.digest == self.digest:
            return False
        return envelope_distance(facts.envelope, self.envelope) > _SAME_ENVELOPE


@dataclass(frozen=True)
class KnownRecordings:
    """The recordings of a training run.

    Attributes:
        recordings: Recordings of all splits.
        corpus: Name of the corpus, or None where it is unknown.

    Example:
        >>> known = KnownRecordings.from_state({"train": ["Actor_01/a.wav"], "val": [], "test": ["Actor_02/a.wav"]})
        >>> moved = Utterance("RAVDESS/Actor_02/a.flac", Path("/data/RAVDESS/Actor_02/a.flac"))
        >>> known.find_by_name([moved])[moved.id].split
        'test'
    """

    recordings: list[Recording] = field(default_factory=list)
    corpus: str | None = None

    @classmethod
    def of(cls, splits: Splits, files: FileChecker, corpus: str) -> "KnownRecordings":
        """Recordings of splits, with the digests and envelopes of the files that were checked."""
        recordings = []
        for name, part in splits._asdict().items():
            for utterance in part:
                facts = files.facts(utterance)
                sound = (facts.digest, facts.envelope) if facts else (None, None)
                recordings.append(
                    Recording(cast(SplitName, name), utterance.id, utterance.path.stem, utterance.speaker, *sound)
                )
        return cls(recordings, corpus)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "KnownRecordings":
        """Recordings from the result of :meth:`state`, or from the lists of ids of earlier versions."""
        recordings: list[Recording] = []
        for split in Splits._fields:
            kept = state.get(split, [])
            if not isinstance(kept, Mapping):
                listed = with_speakers_and_sentences([Utterance(id_, Path(id_)) for id_ in kept])
                kept = {"ids": kept, "speakers": [utterance.speaker for utterance in listed]}
            ids = kept["ids"]
            nothing = [None] * len(ids)
            columns = (kept.get(name, nothing) for name in ("names", "speakers", "digests", "envelopes"))
            for id_, name, speaker, *sound in zip(ids, *columns, strict=True):
                recordings.append(Recording(cast(SplitName, split), id_, name or _name(id_), speaker, *sound))
        return cls(recordings, state.get("corpus"))

    def state(self) -> dict[str, Any]:
        """Lists of strings for a checkpoint; a name that follows from the id is None."""
        state: dict[str, Any] = {"corpus": self.corpus}
        for split in Splits._fields:
            part = [recording for recording in self.recordings if recording.split == split]
            state[split] = {
                "ids": [recording.id for recording in part],
                "names": [None if recording.name == _name(recording.id) else recording.name for recording in part],
                "speakers": [recording.speaker for recording in part],
                "digests": [recording.digest for recording in part],
                "envelopes": [recording.envelope for recording in part],
            }
        return state

    def find(self, utterances: Sequence[Utterance], files: FileChecker) -> dict[str, Recording]:
        """Recognise utterances by name or, failing that, by content; the recordings by utterance id.

        If most of the matches by name have another energy envelope than in training, those with another envelope are
        rejected. Checkpoints of earlier versions have no envelopes; there the name decides.
        """
        found = self.find_by_name(utterances)
        for utterance in _of_another_sound(utterances, found, files):
            del found[utterance.id]
        others = [utterance for utterance in utterances if utterance.id not in found]
        # Of recordings with the same content, the one that comes last counts: that of the training split.
        by_digest = {r.digest: r for r in sorted(self.recordings, key=_split_order) if r.digest}
        if by_digest and others:
            for utterance in files.usable(others)[0]:
                facts = files.facts(utterance)
                if facts and facts.digest in by_digest:
                    found[utterance.id] = by_digest[facts.digest]
        return found

    def find_by_name(self, utterances: Iterable[Utterance]) -> dict[str, Recording]:
        """Recognise utterances by path, file name and speaker; the recordings by utterance id.

        An utterance is recognised if name and speaker agree. Where a speaker is unknown, one path has to end in the
        other one, and this has to include a folder unless the checkpoint has no digests. Of several recordings those
        with the longest common path count; they have to be of the same split.
        """
        if not self.recordings:
            return {}
        by_id = {recording.id: recording for recording in self.recordings}
        by_name: dict[str, list[Recording]] = defaultdict(list)
        for recording in self.recordings:
            by_name[recording.name].append(recording)
        found = {}
        for utterance in utterances:
            namesakes = by_name[utterance.path.stem]
            if len(namesakes) == 1 and _is_same(utterance, namesakes[0]):  # as all are where nothing has moved
                found[utterance.id] = namesakes[0]
                continue
            candidates = [*namesakes, *([by_id[utterance.id]] if utterance.id in by_id else [])]
            levels = {r: _common_levels(utterance.id, r.id) for r in candidates if _fits(utterance, r)}
            best = [recording for recording, level in levels.items() if level == max(levels.values())]
            if len({recording.split for recording in best}) == 1:
                found[utterance.id] = best[0]
        return found

    def namesakes(self, utterances: Sequence[Utterance]) -> list[str]:
        """A warning if speakers of unrecognised utterances have the names of training speakers of the same corpus."""
        corpora = {utterance.corpus for utterance in utterances}
        trained = {recording.speaker for recording in self.recordings if recording.split == "train"}
        shared = sorted({u.speaker for u in utterances if u.speaker is not None and u.speaker in trained})
        if not shared or self.corpus not in {None, *corpora}:
            return []
        return [
            f"none of the {len(self.recordings)} recordings of the checkpoint was found, but the names of "
            f"{counted(len(shared), 'speaker')} are those of training: {name_some(shared)}; if these are the same "
            "people, the test split may contain speakers that the model was trained on; name other speakers with "
            "`test_speakers`"
        ]

    def with_trained(self, earlier: "KnownRecordings", found: Iterable[Recording]) -> "KnownRecordings":
        """Add the training recordings of an earlier checkpoint that were not found again."""
        matched = set(found)
        besides = [r for r in earlier.recordings if r.split == "train" and r not in matched]
        return replace(self, recordings=[*self.recordings, *besides])


def _of_another_sound(
    utterances: Sequence[Utterance], found: Mapping[str, Recording], files: FileChecker
) -> list[Utterance]:
    """Utterances found by name that sound different, or none if most of those that are compared do not."""

    def different(part: Sequence[Utterance]) -> list[Utterance]:
        return [u for u in files.usable(part)[0] if found[u.id].sounds_different(files.facts(u))]

    comparable = [u for u in utterances if u.id in found and found[u.id].envelope is not None]
    drawn = draw_subset(comparable, _NUM_COMPARED)
    return different(comparable) if 2 * len(different(drawn)) > len(drawn) else []


def _split_order(recording: Recording) -> int:
    return ("test", "val", "train").index(recording.split)


def _name(id_: str) -> str:
    """Last component of an id, without the extension of a sound file.

    Example:
        >>> _name("Actor_01/a.wav"), _name("a/b.c"), _name("a/"), _name(".wav")
        ('a', 'b.c', 'a', '.wav')
    """
    last = id_.rpartition("/")[2]
    if last in ("", "."):
        last = PurePosixPath(id_).name
    stem, _, suffix = last.rpartition(".")
    return stem if stem and f".{suffix.lower()}" in AUDIO_SUFFIXES else last


def _levels(id_: str) -> list[str]:
    path = PurePosixPath(id_)
    return [*path.parent.parts, _name(id_)]


def _common_levels(one: str, other: str) -> int:
    """Number of components of the shorter path if the longer one ends in it, without extensions; otherwise 0.

    Example:
        >>> _common_levels("RAVDESS/Actor_01/a.wav", "Actor_01/a.flac"), _common_levels("a/b.wav", "c/b.wav")
        (2, 0)
    """
    short, long = sorted((_levels(one), _levels(other)), key=len)
    return len(short) if long[-len(short) :] == short else 0


def _is_same(utterance: Utterance, recording: Recording) -> bool:
    """Whether an utterance has the id and the known speaker of a recording."""
    return utterance.id == recording.id and utterance.speaker is not None and utterance.speaker == recording.speaker


def _fits(utterance: Utterance, recording: Recording) -> bool:
    """Whether an utterance with the name or the id of a recording is this recording."""
    if utterance.speaker is not None and recording.speaker is not None:
        return utterance.speaker == recording.speaker
    return _common_levels(utterance.id, recording.id) >= (1 if recording.digest is None else 2)


def split_of_each(recognised: Mapping[str, Recording]) -> dict[str, SplitName]:
    """Splits of recognised utterances, by id.

    Another file with the same content as one of them was left out of training, so that it is in no split now.

    Args:
        recognised: Recordings of a checkpoint, by utterance id.

    Example:
        >>> recording = Recording("test", "a.wav", "a", speaker=None, digest="0f")
        >>> split_of_each({"a.wav": recording, "copy.wav": recording})
        {'a.wav': 'test'}
    """
    named = {recording for id_, recording in recognised.items() if _name(id_) == recording.name}
    return {id_: r.split for id_, r in recognised.items() if _name(id_) == r.name or r not in named}


def refuse_trained(splits: Splits, recognised: Mapping[str, Recording], names: Iterable[SplitName]) -> None:
    """Raise a UserError if splits to be evaluated contain recordings that a checkpoint was trained on.

    Args:
        splits: The splits.
        recognised: Recordings of the checkpoint, by utterance id.
        names: Names of the splits to be evaluated.
    """
    for name in names:
        part = getattr(splits, name)
        if trained := _of_split(part, recognised, "train"):
            raise UserError(
                f"the checkpoint was trained on {len(trained)} of {counted(len(part), 'recording')} of the {name} "
                f"split: {name_some(trained)}; give the manifest or the fold that it was trained with, leave out "
                "`test_speakers` and `val_speakers`, or take other recordings"
            )


def describe_known(utterances: Sequence[Utterance], recognised: Mapping[str, Recording], purpose: str) -> list[str]:
    """Warnings that say how many utterances a checkpoint was trained or validated on.

    Args:
        utterances: Utterances to test or to explain.
        recognised: Recordings of the checkpoint, by utterance id.
        purpose: ``to test`` or ``to explain``.
    """
    remarks = []
    for split, words, meaning in (
        ("train", "training", "the model was trained on"),
        ("val", "validation", "the checkpoint was selected on"),
    ):
        if known := _of_split(utterances, recognised, split):
            count = f"{len(known)} of {counted(len(utterances), 'recording')} {purpose}"
            was, them = ("was", "it") if len(known) == 1 else ("were", "them")
            remarks.append(f"{count} {was} in the {words} split: {name_some(known)}; {meaning} {them}")
    return remarks


def _of_split(utterances: Iterable[Utterance], recognised: Mapping[str, Recording], split: str) -> list[str]:
    ids = [utterance.id for utterance in utterances]
    return [id_ for id_ in ids if id_ in recognised and recognised[id_].split == split]
