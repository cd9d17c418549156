"""Precisions that a backbone bears."""

from speechshap.errors import UserError
from speechshap.models import Backbone


def refuse_half_precision(backbone: Backbone, precision: str | int | None, trains: bool = False) -> None:
    """Refuse a precision of Lightning's in which the activations of a backbone overflow, or its training does.

    Args:
        backbone: Of the model.
        precision: Of the trainer, for instance ``16-mixed``.
        trains: Whether it is to be trained. Where weights are in half precision, too, the constant that keeps AdamW
            from dividing by zero (1e-8) is zero itself.

    Raises:
        UserError: It is half precision, and the backbone or its training does not support it.

    Example:
        >>> from speechshap.models import build_backbone
        >>> hubert = build_backbone({"model_type": "hubert", "num_hidden_layers": 1, "conv_dim": [8] * 7})
        >>> refuse_half_precision(hubert, "16-true")
        >>> refuse_half_precision(hubert, "16-true", trains=True)
        Traceback (most recent call last):
        speechshap.errors.UserError: `precision` is 16-true, in which AdamW divides by zero; take 16-mixed, ...
    """
    if str(precision).startswith("16") and not backbone.supports_float16:
        raise UserError(
            f"`precision` is {precision}, but activations of this backbone can exceed what half precision holds "
            "(65504) and become NaN; take bf16-mixed or 32-true"
        )
    if trains and precision == "16-true":
        raise UserError("`precision` is 16-true, in which AdamW divides by zero; take 16-mixed, bf16-mixed or 32-true")
