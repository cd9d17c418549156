"""``explain.py`` in processes of its own, to be killed or to run at the same time."""

import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import torch

from speechshap.cli.explain import explain
from speechshap.cli.program import run
from speechshap.explaining import termination
from speechshap.explaining.batch_explainer import BatchExplainer

KEY = ["utterance", "target", "fingerprint"]
"""What a row is found by."""


def explain_in_process(log: Path, arguments: list[str], patch: Callable[[], None] | None = None) -> None:
    """What ``explain.py`` does, in a process of its own."""
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), sys.stderr.fileno())
    torch.set_num_threads(1)
    if patch is not None:
        patch()
    sys.argv = ["explain.py", *arguments]
    run(explain, interrupted="interrupted; what is written stays, and the same command goes on from there")


class Command:
    """``explain.py`` for the test split of a corpus, an utterance a part."""

    def __init__(self, checkpoint: Path, root: Path, folder: Path) -> None:
        self.folder = folder
        self.log = folder.with_suffix(".log")
        self.arguments = [
            "--ckpt_path", str(checkpoint), "--data.root", str(root), "--data.batch_size", "1", "--report", "false",
            "--explain.output_dir", str(folder),
            "--explain.preset", "textbook", "--explain.n_samples", "8", "--explain.max_drawn", "0",
            "--trainer.accelerator", "cpu",
        ]  # fmt: skip
        # Forks of a process that has imported everything and done nothing start in no time.
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(
            ["speechshap.cli", "torch.utils.tensorboard", "transformers.models.wavlm.modeling_wavlm"]
        )

    def start(self, *options: str, patch: Callable[[], None] | None = None) -> BaseProcess:
        process = self.context.Process(
            target=explain_in_process, args=(self.log, [*self.arguments, *options], patch), daemon=False
        )
        process.start()
        return process

    def finish(self, *options: str) -> None:
        process = self.start(*options)
        process.join(120)
        assert process.exitcode == 0, self.log.read_text()

    @property
    def parts(self) -> list[Path]:
        return sorted((self.folder / "explanations").glob("part-*.parquet"))

    @property
    def num_rows(self) -> int:
        return sum(pq.read_metadata(part).num_rows for part in self.parts)

    def wait_for_rows(self, count: int, process: BaseProcess) -> None:
        """Wait until a process that must not end before has seen so many rows written."""
        deadline = time.monotonic() + 120
        while self.num_rows < count:
            assert process.is_alive(), self.log.read_text()
            assert time.monotonic() < deadline, f"{self.num_rows} rows instead of {count}"
            time.sleep(0.01)

    def rows(self) -> pd.DataFrame:
        """As anybody reads the folder, without what this package does about rows that are there twice."""
        return pd.read_parquet(self.parts).sort_values(KEY).reset_index(drop=True)


def compute_for_minutes() -> None:
    """Let the second gradient be a single call into C that takes minutes, in which Python sees no signal."""
    attribute = BatchExplainer._attribute
    done: list[int] = []
    matrix = torch.rand(6000, 6000)

    def slow(explainer: BatchExplainer, *arguments: Any) -> Any:
        if done:
            print("in the gradient", file=sys.stderr, flush=True)
            torch.linalg.eigvals(matrix)
        done.append(1)
        return attribute(explainer, *arguments)

    BatchExplainer._attribute = slow  # type: ignore[method-assign]


def take_a_while() -> None:
    """Let every gradient take so long that a run can be killed before it ends."""
    attribute = BatchExplainer._attribute

    def slow(explainer: BatchExplainer, *arguments: Any) -> Any:
        time.sleep(0.3)
        return attribute(explainer, *arguments)

    BatchExplainer._attribute = slow  # type: ignore[method-assign]


def wait_for_minutes() -> None:
    """Let the second gradient take minutes in Python."""
    compute_for_minutes()
    torch.linalg.eigvals = lambda matrix: time.sleep(300)
    termination.GRACE_SECONDS = 60.0
