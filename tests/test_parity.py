"""Attributions stay what they were, for the same draws.

``tests/reference/gradient_shap.npz`` was computed, in double precision, when each point of a pair got a reference of
its own. With shared ones the numbers were those of the time when GradientSHAP was the only method of this package. Run
as a script, this file writes it anew with the version that Python finds::

    PYTHONPATH=src:tests python tests/test_parity.py
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from attribution.tiny import Convolution, TinyWavLM, noise, seeded

from speechshap.attribution import Attribution, PathDensity, SpectralGrid, gradient_shap
from speechshap.attribution.sampling import NUM_BINS, SCHEMES

REFERENCE = Path(__file__).parent / "reference" / "gradient_shap.npz"

BASE = PathDensity.base()
"""What adaptive sampling begins with where a pilot finds spikes; given, it takes none."""

FIELDS = (
    "values", "values_standard_error", "frames", "frames_standard_error", "frame_lengths", "logits", "outputs",
    "completeness_gap", "completeness_gap_standard_error", "n_samples", "n_replicates", "path_second_moments",
    "converged", "time_frequency", "time_frequency_standard_error", "relative_error",
)  # fmt: skip


def convolution(**options: Any) -> Attribution:
    model = seeded(Convolution()).double()
    if layer_method := options.get("layer_method"):
        options["layers"] = {"stem": model.stem, "hidden": model.hidden} if layer_method == "endpoint" else {
            "hidden": model.hidden
        }  # fmt: skip
    lengths = torch.tensor([900, 1300, 620])
    options = {"targets": torch.arange(3).expand(3, 3), "n_samples": 12, "chunk_size": 7, "density": BASE, **options}
    return gradient_shap(model, noise(3, 1300, seed=1), lengths=lengths, ids=["a", "b", "c"], **options)


def wavlm(**options: Any) -> Attribution:
    model = seeded(TinyWavLM()).double()
    lengths = torch.tensor([1300, 2000])
    options = {"n_samples": 8, "chunk_size": 3, "density": BASE, **options}
    return gradient_shap(model, 0.1 * noise(2, 2000, seed=2), lengths=lengths, layers=model.layers, **options)


CASES: dict[str, Callable[[], Attribution]] = {
    **{scheme: lambda scheme=scheme: convolution(scheme=scheme) for scheme in SCHEMES},
    "many rounds, another seed": lambda: convolution(n_samples=90, seed=7, chunk_size=None),
    "predicted class, learnt density": lambda: convolution(
        targets=None, density=PathDensity(tuple(1.0 + number % 3 for number in range(NUM_BINS)))
    ),
    "contrast of log-odds, silence": lambda: convolution(
        baselines="silence", output="log_odds",
        targets=torch.tensor([[0, 1]] * 3), against=torch.tensor([[2, -1]] * 3),
    ),
    "probability, references": lambda: convolution(output="probability", baselines=noise(4, 800, seed=3)),
    "auto": lambda: convolution(n_samples="auto", tolerance=0.25, max_samples=200),
    "endpoint": lambda: convolution(layer_method="endpoint"),
    "path": lambda: convolution(layer_method="path"),
    "bins": lambda: convolution(spectrum=SpectralGrid(64, 32)),
    "bands": lambda: convolution(spectrum=SpectralGrid(128, 64, 8)),
    "given draws": lambda: convolution(
        alphas=torch.linspace(0.01, 0.99, 5), baselines=noise(5, 1300, seed=4), keep_samples=True
    ),
    "every draw": lambda: convolution(keep_samples=True),
    "WavLM, endpoint": wavlm,
    "WavLM, path": lambda: wavlm(layer_method="path", targets=torch.tensor([[0, 2]] * 2)),
}  # fmt: skip


def arrays(case: str) -> dict[str, np.ndarray]:
    """Everything that an attribution holds; of large tensors every 29th number."""
    result = CASES[case]()
    tensors = {name: value for name in FIELDS if (value := getattr(result, name)) is not None}
    tensors |= {"classes": result.targets.classes, "against": result.targets.against}
    tensors |= {f"layers/{name}": values for name, values in result.layers.items()}
    tensors |= {f"layers_standard_error/{name}": values for name, values in result.layers_standard_error.items()}
    tensors |= {f"sample_frames/{number}": rows for number, rows in enumerate(result.sample_frames or [])}
    return {
        f"{case}/{name}": (values.flatten(1)[:, ::29] if values.numel() > 300 else values).cpu().numpy()
        for name, values in tensors.items()
    }


@pytest.mark.parametrize("case", CASES)
def test_attributions_are_what_they_were(case: str) -> None:
    with np.load(REFERENCE) as reference:
        expected = {name: reference[name] for name in reference.files if name.startswith(f"{case}/")}
    actual = arrays(case)
    assert actual.keys() == expected.keys()
    for name, values in expected.items():
        scale = max(1e-12, float(np.abs(values).max()))
        np.testing.assert_allclose(actual[name], values, rtol=0, atol=1e-6 * scale, err_msg=name)


if __name__ == "__main__":
    REFERENCE.parent.mkdir(exist_ok=True)
    np.savez_compressed(REFERENCE, **{name: values for case in CASES for name, values in arrays(case).items()})
