"""Explanations in TensorBoard: which tag holds what."""

import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from speechshap.report.rendering import Rendering
from speechshap.report.selection import outcome
from speechshap.results.folder import Row

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

SEE_ALL = "tensorboard --logdir {folder} --samples_per_plugin=images=100,audio=100"

LONGEST_SOUND_SECONDS = 120
"""A longer sound is not put into the event file, which holds it uncompressed and thrice."""

SUMMARY_COLUMNS = (
    "label", "prediction", "probability", "target", "relative_error", "completeness_gap",
    "frame_attribution", "layer_names", "layer_mass", "embedding",
)  # fmt: skip
"""Of the rows that :meth:`ExplanationLog.summary` takes, beside those that they are grouped by."""


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

    def settings(self, settings: Mapping[str, Any], step: int) -> None:
        """A text card with the settings and the command that shows all utterances, and charts of the curves."""
        rows = [f"| {name} | {value} |" for name, value in settings.items()]
        command = SEE_ALL.format(folder=shlex.quote(str(self.folder.parent)))
        # A block of code, since a folder may have any letters in its name.
        text = "\n".join(
            ["| setting | value |", "| --- | --- |", *rows, "", "To see every utterance:", "", f"    {command}"]
        )
        self.writer.add_text("explain/settings", text, step)
        gap = "explain/completeness_gap"
        charts = {
            "completeness gap, with its 95 % interval": ["Margin", [gap, f"{gap}_lower", f"{gap}_upper"]],
            "relative error": ["Multiline", ["explain/relative_error"]],
            "seconds an utterance": ["Multiline", ["explain/seconds"]],
        }
        self.writer.add_custom_scalars({"explanations": charts})

    def utterance(self, name: str, rendering: Rendering, sample_rate: int, step: int) -> None:
        """Figure and sounds of one utterance.

        Args:
            name: Utterance id.
            rendering: What is seen and heard of it.
            sample_rate: Hz.
            step: Training step of the explained model, so that a slider goes through the training.
        """
        from tensorboard.compat.proto.summary_pb2 import Summary

        # TensorBoard takes a leading slash away, which is all that tells some names apart.
        tag = f"explain/{'%2F' + name[1:] if name.startswith('/') else name}"
        width, height = rendering.size
        # As it is: the writer's own method would decode the picture and encode it a second time.
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=rendering.png)
        cast(Any, self.writer.file_writer).add_summary(
            Summary(value=[Summary.Value(tag=f"{tag}/figure", image=image)]), step
        )
        seconds = len(rendering.sounds["original"]) / sample_rate
        if seconds > LONGEST_SOUND_SECONDS:
            self.writer.add_text(
                f"{tag}/audio", f"{seconds:.0f} s are too long to be heard here; report.html has the sound.", step
            )
            return
        for variant, sound in rendering.sounds.items():
            self.writer.add_audio(f"{tag}/audio/{variant}", sound[None], step, sample_rate)

    def scalars(self, values: Mapping[str, float], count: int) -> None:
        """Curves over the number of utterances explained so far in this run."""
        for name, value in values.items():
            self.writer.add_scalar(f"explain/{name}", value, count)

    def summary(self, rows: Sequence[Row], settings: Mapping[str, Any], seconds: float, key: str, step: int) -> None:
        """What is known of all utterances at the end: histograms, hyperparameters, embeddings for the projector.

        The latter two are a run of their own (``explanations/settings/<key>``): TensorBoard takes one set of
        hyperparameters a run, and training has written its own.

        Args:
            rows: With :data:`SUMMARY_COLUMNS`, all of the same settings.
            settings: How they were computed.
            seconds: That an utterance took, on average.
            key: Short name of settings and model; each has a line of its own among the hyperparameters.
            step: Training step of the explained model.
        """
        from torch.utils.tensorboard import SummaryWriter

        self._histograms(rows, step)
        folder = self.folder / "explanations" / "settings" / key
        # Of a run that was stopped and went on.
        shutil.rmtree(folder, ignore_errors=True)
        with SummaryWriter(str(folder)) as writer:
            _add_hyperparameters(writer, rows, settings, seconds)
            _add_embeddings(writer, rows)

    def _histograms(self, rows: Sequence[Row], step: int) -> None:
        frames: dict[str, list[np.ndarray]] = {}
        shares: dict[str, list[float]] = {}
        for row in rows:
            values = np.asarray(row["frame_attribution"])
            frames.setdefault(row["target"], []).append(values[np.isfinite(values)])
            mass = np.asarray(row["layer_mass"] or [])
            if row["target"] == row["prediction"] and mass.sum() > 0:
                for layer, share in zip(row["layer_names"], mass / mass.sum(), strict=True):
                    shares.setdefault(layer, []).append(share)
        for target, of_target in frames.items():
            if any(values.size for values in of_target):
                self.writer.add_histogram(f"explain/frame_attribution/{target}", np.concatenate(of_target), step)
        for layer, layer_shares in shares.items():
            self.writer.add_histogram(f"explain/layer_share/{layer}", np.asarray(layer_shares), step)

    def flush(self) -> None:
        """Put everything on disk, where TensorBoard sees it."""
        self.writer.flush()

    def close(self) -> None:
        """Put everything on disk and close the file."""
        self.writer.close()


def _add_hyperparameters(
    writer: "SummaryWriter", rows: Sequence[Row], settings: Mapping[str, Any], seconds: float
) -> None:
    from torch.utils.tensorboard.summary import hparams

    metrics = {
        "explain/mean_relative_error": _finite_mean([row["relative_error"] for row in rows]),
        "explain/mean_absolute_completeness_gap": _finite_mean([abs(row["completeness_gap"]) for row in rows]),
        "explain/mean_seconds": seconds,
        "explain/utterances": float(len({row["utterance"] for row in rows})),
    }
    plain = {
        name: value if isinstance(value, bool | int | float | str) else str(value) for name, value in settings.items()
    }
    for part in hparams(plain, metrics):
        cast(Any, writer.file_writer).add_summary(part)
    for name, value in metrics.items():
        writer.add_scalar(name, value, 0)


def _add_embeddings(writer: "SummaryWriter", rows: Sequence[Row]) -> None:
    """Points of the projector, one an utterance; its colours go by the column that is chosen there."""
    points: dict[str, Row] = {}
    for row in rows:
        if row["embedding"]:
            points.setdefault(row["utterance"], row)  # an utterance's first row is of the predicted class
    if len(points) < 2:
        return
    header = ["label", "prediction", "outcome", "probability", "relative_error", "utterance"]
    metadata = []
    for name, row in points.items():
        numbers = (f"{row[column]:.2f}" for column in ("probability", "relative_error"))
        cells = (row["label"] or "unknown", row["prediction"], outcome(row), *numbers, name)
        # The file is separated by tabs and line ends.
        metadata.append([" ".join(cell.split()) for cell in cells])
    vectors = np.array([row["embedding"] for row in points.values()], dtype=np.float32)
    writer.add_embedding(vectors, metadata, tag="explain", metadata_header=header)


def _finite_mean(values: Sequence[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")
