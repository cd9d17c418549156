import json
import subprocess
import sys
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from attribution.tiny import Convolution, noise, seeded
from torch import Tensor

from speechshap.attribution import (
    Evaluator,
    GradientSHAPSettings,
    PathDensity,
    Settings,
    SpectralGrid,
    Targets,
    baseline_from_settings,
    find_method,
    gaussian_noise,
    gradient_shap,
    method_names,
)
from speechshap.errors import UserError

METHODS = (
    "deep_lift", "energy", "gradient_shap", "gradient_x_input", "integrated_gradients", "kernel_shap",
    "lime", "occlusion", "random", "saliency", "smooth_grad",
)  # fmt: skip
"""Those that explain a model without attention."""


def step(waveforms: Tensor) -> Tensor:
    """Steep where 0.7 of the path is done."""
    return torch.stack([torch.sigmoid(40 * (waveforms.mean(1) - 0.7)), 0 * waveforms[:, 0]], dim=1)


def test_methods_are_named_as_their_files() -> None:
    assert {*METHODS, "attention_rollout"} <= set(method_names())
    with pytest.raises(UserError, match="`method` is 'tea_leaves'; expected attention_rollout, deep_lift, energy, "):
        find_method("tea_leaves")


@pytest.mark.parametrize("name", METHODS)
def test_every_method_explains_a_batch_inside_inference_mode(name: str) -> None:
    method, model = find_method(name), seeded(Convolution())
    with torch.inference_mode():
        waveforms = noise(2, 1300, seed=0, dtype=torch.float32)
        evaluator = Evaluator(model, waveforms, [1300, 900], module=model)
        targets = Targets(torch.tensor([[0, 2], [1, 0]]), torch.tensor([[-1, 0], [-1, 1]]), "log_odds")
        result = method.explain(evaluator, targets, gaussian_noise(), method.settings())
    assert result.frames.shape == (2, 2, 3)
    assert result.frames.isfinite().all()
    assert result.frames[1, :, 2:].abs().sum() == 0
    assert torch.equal(result.outputs, targets(result.logits))


@pytest.mark.parametrize("name", METHODS)
def test_settings_are_plain_values_with_a_docstring_each(name: str) -> None:
    settings = find_method(name).settings
    assert json.loads(json.dumps(settings().as_dict())) == settings().as_dict()
    documented = "".join(parent.__doc__ for parent in settings.__mro__ if issubclass(parent, Settings))
    assert all(f"        {field.name}: " in documented for field in fields(settings))


def test_gradient_shap_by_its_name_is_the_function() -> None:
    waveforms, model = noise(2, 1300, seed=0), seeded(Convolution()).double()
    options = {
        "n_samples": 8,
        "seed": 3,
        "output": "probability",
        "spectrum": SpectralGrid(64, 32),
        "scheme": "uniform",
    }
    expected = gradient_shap(model, waveforms, gaussian_noise(6.0), [0, 1], **options)
    settings = GradientSHAPSettings(**options, snr_db=6.0)
    targets = Targets.from_classes(2, [0, 1], output="probability")
    baseline = baseline_from_settings(settings)
    result = find_method("gradient_shap").explain(Evaluator(model, waveforms), targets, baseline, settings)
    assert torch.equal(result.frames, expected.frames)
    assert torch.equal(result.time_frequency, expected.time_frequency)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "loss"}, "`output` is 'loss'; expected logit, log_odds, probability"),
        ({"baselines": "music"}, "`baselines` is 'music'; expected noise, silence, dataset"),
        ({"n_references": 0}, "`n_references` is 0; expected 1 at least"),
        ({"n_samples": 3}, "`n_samples` is 3; expected auto, or 4 at least: an error bar needs two replicates"),
        ({"n_samples": 1, "scheme": "uniform"}, "`n_samples` is 1; expected auto, or 2 at least"),
        ({"n_samples": True, "scheme": "uniform"}, "`n_samples` is True"),
        ({"max_samples": 3}, "`max_samples` is 3; expected 4 at least"),
        ({"tolerance": -1.0}, "`tolerance` is -1.0; expected a relative error above 0"),
        ({"calibration": -1}, "`calibration` is -1; expected 0 at least"),
        ({"calibration": 2, "scheme": "uniform"}, "`calibration` is for the adaptive scheme; uniform sampling learns"),
        ({"density": (1.0, 2.0)}, "`density`: heights are .1.0, 2.0.; expected 22 positive numbers"),
    ],
)
def test_a_setting_that_cannot_be(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GradientSHAPSettings(**options)


def test_integers_of_numpy_are_integers() -> None:
    plain = GradientSHAPSettings(n_samples=8, max_samples=100, seed=3)
    settings = GradientSHAPSettings(n_samples=np.int64(8), max_samples=np.int32(100), seed=np.int64(3))
    assert json.dumps(settings.as_dict()) == json.dumps(plain.as_dict())


@pytest.mark.parametrize("value", [2.5, True, "2", np.float32(2)])
def test_what_is_no_integer_is_refused(value: object) -> None:
    with pytest.raises(UserError, match=r"`calibration` is .*; expected an integer, 0 at least"):
        GradientSHAPSettings(calibration=value)


def test_the_density_that_is_learnt_is_that_of_the_utterances_own_moments() -> None:
    baseline = baseline_from_settings(GradientSHAPSettings(baselines="silence"))
    names, settings = ["a", "b"], GradientSHAPSettings(n_samples=8, calibration=2, spectrum=SpectralGrid(4, 2))
    evaluators = [Evaluator(step, (1 + 0.2 * number) * torch.ones(1, 8), ids=[names[number]]) for number in range(2)]
    learnt = find_method("gradient_shap").learn(evaluators, baseline, settings)
    runs = [
        gradient_shap(step, evaluator.inputs, baseline, ids=evaluator.ids, n_samples=64).path_second_moments[0]
        for evaluator in evaluators
    ]
    expected = PathDensity.learnt(torch.stack([moments / moments.mean() for moments in runs]).mean(0))
    assert learnt == replace(settings, density=expected.heights)
    alphas = torch.tensor([0.15, 0.25, 0.35, 0.55, 0.65, 0.95], dtype=torch.float64)
    assert float(alphas[expected.at(alphas).argmax()]) in (0.55, 0.65)


def test_what_cannot_be_explained_teaches_nothing(caplog: pytest.LogCaptureFixture) -> None:
    settings = GradientSHAPSettings(baselines="silence", calibration=2)
    baseline = baseline_from_settings(settings)
    flat = Evaluator(lambda waveforms: 0 * waveforms[:, :2], torch.ones(1, 8), ids=["flat"])
    steep = Evaluator(step, torch.ones(1, 8), ids=["steep"])
    learn = find_method("gradient_shap").learn
    assert learn([flat, steep], baseline, settings) == learn([steep], baseline, settings)
    assert "every gradient of utterance flat is 0" in caplog.text
    assert learn([flat], baseline, settings).path_density == PathDensity.uniform()


def test_attributions_need_neither_lightning_nor_transformers() -> None:
    code = (
        "import sys, speechshap.attribution as attribution;"
        "[attribution.find_method(name) for name in attribution.method_names()];"
        "sys.exit(bool({'pytorch_lightning', 'transformers', 'librosa', 'soundfile', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
