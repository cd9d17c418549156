"""Explanations in TensorBoard: which tag holds what."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

SEE_ALL = "tensorboard --logdir {folder} --samples_per_plugin=images=100,audio=100"


class ExplanationLog:
    """Writes explanations to a TensorBoard event file.

    TensorBoard keeps ten images and clips of a tag, so that each utterance has tags of its own; they are alike for
    all methods and classes, and two runs lie side by side under the same tag.

    Args:
        folder: Of the event file.
        rank: Of this process; each rank writes a file of its own.
    """

    def __init__(self, folder: Path, rank: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.folder = folder
        self.writer = SummaryWriter(str(folder), filename_suffix=f".explain.{rank}")

    def settings(self, settings: dict[str, Any], step: int) -> None:
        """A text card: how the explanations were computed, and the command that shows all of them."""
        rows = [f"| {name} | {value} |" for name, value in settings.items()]
        command = SEE_ALL.format(folder=self.folder.parent)
        text = "\n".join(["| setting | value |", "| --- | --- |", *rows, "", f"To see every utterance: `{command}`"])
        self.writer.add_text("explain/settings", text, step)

    def utterance(self, name: str, figure: Figure, waveform: np.ndarray, sample_rate: int, step: int) -> None:
        """Figure and sound of one utterance.

        Args:
            name: Utterance id.
            figure: What was drawn of it.
            waveform: ``(time,)``; played with its largest sample at full scale.
            sample_rate: Samples a second (Hz).
            step: Training step of the explained model, so that a slider goes through the training.
        """
        tag = f"explain/{name.strip('/')}"
        self.writer.add_figure(f"{tag}/figure", figure, step)
        loudest = max(float(np.abs(waveform).max()), 1e-9)
        self.writer.add_audio(f"{tag}/audio/original", waveform[None] / loudest * 0.99, step, sample_rate)

    def scalars(self, values: dict[str, float], count: int) -> None:
        """Curves over the number of utterances explained so far in this run."""
        for name, value in values.items():
            self.writer.add_scalar(f"explain/{name}", value, count)

    def flush(self) -> None:
        """Put everything on disk, where TensorBoard sees it."""
        self.writer.flush()

    def close(self) -> None:
        """Put everything on disk and close the file."""
        self.writer.close()
