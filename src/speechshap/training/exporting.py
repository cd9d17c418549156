"""From a checkpoint to a folder that others take."""

from inspect import signature
from pathlib import Path
from typing import Any

from speechshap.models.exported import ExportedConfig, require_free, write_exported
from speechshap.training.checkpoints import load_checkpoint, read_checkpoint, run_of
from speechshap.training.emotion_module import EmotionModule
from speechshap.training.model_card import card_text
from speechshap.training.save_card import describe_checkpoint, is_finished


def export_checkpoint(path: Path, folder: Path, overwrite: bool = False) -> None:
    """Write the classifier of a checkpoint as a folder for the Hugging Face hub, with its model card as ``README.md``.

    The folder holds weights and a description, and no code; see :class:`speechshap.models.exported.ExportedConfig`.

    Args:
        path: The checkpoint.
        folder: To be made.
        overwrite: Whether to replace an earlier export there.

    Raises:
        UserError: The checkpoint cannot be loaded, or there is something else in the folder.
    """
    require_free(folder, overwrite)
    checkpoint = read_checkpoint(path)
    module = load_checkpoint(path, checkpoint).eval()
    options = _options(checkpoint["hyper_parameters"])
    config = ExportedConfig(
        classes=list(module.classes),
        backbone_config=module.backbone.export_config(),
        head=_plain_head(options["head"]),
        **{
            name: options[name]
            for name in (
                "padding", "hidden_layer", "window_seconds", "standardize", "pooling", "num_queries", "convolutions",
                "dropout", "hidden_units",
            )
        },
    )  # fmt: skip
    run = run_of(path.absolute())
    finished = None if run is None else is_finished(run)
    name = folder.absolute().name
    card = describe_checkpoint(path.absolute(), checkpoint, name, _usage(name, config), finished)
    write_exported(folder, config, module.classifier, card_text(card), overwrite)


def _options(saved: dict[str, Any]) -> dict[str, Any]:
    """Options of a module; those that its version did not have yet are as they are by default."""
    defaults = {name: parameter.default for name, parameter in signature(EmotionModule).parameters.items()}
    return {name: saved.get(name, default) for name, default in defaults.items()}


def _plain_head(head: Any) -> dict[str, Any] | None:
    if head is None:
        return None
    return {"class_path": str(head["class_path"]), "init_args": dict(head.get("init_args") or {})}


def _usage(name: str, config: ExportedConfig) -> str:
    """How to load an export from its folder; from the hub, the folder is ``owner/name``."""
    if config.head is not None and config.has_own_head:
        head = config.head["class_path"].rpartition(".")[2]
        return (
            "pip install speechshap\n"
            f"# The head is of the class {config.head['class_path']}, which no folder brings along; from Python:\n"
            f"#   GradientSHAP({name!r}, classifier={head}(...)).explain(waveform)"
        )
    return (
        "pip install speechshap\n"
        "# the folder, or owner/name on the Hugging Face hub:\n"
        f"speechshap explain --model {name} --data.files recordings/\n"
        "# from Python:\n"
        f"#   from speechshap import GradientSHAP\n"
        f"#   GradientSHAP({name!r}).explain(waveform)"
    )
