"""Trained classifiers as folders that can be shared: weights and a description, and nothing that is executed."""

import copy
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from speechshap.errors import UserError
from speechshap.files import whole_folder
from speechshap.frames import SAMPLE_RATE
from speechshap.models.backbone import Padding
from speechshap.models.classifier import EmotionClassifier
from speechshap.models.heads import mlp_head, require_fit
from speechshap.models.loading import build_backbone
from speechshap.models.modes import evaluation_mode
from speechshap.models.pooling import Pooling, PoolingName

FORMAT = 1
"""Of the folders that are written here; those of a higher one are refused."""

FORMAT_FIELD = "speechshap_format"
"""Field of ``config.json`` that a folder of speechshap has, and none of transformers."""

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"

_TORCH = "torch.nn."


@dataclass(frozen=True)
class ExportedConfig:
    """What a classifier is rebuilt from, beside its weights; the fields are arguments of ``EmotionModule``.

    A folder may come from anyone, so that no code is run that it brings or names. A head is the default one, or a
    module of ``torch.nn`` that plain values make. The class path of any other head is kept for the reader: such a head
    is never imported, but has to be given in Python, and takes its weights from the folder.

    Attributes:
        classes: Names of the outputs.
        backbone_config: Fields of the configuration of transformers, ``model_type`` and ``do_normalize`` among them.
        padding: As in :class:`speechshap.models.Backbone`.
        hidden_layer: Hidden state that is pooled; None weights all of them.
        window_seconds: As in :class:`speechshap.models.EmotionClassifier`.
        standardize: Whether features are standardised.
        pooling: Kind of :class:`speechshap.models.Pooling`.
        num_queries: Its queries.
        convolutions: Its convolutions.
        dropout: Of convolutions, and of the default head.
        hidden_units: Of the default head.
        head: ``class_path`` and ``init_args`` of another head; None for the default one.
    """

    classes: list[str]
    backbone_config: dict[str, Any]
    padding: Padding
    hidden_layer: int | None
    window_seconds: float
    standardize: bool
    pooling: PoolingName
    num_queries: int
    convolutions: int
    dropout: float
    hidden_units: int
    head: dict[str, Any] | None

    @property
    def has_own_head(self) -> bool:
        """Whether the head has to be given in Python."""
        return self.head is not None and not str(self.head.get("class_path")).startswith(_TORCH)

    def build(self, head: nn.Module | None = None) -> EmotionClassifier:
        """The classifier with random weights, in eval mode.

        Args:
            head: In place of one that is not of ``torch.nn``; None for any other one.

        Raises:
            UserError: The fields contradict each other, or the head does not fit.
        """
        backbone = build_backbone(self.backbone_config, self.padding)
        pooling = Pooling(self.pooling, backbone.hidden_size, self.num_queries, self.convolutions, self.dropout)
        if head is None:
            head = (
                mlp_head(pooling.size, len(self.classes), self.dropout, self.hidden_units)
                if self.head is None
                else _torch_module(**self.head)
            )
        require_fit(head, pooling.size, len(self.classes))
        return EmotionClassifier(
            backbone, head, self.hidden_layer, self.window_seconds, self.classes,
            standardize=self.standardize, pooling=pooling,
        ).eval()  # fmt: skip


def write_exported(
    folder: Path, config: ExportedConfig, classifier: EmotionClassifier, card: str, overwrite: bool = False
) -> None:
    """Write a classifier as a folder that :func:`read_exported` reads, and that the Hugging Face hub takes.

    The folder appears when it is whole.

    Args:
        folder: To be made.
        config: Of the classifier.
        classifier: Whose weights are written.
        card: Text of ``README.md``.
        overwrite: Whether to replace an export that is there.

    Raises:
        UserError: As of :func:`require_free`; or the classifier has parts that its configuration does not tell.
    """
    from safetensors.torch import save_file

    require_free(folder, overwrite)
    fields_ = {
        "model_type": "speechshap",  # transformers says then that it does not know it
        FORMAT_FIELD: FORMAT,
        "speechshap_version": version("speechshap"),
        "sampling_rate": SAMPLE_RATE,
        **asdict(config),
    }
    weights = {name: value.contiguous() for name, value in classifier.state_dict().items()}
    with whole_folder(folder) as partial:
        (partial / CONFIG).write_text(json.dumps(fields_, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        (partial / CARD).write_text(card, encoding="utf-8")
        save_file(weights, partial / WEIGHTS, metadata={"format": "pt"})
        (partial / WEIGHTS).chmod((partial / CONFIG).stat().st_mode)  # safetensors lets nobody else read it
        _require_same(partial, config, classifier)


def _require_same(folder: Path, config: ExportedConfig, classifier: EmotionClassifier) -> None:
    """Raise a UserError where a classifier that is read back from a folder gives other logits."""
    head = copy.deepcopy(classifier.head) if config.has_own_head else None
    written = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    copied = read_exported(str(folder), written, local_files_only=True, head=head)
    noise = torch.randn(1, SAMPLE_RATE, generator=torch.Generator().manual_seed(0))
    length = torch.tensor([SAMPLE_RATE])
    with evaluation_mode(classifier), torch.no_grad():
        if not torch.equal(copied(noise, length), classifier(noise, length)):
            raise UserError("the model has parts that no export tells; it would decide otherwise from a folder")


def require_free(folder: Path, overwrite: bool = False) -> None:
    """Raise a UserError where an export would replace something: a file, another folder, or an export unasked."""
    if not folder.exists():
        return
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if folder.is_dir() and not names:
        return
    others = [name for name in names if name not in (CONFIG, WEIGHTS, CARD)]
    is_export = not others and _format_of(folder / CONFIG) is not None
    if not is_export:
        what = f"has other files ({others[0]})" if others else "is something else"
        raise UserError(f"`folder`: {folder} {what}, and nothing of it is replaced; give a folder that is to be made")
    if not overwrite:
        raise UserError(f"`folder`: {folder} is an export already; replace it with `overwrite`, or give another folder")


def _format_of(path: Path) -> object:
    """Format of the export that a configuration is of; None for any other file."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return config.get(FORMAT_FIELD) if isinstance(config, dict) else None


def find_exported(source: str, local_files_only: bool) -> dict[str, Any] | None:
    """The configuration of an export; None for a model of transformers.

    Args:
        source: Folder, or name on the Hugging Face hub.
        local_files_only: Whether to keep to local files.

    Raises:
        OSError: There is no configuration.
    """
    from transformers.utils.hub import cached_file

    path = cached_file(source, CONFIG, local_files_only=local_files_only)
    config = json.loads(Path(path).read_text(encoding="utf-8"))
    return config if isinstance(config, dict) and FORMAT_FIELD in config else None


def read_exported(
    source: str, config: Mapping[str, Any], local_files_only: bool, head: nn.Module | None = None
) -> EmotionClassifier:
    """Rebuild an exported classifier, in eval mode; see :class:`ExportedConfig` for what is not run.

    Args:
        source: Folder, or name on the Hugging Face hub.
        config: What :func:`find_exported` found there.
        local_files_only: Whether to keep to local files.
        head: Module for a head that is not imported from a folder; it gets the weights of the folder.

    Raises:
        UserError: The folder is of a later version or damaged, or needs a head, or has one itself.
        OSError: There are no weights.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from transformers.utils.hub import cached_file

    described = _described(source, config)
    if described.has_own_head and head is None:
        path = (described.head or {})["class_path"]
        raise UserError(
            f"`model`: {source} has a head of the class {path}, and no code is imported because a folder names it; "
            f"make the head in Python and give it: GradientSHAP({source!r}, classifier={path.rpartition('.')[2]}(...))"
        )
    if head is not None and not described.has_own_head:
        raise UserError(f"`model`: {source} has a trained head; leave out `classifier`")
    path = cached_file(source, WEIGHTS, local_files_only=local_files_only)
    try:
        classifier = described.build(head)
        classifier.load_state_dict(load_file(path))
    except (UserError, RuntimeError, TypeError, ValueError, AttributeError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"`model`: {source} cannot be rebuilt from its {CONFIG} and {WEIGHTS}: {reason}") from error
    return classifier


def _described(source: str, config: Mapping[str, Any]) -> ExportedConfig:
    """The fields of a configuration that anyone may have written.

    Raises:
        UserError: It is of a later version, or lacks a field.
    """
    number = config[FORMAT_FIELD]
    if not isinstance(number, int) or number > FORMAT:
        raise UserError(
            f"`model`: {source} was exported in format {number}, and speechshap {version('speechshap')} reads up to "
            f"{FORMAT}; update it: pip install --upgrade speechshap"
        )
    try:
        found = {field.name: config[field.name] for field in fields(ExportedConfig)}
        if not (isinstance(found["classes"], list) and all(isinstance(name, str) for name in found["classes"])):
            raise TypeError("classes is no list of names")
        # A field with an underscore is no part of an architecture; one names code that transformers would fetch.
        found["backbone_config"] = {name: value for name, value in found["backbone_config"].items() if name[:1] != "_"}
        if found["head"] is not None:
            found["head"] = {"class_path": str(found["head"]["class_path"]), "init_args": found["head"]["init_args"]}
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"`model`: {CONFIG} of {source} is damaged ({error}); export the model again") from error
    return ExportedConfig(**found)


def _torch_module(class_path: str, init_args: Mapping[str, Any]) -> nn.Module:
    """A module of ``torch.nn`` that plain values make.

    Example:
        >>> _torch_module("torch.nn.Linear", {"in_features": 4, "out_features": 2})
        Linear(in_features=4, out_features=2, bias=True)
    """
    made = getattr(torch.nn, class_path.rpartition(".")[2], None)
    if not (isinstance(made, type) and issubclass(made, nn.Module)):
        raise UserError(f"there is no module {class_path}")
    if not all(value is None or isinstance(value, bool | int | float | str) for value in init_args.values()):
        raise UserError(f"the head {class_path} takes more than numbers and texts")
    module: nn.Module = made(**init_args)
    return module
