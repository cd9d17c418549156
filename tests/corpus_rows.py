"""Rows of a corpus, made of random numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from speechshap.data.cues import CUES
from speechshap.report.corpus import ClassAgreement, class_agreement
from speechshap.results.rows import SCHEMA

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
NAN, INF = float("nan"), float("inf")


def row(target: str, prediction: str | None = None, utterance: str = "a.wav", **columns: Any) -> dict[str, Any]:
    """A row as the Parquet gives it back: every column there, null where it was not asked for."""
    empty = dict.fromkeys(SCHEMA.names)
    return {**empty, "utterance": utterance, "target": target, "prediction": prediction or target, **columns}


def corpus(
    emotions: Sequence[str] = EMOTIONS, per_emotion: int = 3, num_layers: int = 5, num_bands: int = 6, seed: int = 0
) -> list[dict[str, Any]]:
    """Utterances of each emotion, explained for all of them, with layers and bands."""
    generator = np.random.default_rng(seed)
    rows = []
    for number, prediction in enumerate(np.repeat(emotions, per_emotion).tolist()):
        frames = int(generator.integers(5, 120))
        for target in emotions:
            rows.append(
                row(
                    target, prediction, f"{number}.wav",
                    frame_attribution=generator.normal(size=frames).tolist(),
                    layer_names=[f"layer_{layer}" for layer in range(num_layers)],
                    layer_mass=generator.uniform(size=num_layers).tolist(),
                    frequencies_hz=(100.0 * 1.5 ** np.arange(num_bands)).tolist(),
                    time_frequency_attribution=generator.normal(size=(num_bands, frames)).tolist(),
                )
            )  # fmt: skip
    return rows


def cue_rows(speakers: Mapping[str, int], shift: float = 0.0, seed: int = 0) -> list[dict[str, Any]]:
    """An utterance of each of so many speakers for each emotion; evidence lies ``shift`` above the rest, with noise."""
    generator = np.random.default_rng(seed)
    return [
        row(
            emotion, utterance=f"{emotion}_{speaker}.wav", speaker=f"speaker_{speaker}", cue_names=list(CUES),
            cue_evidence=(shift + generator.normal(size=len(CUES))).tolist(),
            cue_rest=generator.normal(size=len(CUES)).tolist(),
        )
        for emotion, count in speakers.items()
        for speaker in range(count)
    ]  # fmt: skip


def agreement_of_three() -> ClassAgreement:
    """Of classes a, b and c, where no utterance has both a and c."""
    up, down = [0.0, 1.0, 2.0], [1.0, 0.0, -1.0]
    rows = [
        row("a", "a", "1.wav", frame_attribution=up), row("b", "a", "1.wav", frame_attribution=down),
        row("b", "b", "2.wav", frame_attribution=up), row("c", "b", "2.wav", frame_attribution=up),
    ]  # fmt: skip
    agreement = class_agreement(rows)
    assert agreement is not None
    return agreement
