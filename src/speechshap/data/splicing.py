"""Spliced speech: real speech in which the right explanation is known.

Where a speaker says a sentence neutrally and with an emotion, a stretch of the emotional take replaces the same part of
the sentence in the neutral take. Only there is the emotion, and an explanation of it has to point there.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from speechshap.data.audio import load_audio
from speechshap.data.corpora import NAMING_RULES
from speechshap.data.utterance import Stretch, Utterance
from speechshap.data.wording import counted, name_some
from speechshap.errors import UserError, require_at_least
from speechshap.frames import SAMPLE_RATE

logger = logging.getLogger(__name__)

_SHARES = (0.3, 0.7)
"""Where the stretch begins and ends, as a share of the neutral speech: its middle two fifths."""

_HOP = SAMPLE_RATE // 100
"""Samples between the frames in which takes are compared, and of a cross-fade."""

_WINDOW = SAMPLE_RATE // 40

_PAUSE_BLOCKS = 5
"""Blocks of 10 ms that are a pause."""

_SEARCH_FRAMES = 4
"""How far a border may move to a moment of little energy."""

_LEAST_SPEECH = SAMPLE_RATE // 4
_TOO_LITTLE = "too little speech to splice; expected two takes of the same sentence"


class Splice(NamedTuple):
    """A neutral take with a stretch of another one.

    Attributes:
        waveform: ``(time,)`` float32 at 16 kHz.
        stretch: What is from the other take, with the cross-fades at its ends.
        speech: From the first to the last speech.
    """

    waveform: np.ndarray
    stretch: Stretch
    speech: Stretch


class Takes(NamedTuple):
    """Takes of a sentence by one speaker: a neutral and an emotional one, and another neutral one if there is any."""

    neutral: Utterance
    emotional: Utterance
    repetition: Utterance | None


@dataclass(frozen=True, slots=True, eq=False)
class SplicedClip:
    """A neutral take with a stretch of an emotional one.

    Attributes:
        waveform: ``(time,)`` float32 at 16 kHz.
        utterance: The neutral take, but with both takes in the id, and the label and the stretch of the emotional one.
        speech: From the first to the last speech.
        control: The same neutral take with a stretch of its repetition, which has the same kind of borders and no
            emotion; None where there is no repetition.
    """

    waveform: np.ndarray
    utterance: Utterance
    speech: Stretch
    control: Splice | None


def spliced_speech(
    utterances: Sequence[Utterance],
    *,
    match_level: bool = True,
    limit: int | None = None,
    seed: int = 0,
    neutral: str = "neutral",
) -> Iterator[SplicedClip]:
    """Splice the takes of a corpus, one clip after the other; takes with too little speech are left out with a warning.

    Args:
        utterances: With label, speaker and sentence; those that lack one are not used.
        match_level: Whether the stretch gets the level of what it replaces, so that loudness alone does not give it
            away.
        limit: How many clips to draw, even over emotions and speakers; all unless given.
        seed: Of the draw.
        neutral: Label of neutral speech.

    Raises:
        UserError: No speaker says a sentence both neutrally and with an emotion.
        AudioFileError: A file cannot be read.

    Example:
        >>> from pathlib import Path
        >>> from speechshap.data import read_corpus
        >>> for clip in spliced_speech(read_corpus(Path("RAVDESS")).utterances, limit=40):  # doctest: +SKIP
        ...     print(clip.utterance.label, clip.utterance.stretches[0])
    """
    require_at_least(1, limit=limit)
    takes = list_takes(utterances, neutral)
    return _spliced_clips(takes if limit is None else draw_takes(takes, limit, seed), match_level)


def list_takes(utterances: Sequence[Utterance], neutral: str = "neutral") -> list[Takes]:
    """Each neutral take with each emotional take of the same sentence and speaker, in the order of their ids.

    Raises:
        UserError: There are none.

    Example:
        >>> from pathlib import Path
        >>> from speechshap.data.corpora import with_speakers_and_sentences
        >>> labels = {"03a01Nc": "neutral", "03a01Wa": "angry"}
        >>> named = [Utterance(name, Path(name), label) for name, label in labels.items()]
        >>> [(takes.neutral.id, takes.emotional.id) for takes in list_takes(with_speakers_and_sentences(named))]
        [('03a01Nc', '03a01Wa')]
    """
    groups: dict[tuple[str, str], tuple[list[Utterance], list[Utterance]]] = {}
    for utterance in sorted(utterances, key=lambda utterance: utterance.id):
        if utterance.label and utterance.speaker and utterance.sentence:
            group = groups.setdefault((utterance.speaker, utterance.sentence), ([], []))
            group[utterance.label != neutral].append(utterance)
    takes = [
        Takes(calm, emotional, next((other for other in neutrals if other != calm), None))
        for neutrals, emotionals in groups.values()
        for calm in neutrals
        for emotional in emotionals
    ]
    if not takes:
        raise UserError(_why_none(utterances, neutral))
    return sorted(takes, key=lambda item: (item.neutral.id, item.emotional.id))


def _why_none(utterances: Sequence[Utterance], neutral: str) -> str:
    labels = sorted({utterance.label for utterance in utterances if utterance.label})
    if neutral not in labels:
        return (
            f"none of the {counted(len(utterances), 'utterance')} has the label {neutral} "
            f"(labels: {', '.join(labels) or 'none'}); set `neutral` to that of neutral speech"
        )
    if not any(utterance.sentence for utterance in utterances):
        known = ", ".join(name for name, rule in NAMING_RULES.items() if "sentence" in rule.pattern.groupindex)
        return f"no sentence is known of {name_some([u.id for u in utterances])}; names tell it in the corpora {known}"
    return (
        f"no speaker says a sentence both in {neutral} speech and with an emotion; "
        "give all takes of the same speakers and sentences"
    )


def draw_takes(takes: Sequence[Takes], limit: int, seed: int = 0) -> list[Takes]:
    """Draw at random, so that emotions are even and, as far as these allow, speakers; all if there are no more."""
    waiting: dict[tuple[str | None, str | None], list[Takes]] = {}
    for index in np.random.default_rng(seed).permutation(len(takes)):
        item = takes[index]
        waiting.setdefault((item.emotional.label, item.emotional.speaker), []).append(item)
    drawn: list[Takes] = []
    labels, speakers, both = Counter[str | None](), Counter[str | None](), Counter[tuple[str | None, str | None]]()
    while waiting and len(drawn) < limit:
        cell = min(waiting, key=lambda cell: (labels[cell[0]], speakers[cell[1]], both[cell]))
        drawn.append(waiting[cell].pop())
        if not waiting[cell]:
            del waiting[cell]
        labels[cell[0]] += 1
        speakers[cell[1]] += 1
        both[cell] += 1
    return drawn


def _spliced_clips(takes: Sequence[Takes], match_level: bool) -> Iterator[SplicedClip]:
    for item in takes:
        try:
            yield _spliced_clip(item, match_level)
        except UserError as error:
            logger.warning("%s", error)


def _spliced_clip(takes: Takes, match_level: bool) -> SplicedClip:
    neutral = load_audio(takes.neutral.path)

    def with_stretch_of(other: Utterance) -> Splice:
        try:
            return splice(neutral, load_audio(other.path), match_level=match_level)
        except UserError as error:
            raise UserError(f"{takes.neutral.id} and {other.id}: {error}") from None

    spliced = with_stretch_of(takes.emotional)
    utterance = replace(
        takes.neutral,
        id=f"{takes.neutral.id} + {takes.emotional.id}",
        label=takes.emotional.label,
        stretches=(spliced.stretch,),
    )
    control = with_stretch_of(takes.repetition) if takes.repetition else None
    return SplicedClip(spliced.waveform, utterance, spliced.speech, control)


def splice(neutral: np.ndarray, emotional: np.ndarray, *, match_level: bool = True) -> Splice:
    """Replace the middle two fifths of the speech of a take by the same part of the sentence in another take.

    The same part is found by dynamic time warping of mel-frequency cepstra and their slopes (Sakoe & Chiba 1978). Each
    border moves by up to 40 ms to where both takes have little energy. The cross-fades of 10 ms lie within the stretch;
    all else is the neutral take, sample by sample.

    Args:
        neutral: ``(time,)`` at 16 kHz.
        emotional: ``(time,)`` at 16 kHz, the same sentence of the same speaker.
        match_level: Whether the stretch gets the level (RMS) of what it replaces.

    Raises:
        UserError: The takes have too little speech.

    Example:
        >>> voice = np.random.default_rng(0).standard_normal(16000).astype(np.float32)
        >>> result = splice(voice, 2 * voice)
        >>> bool(np.allclose(result.waveform, voice, atol=1e-5))
        True
    """
    bounds, others = speech_bounds(neutral), speech_bounds(emotional)
    if min(bounds[1] - bounds[0], others[1] - others[0]) < _LEAST_SPEECH:
        raise UserError(_TOO_LITTLE)
    (start, end), (first, last) = _same_part(neutral[slice(*bounds)], emotional[slice(*others)])
    start, end, first, last = bounds[0] + start, bounds[0] + end, others[0] + first, others[0] + last
    if min(end - start, last - first) < 2 * _HOP:
        raise UserError(_TOO_LITTLE)
    replaced, part = neutral[start:end], emotional[first:last]
    if match_level:
        part = part * (_rms(replaced) / (_rms(part) or 1.0))
    fade_in, fade_out = cross_fade(replaced[:_HOP], part[:_HOP]), cross_fade(part[-_HOP:], replaced[-_HOP:])
    waveform = np.concatenate([neutral[:start], fade_in, part[_HOP:-_HOP], fade_out, neutral[end:]])
    longer = len(waveform) - len(neutral)
    return Splice(
        waveform.astype(np.float32),
        Stretch(start / SAMPLE_RATE, (end + longer) / SAMPLE_RATE),
        Stretch(bounds[0] / SAMPLE_RATE, (bounds[1] + longer) / SAMPLE_RATE),
    )


def speech_bounds(waveform: np.ndarray) -> tuple[int, int]:
    """First sample of the speech and the one after its last: what is at most 30 dB below the loudest 10 ms.

    A sound that pauses of 50 ms set apart, with less than a hundredth of the energy of the main phrase, is a click or
    breath and no speech.

    Args:
        waveform: ``(time,)`` at 16 kHz, 10 ms at least.

    Example:
        >>> speech_bounds(np.repeat(np.float32([0.001, 1, -0.5, 0.002]), 320) * np.tile(np.float32([1, -1]), 640))
        (320, 960)
    """
    blocks = waveform[: len(waveform) // _HOP * _HOP].reshape(-1, _HOP)
    energies = np.square(blocks, dtype=np.float64).mean(1)
    (loud,) = np.nonzero(energies >= 1e-3 * energies.max())
    phrases = np.split(loud, np.flatnonzero(np.diff(loud) > _PAUSE_BLOCKS) + 1)
    least = 0.01 * max(energies[phrase].sum() for phrase in phrases)
    speech = np.concatenate([phrase for phrase in phrases if energies[phrase].sum() >= least])
    return int(speech[0]) * _HOP, int(speech[-1] + 1) * _HOP


def cross_fade(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Go from one sound to another one at an even level: equal gain where they are alike, equal power where not.

    Args:
        one: ``(time,)``.
        other: ``(time,)``, as long.

    Example:
        >>> cross_fade(np.ones(4), np.ones(4))
        array([1., 1., 1., 1.])
    """
    share = (np.arange(len(one)) + 0.5) / len(one)
    size = _rms(one) * _rms(other)
    likeness = max(0.0, float(np.mean(one * other, dtype=np.float64)) / size) if size > 0 else 0.0
    level = np.sqrt(share**2 + (1 - share) ** 2 + 2 * likeness * share * (1 - share))
    faded: np.ndarray = ((1 - share) * one + share * other) / level
    return faded


def _same_part(one: np.ndarray, other: np.ndarray) -> tuple[tuple[int, int], tuple[int, int]]:
    """Start and end of the middle of one speech, and those of the same part of another one, in samples."""
    from librosa.feature import rms
    from librosa.sequence import dtw

    path = dtw(_cepstra(one), _cepstra(other))[1][::-1]  # (points, 2) frames of the two
    levels = [rms(y=sound, frame_length=_WINDOW, hop_length=_HOP)[0] for sound in (one, other)]

    def border(share: float) -> tuple[int, int]:
        near = path[np.abs(path[:, 0] - share * path[-1, 0]) <= _SEARCH_FRAMES]
        quietest = np.argmin(levels[0][near[:, 0]] * levels[1][near[:, 1]])
        frame, other_frame = near[quietest]
        return int(frame) * _HOP, int(other_frame) * _HOP

    (start, first), (end, last) = map(border, _SHARES)
    return (start, end), (first, last)


def _cepstra(sound: np.ndarray) -> np.ndarray:
    """Cepstra and their slopes ``(26, frames)``, each of mean 0 and variance 1."""
    from librosa.feature import delta, mfcc

    cepstra = mfcc(y=sound, sr=SAMPLE_RATE, n_mfcc=13, n_fft=_WINDOW, hop_length=_HOP, n_mels=40)
    both = np.concatenate([cepstra, delta(cepstra)])
    centred: np.ndarray = both - both.mean(1, keepdims=True)
    return centred / (centred.std(1, keepdims=True) + 1e-6)


def _rms(sound: np.ndarray) -> float:
    return float(np.sqrt(np.square(sound, dtype=np.float64).mean()))
