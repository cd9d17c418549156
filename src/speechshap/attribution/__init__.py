"""Attributions of any classifier of waveforms; knows nothing of Lightning, transformers or sound files."""

from speechshap.attribution.attribution import Attribution
from speechshap.attribution.baselines import Baseline, as_baseline, baseline_from_settings, gaussian_noise, silence
from speechshap.attribution.errors import (
    GradientError,
    NonFiniteGradientError,
    NonFiniteOutputError,
    NonFiniteWaveformError,
    UtteranceError,
    ZeroGradientError,
)
from speechshap.attribution.evaluator import Evaluator
from speechshap.attribution.method_text import MethodChoice, parse_methods
from speechshap.attribution.methods import Method, find_method, method_names
from speechshap.attribution.methods.gradient_shap import GradientSHAPSettings, gradient_shap
from speechshap.attribution.sampling import PathDensity
from speechshap.attribution.settings import WAVEFORM, PathSettings, ReferenceSettings, Settings
from speechshap.attribution.spectrum import SpectralGrid
from speechshap.attribution.targets import Target, Targets
from speechshap.spaces import Space

__all__ = [
    "WAVEFORM",
    "Attribution",
    "Baseline",
    "Evaluator",
    "GradientError",
    "GradientSHAPSettings",
    "Method",
    "MethodChoice",
    "NonFiniteGradientError",
    "NonFiniteOutputError",
    "NonFiniteWaveformError",
    "PathDensity",
    "PathSettings",
    "ReferenceSettings",
    "Settings",
    "Space",
    "SpectralGrid",
    "Target",
    "Targets",
    "UtteranceError",
    "ZeroGradientError",
    "as_baseline",
    "baseline_from_settings",
    "find_method",
    "gaussian_noise",
    "gradient_shap",
    "method_names",
    "parse_methods",
    "silence",
]
