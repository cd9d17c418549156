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
) -> None:
    """Raise a UserError for an option that is out of range, or that nothing takes; but for those of the pooling.

    Arguments are those of :class:`speechshap.training.EmotionModule`, and whether a head is given (``has_head``).
    """
    if len(classes) < 2:
        raise UserError(f"a classifier needs two classes or more; the corpus has {len(classes)}: {list(classes)}")
    if not 0 < learning_rate < math.inf:
        raise UserError(f"`learning_rate` is {learning_rate}; expected a number above 0")
    for name, value in (("weight_decay", weight_decay), ("focal_gamma", focal_gamma), ("mixup", mixup)):
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
