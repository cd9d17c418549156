from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from families import of_each_kind
from helpers import tiny_config, write_sound
from torch import nn
from transformers import AutoConfig, AutoModelForAudioClassification, PreTrainedModel, Wav2Vec2FeatureExtractor

from speechshap import EmotionModule, GradientSHAP
from speechshap.attribution import SpectralGrid, Target, gradient_shap
from speechshap.errors import UserError
from speechshap.models import build_backbone


@pytest.fixture
def explainer(tiny_module: EmotionModule) -> GradientSHAP:
    return GradientSHAP(model=tiny_module, num_samples=8, batch_size=3)


def waveform(seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(2000, generator=torch.Generator().manual_seed(seed))


@of_each_kind
def test_the_result_is_that_of_the_engine(explainer: GradientSHAP, tiny_module: EmotionModule) -> None:
    result = explainer.explain(waveform(), target_class=2)
    with torch.no_grad():
        probabilities = tiny_module(waveform()[None], torch.tensor([2000])).softmax(1)[0]
    expected = gradient_shap(
        tiny_module, waveform()[None], targets=torch.tensor([[2]]), ids=["waveform"], n_samples=8, chunk_size=3,
        grid=tiny_module.grid,
    )  # fmt: skip
    assert torch.equal(result["attributions"], expected.frames[0, 0])
    assert torch.equal(result["standard_error"], expected.frames_standard_error[0, 0])
    assert result["attributions"].shape == (6,)
    assert result["mode"] == "frame"
    assert result["target_class"] == 2
    prediction = result["prediction"]
    assert prediction["class"] == int(probabilities.argmax())
    assert prediction["probability"] == pytest.approx(float(probabilities.max()), abs=1e-6)
    assert prediction["label"] == tiny_module.classes[prediction["class"]]
    assert prediction["probabilities"] == pytest.approx(probabilities.tolist(), abs=1e-6)


def test_a_file_and_a_sound_of_another_rate_are_explained_alike(explainer: GradientSHAP, tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav")
    of_file = explainer.explain(path)
    assert torch.equal(explainer.explain(of_file["waveform"])["attributions"], of_file["attributions"])
    twice_as_fast = explainer.explain(np.repeat(of_file["waveform"], 2), sample_rate=32000)
    assert twice_as_fast["attributions"].shape == of_file["attributions"].shape


def test_a_class_is_asked_for_by_name_or_number(explainer: GradientSHAP, tiny_module: EmotionModule) -> None:
    by_name = explainer.explain(waveform(), "happy", against_class="sad")
    assert by_name["target_class"] == 1
    assert by_name["explanation"].targets == (Target("happy", "sad"),)
    for one, two in ((1, 2), (np.int64(1), np.int64(2))):
        by_number = explainer.explain(waveform(), one, against_class=two)
        assert torch.equal(by_number["attributions"], by_name["attributions"])


def test_aggregations_reduce_over_the_reference_samples(explainer: GradientSHAP) -> None:
    results = {name: explainer.explain(waveform(), 0, aggregate_frames=name) for name in ("mean", "sum", "max", None)}
    rows = results[None]["attributions"]
    assert rows.shape == (8, 6)
    torch.testing.assert_close(results["mean"]["attributions"], rows.mean(0))
    torch.testing.assert_close(results["sum"]["attributions"], rows.sum(0))
    torch.testing.assert_close(results["max"]["attributions"], rows.amax(0))
    assert results["sum"]["standard_error"] is None
    assert {name: result["aggregate_method"] for name, result in results.items()} == {name: name for name in results}


@of_each_kind
def test_samples_sum_to_frames(explainer: GradientSHAP) -> None:
    frames = explainer.explain(waveform(), 0, scheme="stratified")["attributions"]
    samples = explainer.explain(waveform(), 0, scheme="stratified", resolution="sample")["attributions"]
    assert samples.shape == (2000,)
    owner = explainer.model.backbone.grid.owner(2000)
    torch.testing.assert_close(torch.zeros(6).index_add_(0, owner, samples), frames, atol=1e-6, rtol=1e-4)


@of_each_kind
def test_neurons_have_attributions_of_their_own(explainer: GradientSHAP) -> None:
    result = explainer.explain(waveform(), mode="neuron")
    assert list(result["attributions"]) == ["layer_1", "layer_2"]
    assert result["attributions"]["layer_1"].shape == (6, 32)
    assert result["attributions"]["layer_1"].std(1).min() > 0  # not one number for all neurons of a frame
    assert list(explainer.explain(waveform(), mode="neuron", layers=[2])["attributions"]) == ["layer_2"]


def test_references_are_those_that_are_used(explainer: GradientSHAP) -> None:
    references = explainer.generate_reference_samples(waveform())
    assert references.shape == (8, 2000)
    assert float(references.std()) == pytest.approx(float(waveform().std()), rel=0.05)
    seen = []

    def spy(sound: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        from speechshap.attribution import gaussian_noise

        seen.append(gaussian_noise()(sound, generator))
        return seen[-1]

    explainer.explain(waveform(), baselines=spy)
    assert torch.equal(torch.stack(seen), references)


@of_each_kind
def test_the_callers_model_is_left_as_it_was(tiny_module: EmotionModule) -> None:
    tiny_module.train()
    tiny_module.classifier.head[0].eval()
    next(tiny_module.parameters()).requires_grad_(False)
    marked = list(tiny_module.parameters())[-1]
    marked.grad = torch.ones_like(marked)
    before = [
        (parameter.clone(), parameter.requires_grad, parameter.grad is None) for parameter in tiny_module.parameters()
    ]
    modes = [module.training for module in tiny_module.modules()]
    GradientSHAP(model=tiny_module, num_samples=4).explain(waveform())
    assert modes == [module.training for module in tiny_module.modules()]
    for parameter, (value, requires_grad, has_no_grad) in zip(tiny_module.parameters(), before, strict=True):
        assert torch.equal(parameter, value)
        assert (parameter.requires_grad, parameter.grad is None) == (requires_grad, has_no_grad)
    assert torch.equal(marked.grad, torch.ones_like(marked))


@pytest.mark.parametrize("feature_layer", [None, 1])
def test_a_transformers_model_with_a_classifier(feature_layer: int | None) -> None:
    torch.manual_seed(0)
    base = build_backbone(tiny_config("wavlm", "layer")).model
    stem_norm = base.feature_extractor.conv_layers[0].layer_norm
    head = nn.Linear(32, 5)
    explainer = GradientSHAP(model=base, classifier=head, feature_layer=feature_layer, num_samples=4)
    result = explainer.explain(waveform(), target_class=4)
    with torch.no_grad():
        states = base.eval()(waveform()[None], output_hidden_states=True).hidden_states
        logits = head(states[2 if feature_layer is None else 1].mean(1))[0]
    torch.testing.assert_close(result["attribution"].logits[0], logits, atol=1e-4, rtol=1e-4)
    assert base.feature_extractor.conv_layers[0].layer_norm is stem_norm


@of_each_kind
def test_a_checkpoint_by_its_path(tiny_checkpoint: Path) -> None:
    trained = GradientSHAP(model_name=str(tiny_checkpoint), num_samples=4)
    assert trained.explain(waveform())["prediction"]["label"] in trained.classes


def tiny_classifier(family: str = "wavlm", **fields: Any) -> PreTrainedModel:
    """An audio classifier of transformers, with random weights."""
    options = tiny_config(family, "group", id2label={0: "calm", 1: "angry"}, classifier_proj_size=8, **fields)
    torch.manual_seed(0)
    return AutoModelForAudioClassification.from_config(
        AutoConfig.for_model(options.pop("model_type"), **options)
    ).eval()


@pytest.mark.parametrize(("family", "weighted"), [("wavlm", True), ("wav2vec2", False), ("hubert", True)])
def test_a_trained_classifier_of_transformers_by_folder_and_as_an_object(
    tmp_path: Path, family: str, weighted: bool
) -> None:
    model = tiny_classifier(family, use_weighted_layer_sum=weighted)
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True)
    model.save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    heard = extractor(waveform().numpy(), sampling_rate=16000, return_tensors="pt").input_values
    with torch.no_grad():
        expected = model(heard).logits[0]
    by_name = GradientSHAP(str(tmp_path), num_samples=4)
    as_object = GradientSHAP(model=model, feature_extractor=extractor, num_samples=4)
    for explainer in (by_name, as_object):
        assert explainer.classes == ["calm", "angry"]
        result = explainer.explain(waveform(), target_class=0, mode="neuron")
        torch.testing.assert_close(result["attribution"].logits[0], expected, atol=1e-5, rtol=1e-5)
        assert list(result["attributions"]) == ["layer_1", "layer_2"]
    assert result["explanation"].targets == (Target("calm"),)


def test_a_regression_is_explained_by_output() -> None:
    explainer = GradientSHAP(model=tiny_classifier(problem_type="regression"), num_samples=4)
    with pytest.raises(ValueError, match="choose one of its outputs with `target_class`: 0 calm, 1 angry"):
        explainer.explain(waveform())
    result = explainer.explain(waveform(), target_class=1)
    assert result["prediction"]["outputs"].keys() == {"calm", "angry"}
    assert result["explanation"].prediction is None


def test_a_head_that_nobody_trained_is_not_explained(tmp_path: Path) -> None:
    torch.manual_seed(0)
    build_backbone(tiny_config()).model.save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="without a trained head"):
        GradientSHAP(str(tmp_path))
    head = nn.Linear(32, 3)
    explainer = GradientSHAP(str(tmp_path), num_samples=4, classifier=head)
    assert explainer.model.backbone.normalize
    assert len(explainer.explain(waveform())["prediction"]["probabilities"]) == 3


def test_the_picture_is_saved(explainer: GradientSHAP, tmp_path: Path) -> None:
    sound = write_sound(tmp_path / "a.wav")
    figure = explainer.visualize_explanations(audio_path=sound, target_class=1, save_path=tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert any("happy" in text.get_text() for text in figure.texts)
    with_layers = explainer.visualize_explanations(sound, 1, mode="neuron", baselines="silence", progress=False)
    assert any("neurons by layer and frame" in axes.get_title(loc="left") for axes in with_layers.axes)
    contrast = explainer.visualize_explanations(
        sound, 1, against_class=0, output="probability", spectrum=SpectralGrid(num_mel_bands=20), progress=False
    )
    assert contrast.axes[1].get_title(loc="left").endswith("significant attribution to happy - angry")
    assert contrast.axes[2].get_ylabel().startswith("probability ")  # of a frame, or of longer stretches


def test_a_picture_that_cannot_be_saved_is_told_before_anything_is_computed(
    explainer: GradientSHAP, tmp_path: Path
) -> None:
    for name in ("a.mp3", "a"):
        with pytest.raises(UserError, match=rf"`save_path` is .*{name}; expected a name that ends in one of .*\.png"):
            explainer.visualize_explanations("there is no such sound.wav", save_path=tmp_path / name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "word"}, "`mode` is 'word'; expected frame, neuron"),
        ({"aggregate_frames": "median"}, "`aggregate_frames` is 'median'; expected mean, sum, max, None"),
        ({"resolution": "second"}, "`resolution` is 'second'"),
        ({"mode": "neuron", "aggregate_frames": "max"}, "neurons are explained by frame"),
        ({"mode": "neuron", "layers": [3]}, "no layer '3'; expected none, all, or some of 1 to 2"),
        ({"target_class": 3}, "`target_class` is 3; expected a class of the model: 0 angry, 1 happy, 2 sad"),
        ({"target_class": -1}, "`target_class` is -1; expected"),
        ({"target_class": True}, "`target_class` is True; expected"),
        ({"target_class": "glad"}, "`target_class` is 'glad'; expected a class of the model: 0 angry"),
        ({"against_class": 1.0}, "`against_class` is 1.0; expected a class of the model"),
        ({"waveform": torch.zeros(2, 900)}, r"shape \(2, 900\); expected \(time,\): average the channels"),
        ({"waveform": waveform()[:200]}, "200 samples, and the model needs 400"),
        ({"waveform": "none.wav"}, "none.wav: no such file"),
    ],
)
def test_an_argument_that_does_not_fit(explainer: GradientSHAP, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as told:
        explainer.explain(**{"waveform": waveform(), **options})
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(("scheme", "least"), [("adaptive", 4), ("uniform", 2)])
def test_too_few_draws_for_an_error_bar(tiny_module: EmotionModule, scheme: str, least: int) -> None:
    with pytest.raises(UserError, match=f"`num_samples` is 1; expected {least} at least"):
        GradientSHAP(model=tiny_module, num_samples=1).explain(waveform(), scheme=scheme)
    with pytest.raises(UserError, match="`batch_size` is 0; expected 1 at least"):
        GradientSHAP(model=tiny_module, batch_size=0)


def test_a_model_that_does_not_fit(tiny_module: EmotionModule) -> None:
    with pytest.raises(ValueError, match="has a classifier"):
        GradientSHAP(model=tiny_module, classifier=nn.Linear(32, 2))
    with pytest.raises(ValueError, match="`model` is a Linear; expected an EmotionModule"):
        GradientSHAP(model=nn.Linear(2, 2))
