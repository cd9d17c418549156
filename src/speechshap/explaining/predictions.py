"""Predicted class and its probability."""

from collections.abc import Sequence

from torch import Tensor


def predicted_class(
    logits: Tensor, classes: Sequence[str], is_regression: bool = False
) -> tuple[str, float] | tuple[None, None]:
    """The class of the greatest logit, and its probability; neither of a regression.

    Args:
        logits: ``(classes,)``.
        classes: Names of the classes.
        is_regression: Whether the outputs are no classes.

    Example:
        >>> import torch
        >>> predicted_class(torch.tensor([0.0, 0.0, 9.0]).log(), ["happy", "sad", "angry"])
        ('angry', 1.0)
    """
    if is_regression:
        return None, None
    probabilities = logits.softmax(0)
    predicted = int(probabilities.argmax())
    return classes[predicted], float(probabilities[predicted])
