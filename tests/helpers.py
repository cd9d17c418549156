"""Small things to test with."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from speechshap.mel import hertz, mel
from speechshap.results.explanation import Explanation, frame_edges
from speechshap.results.folder import SCHEMA, ResultsFolder, file_name

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
        optional["frequencies"] = hertz(np.linspace(0, mel(8000), bands))
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


def write_rows(folder: Path, utterance: str, seconds: float = 1.0, **fields: Any) -> Path:
    """Write an utterance's sound and its explanation, as ``explain.py`` would; returns the Parquet part.

    Args:
        folder: Of the explanations.
        utterance: Its id.
        seconds: Of noise.
        fields: Columns that every row has instead, or arguments of :func:`make_explanation`; a number for the frames
            or their error stands for all of them.
    """
    sounds = folder / "sounds"
    path = write_sound(sounds / file_name(utterance), seconds)
    made = {name: fields.pop(name) for name in ("targets", "layers", "bands") if name in fields}
    explanation = make_explanation(seconds, **made)
    rows = []
    for index, target in enumerate(explanation.targets):
        row = dict.fromkeys(SCHEMA.names) | {
            "utterance": utterance, "path": str(path), "label": "sad", "prediction": explanation.targets[0],
            "probability": 0.5, "target": target, "target_output": float(-index), "method": "gradient_shap",
            "seed": 0, "scheme": "adaptive", "baselines": "noise", "output": "logit", "n_samples": 50,
            "duration_seconds": seconds, "hop_seconds": 0.02, "first_frame_seconds": 0.0125,
            "frame_attribution": explanation.frames[index], "frame_standard_error": explanation.standard_error[index],
            "completeness_gap": 0.01, "completeness_gap_standard_error": 0.01, "relative_error": 0.2,
        }  # fmt: skip
        if explanation.layer_frames is not None and explanation.layer_mass is not None:
            row["layer_names"] = list(explanation.layer_names)
            row["layer_frame_attribution"] = explanation.layer_frames[index].tolist()
            row["layer_mass"] = explanation.layer_mass[index]
        if explanation.time_frequency is not None and explanation.frequencies is not None:
            row["frequencies_hz"] = explanation.frequencies
            row["time_frequency_attribution"] = explanation.time_frequency[index].tolist()
            row["time_frequency_hop_seconds"] = explanation.time_frequency_hop
        row |= {
            {"frames": "frame_attribution", "standard_error": "frame_standard_error"}.get(name, name): (
                np.full(explanation.frames.shape[1], value) if name in ("frames", "standard_error") else value
            )
            for name, value in fields.items()
        }
        row["explained_at"] = datetime.now(UTC)
        row["settings_fingerprint"] = f"{sorted(made.items())} {row['n_samples']}"
        row["fingerprint"] = fields.get("fingerprint", f"{utterance} {row['settings_fingerprint']}")
        rows.append(row)
    return ResultsFolder(folder).write(rows)


@contextmanager
def browser() -> Iterator[Any]:
    """Headless Chromium; logs what scripts say and what is requested."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("needs a browser: chromium and chromedriver (Debian's packages chromium and chromium-driver)")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1400,1200",
        "--autoplay-policy=no-user-gesture-required",
    ):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options, webdriver.ChromeService(driver))
    opened.set_script_timeout(60)
    try:
        yield opened
    finally:
        opened.quit()


def draws_for_captum(monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, Tensor, Tensor]:
    """A waveform ``(1, 2000)``, references ``(6, 2000)`` and alphas ``(6,)``; Captum will draw just these."""
    generator = torch.Generator().manual_seed(3)
    waveform = 0.1 * torch.randn(1, 2000, generator=generator)
    references = 0.1 * torch.randn(6, 2000, generator=generator)
    alphas = torch.rand(6, generator=generator)
    monkeypatch.setattr("numpy.random.uniform", lambda *args, **options: alphas.numpy())
    monkeypatch.setattr("numpy.random.choice", lambda *args, **options: np.arange(6))
    return waveform, references, alphas
