"""GradientSHAP of any differentiable classifier of waveforms; knows nothing of Lightning, models or files."""

from speechshap.attribution.attribution import Attribution
from speechshap.attribution.baselines import Baseline, gaussian_noise
from speechshap.attribution.estimator import GradientError, NonFiniteGradientError, ZeroGradientError
from speechshap.attribution.gradient_shap import gradient_shap
from speechshap.attribution.sampling import PathDensity
from speechshap.attribution.spectrum import SpectralGrid
from speechshap.attribution.targets import Targets

__all__ = [
    "Attribution",
    "Baseline",
    "GradientError",
    "NonFiniteGradientError",
    "PathDensity",
    "SpectralGrid",
    "Targets",
    "ZeroGradientError",
    "gaussian_noise",
    "gradient_shap",
]
