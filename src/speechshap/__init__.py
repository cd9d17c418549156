"""Train a speech emotion classifier and explain its predictions with GradientSHAP."""

from importlib import import_module
from importlib.metadata import version
from typing import Any

_HOMES = {
    "Attribution": "speechshap.attribution",
    "AudioDataModule": "speechshap.training",
    "EmotionModule": "speechshap.training",
    "FrameGrid": "speechshap.frames",
    "GradientSHAP": "speechshap.explaining.explainer",
    "GradientSHAPCallback": "speechshap.explaining.callback",
    "GradientSHAPDemo": "speechshap.explaining.demonstration",
    "create_synthetic_audio": "speechshap.explaining.demonstration",
    "visualize_audio_attributions": "speechshap.report.figures",
}

__all__ = [
    "Attribution",
    "AudioDataModule",
    "EmotionModule",
    "FrameGrid",
    "GradientSHAP",
    "GradientSHAPCallback",
    "GradientSHAPDemo",
    "create_synthetic_audio",
    "visualize_audio_attributions",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``import speechshap`` stays quick."""
    if name == "__version__":
        return version("speechshap")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
