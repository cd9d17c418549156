"""Explanations as TensorBoard tags."""

import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from speechshap.report.rendering import Rendering
from speechshap.report.selection import outcome
from speechshap.results.rows import Row, explains_prediction, target_of

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

SEE_ALL = "tensorboard --logdir {folder} --samples_per_plugin=images=100,audio=100"

LONGEST_SOUND_SECONDS = 120
"""Longer sounds are left out of the event file, which holds three uncompressed copies of each."""

SUMMARY_COLUMNS = (
    "label", "prediction", "probability", "target", "against", "relative_error", "completeness_gap",
    "frame_attribution", "layer_names", "layer_mass", "embedding",
)  # fmt: skip
"""Columns that :meth:`ExplanationLog.summary` needs, besides those that rows are grouped by."""


class ExplanationLog:
    """Writes explanations to a TensorBoard event file.

    TensorBoard keeps ten images and clips of a tag, so each utterance has its own tags. They are the same for all
    methods and classes, so that two runs are shown side by side.

    Args:
        folder: Folder of the event file.
        rank: Rank of this process; each writes a file of its own.
    """

    def __init__(self, folder: Path, rank: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.folder = folder
        self.writer = SummaryWriter(str(folder), filename_suffix=f".explain.{rank}")

    def settings(self, settings: Mapping[str, Any], step: int) -> None:
        """Write a text card with the settings and the command that shows all utterances, and lay out the curves."""
        rows = [f"| {name} | {value} |" for name, value in settings.items()]
        command = SEE_ALL.format(folder=shlex.quote(str(self.folder.parent)))
        # As a block of code: a folder may have any characters in its name.
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
        """Write the figure and sounds of one utterance.

        Args:
            name: Utterance id.
            rendering: Its figure and sounds.
            sample_rate: Hz.
            step: Training step of the explained model, for TensorBoard's slider.
        """
        from tensorboard.compat.proto.summary_pb2 import Summary

        # TensorBoard strips a leading slash, which may be all that tells two names apart.
        tag = f"explain/{'%2F' + name[1:] if name.startswith('/') else name}"
        width, height = rendering.size
        # The writer's own method would decode the picture and encode it again.
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
        """Write points of the curves over the number of utterances explained so far."""
        for name, value in values.items():
            self.writer.add_scalar(f"explain/{name}", value, count)

    def summary(self, rows: Sequence[Row], settings: Mapping[str, Any], seconds: float, key: str, step: int) -> None:
        """Write histograms, hyperparameters, and embeddings for the projector, once all utterances are explained.

        The latter two are a run of their own (``explanations/settings/<key>``): TensorBoard accepts one set of
        hyperparameters for each run, and training has written its own.

        Args:
            rows: Rows of the same settings, with the columns :data:`SUMMARY_COLUMNS`.
            settings: The settings.
            seconds: Mean time of an utterance.
            key: Fingerprint of settings and model; each has its own line among the hyperparameters.
            step: Training step of the explained model.
        """
        from torch.utils.tensorboard import SummaryWriter

        self._histograms(rows, step)
        folder = self.folder / "explanations" / "settings" / key
        # Left by a run that was stopped and is resumed.
        shutil.rmtree(folder, ignore_errors=True)
        with SummaryWriter(str(folder)) as writer:
            _add_hyperparameters(writer, rows, settings, seconds)
            _add_embeddings(writer, rows)

    def _histograms(self, rows: Sequence[Row], step: int) -> None:
        frames: dict[str, list[np.ndarray]] = {}
        shares: dict[str, list[float]] = {}
        for row in rows:
            values = np.asarray(row["frame_attribution"])
            frames.setdefault(str(target_of(row)), []).append(values[np.isfinite(values)])
            mass = np.asarray(row["layer_mass"] or [])
            if explains_prediction(row) and mass.sum() > 0:
                for layer, share in zip(row["layer_names"], mass / mass.sum(), strict=True):
                    shares.setdefault(layer, []).append(share)
        for target, of_target in frames.items():
            if any(values.size for values in of_target):
                self.writer.add_histogram(f"explain/frame_attribution/{target}", np.concatenate(of_target), step)
        for layer, layer_shares in shares.items():
            self.writer.add_histogram(f"explain/layer_share/{layer}", np.asarray(layer_shares), step)

    def flush(self) -> None:
        """Put everything on disk, for TensorBoard to read."""
        self.writer.flush()

    def close(self) -> None:
        """Put everything on disk and close the file."""
        self.writer.close()


def _add_hyperparameters(
    writer: "SummaryWriter", rows: Sequence[Row], settings: Mapping[str, Any], seconds: float
) -> None:
    from torch.utils.tensorboard.summary import hparams

    metrics = {
        "explain/mean_relative_error": _mean_size(rows, "relative_error"),
        "explain/mean_absolute_completeness_gap": _mean_size(rows, "completeness_gap"),
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
    """Write points of the projector, one for each utterance, coloured there by a column of their metadata."""
    points: dict[str, Row] = {}
    for row in rows:
        if row["embedding"]:
            points.setdefault(row["utterance"], row)  # an utterance's first row explains the predicted class
    if len(points) < 2:
        return
    header = ["label", "prediction", "outcome", "probability", "relative_error", "utterance"]
    metadata = []
    for name, row in points.items():
        numbers = (row[column] for column in ("probability", "relative_error"))
        known = ("" if number is None else f"{number:.2f}" for number in numbers)
        cells = (row["label"] or "unknown", row["prediction"] or "none", outcome(row), *known, name)
        # Tabs and line ends separate the cells of the file.
        metadata.append([" ".join(cell.split()) for cell in cells])
    vectors = np.array([row["embedding"] for row in points.values()], dtype=np.float32)
    writer.add_embedding(vectors, metadata, tag="explain", metadata_header=header)


def _mean_size(rows: Sequence[Row], column: str) -> float:
    """Mean absolute value of a column where it is known and finite."""
    values = np.abs(np.array([row[column] for row in rows], dtype=float))  # null becomes NaN
    return float(values[np.isfinite(values)].mean()) if np.isfinite(values).any() else float("nan")
