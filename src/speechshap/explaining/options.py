"""How a run computes and shows: nothing here changes an attribution."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_args

from torch import Tensor

from speechshap.errors import UserError, require_at_least, require_choice
from speechshap.report.selection import Selection


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a run computes and shows; nothing here changes an attribution.

    Attributes:
        chunk_size: Points on the paths, or other variants of an utterance, that go through the model at once; left
            out, a number chosen for the device.
        gradient_checkpointing: Compute activations again in the backward pass instead of keeping them: less memory
            for each point of a chunk, for a third more time. Chunks are then of one point unless said otherwise.
        alignments: Folder of the alignments that ``segments`` are read from, such as the output of the Montreal Forced
            Aligner, each in the folders of its sound; left out, they lie beside the sounds.
        cues: Measure the prosody of the evidence and of the rest, for Parquet, report and the figure of the corpus.
        answers: Ask the model what it says to the evidence alone, to the sound without it, and to as much at random,
            for Parquet and report: ten forward passes for each target.
        top_k_frames: Strongest frames to mark in a figure.
        draw: Utterances that TensorBoard shows: every ``log_every``-th from the ``first`` on, while the run goes on;
            or at its end those that are most confidently ``wrong``, the least sure of all (``unsure``), or the surest
            right one and the surest wrong one of ``each_class``.
        log_every: See ``draw``.
        max_drawn: How many are shown at most by each process of a run, and by all shards of a corpus together; 0 for
            none.

    Raises:
        UserError: A value is not legal.
    """

    chunk_size: int | None = None
    gradient_checkpointing: bool = False
    alignments: str | None = None
    cues: bool = True
    answers: bool = True
    top_k_frames: int = 20
    draw: Selection = "first"
    log_every: int = 1
    max_drawn: int = 100

    def __post_init__(self) -> None:
        if self.alignments is not None and not Path(self.alignments).is_dir():
            raise UserError(f"`alignments` is {self.alignments}, and there is no such folder")
        require_at_least(1, chunk_size=self.chunk_size, log_every=self.log_every)
        require_at_least(0, top_k_frames=self.top_k_frames, max_drawn=self.max_drawn)
        require_choice("draw", self.draw, get_args(Selection))


class Arithmetic(NamedTuple):
    """Precision of the model's forward passes.

    Attributes:
        name: What is stored with the results.
        context: Entered around each forward pass.
        convert: Takes the waveforms to the precision of the model's input.
    """

    name: str = "32-true"
    context: Callable[[], AbstractContextManager[Any]] = nullcontext
    convert: Callable[[Tensor], Tensor] = lambda waveforms: waveforms


class Place(NamedTuple):
    """Rank of this process, and training step of the explained model.

    Attributes:
        rank: Of this process.
        num_ranks: Processes of the run.
        step: Training step of the model, which is the step of figures and sounds.
        share: Gives every process what the first one passes to it.
        run: Id that the processes of a run have in common (:func:`speechshap.run_lock.new_run_id`); None
            makes one, for a run of one process.
    """

    rank: int = 0
    num_ranks: int = 1
    step: int = 0
    share: Callable[[Any], Any] = lambda value: value
    run: str | None = None
