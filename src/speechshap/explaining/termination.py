"""Ends a run within seconds of SIGTERM, wherever it is."""

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from pytorch_lightning.utilities.exceptions import SIGTERMException

logger = logging.getLogger(__name__)

GRACE_SECONDS = 5.0
"""How long the main thread has to react and to close its files."""


class Termination:
    """While it is started, SIGTERM raises :class:`SIGTERMException` in the main thread, as Ctrl-C raises its exception.

    A single gradient of a long recording takes minutes, in which no Python code runs that could raise anything. The
    process then ends without further ado once :data:`GRACE_SECONDS` have passed: everything that is written is whole at
    all times.

    Args:
        folder: Where the results are, which is told at such an end.
        forward: Called with the signal first, to pass it on to processes that this one has started.
    """

    def __init__(self, folder: Path, forward: Callable[[int], object] | None = None) -> None:
        self._folder = folder
        self._forward = forward
        self._former: Any = None
        self._former_wakeup = -1
        self._sender: socket.socket | None = None
        self._stopped = threading.Event()

    def start(self) -> None:
        """Take over SIGTERM; does nothing outside the main thread, where Python handles no signals."""
        if threading.current_thread() is not threading.main_thread():
            return
        self._stopped.clear()
        receiver, self._sender = socket.socketpair()
        self._sender.setblocking(False)
        self._former = signal.signal(signal.SIGTERM, self._raise)
        # Written to as soon as the signal arrives, whatever the main thread is at.
        self._former_wakeup = signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(receiver,), name="termination", daemon=True).start()

    def stop(self) -> None:
        """Give SIGTERM back to whoever had it; a second time does nothing."""
        self._stopped.set()
        if self._sender is not None:
            signal.set_wakeup_fd(self._former_wakeup)
            signal.signal(signal.SIGTERM, self._former)
            self._sender.close()
            self._sender = None

    def _raise(self, signum: int, frame: FrameType | None) -> None:
        # A second one must not disturb the closing of files.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self._pass_on()
        raise SIGTERMException

    def _pass_on(self) -> None:
        if self._forward is not None:
            self._forward(signal.SIGTERM)

    def _watch(self, receiver: socket.socket) -> None:
        with receiver:
            while signals := receiver.recv(64):
                if signal.SIGTERM in signals and not self._stopped.wait(GRACE_SECONDS):
                    logger.warning("ended by SIGTERM; what was explained is kept: %s", self._folder)
                    self._pass_on()
                    os._exit(1)
