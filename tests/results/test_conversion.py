from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from helpers import make_explanation

from speechshap.attribution.attribution import Attribution
from speechshap.attribution.spectrum import SpectralGrid
from speechshap.attribution.targets import Output, Target, Targets
from speechshap.frames import FrameGrid
from speechshap.results.conversion import from_attribution, layer_tensors
from speechshap.results.explanation import Explanation

CLASSES = ["angry", "happy", "a - b"]
GRID = FrameGrid()
LENGTHS = (4000, 2000)
"""Samples of the two utterances; 12 frames and 6."""


def attribution(
    targets: Sequence[Target],
    errors: bool = True,
    output: Output = "logit",
    layers: bool = False,
    classes: Sequence[str] = CLASSES,
) -> Attribution:
    """Of two utterances, as a method returns it: random within each utterance, 0 in the padding."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.tensor([[1.0, 3.0, 2.0], [0.5, -1.0, 0.0]])
    asked = Targets.from_names([list(targets)] * 2, classes, output)
    count = len(targets)
    frame_lengths = torch.tensor([GRID.num_frames(length) for length in LENGTHS])

    def random(*shape: int, lengths: Sequence[int]) -> torch.Tensor:
        values = torch.randn(2, count, *shape, generator=generator)
        for row, length in enumerate(lengths):
            values[row].narrow(-1, length, shape[-1] - length).zero_()
        return values

    frames = frame_lengths.tolist()
    bands = [SpectralGrid(num_mel_bands=4).num_frames(length) for length in LENGTHS]
    neurons = {"layer_1": random(5, 12, lengths=frames).transpose(2, 3), "pooled": torch.randn(2, count, 7)}
    arrays: dict[str, Any] = {
        "values": random(4000, lengths=LENGTHS),
        "frames": random(12, lengths=frames),
        "completeness_gap": torch.randn(2, count, generator=generator),
        "time_frequency": random(4, 26, lengths=bands),
    }
    return Attribution(
        **arrays,
        **{f"{name}_standard_error": values.abs() if errors else None for name, values in arrays.items()},
        frame_lengths=frame_lengths,
        targets=asked,
        logits=logits,
        outputs=asked(logits),
        n_samples=torch.tensor([50, 20]),
        n_replicates=torch.tensor([25, 10]),
        path_second_moments=None,  # type: ignore[arg-type]
        layers=neurons if layers else {},
        layers_standard_error={name: values.abs() for name, values in neurons.items()} if layers and errors else {},
    )


def convert(found: Attribution, index: int, targets: Sequence[Target], **changes: Any) -> Explanation:
    arguments: dict[str, Any] = {
        "utterance": "a.wav", "path": "/x/a.wav", "speaker": None, "label": None, "prediction": "happy",
        "probability": 0.5, "targets": targets, "grid": GRID, "num_samples": LENGTHS[index],
        "provenance": make_explanation().provenance,
    }  # fmt: skip
    return from_attribution(found, index, **(arguments | changes))


@pytest.mark.parametrize("index", [0, 1])
def test_intervals_of_the_record_are_those_of_the_attribution(index: int) -> None:
    targets = [Target("happy"), Target("angry")]
    found = attribution(targets)
    frames = convert(found, index, targets).frames
    assert frames.reach is not None
    for bound, side in zip(found.frames_interval(), (-1, 1), strict=True):
        expected = bound[index, :, : frames.values.shape[1]]
        np.testing.assert_allclose(frames.values + side * frames.reach, expected, rtol=1e-5, atol=1e-6)


def test_an_utterance_has_its_own_numbers_without_padding() -> None:
    targets = [Target("happy")]
    found = attribution(targets)
    explanation = convert(found, 1, targets, bands=SpectralGrid(num_mel_bands=4).bands)
    assert (explanation.n_draws, explanation.frames.n_replicates, explanation.num_samples) == (20, 10, 2000)
    np.testing.assert_array_equal(explanation.frames.values, found.frames[1, :, :6])
    np.testing.assert_array_equal(explanation.frames.standard_error, found.frames_standard_error[1, :, :6])
    np.testing.assert_array_equal(explanation.completeness_gap.values, found.completeness_gap[1])
    np.testing.assert_allclose(explanation.relative_error, found.relative_error[1], rtol=1e-6)
    assert len(explanation.frame_edges) == explanation.frames.values.shape[1] + 1
    bands = explanation.bands
    assert bands is not None
    assert bands.estimate.values.shape == (1, 4, 13)
    np.testing.assert_array_equal(bands.estimate.values, found.time_frequency[1, :, :, :13])  # type: ignore[index]
    assert bands.hop_seconds == 0.01


def test_targets_are_sorted_and_repeated_ones_kept_once() -> None:
    targets = [Target("angry"), Target("happy", "angry"), Target("a - b"), Target("happy"), Target("angry")]
    found = attribution(targets)
    explanation = convert(found, 0, targets)
    assert explanation.targets == (Target("happy"), Target("a - b"), Target("angry"), Target("happy", "angry"))
    np.testing.assert_array_equal(explanation.outputs, [3, 2, 1, 2])
    np.testing.assert_array_equal(explanation.frames.values[:2], found.frames[0, [3, 2]])


def test_outputs_of_a_regression_stay_in_their_order() -> None:
    targets = [Target("angry"), Target("happy"), Target("a - b")]
    explanation = convert(attribution(targets), 0, targets, prediction=None, probability=None)
    assert [target.label for target in explanation.targets] == ["angry", "happy", "a - b"]


@pytest.mark.parametrize("output", ["log_odds", "probability"])
def test_logits_are_told_beside_other_outputs(output: Output) -> None:
    targets = [Target("happy"), Target("happy", "a - b")]
    explanation = convert(attribution(targets, output=output), 0, targets)
    np.testing.assert_array_equal(explanation.logits, [3, 1])
    probability = np.exp([1, 3, 2]) / np.exp([1, 3, 2]).sum()
    if output == "probability":
        np.testing.assert_allclose(explanation.outputs, [probability[1], probability[1] - probability[2]], rtol=1e-6)


def test_a_method_without_errors_has_none_in_the_record() -> None:
    targets = [Target("happy")]
    explanation = convert(
        attribution(targets, errors=False, layers=True), 0, targets, bands=SpectralGrid(num_mel_bands=4).bands
    )
    assert explanation.bands is not None
    for estimate in (explanation.frames, explanation.completeness_gap, explanation.bands.estimate):
        assert estimate.standard_error is None
        assert estimate.reach is None
    assert np.isnan(explanation.relative_error).all()


def test_attributions_to_frames_alone_make_a_record() -> None:
    targets = [Target("happy")]
    without = replace(
        attribution(targets), values=None, values_standard_error=None, time_frequency=None,
        time_frequency_standard_error=None,
    )  # fmt: skip
    explanation = convert(without, 0, targets, bands=SpectralGrid().bands, embedding=torch.arange(3))
    assert explanation.bands is None
    assert explanation.layers is None
    np.testing.assert_array_equal(explanation.embedding, [0, 1, 2])


def test_neurons_are_summed_by_layer_and_frame() -> None:
    targets = [Target("angry"), Target("happy")]
    found = attribution(targets, layers=True)
    layers = convert(found, 1, targets).layers
    assert layers is not None
    neurons = found.layers["layer_1"][1, [1, 0], :6].numpy()
    np.testing.assert_allclose(layers.frames.values[:, 0], neurons.sum(2), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layers.mass[:, 0], np.abs(neurons).sum((1, 2)), rtol=1e-5)


def test_a_layer_without_frames_has_its_mass_alone() -> None:
    targets = [Target("happy")]
    found = attribution(targets, layers=True)
    layers = convert(found, 0, targets).layers
    assert layers is not None
    assert layers.names == ("layer_1", "pooled")
    assert np.isnan(layers.frames.values[:, 1]).all()
    np.testing.assert_allclose(layers.mass[:, 1], found.layers["pooled"][0].abs().sum(1), rtol=1e-6)


def test_neurons_of_an_utterance_are_tensors_by_target_and_layer() -> None:
    targets = [Target("angry"), Target("happy", "angry")]
    found = attribution(targets, layers=True)
    tensors = layer_tensors(found, 1, targets)
    assert set(tensors) == {
        f"{target}/{layer}{kind}"
        for target in ("angry", "happy - angry")
        for layer in ("layer_1", "pooled")
        for kind in ("", "/standard_error")
    }
    torch.testing.assert_close(tensors["happy - angry/layer_1"], found.layers["layer_1"][1, 1, :6])
    torch.testing.assert_close(tensors["angry/pooled"], found.layers["pooled"][1, 0])


def test_neurons_of_a_class_named_like_a_contrast_are_kept() -> None:
    targets = [Target("x - y"), Target("x", "y")]
    found = attribution(targets, errors=False, layers=True, classes=["x", "y", "x - y"])
    tensors = layer_tensors(found, 0, targets)
    assert set(tensors) == {f"{target}/{layer}" for target in ('"x - y"', "x - y") for layer in ("layer_1", "pooled")}
    torch.testing.assert_close(tensors["x - y/pooled"], found.layers["pooled"][0, 1])


def test_neurons_without_errors_have_no_tensors_of_errors() -> None:
    targets = [Target("happy")]
    tensors = layer_tensors(attribution(targets, errors=False, layers=True), 0, targets)
    assert set(tensors) == {"happy/layer_1", "happy/pooled"}
