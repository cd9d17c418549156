"""GradientSHAP of any differentiable classifier of waveforms; knows nothing of Lightning, models or files."""

from speechshap.attribution.attribution import Attribution
from speechshap.attribution.gradient_shap import gradient_shap

__all__ = ["Attribution", "gradient_shap"]
