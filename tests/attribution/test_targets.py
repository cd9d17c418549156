import pytest
import torch
from torch import Tensor

from speechshap.attribution import Target, Targets, gradient_shap
from speechshap.attribution.targets import Output
from speechshap.errors import UserError


def linear(inputs: Tensor, lengths: Tensor) -> Tensor:
    return torch.stack([inputs[:, :5].sum(1), inputs.sum(1), -inputs[:, 2:].sum(1)], dim=1)


@pytest.mark.parametrize("output", ["logit", "log_odds", "probability"])
def test_outputs_by_their_definition(output: Output) -> None:
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    probabilities = logits.exp() / logits.exp().sum(1, keepdim=True)
    expected = {"logit": logits, "log_odds": (probabilities / (1 - probabilities)).log(), "probability": probabilities}
    classes, none = torch.tensor([[0, 2]] * 4), torch.full((4, 2), -1)
    torch.testing.assert_close(Targets(classes, none, output)(logits), expected[output][:, [0, 2]])
    contrast = Targets(classes, torch.tensor([[1, -1]] * 4), output)(logits)
    torch.testing.assert_close(contrast[:, 0], expected[output][:, 0] - expected[output][:, 1])
    torch.testing.assert_close(contrast[:, 1], expected[output][:, 2])


def test_log_odds_of_a_sure_model_stay_finite() -> None:
    logits = torch.tensor([[300.0, 0.0, 0.0]])
    odds = Targets(torch.tensor([[0, 1]]), torch.tensor([[-1, -1]]), "log_odds")(logits)
    assert odds[0, 0] == pytest.approx(300 - torch.log(torch.tensor(2.0)))
    assert odds[0, 1] == pytest.approx(-300)


def test_a_contrast_is_the_difference_of_its_classes_for_the_same_draws() -> None:
    inputs = torch.randn(2, 20, generator=torch.Generator().manual_seed(1))
    softened = lambda x, lengths: linear(x, lengths).tanh()  # noqa: E731
    options = {"n_samples": 6, "scheme": "stratified"}
    both = gradient_shap(softened, inputs, targets=torch.tensor([[2, 0]] * 2), **options)
    contrast = gradient_shap(
        softened, inputs, targets=torch.tensor([[2]] * 2), against=torch.tensor([[0]] * 2), **options
    )
    torch.testing.assert_close(contrast.values[:, 0], both.values[:, 0] - both.values[:, 1])
    torch.testing.assert_close(contrast.outputs[:, 0], both.outputs[:, 0] - both.outputs[:, 1])


def test_probabilities_of_a_softmax_model_are_complete() -> None:
    """A softmax saturates along the path: the attributions still sum to the change of the probability."""
    inputs = torch.randn(2, 20, generator=torch.Generator().manual_seed(1))
    targets = torch.arange(3).expand(2, 3)
    result = gradient_shap(linear, inputs, "silence", targets, n_samples=3000, chunk_size=3000, output="probability")
    expected = linear(inputs, torch.tensor([20, 20])).softmax(1) - 1 / 3
    error = (result.values.sum(-1) - expected) / result.completeness_gap_standard_error
    assert error.abs().max() < 4
    torch.testing.assert_close(result.values.sum(1), torch.zeros(2, 20), atol=1e-5, rtol=0)  # probabilities sum to 1
    assert (result.completeness_gap.abs() < 4 * result.completeness_gap_standard_error).all()


def test_all_classes_take_one_forward_pass_a_row() -> None:
    rows = []

    def counting(inputs: Tensor, lengths: Tensor) -> Tensor:
        rows.append(len(inputs))
        return linear(inputs, lengths)

    inputs = torch.randn(1, 20)
    counts = []
    for targets in (torch.tensor([[0]]), torch.tensor([[0, 1, 2]])):
        rows.clear()
        gradient_shap(counting, inputs, targets=targets, n_samples=8, chunk_size=8)
        counts.append(sum(rows))
    assert counts[0] == counts[1] == 1 + 8 + 2  # the utterance, the points, two of the references


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"targets": torch.tensor([[3]])}, "`targets` are .3.; the model has the classes 0 to 2"),
        ({"targets": torch.tensor([[0]]), "against": torch.tensor([[7]])}, "`against` are .7.; the model has"),
        ({"targets": torch.tensor([[0]]), "against": torch.tensor([[0]])}, "contrasted with itself"),
        ({"targets": torch.tensor([[0]]), "against": torch.tensor([[1, 2]])}, r"`against` has shape \(1, 2\)"),
    ],
)
def test_a_target_that_does_not_exist(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gradient_shap(linear, torch.randn(1, 20), **options)


def test_targets_by_name_are_those_of_the_classes() -> None:
    targets = Targets.from_names([[Target("sad"), Target("sad", "a - b")], [Target("a - b")] * 2], ["a - b", "sad"])
    assert targets.classes.tolist() == [[1, 1], [0, 0]]
    assert targets.against.tolist() == [[-1, 0], [-1, -1]]


def test_classes_of_one_name_are_refused() -> None:
    with pytest.raises(UserError, match="`classes` have 'sad' more than once; expected different names"):
        Targets.from_names([[Target("happy")]], ["sad", "happy", "sad"])


def test_no_two_targets_read_the_same() -> None:
    labels = ("a", "b", "c", "a - b", "b - c", "a -", "- b", '"a - b"', '"a', 'b"', "a-b", "-", "müde")
    targets = [Target(label, against) for label in labels for against in (None, *labels)]
    assert len({str(target) for target in targets}) == len(targets)
    assert [str(target) for target in (Target("a-b"), Target("müde", "a"))] == ["a-b", "müde - a"]
