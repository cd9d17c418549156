"""Precisions that a backbone bears."""

from speechshap.errors import UserError
from speechshap.models import Backbone


def refuse_half_precision(backbone: Backbone, precision: str | int | None) -> None:
    """Refuse a precision of Lightning's in which the activations of a backbone overflow.

    Args:
        backbone: Of the model.
        precision: Of the trainer, for instance ``16-mixed``.

    Raises:
        UserError: It is half precision, and the backbone does not support it.

    Example:
        >>> from speechshap.models import build_backbone
        >>> hubert = build_backbone({"model_type": "hubert", "num_hidden_layers": 1, "conv_dim": [8] * 7})
        >>> refuse_half_precision(hubert, "16-mixed")
    """
    if str(precision).startswith("16") and not backbone.supports_float16:
        raise UserError(
            f"`precision` is {precision}, but activations of this backbone can exceed what half precision holds "
            "(65504) and become NaN; take bf16-mixed or 32-true"
        )
