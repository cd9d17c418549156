from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from helpers import make_explanation

from speechshap.attribution.targets import Target
from speechshap.report.wording import explained_of_classes, outputs_text, variant_names
from speechshap.results.explanation import Explanation


def variant(provenance: dict[str, Any] | None = None, **settings: Any) -> Explanation:
    return make_explanation(settings=settings, provenance=provenance)


def test_classes_go_by_what_was_explained_of_them() -> None:
    explained = [("a", None), ("a", None), ("b", "a"), ("c - d", "a"), ("c - d", "b")]
    assert explained_of_classes({"target": label, "against": against} for label, against in explained) == {
        "a": "a", "b": "b - a", "c - d": '"c - d" - another class',
    }  # fmt: skip


@pytest.mark.parametrize(
    ("variants", "names"),
    [
        ([variant()], ["gradient_shap"]),
        ([variant(snr_db=0.0), variant(snr_db=10.0)], ["snr_db 0.0", "snr_db 10.0"]),
        (
            [variant(layer_method="path", seed=1), variant(layer_method="endpoint", seed=1)],
            ["layer_method path", "layer_method endpoint"],
        ),
        (
            [variant(spectrum=None), variant(spectrum={"hop": 160, "num_mel_bands": None})],
            ["spectrum none", "spectrum hop 160"],
        ),
        ([variant(), variant({"model": "other"})], ["model weights", "model other"]),
        ([variant(), variant({"precision": "bf16-mixed"})], ["precision 32-true", "precision bf16-mixed"]),
        ([variant(seed=0, snr_db=1), variant(seed=1, snr_db=1)], ["seed 0", "seed 1"]),
        ([variant(), variant(calibration=4)], ["gradient_shap", "calibration 4"]),
    ],
)
def test_variants_are_named_by_what_they_differ_in(variants: list[Explanation], names: list[str]) -> None:
    assert variant_names(variants) == names


def test_settings_of_another_method_are_no_difference() -> None:
    occlusion = variant({"method": "occlusion"}, width=5)
    sampled = [variant(scheme="adaptive", n_samples=count) for count in (50, 200)]
    assert variant_names([*sampled, occlusion])[:2] == ["gradient_shap, n_samples 50", "gradient_shap, n_samples 200"]
    assert variant_names([sampled[0], occlusion]) == ["gradient_shap", "occlusion"]


def test_of_the_same_settings_the_time_is_the_name() -> None:
    times = [datetime(2026, 1, 1, 12, minute, tzinfo=UTC) for minute in (0, 30)]
    assert variant_names([variant({"explained_at": time}) for time in times]) == [
        "gradient_shap, 2026-01-01 12:00:00", "gradient_shap, 2026-01-01 12:30:00"
    ]  # fmt: skip


def test_outputs_are_told_by_name() -> None:
    targets = ("arousal", Target("arousal", "valence"))
    explanation = make_explanation(targets=targets, outputs=np.array([0.714, 1.0]))
    assert outputs_text(explanation) == "arousal 0.71, arousal - valence 1.00"
