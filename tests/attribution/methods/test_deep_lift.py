import pytest
import torch
from attribution.tiny import TinyWavLM, noise
from captum.attr import DeepLift
from torch import Tensor, nn

from speechshap.attribution import Attribution, Baseline, Evaluator, ReferenceSettings, Targets, gaussian_noise, silence
from speechshap.attribution.methods import deep_lift
from speechshap.attribution.methods.deep_lift import explain, obstacle
from speechshap.errors import UserError
from speechshap.frames import FrameGrid

GRID = FrameGrid(hop=4, receptive_field=4)


def attribute(
    model: nn.Module, waveforms: Tensor, targets: object, baseline: Baseline = silence, **options: object
) -> Attribution:
    evaluator = Evaluator(model, waveforms, module=model, **options)
    return explain(evaluator, Targets.from_classes(len(waveforms), targets), baseline, ReferenceSettings(seed=3))


def network(*middle: nn.Module) -> nn.Module:
    """A network of convolutions with something between them."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 6, 20, stride=10), *middle, nn.Conv1d(6, 4, 3), nn.BatchNorm1d(4),
        nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Dropout(), nn.Linear(4, 3),
    )  # fmt: skip
    for part in model.modules():
        if isinstance(part, nn.BatchNorm1d) and part.track_running_stats:
            nn.init.normal_(part.running_mean)
            nn.init.uniform_(part.running_var, 0.5, 2)
    return model.eval()


def test_parity_with_captum_for_a_network_of_relus() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 4, 8, 4), nn.ReLU(), nn.Flatten(), nn.Linear(44, 3))
    waveforms, reference = torch.randn(2, 48), torch.randn(48)
    result = attribute(model, waveforms, [[2, 0], [1, 2]], lambda *_: reference, grid=GRID)
    for column, targets in enumerate(([2, 1], [0, 2])):
        expected = DeepLift(model).attribute(waveforms, reference.expand(2, 48), targets)
        torch.testing.assert_close(result.frames[:, column], expected.unflatten(1, (12, 4)).sum(2).detach())
    assert result.completeness_gap.abs().max() < 1e-5
    assert result.n_samples.tolist() == [1, 1]
    assert result.frames_standard_error is None


def test_the_rescale_rule_in_closed_form() -> None:
    """One nonlinearity: shares of the difference that are those of its input's."""
    weight, waveform, reference = noise(8, 1, seed=0), noise(1, 8, seed=1), noise(8, seed=2)
    model = nn.Sequential(nn.Linear(8, 1, bias=False, dtype=torch.float64), nn.Sigmoid())
    model[0].weight.data = weight.T
    result = attribute(model, waveform, 0, lambda *_: reference, grid=FrameGrid(1, 1))
    difference = (waveform[0] - reference) * weight[:, 0]
    change = (waveform @ weight).sigmoid() - (reference @ weight).sigmoid()
    torch.testing.assert_close(result.frames[0, 0], (change[0] * difference / difference.sum()).float())


@pytest.mark.parametrize("pool", [nn.MaxPool1d(2), nn.MaxPool1d(3, 4), nn.MaxPool1d(4, padding=1), nn.AvgPool1d(3, 2)])
@pytest.mark.parametrize(
    "kind", [nn.ReLU, lambda: nn.ReLU(inplace=True), nn.ELU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.Softplus]
)
def test_the_attributions_sum_to_the_change_where_nonlinearities_follow_each_other(kind: type, pool: nn.Module) -> None:
    result = attribute(
        network(kind(), pool, nn.Tanh()), 3 * noise(2, 1300, seed=0).float(), [[0, 2]] * 2, gaussian_noise()
    )
    assert result.completeness_gap.abs().max() < 1e-5
    assert result.frames.abs().max() > 1e-4


def test_the_gap_shows_a_nonlinearity_that_is_no_module() -> None:
    class Squared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(40, 2)

        def forward(self, waveforms: Tensor) -> Tensor:
            return self.inner(waveforms) ** 2

    model, waveform = Squared().double(), noise(1, 40, seed=0)
    result = attribute(model, waveform, 0, grid=GRID)
    with torch.no_grad():
        change = float((model(waveform) - model(0 * waveform))[0, 0])
    assert float(result.completeness_gap) == pytest.approx(float(result.frames.sum()) - change, abs=1e-5)
    assert abs(float(result.completeness_gap)) > 0.01


def test_an_utterance_in_a_batch_is_attributed_as_alone_inside_inference_mode() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.act, self.head = nn.Conv1d(1, 6, 20, 10), nn.ReLU(), nn.Linear(6, 3)

        def forward(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
            hidden = self.act(self.stem(waveforms[:, None])).transpose(1, 2)
            frames = (lengths - 20) // 10 + 1
            inside = (torch.arange(hidden.shape[1]) < frames[:, None])[..., None]
            return self.head((hidden * inside).sum(1) / frames[:, None])

    torch.manual_seed(0)
    model, waveforms, lengths = Masked(), torch.randn(3, 2000), [1300, 2000, 500]
    with torch.inference_mode():
        together = attribute(model, waveforms, 1, gaussian_noise(), lengths=lengths, ids=list("xyz"))
    for row, length in enumerate(lengths):
        alone = attribute(model, waveforms[row : row + 1, :length], 1, gaussian_noise(), ids=["xyz"[row]])
        frames = alone.frames.shape[2]
        torch.testing.assert_close(together.frames[row, :, :frames], alone.frames[0], atol=1e-5, rtol=1e-4)
        assert together.frames[row, :, frames:].abs().sum() == 0
    assert together.completeness_gap.abs().max() < 1e-5
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (network(nn.GELU()), "GELU (its part 2); take integrated_gradients or gradient_shap"),
        (network(nn.Softmax(1)), "Softmax (its part 2)"),
        (network(nn.GroupNorm(2, 6)), "GroupNorm (its part 2)"),
        (network(nn.MaxPool1d(3, 2)), "MaxPool1d (its part 2)"),
        (network(nn.BatchNorm1d(6, track_running_stats=False)), "BatchNorm1d (its part 2)"),
        (nn.LSTM(1, 2), "LSTM;"),
        (nn.MultiheadAttention(4, 2), "MultiheadAttention;"),
        (TinyWavLM(), "LayerNorm (its part backbone.feature_extractor.conv_layers.0.layer_norm)"),
    ],
)  # fmt: skip
def test_a_module_that_the_rule_does_not_serve_is_named(module: nn.Module, words: str) -> None:
    assert obstacle(module).startswith(f"the rescale rule has no sound form for {words}")
    evaluator = Evaluator(lambda x: x[:, :2], torch.ones(1, 400), module=module)
    with pytest.raises(UserError, match="`module`: the rescale rule"):
        explain(evaluator, Targets.from_classes(1, 0), silence, ReferenceSettings())


def test_an_unknown_module_is_asked_for() -> None:
    evaluator = Evaluator(lambda x: x[:, :2], torch.ones(1, 400))
    with pytest.raises(UserError, match="`module`: it is not known; give the evaluator the `module`"):
        explain(evaluator, Targets.from_classes(1, 0), silence, ReferenceSettings())


def test_what_a_lightning_module_has_for_training_is_no_obstacle() -> None:
    from torchmetrics import MetricCollection
    from torchmetrics.classification import MulticlassRecall

    model = network(nn.ReLU())
    model.loss, model.metrics = nn.CrossEntropyLoss(), MetricCollection({"recall": MulticlassRecall(3)})
    assert obstacle(model) is None


def test_a_nonlinearity_that_is_called_twice_is_told() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.act = nn.Linear(40, 8), nn.Linear(8, 3), nn.ReLU()

        def forward(self, waveforms: Tensor) -> Tensor:
            return self.act(self.second(self.act(self.first(waveforms))))

    with pytest.raises(UserError, match="calls a nonlinearity more than once"):
        attribute(Twice(), torch.randn(1, 40), 0, grid=GRID)


def test_without_captum_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deep_lift, "find_spec", lambda name: None)
    assert obstacle(network()) == "Captum is missing; install it with pip install 'speechshap[captum]'"
