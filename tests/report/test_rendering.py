import io
import os
import signal
import time
from typing import Any

import numpy as np
import pytest
from helpers import make_explanation
from PIL import Image

from speechshap.report.rendering import BackgroundRenderer, Rendering, render


def waveform() -> np.ndarray:
    return 0.1 * np.random.default_rng(0).normal(size=16000).astype(np.float32)


def test_another_process_renders_the_same_in_order() -> None:
    shown: list[tuple[Any, Rendering]] = []
    renderer = BackgroundRenderer(lambda key, rendering: shown.append((key, rendering)))
    for number in range(3):
        renderer.submit(number, waveform(), 16000, make_explanation(utterance=f"{number}.wav"), 5)
    renderer.close()
    assert [key for key, _ in shown] == [0, 1, 2]
    expected = render(waveform(), 16000, make_explanation(utterance="2.wav"), 5)
    assert shown[2][1].png == expected.png
    assert Image.open(io.BytesIO(expected.png)).size == expected.size
    assert list(expected.sounds) == ["original", "kept", "removed"]
    for name, sound in expected.sounds.items():
        np.testing.assert_array_equal(shown[2][1].sounds[name], sound)
    assert renderer.process is not None
    assert renderer.process.returncode == 0


def test_nothing_is_started_for_nothing() -> None:
    renderer = BackgroundRenderer(lambda key, rendering: None)
    renderer.close()
    assert renderer.process is None


def test_a_mistake_in_drawing_is_not_swallowed() -> None:
    renderer = BackgroundRenderer(lambda key, rendering: None)
    renderer.submit(0, waveform(), 16000, "not an explanation", 5)
    with pytest.raises(AttributeError):
        renderer.close()


def test_a_mistake_in_showing_is_not_swallowed() -> None:
    def full(key: Any, rendering: Rendering) -> None:
        raise OSError("no space left on device")

    renderer = BackgroundRenderer(full)
    renderer.submit(0, waveform(), 16000, make_explanation(), 5)
    with pytest.raises(OSError, match="no space"):
        renderer.close()


def test_a_killed_process_is_told() -> None:
    renderer = BackgroundRenderer(lambda key, rendering: None)
    renderer.submit(0, waveform(), 16000, make_explanation(), 5)
    while renderer.process is None:
        time.sleep(0.01)
    os.kill(renderer.process.pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match="process that draws"):
        renderer.close()
