"""Losses of training, for classes that are rare or hard."""

from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import functional


def balanced_weights(labels: Iterable[str | None], classes: Sequence[str]) -> Tensor:
    """Weights of classes by which each of them counts as much as any other, ``(classes,)``.

    Of ``n`` utterances and ``k`` classes, a class of ``n_c`` utterances weighs ``n / (k * n_c)``, as in scikit-learn.
    A class without any weighs nothing: there is nothing to learn it from.

    Args:
        labels: Of the training utterances.
        classes: In the order of the class indices.

    Example:
        >>> balanced_weights(["calm", "calm", "calm", "angry"], ["angry", "calm"])
        tensor([2.0000, 0.6667])
    """
    counts = Counter(label for label in labels if label in classes)
    total = counts.total()
    return torch.tensor([total / (len(classes) * counts[label]) if counts[label] else 0.0 for label in classes])


def classification_loss(
    logits: Tensor,
    labels: Tensor,
    class_weights: Tensor | None = None,
    focal_gamma: float = 0.0,
    label_smoothing: float = 0.0,
) -> Tensor:
    r"""Cross-entropy, weighted by class and focal.

    .. math:: \frac{-\sum_i \sum_c w_c\, q_{ic}\, (1 - p_{ic})^\gamma \log p_{ic}}{\sum_i w_{y_i}}

    with the probabilities :math:`p`, and :math:`q` the labels :math:`y` with the share ``label_smoothing`` of each
    spread over all classes. Each term of the cross-entropy has the factor of Lin et al. 2017 (equation 4), so that at
    :math:`\gamma = 0` this is the cross-entropy of PyTorch with the same weights and smoothing.

    Args:
        logits: ``(batch, classes)``.
        labels: ``(batch,)`` class indices.
        class_weights: ``(classes,)``; None weighs all alike.
        focal_gamma: How much utterances that are classified well are discounted.
        label_smoothing: Share of each label that is spread over all classes.

    Example:
        >>> logits, labels = torch.tensor([[0.0, 0.0], [0.0, 4.0]]), torch.tensor([0, 1])
        >>> classification_loss(logits, labels), classification_loss(logits, labels, focal_gamma=2.0)
        (tensor(0.3556), tensor(0.0866))
    """
    weights = None if class_weights is None else class_weights.to(logits)
    if focal_gamma == 0:
        return functional.cross_entropy(logits, labels, weights, label_smoothing=label_smoothing)
    logs = logits.log_softmax(1)
    # The least positive number stands for 0, where the slope of a power below 1 is infinite.
    others = (-logs.expm1()).clamp_min(torch.finfo(logs.dtype).tiny)  # 1 - p
    certain = functional.one_hot(labels, logs.shape[1]).to(logs.dtype)
    expected = certain * (1 - label_smoothing) + label_smoothing / logs.shape[1]
    terms = -expected * others**focal_gamma * logs
    if weights is None:
        return terms.sum(1).mean()
    return (terms * weights).sum() / weights[labels].sum()
