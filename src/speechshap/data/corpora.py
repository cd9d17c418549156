"""Emotional-speech corpora: label, speaker and sentence of each file, from its name, its folder or a manifest."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple, cast

from speechshap.data.audio import find_audio
from speechshap.data.manifest_rows import Columns
from speechshap.data.manifests import manifest_files, read_manifest
from speechshap.data.planted_clip import PLANTED_KINDS, PlantedKind
from speechshap.data.utterance import Skipped, Utterance
from speechshap.errors import UserError

CorpusName = Literal["auto", "ravdess", "emodb", "savee", "crema_d", "tess", "folder", "manifest", PlantedKind]


class Named(NamedTuple):
    """What a file name says."""

    label: str
    speaker: str
    sentence: str | None


@dataclass(frozen=True, slots=True)
class NamingRule:
    """How a corpus encodes emotion, speaker and sentence in its file names.

    Attributes:
        pattern: Regular expression for the name without suffix, with a group ``emotion``, usually one ``speaker``, one
            ``sentence`` where the name tells what is said, and one ``channel`` where it may also be sung.
        emotions: Maps the emotion codes to labels, in the order of the classes.
        speaker: Gives the speaker for a match and a path.
        example: A correct name, for error messages.
    """

    pattern: re.Pattern[str]
    emotions: dict[str, str]
    speaker: Callable[[re.Match[str], Path], str]
    example: str

    @property
    def classes(self) -> list[str]:
        """Labels in the order of the classes."""
        return list(self.emotions.values())

    def parse(self, path: Path) -> Named | None:
        """What the name of a file says, or None where it does not follow the rule."""
        match = self.pattern.fullmatch(path.stem)
        if match is None:
            return None
        groups = match.groupdict()
        sentence = "-".join(groups[name] for name in ("channel", "sentence") if name in groups)
        return Named(self.emotions[match["emotion"]], self.speaker(match, path), sentence or None)


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
        re.compile(rf"\d\d-(?P<channel>\d\d)-{_codes(_RAVDESS)}-\d\d-(?P<sentence>\d\d)-\d\d-(?P<speaker>\d\d)"),
        _RAVDESS,
        lambda match, path: f"Actor_{match['speaker']}",
        "03-01-06-01-02-01-12.wav",
    ),
    "emodb": NamingRule(
        re.compile(rf"(?P<speaker>\d\d)(?P<sentence>[a-z]\d\d){_codes(_EMODB)}[a-z]?"),
        _EMODB,
        lambda match, path: match["speaker"],
        "03a01Fa.wav",
    ),
    # The published archive has a folder for each speaker (DC/a01.wav), the common repackaging a prefix (DC_a01.wav).
    # Its numbers do not tell the sentence: each emotion counts its own.
    "savee": NamingRule(
        re.compile(rf"(?:(?P<speaker>[A-Z]{{2}})_)?{_codes(_SAVEE)}\d\d"),
        _SAVEE,
        lambda match, path: match["speaker"] or path.parent.name,
        "DC_a01.wav",
    ),
    "crema_d": NamingRule(
        re.compile(rf"(?P<speaker>\d{{4}})_(?P<sentence>[A-Z]{{3}})_{_codes(_CREMA_D)}_[A-Z]{{1,2}}"),
        _CREMA_D,
        lambda match, path: match["speaker"],
        "1001_DFA_ANG_XX.wav",
    ),
    # One file of the published corpus is called OA_bite_neutral.wav; it is the older speaker's.
    "tess": NamingRule(
        re.compile(rf"(?P<speaker>OAF?|YAF)_(?P<sentence>[A-Za-z']+)_{_codes(_TESS)}"),
        _TESS,
        lambda match, path: "OAF" if match["speaker"].startswith("OA") else "YAF",
        "OAF_back_angry.wav",
    ),
}


@dataclass(frozen=True, slots=True)
class Corpus:
    """Contents of a corpus.

    Attributes:
        name: Name of the corpus.
        utterances: In a stable order, by id.
        classes: Labels in the order of the class indices.
        skipped: Files without a usable label and manifest entries without a unique file, with the reason.
    """

    name: str
    utterances: list[Utterance]
    classes: list[str]
    skipped: list[Skipped]


def read_corpus(
    root: Path,
    corpus: CorpusName = "auto",
    audio_root: Path | None = None,
    classes: Sequence[str] | None = None,
    columns: Columns = Columns(),  # noqa: B008 - immutable
) -> Corpus:
    """List the utterances of a corpus.

    Args:
        root: Folder of the corpus, a manifest file, or a folder of fold files (see
            :func:`speechshap.data.manifests.read_manifest`).
        corpus: Name of the corpus. ``folder`` takes the name of the top folder as the label (and that of the folder
            inside it, if any, as the speaker). ``auto`` recognises the corpus, see :func:`detect_corpus`.
        audio_root: Folder that relative paths of a manifest start from; the manifest's own unless given.
        classes: Labels that a model has. With ``folder``, labels (and speakers) are the folders one level further down
            if these are classes and the top folders are not.
        columns: What the columns of a manifest are called.

    Raises:
        UserError: Nothing usable is there, or a manifest has a mistake.
    """
    root = Path(root)
    if corpus == "auto":
        corpus = detect_corpus(root)
    if corpus == "manifest" or corpus in PLANTED_KINDS:
        listed, skipped = read_manifest(root, audio_root, columns, corpus)
        utterances = with_speakers_and_sentences(listed)
        return Corpus(corpus, utterances, _sorted_labels(utterances), skipped)
    if columns != Columns():
        raise UserError(
            f"`{'label_column' if columns.label else 'speaker_column'}` names a column, but {root} is no manifest"
        )
    files = find_audio(root)
    return _read_folders(root, files, classes or ()) if corpus == "folder" else _read_named(root, files, corpus)


def detect_corpus(root: Path) -> CorpusName:
    """Recognise a corpus.

    A file, or a folder with ``manifest.csv``, ``manifest.parquet`` or fold files in it, is a manifest. Otherwise it is
    the corpus whose naming rule fits at least nine of ten file names; failing that, such a manifest one level further
    down; failing that, ``folder``.
    """
    files = manifest_files(root)
    if any(root in (path, path.parent) for path in files):
        return "manifest"
    return cast(CorpusName, fitting_rule(find_audio(root)) or ("manifest" if files else "folder"))


def fitting_rule(paths: Sequence[Path]) -> str | None:
    """Name of the corpus whose naming rule fits at least nine of ten paths.

    Example:
        >>> fitting_rule([Path("wav/03a01Fa.wav")])
        'emodb'
    """
    return next((name for name, rule in NAMING_RULES.items() if paths and _fits(rule, paths)), None)


def _fits(rule: NamingRule, paths: Sequence[Path]) -> bool:
    """Whether a rule fits at least nine of ten paths; after enough others the rest is not looked at."""
    others = 0
    for path in paths:
        others += rule.parse(path) is None
        if len(paths) - others < 0.9 * len(paths):
            return False
    return True


def with_speakers_and_sentences(utterances: Sequence[Utterance]) -> list[Utterance]:
    """Fill in what is missing of these from the file names, where they follow the naming rule of a corpus.

    Example:
        >>> (utterance,) = with_speakers_and_sentences([Utterance("a", Path("wav/03a01Fa.wav"))])
        >>> utterance.speaker, utterance.sentence
        ('03', 'a01')
    """
    name = fitting_rule([utterance.path for utterance in utterances])
    if name is None:
        return list(utterances)
    parsed = [NAMING_RULES[name].parse(utterance.path) for utterance in utterances]
    return [
        replace(utterance, speaker=utterance.speaker or named.speaker, sentence=utterance.sentence or named.sentence)
        if named
        else utterance
        for utterance, named in zip(utterances, parsed, strict=True)
    ]


def _read_named(root: Path, files: Sequence[Path], corpus: CorpusName) -> Corpus:
    rule = NAMING_RULES[corpus]
    utterances, skipped = [], []
    for path in files:
        if parsed := rule.parse(path):
            label, speaker, sentence = parsed
            utterances.append(Utterance(path.relative_to(root).as_posix(), path, label, speaker, corpus, sentence))
        else:
            skipped.append(Skipped(path, f"not named as in {corpus} (like {rule.example})"))
    if not utterances:
        raise UserError(
            f"{root}: none of the {len(files)} sound files is named as in {corpus} (like {rule.example}); "
            "set `corpus` to the corpus this is, or to folder for one folder a class"
        )
    return Corpus(corpus, utterances, rule.classes, skipped)


def _read_folders(root: Path, files: Sequence[Path], classes: Sequence[str]) -> Corpus:
    relative = [path.relative_to(root) for path in files]
    tops, below = ({path.parts[level] for path in relative if len(path.parts) > level + 1} for level in (0, 1))
    start = 1 if below and below <= set(classes) and not tops & set(classes) else 0
    utterances = []
    for path, name in zip(files, relative, strict=True):
        folders = name.parts[start:-1]
        label = folders[0] if folders else None
        speaker = folders[1] if len(folders) > 1 else None
        utterances.append(Utterance(name.as_posix(), path, label, speaker, "folder"))
    return Corpus("folder", utterances, _sorted_labels(utterances), [])


def _sorted_labels(utterances: Iterable[Utterance]) -> list[str]:
    return sorted({utterance.label for utterance in utterances if utterance.label is not None})


def loose_files(files: Sequence[Path]) -> list[Utterance]:
    """Unlabelled utterances from files and folders (searched recursively); the path as given is the id.

    A file that is named twice, directly or through a folder, counts once.

    Raises:
        UserError: A folder holds no sound file.
    """
    found: dict[Path, Path] = {}
    for path in map(Path, files):
        for file in find_audio(path) if path.is_dir() else [path]:
            found.setdefault(file.absolute(), file)
    return with_speakers_and_sentences([Utterance(file.as_posix(), file) for file in found.values()])
