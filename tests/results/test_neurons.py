"""Files of neuron attributions: there only if whole, and of one explanation."""

import os
from pathlib import Path

import pytest
import torch
from helpers import make_explanation
from safetensors import safe_open
from safetensors.torch import load_file

from speechshap.results.neurons import has_neurons, neuron_file, write_neurons

NEURONS = {"happy/layer_1": torch.arange(6.0).view(2, 3).T}
"""A view, which has to be laid out anew."""


def write(folder: Path, utterance: str = "a/b.wav") -> Path:
    names = {"settings_fingerprint": "s", "fingerprint": "abc"}
    return write_neurons(folder, make_explanation(0.065, provenance=names, utterance=utterance), NEURONS)


def test_neurons_and_what_they_are_of_come_back(tmp_path: Path) -> None:
    path = write(tmp_path)
    assert path == neuron_file(tmp_path, "s", "a/b.wav") == tmp_path / "layers" / "s" / "a%2Fb.wav.safetensors"
    torch.testing.assert_close(load_file(path), NEURONS)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    assert (metadata["utterance"], metadata["fingerprint"], metadata["method"]) == ("a/b.wav", "abc", "gradient_shap")


def test_a_file_that_is_missing_or_of_another_explanation_does_not_count(tmp_path: Path) -> None:
    assert not has_neurons(tmp_path / "missing", "abc")
    path = write(tmp_path)
    assert has_neurons(path, "abc")
    assert not has_neurons(path, "of another sound")
    assert not has_neurons(tmp_path, "abc")


@pytest.mark.parametrize("left", [0, 7, 20, -1])
def test_a_file_that_was_cut_off_does_not_count_and_is_replaced(tmp_path: Path, left: int) -> None:
    path = write(tmp_path)
    os.truncate(path, left if left >= 0 else path.stat().st_size + left)
    assert not has_neurons(path, "abc")
    write(tmp_path)
    assert has_neurons(path, "abc")


@pytest.mark.parametrize("content", [b"\xff" * 100, b"\x02\0\0\0\0\0\0\0{}more than it says"])
def test_a_file_of_something_else_does_not_count(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.safetensors").write_bytes(content)
    assert not has_neurons(tmp_path / "a.safetensors", "abc")


@pytest.mark.skipif(os.name != "posix", reason="needs permissions")
def test_others_may_read_the_files_as_far_as_the_system_lets_them(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    assert write(tmp_path).stat().st_mode == (tmp_path / "other").stat().st_mode
