"""Runs that are killed, stopped, or not alone: nothing is lost, and nothing is there twice."""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from processes import KEY, Command, compute_for_minutes, take_a_while, wait_for_minutes
from safetensors.torch import load_file

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")]


@pytest.fixture
def command(tiny_checkpoint: Path, planted_root: Path, tmp_path: Path) -> Command:
    return Command(tiny_checkpoint, planted_root, tmp_path / "run")


@pytest.fixture
def undisturbed(tiny_checkpoint: Path, planted_root: Path, tmp_path: Path) -> Command:
    return Command(tiny_checkpoint, planted_root, tmp_path / "undisturbed")


def assert_same_rows(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    assert not found.duplicated(KEY).any()
    assert found[KEY].equals(expected[KEY])
    for one, other in zip(found.frame_attribution, expected.frame_attribution, strict=True):
        assert one == pytest.approx(other, rel=1e-3, abs=1e-4 * float(abs(other).max()))


def kill_and_resume(command: Command, kills: int, seed: int = 0) -> None:
    """Kill runs at random moments, and let the last one end."""
    generator = random.Random(seed)  # noqa: S311
    for _ in range(kills):
        process = command.start("--explain.layers", "2", patch=take_a_while)
        command.wait_for_rows(command.num_rows + 1, process)
        time.sleep(generator.uniform(0, 0.3))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, "the run had ended before it was killed"
    command.finish("--explain.layers", "2")


def test_runs_that_were_killed_and_resumed_leave_what_an_undisturbed_one_does(
    command: Command, undisturbed: Command
) -> None:
    undisturbed.finish("--explain.layers", "2")
    kill_and_resume(command, kills=3)
    assert_same_rows(command.rows(), undisturbed.rows())
    neurons, expected = (
        {str(path.relative_to(one.folder)): load_file(path) for path in one.folder.rglob("*.safetensors")}
        for one in (command, undisturbed)
    )
    torch.testing.assert_close(neurons, expected, rtol=1e-3, atol=1e-6)
    assert not list(command.folder.rglob("*.partial"))


def test_two_runs_at_once_write_every_row_once(command: Command, undisturbed: Command) -> None:
    undisturbed.finish()
    for process in [command.start(), command.start()]:
        process.join(120)
        assert process.exitcode == 0, command.log.read_text()
    assert_same_rows(command.rows(), undisturbed.rows())


def test_shards_at_once_one_of_them_killed_and_resumed_leave_what_one_run_does(
    command: Command, undisturbed: Command
) -> None:
    undisturbed.finish()
    shards = [["--data.shard", f"{number}/3"] for number in (1, 2, 3)]
    killed = command.start(*shards[2], patch=take_a_while)
    command.wait_for_rows(1, killed)
    others = [command.start(*own) for own in shards[:2]]
    killed.kill()
    killed.join()
    command.finish(*shards[2], "--data.batch_size", "2")
    for process in others:
        process.join(120)
        assert process.exitcode == 0, command.log.read_text()
    assert_same_rows(command.rows(), undisturbed.rows())
    assert len(list((command.folder / "explanations" / "_shards").glob("*.done"))) == 3


def test_the_same_shard_at_once_is_refused_in_a_line(command: Command) -> None:
    first = command.start("--data.shard", "1/2", patch=wait_for_minutes)
    command.wait_for_rows(1, first)
    second = command.start("--data.shard", "1/2")
    second.join(120)
    first.kill()
    first.join()
    said = command.log.read_text()
    assert second.exitcode == 1, said
    assert "--data.shard 1/2 of " in said
    assert "is being explained by another process" in said
    assert "Traceback" not in said


def test_two_runs_at_once_with_other_settings_do_not_disturb_each_other(command: Command, undisturbed: Command) -> None:
    options = (["--explain.seed", "1"], ["--explain.seed", "2"])
    for own in options:
        undisturbed.finish(*own)
    for process in [command.start(*own) for own in options]:
        process.join(120)
        assert process.exitcode == 0, command.log.read_text()
    assert_same_rows(command.rows(), undisturbed.rows())


@pytest.mark.parametrize(
    ("number", "gradient", "words"),
    [
        (signal.SIGTERM, compute_for_minutes, "ended by SIGTERM; what was explained is kept: "),
        (
            signal.SIGTERM,
            wait_for_minutes,
            "interrupted; what is written stays, and the same command goes on from there",
        ),
        (
            signal.SIGINT,
            wait_for_minutes,
            "interrupted; what is written stays, and the same command goes on from there",
        ),
    ],
)
def test_a_signal_within_a_gradient_of_minutes_ends_the_run(
    command: Command, number: signal.Signals, gradient: Callable[[], None], words: str
) -> None:
    process = command.start("--explain.max_drawn", "9", patch=gradient)
    deadline = time.monotonic() + 60
    while "in the gradient" not in (command.log.read_text() if command.log.exists() else ""):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.5)  # until it really is
    assert process.pid is not None
    os.kill(process.pid, number)
    process.join(60)
    assert process.exitcode == 1
    said = command.log.read_text()
    assert "Traceback" not in said
    assert words in said
    assert len(command.rows()) == 1
