"""Pictures and sounds of explanations as bytes, made in a process of their own.

Drawing takes some tenths of a second an utterance and keeps Python busy all the while, so that a GPU would wait for
it. The process is started on the first request; it holds no model and ends when its input does, however this one ends.
"""

import contextlib
import io
import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np

from speechshap.report.explanation import Explanation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_WAITING = 16
"""Requests that may wait before the caller does: their waveforms are in memory."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """An utterance as it is shown.

    Attributes:
        png: The picture.
        size: Its width and height in pixels.
        sounds: ``original``, ``kept``, ``removed``: ``(time,)`` each, equally loud.
    """

    png: bytes
    size: tuple[int, int]
    sounds: dict[str, np.ndarray]


def render(waveform: np.ndarray, sample_rate: int, explanation: Explanation, top_k_frames: int) -> Rendering:
    """Draw an explanation, and make what is heard of it (see :mod:`speechshap.report.sound`)."""
    from speechshap.report import sound
    from speechshap.report.figures import explanation_figure

    png, size = png_bytes(explanation_figure(waveform, sample_rate, explanation, top_k_frames))
    mask = sound.evidence(explanation.frames[0])
    edges = explanation.frame_edges
    heard = {
        "original": waveform,
        "kept": sound.kept(mask, edges).apply(waveform, sample_rate),
        "removed": sound.removed(mask, edges).apply(waveform, sample_rate),
    }
    return Rendering(png, size, sound.equal_loudness(heard))


def png_bytes(figure: "Figure") -> tuple[bytes, tuple[int, int]]:
    """A matplotlib figure as PNG, and its width and height."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return buffer.getvalue(), image.size


class BackgroundRenderer:
    """Calls :func:`render` in another process, one request after the other.

    Args:
        done: Called with the request's key and its rendering, in the order of the requests, from another thread.

    Raises:
        Exception: From :meth:`submit` or :meth:`close`, what went wrong with an earlier request.
    """

    def __init__(self, done: Callable[[Any, Rendering], None]) -> None:
        self.done = done
        self.executor = ThreadPoolExecutor(1, "rendering")
        self.process: subprocess.Popen[bytes] | None = None
        self.waiting: list[Future[None]] = []

    def submit(self, key: Any, *request: Any) -> None:
        """Ask for a rendering (arguments of :func:`render`); waits where too many are asked for already."""
        self._collect(MAX_WAITING - 1)
        self.waiting.append(self.executor.submit(self._render, key, request))

    def close(self) -> None:
        """Wait for all requests and end the process."""
        try:
            self._collect(0)
        finally:
            self.executor.shutdown(cancel_futures=True)
            if self.process is not None:
                with contextlib.suppress(BrokenPipeError):
                    cast(BinaryIO, self.process.stdin).close()
                cast(BinaryIO, self.process.stdout).close()
                self.process.wait()

    def _collect(self, count: int) -> None:
        """Wait until no more than ``count`` requests are open."""
        while len(self.waiting) > count or (self.waiting and self.waiting[0].done()):
            self.waiting.pop(0).result()

    def _render(self, key: Any, request: tuple[Any, ...]) -> None:
        if self.process is None:
            # A session of its own: Ctrl-C is for the caller, which still wants what it asked for. Not multiprocessing,
            # which would run a user's script again that has no guard around its main part.
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", "from speechshap.report.rendering import main; main()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
            )
        requests, answers = cast(BinaryIO, self.process.stdin), cast(BinaryIO, self.process.stdout)
        try:
            pickle.dump(request, requests)
            requests.flush()
            answer = pickle.load(answers)  # noqa: S301, what our own process wrote
        except (BrokenPipeError, EOFError) as error:
            raise RuntimeError("the process that draws has ended before its time; it may lack memory") from error
        if isinstance(answer, Exception):
            raise answer
        self.done(key, answer)


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer pickled requests with pickled renderings until there are no more."""
    while True:
        try:
            request = pickle.load(requests)  # noqa: S301, from the process that started this one
        except EOFError:
            return
        try:
            answer: Any = render(*request)
        except Exception as error:
            answer = error
        pickle.dump(answer, answers)
        answers.flush()


def main() -> None:
    """Run the other process."""
    # Letters in names that the font lacks are shown as boxes.
    warnings.filterwarnings("ignore", "Glyph .* missing")
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nothing that a library prints comes between the answers
    with contextlib.suppress(BrokenPipeError):
        serve(sys.stdin.buffer, answers)
