import pytest

from speechshap.attribution import find_method
from speechshap.errors import UserError
from speechshap.explaining.preset import PRESET_METHODS, preset_baselines, preset_targets


def test_methods_of_presets_are_methods() -> None:
    assert [find_method(name).explain.__module__.rpartition(".")[2] for name in PRESET_METHODS.values()] == [
        "kernel_shap",
        "gradient_shap",
    ]


@pytest.mark.parametrize("classes", [["happy", "sad"], ["neutral"], []])
def test_without_a_neutral_voice_to_tell_it_from_the_prediction_is_explained(classes: list[str]) -> None:
    def find(label: str) -> None:
        raise AssertionError("nothing is looked for")

    assert preset_targets("recommended", classes) == "predicted"
    assert preset_baselines("recommended", classes, find) == "noise"


def test_without_the_training_clips_the_contrast_is_compared_with_noise(caplog: pytest.LogCaptureFixture) -> None:
    def find(label: str) -> None:
        raise UserError(f"no {label} clips")

    assert preset_baselines("recommended", ["neutral", "sad"], find) == "noise"
    assert "sounds are compared with noise, and not with neutral voices of the training: no neutral clips" in (
        caplog.text
    )
    assert preset_targets("recommended", ["neutral", "sad"]) == "predicted - neutral"
