"""Train a speech emotion classifier, or take one that is trained, and explain its predictions with GradientSHAP.

* `GradientSHAP` explains a sound from Python, `GradientSHAPDemo` a few files of a folder.
* `GradientSHAPCallback` explains the predictions of any LightningModule on waveforms.
* `EmotionModule` and `AudioDataModule` are the classifier that is trained here and its data, `AudioDataset` is a plain
  PyTorch dataset over the same files.
* `Attribution` is what is returned by the method itself, `speechshap.attribution.gradient_shap`, and `FrameGrid` says
  where its frames lie.
* `create_synthetic_audio` makes a sound, and `visualize_audio_attributions` draws attributions that were computed
  anywhere.
* `show_results` shows the explanations of a run in a notebook.

`WavLMGradientSHAPDemo` and `LibrosaAudioDataset` are other names of `GradientSHAPDemo` and `AudioDataset`.

The rooms `speechshap.attribution`, `speechshap.data`, `speechshap.models` and `speechshap.training` hold what these are
made of. The commands are `speechshap train`, `speechshap explain` and `speechshap report`.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from speechshap.attribution import Attribution as Attribution
    from speechshap.data import AudioDataset as AudioDataset
    from speechshap.data import LibrosaAudioDataset as LibrosaAudioDataset
    from speechshap.explaining.callback import GradientSHAPCallback as GradientSHAPCallback
    from speechshap.explaining.demonstration import GradientSHAPDemo as GradientSHAPDemo
    from speechshap.explaining.demonstration import WavLMGradientSHAPDemo as WavLMGradientSHAPDemo
    from speechshap.explaining.demonstration import create_synthetic_audio as create_synthetic_audio
    from speechshap.explaining.explainer import GradientSHAP as GradientSHAP
    from speechshap.frames import FrameGrid as FrameGrid
    from speechshap.report.figures import visualize_audio_attributions as visualize_audio_attributions
    from speechshap.report.notebook import show_results as show_results
    from speechshap.training import AudioDataModule as AudioDataModule
    from speechshap.training import EmotionModule as EmotionModule

_HOMES = {
    "Attribution": "speechshap.attribution",
    "AudioDataModule": "speechshap.training",
    "AudioDataset": "speechshap.data",
    "EmotionModule": "speechshap.training",
    "FrameGrid": "speechshap.frames",
    "GradientSHAP": "speechshap.explaining.explainer",
    "GradientSHAPCallback": "speechshap.explaining.callback",
    "GradientSHAPDemo": "speechshap.explaining.demonstration",
    "LibrosaAudioDataset": "speechshap.data",
    "WavLMGradientSHAPDemo": "speechshap.explaining.demonstration",
    "create_synthetic_audio": "speechshap.explaining.demonstration",
    "show_results": "speechshap.report.notebook",
    "visualize_audio_attributions": "speechshap.report.figures",
}
_ROOMS = ("attribution", "data", "models", "training")


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``import speechshap`` stays quick."""
    if name == "__version__":
        return version("speechshap")
    if name == "__all__":  # of ``import *``, ``help`` and pdoc, which look for every name in the module itself
        globals().update({public: __getattr__(public) for public in _HOMES})
        return [*_HOMES, *_ROOMS]
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in _ROOMS:
        return import_module(f"speechshap.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """All names, for completion."""
    return sorted({*globals(), *_HOMES, *_ROOMS})
