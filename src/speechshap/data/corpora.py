"""Emotional speech corpora: which emotion and which speaker a file holds, read from its name, folder or manifest."""

import csv
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from speechshap.data.audio import AUDIO_SUFFIXES
from speechshap.data.utterance import Skipped, Utterance
from speechshap.errors import UserError

CorpusName = Literal["auto", "ravdess", "emodb", "savee", "crema_d", "tess", "folder", "manifest", "planted"]


@dataclass(frozen=True, slots=True)
class NamingRule:
    """How a corpus tells emotion and speaker in a file's name.

    Attributes:
        pattern: Matched against the name without suffix; groups ``emotion`` and, unless the folder tells it,
            ``speaker``.
        emotions: Emotion code in the name to the label used here; the order is that of the classes.
        speaker: Speaker from the match and the path.
        example: A name as it should be, for error messages.
    """

    pattern: re.Pattern[str]
    emotions: dict[str, str]
    speaker: Callable[[re.Match[str], Path], str]
    example: str

    @property
    def classes(self) -> list[str]:
        """Labels in the order of the classes."""
        return list(self.emotions.values())

    def parse(self, path: Path) -> tuple[str, str] | None:
        """Label and speaker of a file, or None where its name does not follow the rule."""
        match = self.pattern.fullmatch(path.stem)
        return (self.emotions[match["emotion"]], self.speaker(match, path)) if match else None


def _codes(emotions: dict[str, str]) -> str:
    return "(?P<emotion>" + "|".join(sorted(emotions, key=len, reverse=True)) + ")"


_RAVDESS = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fearful",
    "07": "disgust",
    "08": "surprised",
}
_EMODB = {"N": "neutral", "F": "happy", "T": "sad", "W": "angry", "A": "fearful", "E": "disgust", "L": "bored"}
_SAVEE = {
    "n": "neutral",
    "h": "happy",
    "sa": "sad",
    "a": "angry",
    "f": "fearful",
    "d": "disgust",
    "su": "surprised",
}
_CREMA_D = {"NEU": "neutral", "HAP": "happy", "SAD": "sad", "ANG": "angry", "FEA": "fearful", "DIS": "disgust"}
_TESS = {
    "neutral": "neutral",
    "happy": "happy",
    "sad": "sad",
    "angry": "angry",
    "fear": "fearful",
    "disgust": "disgust",
    "ps": "surprised",
}

NAMING_RULES: dict[str, NamingRule] = {
    "ravdess": NamingRule(
        re.compile(rf"\d\d-\d\d-{_codes(_RAVDESS)}-\d\d-\d\d-\d\d-(?P<speaker>\d\d)"),
        _RAVDESS,
        lambda match, path: f"Actor_{match['speaker']}",
        "03-01-06-01-02-01-12.wav",
    ),
    "emodb": NamingRule(
        re.compile(rf"(?P<speaker>\d\d)[a-z]\d\d{_codes(_EMODB)}[a-z]?"),
        _EMODB,
        lambda match, path: match["speaker"],
        "03a01Fa.wav",
    ),
    # The published archive has a folder for each speaker (DC/a01.wav), the common repackaging a prefix (DC_a01.wav).
    "savee": NamingRule(
        re.compile(rf"(?:(?P<speaker>[A-Z]{{2}})_)?{_codes(_SAVEE)}\d\d"),
        _SAVEE,
        lambda match, path: match["speaker"] or path.parent.name,
        "DC_a01.wav",
    ),
    "crema_d": NamingRule(
        re.compile(rf"(?P<speaker>\d{{4}})_[A-Z]{{3}}_{_codes(_CREMA_D)}_[A-Z]{{1,2}}"),
        _CREMA_D,
        lambda match, path: match["speaker"],
        "1001_DFA_ANG_XX.wav",
    ),
    # One file of the published corpus is called OA_bite_neutral.wav; it is the older speaker's.
    "tess": NamingRule(
        re.compile(rf"(?P<speaker>OAF?|YAF)_[A-Za-z']+_{_codes(_TESS)}"),
        _TESS,
        lambda match, path: "OAF" if match["speaker"].startswith("OA") else "YAF",
        "OAF_back_angry.wav",
    ),
}


@dataclass(frozen=True, slots=True)
class Corpus:
    """What was found at a corpus root.

    Attributes:
        name: Name of the corpus.
        utterances: In a stable order, by id.
        classes: Labels in the order of the class indices.
        skipped: Files that carry no usable label, with the reason.
    """

    name: str
    utterances: list[Utterance]
    classes: list[str]
    skipped: list[Skipped]


def find_audio(root: Path) -> list[Path]:
    """Sound files below a folder, recursively, in an order that is the same on every machine.

    Hidden files (such as the ``._x.wav`` that some archives carry) are not sound and are passed over.

    Raises:
        UserError: The folder is missing or holds no sound file.
    """
    if not root.exists():
        raise UserError(f"{root}: no such folder; give the folder of the corpus with --data.root")
    if not root.is_dir():
        raise UserError(f"{root}: not a folder; --data.root takes a folder of sound, or a .csv or .jsonl manifest")
    files = [path for path in _walk(root) if path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith(".")]
    if not files:
        raise UserError(f"{root}: no sound files in this folder; expected {', '.join(AUDIO_SUFFIXES)} at any depth")
    return sorted(files, key=lambda path: path.relative_to(root).as_posix())


def _walk(root: Path) -> Iterator[Path]:
    """Files below a folder; linked folders are followed, but none is entered twice on one way down."""
    for folder, subfolders, names in os.walk(root, followlinks=True):
        ancestors = {os.path.realpath(parent) for parent in (Path(folder), *Path(folder).parents)}
        subfolders[:] = [name for name in subfolders if os.path.realpath(Path(folder, name)) not in ancestors]
        yield from (Path(folder, name) for name in names)


def read_corpus(root: Path, corpus: CorpusName = "auto", audio_root: Path | None = None) -> Corpus:
    """List the utterances of a corpus.

    Args:
        root: Folder of the corpus, or a manifest file.
        corpus: Whose naming rule applies. ``folder`` takes the name of the top folder as the label (and that of a
            second one, if there is one, as the speaker). ``auto`` recognises it, see :func:`detect_corpus`.
        audio_root: Folder that relative paths of a manifest start from; the manifest's own unless given.

    Raises:
        UserError: Nothing usable is there, or a manifest has a mistake.
    """
    root = Path(root)
    if corpus == "auto":
        corpus = detect_corpus(root)
    if corpus in ("manifest", "planted"):
        return read_manifest(root / "manifest.csv" if root.is_dir() else root, audio_root, name=corpus)
    files = find_audio(root)
    return _read_folders(root, files) if corpus == "folder" else _read_named(root, files, corpus)


def detect_corpus(root: Path) -> CorpusName:
    """Recognise a corpus.

    A file, or a folder with ``manifest.csv`` in it, is a manifest; otherwise the corpus counts whose rule fits at
    least nine file names of ten, and ``folder`` where none does.
    """
    if root.is_file() or (root / "manifest.csv").is_file():
        return "manifest"
    files = find_audio(root)
    for name, rule in NAMING_RULES.items():
        if sum(rule.parse(path) is not None for path in files) >= 0.9 * len(files):
            return cast(CorpusName, name)
    return "folder"


def _read_named(root: Path, files: Sequence[Path], corpus: CorpusName) -> Corpus:
    rule = NAMING_RULES[corpus]
    utterances, skipped = [], []
    for path in files:
        if parsed := rule.parse(path):
            label, speaker = parsed
            utterances.append(Utterance(path.relative_to(root).as_posix(), path, label, speaker, corpus))
        else:
            skipped.append(Skipped(path, f"not named as in {corpus} (like {rule.example})"))
    if not utterances:
        raise UserError(
            f"{root}: none of the {len(files)} sound files is named as in {corpus} (like {rule.example}); "
            "set --data.corpus to the corpus this is, or to folder for one folder a class"
        )
    return Corpus(corpus, utterances, rule.classes, skipped)


def _read_folders(root: Path, files: Sequence[Path]) -> Corpus:
    utterances = []
    for path in files:
        relative = path.relative_to(root)
        label = relative.parts[0] if len(relative.parts) > 1 else None
        speaker = relative.parts[1] if len(relative.parts) > 2 else None
        utterances.append(Utterance(relative.as_posix(), path, label, speaker, "folder"))
    return Corpus("folder", utterances, _sorted_labels(utterances), [])


def read_manifest(path: Path, audio_root: Path | None = None, name: str = "manifest") -> Corpus:
    """Read a manifest: CSV with ``path,label[,speaker,start,end]``, or JSON lines in the form of EmoBox.

    ``start`` and ``end`` mark in seconds the stretch that carries the emotion, where it is known; the whole file is
    heard all the same. An object of the JSON lines has ``key``, ``wav`` and ``emo``, and may have ``speaker``.

    Raises:
        UserError: The file is missing, is neither CSV nor JSON lines, or a line of it cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such manifest; give a .csv or .jsonl file with --data.root")
    readers: dict[str, Callable[[Path], Iterator[dict[str, Any]]]] = {".csv": _csv_rows, ".jsonl": _jsonl_rows}
    if path.suffix.lower() not in readers:
        raise UserError(f"{path}: unknown kind of manifest; expected .csv or .jsonl")
    folder = Path(audio_root) if audio_root else path.parent
    utterances: dict[str, Utterance] = {}
    for number, row in enumerate(readers[path.suffix.lower()](path), start=1):
        try:
            utterance = Utterance(
                id=row.get("id") or Path(row["path"]).as_posix(),
                path=folder / row["path"],
                label=row.get("label") or None,
                speaker=row.get("speaker") or None,
                corpus=name,
                start=float(row["start"]) if row.get("start") else None,
                end=float(row["end"]) if row.get("end") else None,
            )
        except (TypeError, ValueError) as error:
            raise UserError(f"{path}: entry {number} cannot be read ({error})") from error
        if utterance.id in utterances:
            raise UserError(f"{path}: entry {number} repeats {utterance.id}; each utterance may stand there once")
        utterances[utterance.id] = utterance
    if not utterances:
        raise UserError(f"{path}: the manifest lists no utterance")
    ordered = sorted(utterances.values(), key=lambda utterance: utterance.id)
    return Corpus(name, ordered, _sorted_labels(ordered), [])


def _csv_rows(path: Path) -> Iterator[dict[str, Any]]:
    reader = csv.DictReader(_text_lines(path))
    if not {"path", "label"} <= set(reader.fieldnames or ()):
        raise UserError(f"{path}: the first line must name the columns path,label[,speaker,start,end]")
    try:
        yield from reader
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num} cannot be read ({error})") from error


def _jsonl_rows(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(_text_lines(path), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            yield {"id": str(row["key"]), "path": row["wav"], "label": str(row["emo"]), "speaker": row.get("speaker")}
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{path}: line {number} is not an object with key, wav and emo ({type(error).__name__}: {error})"
            ) from error


def _text_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines(keepends=True)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: the manifest cannot be read as text; save it as UTF-8 ({error})") from error


def _sorted_labels(utterances: Iterable[Utterance]) -> list[str]:
    return sorted({utterance.label for utterance in utterances if utterance.label is not None})


def loose_files(files: Sequence[Path]) -> list[Utterance]:
    """Utterances without labels; a path as it was given is the id.

    Raises:
        UserError: A file is named twice.
    """
    utterances = [Utterance(Path(path).as_posix(), Path(path)) for path in files]
    most_named, times = Counter(utterance.id for utterance in utterances).most_common(1)[0]
    if times > 1:
        raise UserError(f"--data.files names {most_named} {times} times; name each file once")
    return utterances
