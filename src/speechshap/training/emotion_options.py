"""What an :class:`speechshap.training.EmotionModule` can be asked for."""

import math
from collections.abc import Sequence
from typing import Literal, get_args

from speechshap.errors import UserError, require_at_least, require_choice

Freeze = Literal["backbone", "stem", "none"]
ClassWeights = Literal["none", "balanced"]

DROPOUT = 0.1
"""Of the default head, and of convolutions."""

HIDDEN_UNITS = 256
"""Of the default head."""


def check_options(
    *,
    classes: Sequence[str],
    has_head: bool,
    learning_rate: float,
    weight_decay: float,
    warmup_fraction: float,
    dropout: float,
    label_smoothing: float,
    convolutions: int,
    hidden_units: int,
    class_weights: str,
    focal_gamma: float,
    mixup: float,
    mel_weight: float,
) -> None:
    """Raise a UserError for an option that is out of range, or that nothing takes; but for those of the pooling.

    Arguments are those of :class:`speechshap.training.EmotionModule`, and whether a head is given (``has_head``).
    """
    if len(classes) < 2:
        raise UserError(f"a classifier needs two classes or more; the corpus has {len(classes)}: {list(classes)}")
    if not 0 < learning_rate < math.inf:
        raise UserError(f"`learning_rate` is {learning_rate}; expected a number above 0")
    for name, value in (
        ("weight_decay", weight_decay), ("focal_gamma", focal_gamma), ("mixup", mixup), ("mel_weight", mel_weight),
    ):  # fmt: skip
        if not 0 <= value < math.inf:
            raise UserError(f"`{name}` is {value}; expected 0 at least")
    if not 0 <= warmup_fraction <= 1:
        raise UserError(f"`warmup_fraction` is {warmup_fraction}; expected a share from 0 to 1")
    for name, share in (("dropout", dropout), ("label_smoothing", label_smoothing)):
        if not 0 <= share < 1:
            raise UserError(f"`{name}` is {share}; expected a share from 0 to less than 1")
    require_choice("class_weights", class_weights, get_args(ClassWeights))
    require_at_least(0, hidden_units=hidden_units, convolutions=convolutions)
    if has_head and hidden_units != HIDDEN_UNITS:
        raise UserError(
            f"`hidden_units` is {hidden_units}, but only the default head takes it; set it in `head` itself"
        )
    if dropout != DROPOUT and convolutions == 0:
        if has_head:
            raise UserError(f"`dropout` is {dropout}, but only the default head takes it; set it in `head` itself")
        if hidden_units == 0:
            raise UserError(
                f"`dropout` is {dropout}, but a linear head drops nothing; leave it out, or add `hidden_units`"
            )


def check_finetuning(
    *,
    freeze: str,
    mel_weight: float,
    trained_layers: int | None,
    backbone_learning_rate: float | None,
    layer_decay: float,
    unfreeze_at_epoch: int,
    lora_rank: int | None,
    lora_alpha: float | None,
    lora_dropout: float,
    lora_targets: Sequence[str] | None,
) -> None:
    """Raise a UserError for an option of fine-tuning that is out of range, or that does not go with another.

    Arguments are those of :class:`speechshap.training.EmotionModule`.
    """
    require_choice("freeze", freeze, get_args(Freeze))
    require_at_least(1, trained_layers=trained_layers, lora_rank=lora_rank)
    require_at_least(0, unfreeze_at_epoch=unfreeze_at_epoch)
    for name, value in (("backbone_learning_rate", backbone_learning_rate), ("lora_alpha", lora_alpha)):
        if value is not None and not 0 < value < math.inf:
            raise UserError(f"`{name}` is {value}; expected a number above 0")
    if mel_weight and freeze != "none":
        raise UserError(f"`mel_weight` is {mel_weight}, but the stem is not trained; set `freeze` to none")
    if not 0 < layer_decay <= 1:
        raise UserError(f"`layer_decay` is {layer_decay}; expected a factor above 0, 1 at most")
    if not 0 <= lora_dropout < 1:
        raise UserError(f"`lora_dropout` is {lora_dropout}; expected a share from 0 to less than 1")
    if lora_rank is None:
        of_adapters = {"lora_alpha": lora_alpha, "lora_dropout": lora_dropout or None, "lora_targets": lora_targets}
        for name, given in of_adapters.items():
            if given is not None:
                raise UserError(f"`{name}` is {given}, but there are no adapters; set `lora_rank`, 16 for instance")
    elif freeze != "backbone":
        raise UserError(
            f"`freeze` is {freeze}, but with `lora_rank` the adapters alone are trained in the backbone; set it to "
            "backbone, or leave the adapters out"
        )
    elif lora_targets is not None and not lora_targets:
        raise UserError("`lora_targets` is empty; name linear maps, q_proj and v_proj for instance, or leave it out")
    if trained_layers is not None and freeze == "none":
        raise UserError(f"`trained_layers` is {trained_layers}, and all below them stays frozen; set `freeze` to stem")
    if freeze == "backbone" and lora_rank is None:
        of_backbone = {
            "trained_layers": trained_layers,
            "backbone_learning_rate": backbone_learning_rate,
            "layer_decay": None if layer_decay == 1 else layer_decay,
            "unfreeze_at_epoch": unfreeze_at_epoch or None,
        }
        for name, given in of_backbone.items():
            if given is not None:
                raise UserError(
                    f"`{name}` is {given}, but nothing of the backbone is trained; set `freeze` to stem, or `lora_rank`"
                )
