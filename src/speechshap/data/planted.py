"""The planted-evidence corpus: speech-like sound in which the right explanation is known.

Each clip is a neutral voice except for one interval in which pitch, rate, energy, spectral tilt and jitter are those
of an emotion. A classifier that recognises the emotions must rely on that interval, and an explanation has to point to
it. Directions of the prosodic changes follow the reviews of vocal expression (Juslin & Laukka 2003, Table 11; Scherer
2003).
"""

import csv
import glob
import io
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from speechshap.errors import UserError
from speechshap.files import locked, remove_partial, whole_folder
from speechshap.frames import SAMPLE_RATE

CONTROL_RATE = 200
"""Points a second at which prosody is described (Hz)."""

_PATIENCE_SECONDS = 3600.0
"""How long to wait for another process that makes the same corpus."""


@dataclass(frozen=True, slots=True)
class Prosody:
    """How a voice speaks.

    Attributes:
        pitch: Pitch level as a factor of the speaker's own.
        pitch_range: Height of the accents in semitones.
        pitch_slope: Glide of the pitch within a syllable in semitones, negative when it falls.
        rate: Syllables a second.
        energy_db: Level relative to the neutral voice.
        tilt_db: Fall of the source spectrum for each octave.
        jitter: Standard deviation of the pitch from one instant to the next, as a share of the pitch.
    """

    pitch: float
    pitch_range: float
    pitch_slope: float
    rate: float
    energy_db: float
    tilt_db: float
    jitter: float


NEUTRAL = Prosody(pitch=1.0, pitch_range=1.5, pitch_slope=-0.5, rate=4.0, energy_db=0, tilt_db=11, jitter=0.004)

EMOTIONS: dict[str, Prosody] = {
    "angry": Prosody(pitch=1.2, pitch_range=4.0, pitch_slope=-3.0, rate=5.5, energy_db=6, tilt_db=5, jitter=0.015),
    "fearful": Prosody(pitch=1.6, pitch_range=1.0, pitch_slope=0.5, rate=6.5, energy_db=1, tilt_db=14, jitter=0.05),
    "happy": Prosody(pitch=1.4, pitch_range=7.0, pitch_slope=4.0, rate=4.8, energy_db=4, tilt_db=8, jitter=0.006),
    "sad": Prosody(pitch=0.85, pitch_range=0.5, pitch_slope=-1.5, rate=2.4, energy_db=-7, tilt_db=17, jitter=0.01),
}

# First three formants (Hz) of a, e, i, o, u and schwa for an adult voice; a speaker scales them.
_VOWELS = np.array(
    [[750, 1250, 2550], [480, 1900, 2550], [290, 2250, 2950], [480, 850, 2450], [320, 800, 2300], [500, 1450, 2500]]
)
_BANDWIDTHS = np.array([90.0, 120.0, 180.0])


@dataclass(frozen=True, slots=True)
class _Speaker:
    name: str
    pitch_hz: float
    formant_scale: float
    rate: float
    tilt_db: float


def _make_speaker(index: int, seed: int) -> _Speaker:
    generator = np.random.default_rng([seed, 0, index])
    high = index % 2
    return _Speaker(
        name=f"speaker_{index:02d}",
        pitch_hz=generator.uniform(165, 215) if high else generator.uniform(95, 130),
        formant_scale=generator.uniform(1.08, 1.2) if high else generator.uniform(0.92, 1.05),
        rate=generator.uniform(0.92, 1.08),
        tilt_db=generator.uniform(-1, 1),
    )


def synthesize(
    emotion: str, speaker_index: int, duration_seconds: float, seed: int = 0, clip: int = 0
) -> tuple[np.ndarray, float, float]:
    """Make one clip.

    Args:
        emotion: Key of :data:`EMOTIONS`.
        speaker_index: Which voice; even ones are low, odd ones high.
        duration_seconds: Length of the clip.
        seed: Of the corpus.
        clip: Number of the clip, which varies everything that is not emotion or speaker.

    Returns:
        Waveform ``(time,)`` float32 at 16 kHz, start and end in seconds of the emotional stretch.
    """
    speaker = _make_speaker(speaker_index, seed)
    generator = np.random.default_rng([seed, 1, clip])
    start, end = _draw_stretch(generator, duration_seconds)

    num_points = int(duration_seconds * CONTROL_RATE) + 2
    time = np.arange(num_points) / CONTROL_RATE
    # How emotional each instant is: 0 outside, 1 inside, with ramps of 20 ms that lie within the stretch.
    share = np.clip(np.minimum(time - start, end - time) / 0.02, 0, 1)
    prosody = {
        field.name: getattr(NEUTRAL, field.name)
        + share * (getattr(EMOTIONS[emotion], field.name) - getattr(NEUTRAL, field.name))
        for field in fields(Prosody)
    }

    # Each syllable has a vowel, an accent and a phase that runs from 0 to 1.
    syllables = np.cumsum(prosody["rate"] * speaker.rate) / CONTROL_RATE + generator.uniform()
    number, phase = np.divmod(syllables, 1.0)
    number = number.astype(int)
    vowels = generator.integers(len(_VOWELS), size=number[-1] + 1)[number]
    accents = generator.uniform(-1, 1, size=number[-1] + 1)[number]
    loudness = np.sin(np.pi * np.clip((phase - 0.12) / 0.88, 0, 1)) ** 0.7

    semitones = prosody["pitch_range"] * accents + prosody["pitch_slope"] * (phase - 0.5)
    pitch_hz = speaker.pitch_hz * prosody["pitch"] * 2 ** (semitones / 12)
    pitch_hz *= 1 + prosody["jitter"] * generator.standard_normal(num_points)
    formants_hz = _smooth(_VOWELS[vowels] * speaker.formant_scale, points=9)
    level = 10 ** (prosody["energy_db"] / 20)
    gain = level * loudness

    voice = _voice(pitch_hz, formants_hz, prosody["tilt_db"] + speaker.tilt_db, gain, duration_seconds)
    noise = generator.standard_normal(len(voice))
    breath = _to_samples(0.25 * level * (phase < 0.12) + 0.002 * gain * prosody["tilt_db"], len(voice))
    sound = voice + 0.25 * breath * np.diff(noise, prepend=0.0)
    # The level is normalised on the neutral part and then varied at random, so that it does not reveal the emotion.
    neutral = sound[_to_samples(share, len(sound)) == 0]
    sound *= 0.02 * 10 ** (generator.uniform(-6, 0) / 20) / neutral.std()
    return (sound + 3e-4 * generator.standard_normal(len(sound))).astype(np.float32), start, end


def _draw_stretch(generator: np.random.Generator, duration_seconds: float) -> tuple[float, float]:
    """Start and end in seconds of the emotional stretch: the first draws for a clip."""
    stretch = duration_seconds * generator.uniform(0.35, 0.5)
    start = generator.uniform(0.05, 0.95) * (duration_seconds - stretch)
    return start, start + stretch


def _voice(
    pitch_hz: np.ndarray, formants_hz: np.ndarray, tilt_db: np.ndarray, gain: np.ndarray, duration_seconds: float
) -> np.ndarray:
    """Sum of harmonics weighted by source tilt and formants (control points in, samples out)."""
    num_samples = round(duration_seconds * SAMPLE_RATE)
    harmonics = np.arange(1, int(5000 / pitch_hz.min()) + 1)[:, None]
    frequency = harmonics * pitch_hz  # (harmonics, points)
    tilt = 10 ** (-tilt_db * np.log2(harmonics) / 20)
    resonance = np.zeros_like(frequency)
    for formant, (bandwidth, level) in enumerate(zip(_BANDWIDTHS, (1.0, 0.7, 0.4), strict=True)):
        distance = (frequency - formants_hz[:, formant]) / bandwidth
        resonance += level / (1 + distance**2)
    amplitude = gain * tilt * (resonance + 0.02) * (frequency < 5000)

    position = np.arange(num_samples) * CONTROL_RATE / SAMPLE_RATE
    left = position.astype(int)
    right_share = (position - left).astype(np.float32)
    amplitude = amplitude.astype(np.float32)
    turn = np.exp(2j * np.pi * np.cumsum(_to_samples(pitch_hz, num_samples)) / SAMPLE_RATE)
    rotation, voice = np.ones(num_samples, complex), np.zeros(num_samples)
    for row in amplitude:  # the k-th harmonic turns k times as fast: one complex product each
        rotation *= turn
        voice += rotation.imag * (row[left] + right_share * (row[left + 1] - row[left]))
    return voice


def _to_samples(points: np.ndarray, num_samples: int) -> np.ndarray:
    return np.interp(np.arange(num_samples) * CONTROL_RATE / SAMPLE_RATE, np.arange(len(points)), points)


def _smooth(columns: np.ndarray, points: int) -> np.ndarray:
    padded = np.pad(columns, ((points // 2, points // 2), (0, 0)), mode="edge")
    kernel = np.ones(points) / points
    return np.stack([np.convolve(column, kernel, mode="valid") for column in padded.T], axis=1)


def make_planted_corpus(
    root: Path, num_clips: int = 960, num_speakers: int = 24, duration_seconds: float = 2.0, seed: int = 0
) -> None:
    """Write the corpus: 16-bit WAV files in a folder for each speaker, and ``manifest.csv``.

    The manifest has ``path,label,speaker,start,end``; emotions and speakers are balanced. The folder appears under its
    name only when it is whole; a corpus of the same settings that is there already is kept. Of two processes that make
    it at once the second one waits, and takes what the first one made.

    Args:
        root: Folder to make.
        num_clips: Clips in all.
        num_speakers: Voices, half of them low and half of them high.
        duration_seconds: Length of each clip.
        seed: The same seed gives the same bytes.

    Raises:
        UserError: Something else is there, or another process is at it for an hour.
    """
    manifest = _manifest(num_clips, num_speakers, duration_seconds, seed)
    with locked(root.with_name(f".{root.name}.lock"), _PATIENCE_SECONDS, or_raise=UserError) as is_alone:
        if is_alone:
            # A dead process holds no lock, so a partial folder found here may be removed.
            name = glob.escape(root.name)
            remove_partial(root.parent, f".{name}.*", f".{name}")  # the second one is of earlier versions
        if _is_there(root, manifest):
            return
        with whole_folder(root) as partial:
            _write_clips(partial, root, num_clips, num_speakers, duration_seconds, seed)
            (partial / "manifest.csv").write_text(manifest, encoding="utf-8", newline="")


def _is_there(root: Path, manifest: str) -> bool:
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    path = root / "manifest.csv"
    if not path.is_file() or path.read_bytes() != manifest.encode():
        raise UserError(f"`root`: {root} is there and holds something else; remove it, or name another folder")
    return True


def _place(clip: int, num_speakers: int) -> tuple[str, int, Path]:
    """Emotion, speaker and file of a clip."""
    emotion = list(EMOTIONS)[clip % len(EMOTIONS)]
    speaker = clip // len(EMOTIONS) % num_speakers
    return emotion, speaker, Path(f"speaker_{speaker:02d}") / f"{emotion}_{clip:04d}.wav"


def _manifest(num_clips: int, num_speakers: int, duration_seconds: float, seed: int) -> str:
    """Manifest of the corpus, which also tells whether a folder holds it."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["path", "label", "speaker", "start", "end"])
    for clip in range(num_clips):
        emotion, speaker, path = _place(clip, num_speakers)
        start, end = _draw_stretch(np.random.default_rng([seed, 1, clip]), duration_seconds)
        writer.writerow([path.as_posix(), emotion, f"speaker_{speaker:02d}", f"{start:.4f}", f"{end:.4f}"])
    return text.getvalue()


def _write_clips(
    folder: Path, root: Path, num_clips: int, num_speakers: int, duration_seconds: float, seed: int
) -> None:
    import soundfile
    from tqdm.auto import tqdm

    for clip in tqdm(range(num_clips), desc=f"planted-evidence corpus in {root}", unit="clip"):
        emotion, speaker, path = _place(clip, num_speakers)
        waveform, _, _ = synthesize(emotion, speaker, duration_seconds, seed, clip)
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / path, waveform, SAMPLE_RATE, subtype="PCM_16")
