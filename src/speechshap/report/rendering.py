"""Pictures and sounds of explanations as bytes, made in a process of their own.

Drawing an utterance takes some tenths of a second of pure Python, for which a GPU would have to wait. The process is
started on the first request. It holds no model, and ends when its input does, however this process ends.
"""

import contextlib
import io
import os
import pickle
import subprocess
import sys
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np

from speechshap.results.explanation import Explanation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_WAITING_BYTES = 64_000_000
"""Size of the requests that may be waiting; beyond it the caller waits."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """What is seen and heard of an explanation.

    Attributes:
        png: Picture.
        size: Width and height of the picture in pixels.
        sounds: ``original`` and, where there is evidence, ``kept`` and ``removed``: ``(time,)`` each, equally loud;
            none of several explanations.
    """

    png: bytes
    size: tuple[int, int]
    sounds: dict[str, np.ndarray]


def render(waveform: np.ndarray, sample_rate: int, explanation: Explanation, top_k_frames: int) -> Rendering:
    """Draw an explanation and make its sounds (see :mod:`speechshap.report.sound`)."""
    from speechshap.report import sound
    from speechshap.report.figures import explanation_figure

    png, size = png_bytes(explanation_figure(waveform, sample_rate, explanation, top_k_frames))
    envelopes = sound.heard(explanation)
    sounds = {name: own.apply(waveform, sample_rate) for name, own in envelopes.items() if name != "weighted"}
    return Rendering(png, size, sound.equal_loudness(sounds))


def render_methods(explanations: Sequence[Explanation], waveform: np.ndarray | None, sample_rate: int) -> Rendering:
    """Draw the explanations of one utterance by several methods."""
    from speechshap.report.figures import methods_figure

    return Rendering(*png_bytes(methods_figure(explanations, waveform, sample_rate)), {})


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


class RenderingError(Exception):
    """A picture that could not be made; the text is the traceback of the drawing process."""


class BackgroundRenderer:
    """Calls :func:`render`, or another function that draws, in another process, one request after the other."""

    def __init__(self) -> None:
        self.executor = ThreadPoolExecutor(1, "rendering")
        self.process: subprocess.Popen[bytes] | None = None
        self.waiting: deque[tuple[Future[None], int]] = deque()
        self.is_abandoned = False

    def submit(
        self, done: Callable[[Rendering | RenderingError], None], draw: Callable[..., Rendering], *arguments: Any
    ) -> None:
        """Request a rendering; waits while too many bytes are waiting already.

        Args:
            done: Called from another thread, in the order of the requests, with the rendering or
                :class:`RenderingError`. An exception that it raises is raised again by :meth:`submit` or :meth:`close`.
            draw: Makes the rendering; a function of this package.
            arguments: Of the function.
        """
        request = pickle.dumps((draw, arguments))
        self._collect(MAX_WAITING_BYTES - len(request))
        self.waiting.append((self.executor.submit(self._render, done, request), len(request)))

    def close(self, wait: bool = True) -> None:
        """End the process; a second time does nothing.

        Args:
            wait: Whether to wait for all requests; otherwise, as after an exception, those that are open are dropped.
        """
        try:
            if wait:
                self._collect(0)
        finally:
            self.executor.shutdown(wait=False, cancel_futures=True)
            process = self.process
            if process is not None and not all(future.done() for future, _ in self.waiting):
                self.is_abandoned = True
                process.kill()  # it may draw a long sound for a while
            self.executor.shutdown()
            self._end()

    def _collect(self, size: int) -> None:
        """Wait until the open requests have at most this many bytes together."""
        while self.waiting and (self.waiting[0][0].done() or sum(waiting for _, waiting in self.waiting) > size):
            self.waiting.popleft()[0].result()

    def _render(self, done: Callable[[Rendering | RenderingError], None], request: bytes) -> None:
        try:
            answer = self._ask(request)
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            self._end()  # the next request starts another
            if self.is_abandoned:
                return
            answer = RenderingError(f"the drawing process ended unexpectedly, perhaps for lack of memory ({error})")
        done(answer)

    def _ask(self, request: bytes) -> Rendering | RenderingError:
        if self.process is None:
            # In a session of its own, so that Ctrl-C reaches the caller only, which still wants its pictures. Not with
            # multiprocessing, which would run a user's script a second time if its main part has no guard.
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", "from speechshap.report.rendering import main; main()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
                env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sys.path)), "OMP_NUM_THREADS": "1"},
            )
        requests = cast(BinaryIO, self.process.stdin)
        requests.write(request)
        requests.flush()
        return pickle.load(cast(BinaryIO, self.process.stdout))  # noqa: S301, written by our own process

    def _end(self) -> None:
        """Tell the process to end; closing its input is not enough, as forks of this process may hold it open."""
        if self.process is None:
            return
        with contextlib.suppress(OSError):
            pickle.dump(None, cast(BinaryIO, self.process.stdin))
            cast(BinaryIO, self.process.stdin).close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        cast(BinaryIO, self.process.stdout).close()
        self.process = None


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer pickled requests with pickled renderings until None or the end of the input."""
    while True:
        try:
            request = pickle.load(requests)  # noqa: S301, from the parent process
        except (EOFError, pickle.UnpicklingError):  # which the parent's end may leave cut off
            return
        if request is None:
            return
        draw, arguments = request
        try:
            answer: Rendering | RenderingError = draw(*arguments)
        except Exception:
            answer = RenderingError(traceback.format_exc())
        pickle.dump(answer, answers)
        answers.flush()


def main() -> None:
    """Main part of the drawing process."""
    # Characters that the font lacks are drawn as boxes.
    warnings.filterwarnings("ignore", "Glyph .* missing")
    # A model on the CPU keeps its cores: its threads all wait when one of them has to share a core.
    if hasattr(os, "nice"):
        os.nice(19)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # libraries must not print between the answers
    with contextlib.suppress(BrokenPipeError):
        serve(sys.stdin.buffer, answers)
