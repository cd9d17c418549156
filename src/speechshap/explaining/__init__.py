"""What ties the rooms together: settings of a run, the runner, its Lightning callback and its Python face."""

from speechshap.explaining.callback import GradientSHAPCallback

__all__ = ["GradientSHAPCallback"]
