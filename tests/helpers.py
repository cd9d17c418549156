"""Small things to test with."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from speechshap import files
from speechshap.attribution.segments import equal_stretches
from speechshap.attribution.targets import Target
from speechshap.data.cues import CUES
from speechshap.frames import SAMPLE_RATE, FrameGrid
from speechshap.mel import hertz, mel
from speechshap.results.estimate import Estimate
from speechshap.results.explanation import BandAttribution, CueMeans, Explanation, LayerAttribution, Provenance
from speechshap.results.folder import file_name
from speechshap.results.segments import SegmentAttribution
from speechshap.results.writer import ResultsWriter

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

REPLICATES = 25
"""Of an explanation that is made here."""

WHISPER_GRID = FrameGrid(hop=320, receptive_field=1039, padding_before=519, padding_after=360)
PADDED_GRIDS = (
    WHISPER_GRID,
    FrameGrid(5, 30, padding_before=10, padding_after=4),
    FrameGrid(50, 7, padding_before=3, padding_after=3),
    FrameGrid(7, 40, padding_before=39),  # sees what came before
    FrameGrid(7, 40, padding_after=39),
    FrameGrid(7, 40, padding_before=39, padding_after=39),  # its outer frames own no sample
)


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
    seconds: float = 1.0,
    targets: tuple[str | Target, ...] = ("happy",),
    *,
    layers: int = 0,
    bands: int = 0,
    cues: bool = False,
    words: Sequence[str] = (),
    relative_error: float | None = 0.2,
    settings: dict[str, Any] | None = None,
    provenance: dict[str, Any] | None = None,
    **fields: Any,
) -> Explanation:
    """An explanation of random numbers, the first target being the prediction.

    Args:
        seconds: Length of the utterance.
        targets: What is explained; a string is a class.
        layers: How many layers it has.
        bands: How many mel bands it has.
        cues: Whether it has cues.
        words: What is said, in stretches of equal length; with them come stretches of 100 ms to choose from.
        relative_error: Relative error of every target; None leaves out all errors.
        settings: Settings that differ from the usual ones.
        provenance: Other fields of the provenance that do.
        fields: Fields of the record to have instead.
    """
    generator = np.random.default_rng(0)
    grid, num_samples, count = fields.get("grid", FrameGrid()), round(seconds * SAMPLE_RATE), len(targets)
    asked = tuple(target if isinstance(target, Target) else Target(target) for target in targets)
    values = generator.normal(size=(count, max(1, grid.num_frames(num_samples)))).astype(np.float32)
    size = np.sqrt((values**2).mean(1, keepdims=True))
    gap = np.full(count, 0.1, np.float32)
    used = {"targets": "all", "output": "logit", "baselines": "noise", "seed": 0, "n_samples": 50, **(settings or {})}
    key = f"{sorted(used.items(), key=str)} {layers} {bands}"
    origin = {
        "method": "gradient_shap", "model": "weights", "precision": "32-true", "settings_fingerprint": key,
        "fingerprint": f"{fields.get('utterance')} {key}", "explained_at": datetime.now(UTC), **(provenance or {}),
    }  # fmt: skip
    optional: dict[str, Any] = {}
    if layers:
        optional["layers"] = LayerAttribution(
            tuple(f"layer_{number + 1}" for number in range(layers)),
            Estimate(
                sums := generator.normal(size=(count, layers, values.shape[1])).astype(np.float32),
                None if relative_error is None else np.full_like(sums, relative_error),
                REPLICATES,
            ),
            generator.uniform(size=(count, layers)).astype(np.float32),
        )
    if bands:
        columns = generator.normal(size=(count, bands, int(seconds * 100) + 1)).astype(np.float32)
        frequencies = hertz(np.linspace(0, mel(8000), bands)).astype(np.float32).astype(np.float64)
        cell_errors = None if relative_error is None else np.full_like(columns, relative_error)
        optional["bands"] = BandAttribution(frequencies, 0.01, Estimate(columns, cell_errors, REPLICATES))
    if cues:
        evidence, rest = generator.normal(size=(2, count, len(CUES))).astype(np.float32)
        optional["cues"] = CueMeans(tuple(CUES), evidence, rest, ("significant",) * count)
    if words:
        edges = grid.edges(num_samples).numpy() / SAMPLE_RATE
        bounds = [*equal_stretches(values.shape[1], values.shape[1] / len(words)), *equal_stretches(values.shape[1], 5)]
        sums = np.stack([values[:, first:last].sum(1) for first, last in bounds], 1)
        spread = None if relative_error is None else relative_error * np.abs(sums)
        tiers = ("words",) * len(words) + ("100 ms",) * (len(bounds) - len(words))
        labels = (*words, *[""] * (len(bounds) - len(words)))
        first, last = (edges[[pair[side] for pair in bounds]] for side in (0, 1))
        optional["segments"] = SegmentAttribution(tiers, labels, first, last, Estimate(sums, spread, REPLICATES))
    return Explanation(
        **{
            "utterance": "a.wav", "path": "a.wav", "speaker": "Anna", "label": "sad", "prediction": asked[0].label,
            "probability": 0.75, "targets": asked, "outputs": -np.arange(count, dtype=np.float32),
            "logits": -np.arange(count, dtype=np.float32), "grid": grid, "num_samples": num_samples,
            "frames": Estimate(
                values, None if relative_error is None else np.full_like(values, relative_error) * size, REPLICATES
            ),
            "completeness_gap": Estimate(gap, None if relative_error is None else gap, REPLICATES),
            "n_draws": used["n_samples"], "provenance": Provenance(settings=used, **origin),
            **optional, **fields,
        }
    )  # fmt: skip


def write_explanation(folder: Path, utterance: str, seconds: float = 1.0, **fields: Any) -> Path:
    """Write an utterance's sound and its explanation, as ``explain.py`` would; returns the Parquet part.

    Args:
        folder: Folder of the explanations.
        utterance: Its id.
        seconds: Length of the noise.
        fields: Arguments of :func:`make_explanation`.
    """
    path = write_sound(folder / "sounds" / file_name(utterance), seconds)
    explanation = make_explanation(seconds, **{"utterance": utterance, "path": str(path), "probability": 0.5, **fields})
    return write_part(folder, explanation)


def write_part(folder: Path, *explanations: Explanation) -> Path:
    """Write explanations as a run of their own; returns the Parquet part."""
    with ResultsWriter(folder) as writer:
        written = writer.write(explanations)
        return writer.known[written[0].utterance, written[0].targets[0], written[0].provenance.fingerprint]


def unmeasured() -> dict[str, str]:
    """Environment of a process whose coverage is not measured: its disk is full, or it runs a copy of the code."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


@contextmanager
def full_from(size: int) -> Iterator[None]:
    """No file of this process, or of those it starts, grows beyond this size in bytes, as on a full disk."""
    resource = pytest.importorskip("resource")
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, former[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)


def without_locks(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Have the system answer every request of a lock with this error."""
    fcntl = pytest.importorskip("fcntl")

    def flock(*arguments: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    files._warn_without_locks.cache_clear()


Browser = Callable[[], AbstractContextManager[Any]]
"""Opens a browser: the fixture ``browser``."""


@contextmanager
def open_browser(binary: str, driver: str) -> Iterator[Any]:
    """Headless Chromium; logs what scripts say and what is requested."""
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
