import hashlib
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytorch_lightning.utilities.exceptions import SIGTERMException

from speechshap.explaining import termination
from speechshap.explaining.termination import Termination


@pytest.fixture
def own_handler() -> Iterator[Callable[..., None]]:
    """A handler of the user, for whom SIGTERM would otherwise end the tests."""

    def handler(signum: int, frame: object) -> None:
        """Nothing."""

    former = signal.signal(signal.SIGTERM, handler)
    yield handler
    signal.signal(signal.SIGTERM, former)


@pytest.mark.usefixtures("own_handler")
def test_sigterm_is_an_exception_in_the_main_thread_and_is_passed_on(tmp_path: Path) -> None:
    passed: list[int] = []
    watched = Termination(tmp_path, passed.append)
    watched.start()
    try:
        with pytest.raises(SIGTERMException):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)  # a second one does not disturb the closing of files
    finally:
        watched.stop()
    assert passed == [signal.SIGTERM]


def test_afterwards_the_former_handler_is_back(tmp_path: Path, own_handler: Callable[..., None]) -> None:
    watched = Termination(tmp_path)
    watched.start()
    assert signal.getsignal(signal.SIGTERM) is not own_handler
    for _ in range(2):
        watched.stop()
        assert signal.getsignal(signal.SIGTERM) is own_handler
        assert signal.set_wakeup_fd(-1) == -1


def test_another_thread_takes_nothing_over(tmp_path: Path, own_handler: Callable[..., None]) -> None:
    watched = Termination(tmp_path)
    thread = threading.Thread(target=watched.start)
    thread.start()
    thread.join()
    watched.stop()
    assert signal.getsignal(signal.SIGTERM) is own_handler


def compute_for_minutes() -> None:
    """A single call into C, in which Python sees no signal."""
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)


def end_in_time() -> None:
    """Python code that the exception ends at once."""
    time.sleep(60)


def close_for_minutes() -> None:
    """Close files that take longer than there is time."""
    try:
        time.sleep(60)
    finally:
        compute_for_minutes()


def run(folder: Path, work: Callable[[], None], ready: Path) -> None:
    """What a process does that is sent SIGTERM; one that has time to end itself does so with the status 7."""
    termination.GRACE_SECONDS = 0.2
    logging.basicConfig(filename=folder / "log", force=True)
    watched = Termination(folder / "results")
    watched.start()
    ready.touch()
    try:
        work()
    except SIGTERMException:
        watched.stop()
        time.sleep(0.5)  # longer than it has while it is watched
        os._exit(7)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    ("work", "status", "said"),
    [
        (compute_for_minutes, 1, "ended by SIGTERM; what was explained is kept: "),
        (close_for_minutes, 1, "ended by SIGTERM; what was explained is kept: "),
        (end_in_time, 7, ""),
    ],
)
def test_a_process_ends_within_seconds_wherever_it_is(
    tmp_path: Path, work: Callable[[], None], status: int, said: str
) -> None:
    process = multiprocessing.get_context("fork").Process(target=run, args=(tmp_path, work, tmp_path / "ready"))
    process.start()
    try:
        deadline = time.monotonic() + 30
        while not (tmp_path / "ready").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.1)  # until it is at work
        process.terminate()
        process.join(30)
        assert process.exitcode == status
    finally:
        process.kill()
    assert said in (tmp_path / "log").read_text()
    assert (str(tmp_path / "results") in (tmp_path / "log").read_text()) == bool(said)
