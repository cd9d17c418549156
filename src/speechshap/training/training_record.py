"""What a checkpoint says of its training, in plain values: where a model card comes from."""

import os
import platform
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.metadata import version
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl

from speechshap.data.augmentation import Augmentation
from speechshap.data.hub import HubDataset
from speechshap.data.overlap import speaker_overlap
from speechshap.data.splits import Splits, draw_subset, speakers_of
from speechshap.data.utterance import Skipped, Utterance
from speechshap.training.datamodule import CORPUS_OPTIONS, SPLIT_OPTIONS, AudioDataModule
from speechshap.training.emotion_module import EmotionModule
from speechshap.training.hyperparameters import OF_TRAINER, flattened
from speechshap.training.save_predictions import split_text

_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_FOLDERS = re.compile(r"(?:(?<=[=,\[\s\"'{])|(?<=hf://)|^)(?:\.{0,2}|~)/[^,\]\"'}]*/(?=[^/])")

_OF_CORPUS = (*CORPUS_OPTIONS, *SPLIT_OPTIONS, "files", "classes", "predict_split", "max_samples")
_WITHOUT_EFFECT = ("cache", "cache_gigabytes", "num_workers", "on_bad_file", "gradient_checkpointing")
"""Options that change what a training costs, and not what is trained."""


class Part(NamedTuple):
    """Utterances of a split.

    Attributes:
        num_utterances: How many are used.
        speakers: Names of those who are known.
        num_unknown: Utterances whose speaker is not known.
    """

    num_utterances: int
    speakers: list[str]
    num_unknown: int


@dataclass(frozen=True)
class TrainingRecord:
    """What was trained on what, and how; of what is not known, nothing.

    Attributes:
        corpus: Name of the corpus.
        root: Last name of its folder or manifest.
        dataset: Name of the corpus on the Hugging Face hub; empty where it is not from there.
        split: How the splits were made, in words that follow "split".
        fold: Number of the fold that is tested; None without folds.
        overlap: Whether speakers of the test are heard in training, in one line.
        validates_others: Whether no speaker of the validation is heard in training; None where that is not known.
        parts: Splits by name, ``train``, ``val`` and ``test``.
        skipped: Files that were left out, by reason.
        backbone: Whose weights the training began with; empty for random ones, None where that is not known.
        is_on_hub: Whether that is a name on the Hugging Face hub, and not a folder.
        options: Those that differ from their defaults.
        max_epochs: Largest number of epochs that was asked for; None or -1: any.
        min_epochs: Smallest number.
        seed: Of everything that is random.
        commands: That was given, and those that the training went on with where they differ.
        versions: Of what it ran with.
    """

    corpus: str = ""
    root: str = ""
    dataset: str = ""
    split: str = ""
    fold: int | None = None
    overlap: str = ""
    validates_others: bool | None = None
    parts: dict[str, Part] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    backbone: str | None = None
    is_on_hub: bool = False
    options: dict[str, bool | int | float | str] = field(default_factory=dict)
    max_epochs: int | None = None
    min_epochs: int | None = None
    seed: str = ""
    commands: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {**asdict(self), "parts": {name: part._asdict() for name, part in self.parts.items()}}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "TrainingRecord":
        """From the result of :meth:`state`; what another version knew besides is left out."""
        known = {each.name: state[each.name] for each in fields(cls) if each.name in state}
        parts = {name: Part(**part) for name, part in known.pop("parts", {}).items()}
        return cls(**known, parts=parts)

    def going_on_from(self, former: "TrainingRecord") -> "TrainingRecord":
        """This record of a training that goes on: splits and first weights are those of its beginning.

        Example:
            >>> first = TrainingRecord(split="by speaker, seed 0", backbone="openai/whisper-base", commands=["fit"])
            >>> record = TrainingRecord(split="as the checkpoint has it", commands=["fit"]).going_on_from(first)
            >>> record.split, record.backbone, record.commands
            ('by speaker, seed 0', 'openai/whisper-base', ['fit'])
        """
        new = [command for command in self.commands if command not in former.commands[-1:]]
        return replace(
            self, split=former.split, fold=former.fold, backbone=former.backbone, is_on_hub=former.is_on_hub,
            commands=[*former.commands, *new],
        )  # fmt: skip


def record_training(trainer: pl.Trainer, module: EmotionModule, command: Sequence[str] = ()) -> TrainingRecord:
    """What is known of a training when it begins.

    Args:
        trainer: That trains.
        module: That is trained.
        command: That was given, word by word.
    """
    name: str = module.backbone.model.config._name_or_path
    given = _differing(EmotionModule, module.hparams, ("classes", "backbone", "backbone_config"))
    record = TrainingRecord(
        backbone=_without_folder(name) if name or not module.trained_steps else None,
        is_on_hub=_HUB_NAME.fullmatch(name) is not None and not Path(name).exists(),
        max_epochs=trainer.max_epochs,
        min_epochs=trainer.min_epochs,
        seed=os.environ.get("PL_GLOBAL_SEED", ""),
        commands=[shlex.join(map(without_folders, command))] * bool(command),
        versions={
            **{package: version(package) for package in ("speechshap", "torch", "transformers", "pytorch-lightning")},
            "python": platform.python_version(),
        },
    )
    data: Any = getattr(trainer, "datamodule", None)
    if isinstance(data, AudioDataModule) and data.splits is not None:
        record = replace(record, **_of_data(data, data.splits))
        own = {name: getattr(data, name) for name in signature(AudioDataModule).parameters if hasattr(data, name)}
        given |= _differing(AudioDataModule, {**data.hparams, **own}, (*_OF_CORPUS, *_WITHOUT_EFFECT))
    of_trainer = {name: getattr(trainer, name) for name in OF_TRAINER if getattr(trainer, name) is not None}
    return replace(record, options={**given, **of_trainer})


def _of_data(data: AudioDataModule, splits: Splits) -> dict[str, Any]:
    """Fields of a record that tell of a corpus and its splits."""
    used = Splits(*(draw_subset(part, data.max_utterances, data.split_seed) for part in splits))
    root = data.catalogue.root
    catalogue, chosen, overlap = data.catalogue, data.catalogue.chosen, data.speaker_overlap
    return {
        "corpus": catalogue.listing.name,
        "root": root.absolute().name if isinstance(root, Path) else "" if root is None else Path(root.name).name,
        "dataset": root.hub_name if isinstance(root, HubDataset) else "",
        "split": "" if chosen is None else split_text(chosen, data.hparams),
        "fold": data.hparams.get("fold"),
        "overlap": "" if overlap is None or not splits.test else str(overlap),
        "validates_others": speaker_overlap(Splits(used.train, [], used.val)).is_independent,
        "parts": {name: _part(part) for name, part in used._asdict().items()},
        "skipped": reasons(data.skipped),
    }


def _part(utterances: Sequence[Utterance]) -> Part:
    return Part(len(utterances), list(speakers_of(utterances)), sum(each.speaker is None for each in utterances))


def reasons(skipped: Iterable[Skipped]) -> dict[str, int]:
    """How many files were left out for which reason, the most frequent first, without what is of one file alone.

    Example:
        >>> reasons([Skipped(Path("a"), "too short: 3.0 ms"), Skipped(Path("b"), "too short: 4.0 ms")])
        {'too short': 2}
    """
    # The sound that a recording has twice is named; it is the same reason for all.
    found = (re.sub(r"(the same sound as) .*", r"\1 another", item.reason) for item in skipped)
    return dict(Counter(re.split(r"[:;(]", reason)[0].strip() for reason in found).most_common())


def without_folders(text: str) -> str:
    """A word of a command, or a value, whose paths keep their last name only: the others tell who trained it.

    Example:
        >>> [without_folders(word) for word in ("/home/anna/RAVDESS", "--model.backbone=~/models/wavlm", "runs/demo")]
        ['.../RAVDESS', '--model.backbone=.../wavlm', 'runs/demo']
    """
    return _FOLDERS.sub(".../", text)


def _without_folder(name: str) -> str:
    """A name on the hub as it is; of a folder its name."""
    return Path(name).name if name.startswith((".", "/", "~")) or name.count("/") > 1 else name


def _differing(
    function: Callable[..., object], given: Mapping[str, Any], left_out: Iterable[str]
) -> dict[str, bool | int | float | str]:
    """Arguments that differ from their defaults, in plain values; of objects their kind."""
    differing: dict[str, Any] = {}
    for name, parameter in signature(function).parameters.items():
        value = given.get(name, parameter.default)
        if name not in left_out and parameter.default is not Parameter.empty and value != parameter.default:
            is_plain = isinstance(value, Augmentation | Mapping | list | tuple | bool | int | float | str)
            differing[name] = value if is_plain else type(value).__name__
    return {
        name: without_folders(value) if isinstance(value, str) else value
        for name, value in flattened(differing).items()
    }
