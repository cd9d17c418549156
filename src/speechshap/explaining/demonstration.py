"""A first look at explanations, from a model's name and a few sounds."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from speechshap.attribution import SpectralGrid
from speechshap.data.audio import AudioFileError, find_audio, load_audio
from speechshap.data.corpora import loose_files
from speechshap.data.planted_clip import synthesize
from speechshap.errors import UserError, require_at_least
from speechshap.explaining.explainer import GradientSHAP
from speechshap.files import whole_file
from speechshap.frames import SAMPLE_RATE
from speechshap.report.explanation_result import ExplanationResult
from speechshap.report.moments import TOP_K_FRAMES
from speechshap.report.rendering import render
from speechshap.results.folder import file_name

logger = logging.getLogger(__name__)

SPECTRUM = SpectralGrid(num_mel_bands=64)
SYNTHETIC = "synthetic"
"""Name of the sound that is made where none is given."""


def create_synthetic_audio(duration: float = 3.0, sr: int = SAMPLE_RATE) -> np.ndarray:
    """A speech-like sound: a voice with syllables and vowels in noise, excited for a stretch of it.

    Args:
        duration: Seconds.
        sr: Samples a second (Hz).

    Returns:
        Waveform ``(round(duration * sr),)`` float32 in [-1, 1], always the same.

    Raises:
        ValueError: The duration or the rate is not above 0.

    Example:
        >>> create_synthetic_audio(0.5).shape
        (8000,)
    """
    if not duration > 0 or not sr > 0:
        raise ValueError(f"duration is {duration} and sr is {sr}; expected both above 0")
    waveform, _ = synthesize("happy", 0, duration)
    if sr != SAMPLE_RATE:
        import librosa

        waveform = librosa.resample(waveform, orig_sr=SAMPLE_RATE, target_sr=sr)
    waveform = np.pad(waveform, (0, max(0, round(duration * sr) - len(waveform))))[: round(duration * sr)]
    clipped: np.ndarray = np.clip(waveform, -1, 1)
    return clipped.astype(np.float32)


class GradientSHAPDemo:
    """Explain a few sounds, and save a picture and the sound of the evidence for each.

    Args:
        model_name: Checkpoint of ``speechshap train`` (``….ckpt``), or a trained audio classifier of transformers by
            its name on the Hugging Face hub or its folder.
        data_path: Folder of sound files, at any depth; None makes a synthetic sound.
        num_classes: Classes that the model is expected to have; None for any number.
        batch_size: Points on the paths that go through the model at once.
        max_samples: How many files of the folder to explain, drawn at random but always the same; files that cannot be
            used do not count.
        num_samples: Draws: points on the paths.
        seed: Of all draws.

    Raises:
        UserError: The model or the folder cannot be loaded.

    Example:
        >>> demo = GradientSHAPDemo("runs/ravdess/version_0")  # doctest: +SKIP
        >>> demo.run_demo("a.wav", save_dir="pictures")["a.wav"]["picture"]  # doctest: +SKIP
        PosixPath('pictures/a.wav.png')
    """

    def __init__(
        self,
        model_name: str = "microsoft/wavlm-base-plus",
        data_path: str | Path | None = None,
        num_classes: int | None = None,
        batch_size: int = 8,
        max_samples: int = 4,
        *,
        num_samples: int = 50,
        seed: int = 0,
    ) -> None:
        require_at_least(1, max_samples=max_samples)
        self.max_samples = max_samples
        self.files: list[Path] = []
        if data_path is not None:
            files = [utterance.path for utterance in loose_files(find_audio(Path(data_path)))]
            self.files = [files[number] for number in np.random.default_rng(seed).permutation(len(files))]
        self.explainer = GradientSHAP(model_name, num_samples=num_samples, batch_size=batch_size, seed=seed)
        classes = self.explainer.classes
        if num_classes is not None and classes is not None and len(classes) != num_classes:
            raise UserError(
                f"`num_classes` is {num_classes}, but {model_name} has {len(classes)} classes: {', '.join(classes)}"
            )

    def run_demo(
        self,
        audio_file: str | Path | None = None,
        target_class: int | str | None = None,
        save_dir: str | Path = "gradient_shap_demo",
    ) -> dict[str, ExplanationResult]:
        """Explain sounds at the level of frames and of neurons.

        Args:
            audio_file: A sound file; None takes those of ``data_path``, or a synthetic sound.
            target_class: Class to explain, by its name or number; None takes the predicted one of each.
            save_dir: Folder for the pictures and for the sounds of what speaks for the class and of the rest.

        Returns:
            For each sound, by its name, what :meth:`GradientSHAP.explain` returns for frames, and ``neurons``, the
            attributions ``(frames, hidden size)`` by layer (none for a recording longer than a window), ``picture``
            and ``sounds``, the paths of what was saved; no sounds where nothing speaks for the class significantly.

        Raises:
            UserError: None of the sounds can be explained.
        """
        results = {}
        for name, waveform in self._sounds(audio_file).items():
            # One pass yields both neuron and frame attributions.
            window = self.explainer.model.window
            mode = "neuron" if window is None or len(waveform) <= window else "frame"
            result = self.explainer.explain(waveform, target_class, mode, spectrum=SPECTRUM)  # type: ignore[arg-type]
            attribution = result["attribution"]
            result["explanation"] = replace(result["explanation"], utterance=name, path=name)
            result |= {
                "attributions": attribution.frames[0, 0].cpu(),
                "standard_error": attribution.frames_standard_error[0, 0].cpu(),
                "neurons": result["attributions"] if mode == "neuron" else {},
                "mode": "frame",
                **self._save(Path(save_dir), name, result),
            }
            results[name] = result
        return results

    def _sounds(self, audio_file: str | Path | None) -> dict[str, np.ndarray]:
        """Waveforms by name."""
        if audio_file is not None:
            return {Path(audio_file).name: load_audio(Path(audio_file))}
        if not self.files:
            return {SYNTHETIC: create_synthetic_audio()}
        sounds: dict[str, np.ndarray] = {}
        for path in self.files:
            try:
                sounds[path.name if path.name not in sounds else str(path)] = load_audio(path)
            except AudioFileError as error:
                logger.warning("%s; it is left out", error)
            if len(sounds) == self.max_samples:
                break
        if not sounds:
            raise UserError(f"none of {len(self.files)} sound files can be used; the warnings above say why")
        return sounds

    def _save(self, folder: Path, name: str, result: ExplanationResult) -> dict[str, Any]:
        rendering = render(result["waveform"], SAMPLE_RATE, result["explanation"], TOP_K_FRAMES)
        picture = folder / f"{file_name(name)}.png"
        with whole_file(picture) as partial:
            partial.write_bytes(rendering.png)
        sounds = {}
        for variant in ("kept", "removed"):
            if variant not in rendering.sounds:
                logger.warning("%s: nothing speaks for the class significantly; take more draws", name)
                break
            sounds[variant] = folder / f"{file_name(name)}.{variant}.wav"
            with whole_file(sounds[variant]) as partial:
                soundfile.write(partial, rendering.sounds[variant], SAMPLE_RATE, subtype="PCM_16", format="WAV")
        logger.info("%s: %s", name, picture)
        return {"picture": picture, "sounds": sounds}


WavLMGradientSHAPDemo = GradientSHAPDemo
"""Another name of :class:`GradientSHAPDemo`."""
