import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor
from torch.nn import functional

from speechshap.training.losses import balanced_weights, classification_loss

CLASSES = ["angry", "happy", "sad"]
WEIGHTS = torch.tensor([0.5, 3.0, 1.0])


def logits_and_labels() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(20, 3, generator=generator, dtype=torch.float64)
    return logits, torch.randint(3, (20,), generator=generator)


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    labels = ["sad"] * 7 + ["angry"] * 2 + ["happy"]
    expected = compute_class_weight("balanced", classes=np.array(CLASSES), y=labels)
    np.testing.assert_allclose(balanced_weights(labels, CLASSES), expected, rtol=1e-6)


def test_a_class_without_utterances_weighs_nothing() -> None:
    assert balanced_weights(["sad", "sad", "angry"], CLASSES).tolist() == pytest.approx([1.0, 0.0, 0.5])


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_without_discount_it_is_the_cross_entropy_of_pytorch(weights: Tensor | None, label_smoothing: float) -> None:
    logits, labels = logits_and_labels()
    own = None if weights is None else weights.double()
    expected = functional.cross_entropy(logits, labels, own, label_smoothing=label_smoothing)
    for gamma in (0.0, 1e-9):  # the second takes the path of the focal loss
        found = classification_loss(logits, labels, weights, gamma, label_smoothing)
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_loss_is_that_of_the_formula(gamma: float, weights: Tensor | None, label_smoothing: float) -> None:
    logits, labels = logits_and_labels()
    of_classes = np.ones(3) if weights is None else weights.double().numpy()
    total, weight = 0.0, 0.0
    for values, label in zip(logits.numpy(), labels.tolist(), strict=True):
        probabilities = np.exp(values) / np.exp(values).sum()
        for number, probability in enumerate(probabilities):
            asked = (number == label) * (1 - label_smoothing) + label_smoothing / 3
            total -= of_classes[number] * asked * (1 - probability) ** gamma * np.log(probability)
        weight += of_classes[label]
    found = classification_loss(logits, labels, weights, gamma, label_smoothing)
    assert float(found) == pytest.approx(total / weight, rel=1e-9)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_the_gradient_is_finite_where_an_utterance_is_certain(gamma: float) -> None:
    logits = torch.tensor([[200.0, 0.0, 0.0], [0.0, 200.0, 0.0]], requires_grad=True)
    loss = classification_loss(logits, torch.tensor([0, 0]), focal_gamma=gamma)
    assert float(loss.detach()) == pytest.approx(100.0)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient.isfinite().all()
    assert gradient[1].abs().sum() > 0.5


def test_the_gradient_is_exact() -> None:
    logits, labels = logits_and_labels()
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda values: classification_loss(values, labels, WEIGHTS, 2.0, 0.1), logits)
