"""Planted-evidence corpora: speech-like sound in which the right explanation is known.

Each clip is a neutral voice in noise except for stretches that carry a cue of an emotion; neutral clips have none. A
classifier that recognises the emotions must rely on the cue, and an explanation has to point to it. There are three
kinds: in ``planted`` the cue is prosody in one stretch, in ``planted_pair`` prosody in two stretches, in
``planted_band`` roughness in one stretch, in a band of frequencies that differs between the emotions.
"""

import csv
import glob
import io
import logging
from pathlib import Path

from speechshap.data.planted_clip import CLASSES, PlantedKind, planted_stretches, synthesize
from speechshap.errors import UserError
from speechshap.files import locked, remove_partial, whole_folder
from speechshap.frames import SAMPLE_RATE

PLANTED_ROOT = Path("data")
"""Folder below the working folder in which each planted-evidence corpus has a folder of its name."""

_PATIENCE_SECONDS = 3600.0
"""How long to wait for another process that makes the same corpus."""


logger = logging.getLogger(__name__)


def make_planted_corpus(
    root: Path,
    kind: PlantedKind = "planted",
    num_clips: int = 960,
    num_speakers: int = 24,
    duration_seconds: float = 2.0,
    seed: int = 0,
) -> None:
    """Write a corpus: 16-bit WAV files in a folder for each speaker, and ``manifest.csv``.

    The manifest has ``path,label,speaker,start,end`` (and ``low_hz,high_hz`` where the cue lies in a band); classes
    and speakers are balanced. The folder appears under its name only when it is whole; a corpus of the same settings
    that is there already is kept. Of two processes that make it at once the second one waits, and takes what the first
    one made.

    Args:
        root: Folder to make.
        kind: What the cue of an emotion is: ``planted``, ``planted_band`` or ``planted_pair``.
        num_clips: Clips in all.
        num_speakers: Voices, half of them low and half of them high.
        duration_seconds: Length of each clip.
        seed: The same seed gives the same bytes.

    Raises:
        UserError: Something else is there, or another process is at it for an hour.
    """
    manifest = _manifest(kind, num_clips, num_speakers, duration_seconds, seed)
    with locked(root.with_name(f".{root.name}.lock"), _PATIENCE_SECONDS, or_raise=UserError) as is_alone:
        if is_alone:
            # A dead process holds no lock, so a partial folder found here may be removed.
            name = glob.escape(root.name)
            remove_partial(root.parent, f".{name}.*", f".{name}")  # the second one is of earlier versions
        if _is_there(root, manifest):
            return
        with whole_folder(root) as partial:
            _write_clips(partial, root, kind, num_clips, num_speakers, duration_seconds, seed)
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
    emotion = CLASSES[clip % len(CLASSES)]
    speaker = clip // len(CLASSES) % num_speakers
    return emotion, speaker, Path(f"speaker_{speaker:02d}") / f"{emotion}_{clip:04d}.wav"


def _manifest(kind: PlantedKind, num_clips: int, num_speakers: int, duration_seconds: float, seed: int) -> str:
    """Manifest of the corpus, which also tells whether a folder holds it."""
    text = io.StringIO()
    writer = csv.writer(text)
    bounds = ["start", "end", "low_hz", "high_hz"] if kind == "planted_band" else ["start", "end"]
    writer.writerow(["path", "label", "speaker", *bounds])
    for clip in range(num_clips):
        emotion, speaker, path = _place(clip, num_speakers)
        stretches = planted_stretches(emotion, duration_seconds, seed, clip, kind)
        cells = [" ".join(f"{getattr(stretch, name):.4f}" for stretch in stretches) for name in bounds]
        writer.writerow([path.as_posix(), emotion, f"speaker_{speaker:02d}", *cells])
    return text.getvalue()


def _write_clips(
    folder: Path,
    root: Path,
    kind: PlantedKind,
    num_clips: int,
    num_speakers: int,
    duration_seconds: float,
    seed: int,
) -> None:
    import soundfile
    from tqdm.auto import tqdm

    for clip in tqdm(range(num_clips), desc=f"planted-evidence corpus in {root}", unit="clip"):
        emotion, speaker, path = _place(clip, num_speakers)
        waveform, _ = synthesize(emotion, speaker, duration_seconds, seed, clip, kind)
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / path, waveform, SAMPLE_RATE, subtype="PCM_16")


def find_planted_corpus(run: Path, kind: PlantedKind = "planted", is_needed: bool = True) -> Path | None:
    """The planted-evidence corpus of a kind that a run was trained with, where the working folder has none.

    It is searched for in the folders above that of the run.

    Args:
        run: Folder of the run, or a checkpoint.
        kind: Which of the corpora.
        is_needed: Whether a message says that it is made anew, where it is not there.

    Example:
        >>> import contextlib, tempfile
        >>> folder = Path(tempfile.mkdtemp()).resolve()
        >>> (folder / "data" / "planted").mkdir(parents=True)
        >>> with contextlib.chdir(folder / "data"):  # where there is no data/planted
        ...     find_planted_corpus(folder / "runs" / "demo" / "version_0") == folder / "data" / "planted"
        True
    """
    root = PLANTED_ROOT / kind
    if root.exists():
        return None
    found = next((place for folder in run.resolve().parents if (place := folder / root).is_dir()), None)
    if found is None and is_needed:
        logger.info("the planted-evidence corpus of the training is not there any more, and made anew in %s", root)
    return found
