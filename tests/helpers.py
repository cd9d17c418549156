"""Small things to test with."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from speechshap.report.explanation import Explanation, frame_edges

TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "mask_time_prob": 0.0,
    "layerdrop": 0.0,
}


def tiny_config(family: str = "wavlm", norm: str = "layer", **fields: Any) -> dict[str, Any]:
    """Configuration of a tiny backbone."""
    return {"model_type": family, "feat_extract_norm": norm, **TINY, **fields}


def write_sound(path: Path, seconds: float = 0.2, rate: int = 16000, seed: int = 0, **options: Any) -> Path:
    """Write half-loud noise, which every decoder can be asked for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sound = np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * rate))
    soundfile.write(path, sound, rate, **options)
    return path


def make_explanation(
    seconds: float = 1.0, targets: tuple[str, ...] = ("happy",), layers: int = 0, bands: int = 0, **fields: Any
) -> Explanation:
    """An explanation of random numbers, as an utterance of this length has it."""
    generator = np.random.default_rng(0)
    count = max(1, int((seconds - 0.025) / 0.02 + 1e-6) + 1)
    frames = generator.normal(size=(len(targets), count))
    optional: dict[str, Any] = {}
    if layers:
        optional["layer_names"] = tuple(f"layer_{number + 1}" for number in range(layers))
        optional["layer_frames"] = generator.normal(size=(len(targets), layers, count))
        optional["layer_mass"] = generator.uniform(size=(len(targets), layers))
    if bands:
        optional["frequencies"] = 700 * (10 ** (np.linspace(0, 2840.02, bands) / 2595) - 1)
        optional["time_frequency"] = generator.normal(size=(len(targets), bands, int(seconds * 100) + 1))
        optional["time_frequency_hop"] = 0.01
    return Explanation(
        **{
            "utterance": "a.wav", "path": "a.wav", "label": "sad", "prediction": targets[0], "probability": 0.75,
            "targets": targets, "unit": "logits", "frame_edges": frame_edges(count, 0.02, 0.0125, seconds),
            "frames": frames, "standard_error": np.full_like(frames, 0.5),
            "relative_error": np.full(len(targets), 0.2), "completeness_gap": np.full(len(targets), 0.1),
            "completeness_gap_standard_error": np.full(len(targets), 0.1), **optional, **fields,
        }
    )  # fmt: skip


def draws_for_captum(monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, Tensor, Tensor]:
    """A waveform ``(1, 2000)``, references ``(6, 2000)`` and alphas ``(6,)``; Captum will draw just these."""
    generator = torch.Generator().manual_seed(3)
    waveform = 0.1 * torch.randn(1, 2000, generator=generator)
    references = 0.1 * torch.randn(6, 2000, generator=generator)
    alphas = torch.rand(6, generator=generator)
    monkeypatch.setattr("numpy.random.uniform", lambda *args, **options: alphas.numpy())
    monkeypatch.setattr("numpy.random.choice", lambda *args, **options: np.arange(6))
    return waveform, references, alphas
