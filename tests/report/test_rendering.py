import io
import os
import signal
import subprocess
import time

import numpy as np
import pytest
from helpers import make_explanation
from PIL import Image

from speechshap.report.rendering import BackgroundRenderer, Rendering, RenderingError, render
from speechshap.results.estimate import Estimate
from speechshap.results.explanation import Explanation


def waveform() -> np.ndarray:
    return 0.1 * np.random.default_rng(0).normal(size=16000).astype(np.float32)


Shown = list[tuple[int, Rendering | RenderingError]]


def ask(renderer: BackgroundRenderer, shown: Shown, number: int, explanation: Explanation | None = None) -> None:
    """Have an explanation drawn, and the rendering noted with its number."""
    drawn = make_explanation() if explanation is None else explanation
    renderer.submit(lambda rendering: shown.append((number, rendering)), render, waveform(), 16000, drawn, 5)


@pytest.mark.slow
def test_another_process_renders_the_same_in_order() -> None:
    shown: Shown = []
    renderer = BackgroundRenderer()
    for number in range(3):
        ask(renderer, shown, number, make_explanation(utterance=f"{number}.wav"))
    renderer.close()
    assert [number for number, _ in shown] == [0, 1, 2]
    expected = render(waveform(), 16000, make_explanation(utterance="2.wav"), 5)
    found = shown[2][1]
    assert isinstance(found, Rendering)
    assert found.png == expected.png
    assert Image.open(io.BytesIO(expected.png)).size == expected.size
    assert list(expected.sounds) == ["original", "kept", "removed"]
    for name, sound in expected.sounds.items():
        np.testing.assert_array_equal(found.sounds[name], sound)


def test_nothing_is_started_for_nothing() -> None:
    renderer = BackgroundRenderer()
    renderer.close()
    assert renderer.process is None


def test_a_picture_that_cannot_be_made_costs_that_one_alone() -> None:
    shown: Shown = []
    renderer = BackgroundRenderer()
    ask(renderer, shown, 0, make_explanation(frames=Estimate(np.zeros(3))))
    ask(renderer, shown, 1)
    renderer.close()
    assert [(number, type(rendering)) for number, rendering in shown] == [(0, RenderingError), (1, Rendering)]
    assert "Traceback" in str(shown[0][1])


@pytest.mark.slow
def test_a_mistake_in_showing_is_not_swallowed() -> None:
    def full(rendering: Rendering | RenderingError) -> None:
        raise OSError("no space left on device")

    renderer = BackgroundRenderer()
    renderer.submit(full, render, waveform(), 16000, make_explanation(), 5)
    with pytest.raises(OSError, match="no space"):
        renderer.close()


@pytest.mark.slow
def test_a_killed_process_costs_the_picture_that_it_was_at() -> None:
    shown: Shown = []
    renderer = BackgroundRenderer()
    ask(renderer, shown, 0)
    while renderer.process is None:
        time.sleep(0.01)
    os.kill(renderer.process.pid, signal.SIGKILL)
    ask(renderer, shown, 1)
    renderer.close()
    assert [(number, type(rendering)) for number, rendering in shown] == [(0, RenderingError), (1, Rendering)]
    assert "ended unexpectedly" in str(shown[0][1])


def test_what_is_waiting_can_be_dropped() -> None:
    shown: Shown = []
    renderer = BackgroundRenderer()
    for number in range(50):
        ask(renderer, shown, number)
    while renderer.process is None:
        time.sleep(0.01)
    process = renderer.process
    renderer.close(wait=False)
    assert process.returncode is not None
    assert len(shown) < 50
    assert {type(rendering) for _, rendering in shown} <= {Rendering}  # what was dropped is no failure


@pytest.mark.slow
def test_a_process_forked_meanwhile_does_not_keep_it_from_ending() -> None:
    """It inherits the pipe, so that the end of the input would not be seen."""
    renderer = BackgroundRenderer()
    ask(renderer, [], 0)
    while renderer.process is None:
        time.sleep(0.01)
    sleeper = subprocess.Popen(["sleep", "60"], close_fds=False)
    process = renderer.process
    started = time.monotonic()
    renderer.close()
    sleeper.kill()
    sleeper.wait()
    assert process.returncode == 0
    assert time.monotonic() - started < 50


@pytest.mark.slow
def test_much_memory_makes_the_caller_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speechshap.report.rendering.MAX_WAITING_BYTES", 100)
    shown: Shown = []
    renderer = BackgroundRenderer()
    ask(renderer, shown, 0)
    ask(renderer, shown, 1)
    assert [number for number, _ in shown] == [0]
    renderer.close()
    assert [number for number, _ in shown] == [0, 1]
