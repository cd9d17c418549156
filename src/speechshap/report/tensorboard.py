"""Explanations as TensorBoard tags."""

import logging
import shlex
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from speechshap.files import EXPLANATIONS
from speechshap.fingerprint import fingerprint
from speechshap.report.events import MarkedEvents
from speechshap.report.rendering import Rendering
from speechshap.report.settings_run import SettingsSummary, write_settings_run
from speechshap.report.sound import LONGEST_SOUND_SECONDS
from speechshap.results.parts import Row

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary

logger = logging.getLogger(__name__)

SEE_ALL = "tensorboard --logdir {folder} --samples_per_plugin=images=100,audio=100"

SUMMARY_COLUMNS = (
    "label", "prediction", "probability", "target", "against", "relative_error", "completeness_gap",
    "frame_attribution", "layer_names", "layer_mass", "embedding",
)  # fmt: skip
"""Columns that :meth:`ExplanationLog.summary` needs, besides those that rows are grouped by."""

Picture = Literal["figure", "methods"]


class ExplanationLog:
    """Writes explanations to a TensorBoard event file, each part of them once for all runs into the folder.

    TensorBoard keeps ten images and clips of a tag, so each utterance has its own tags. They are the same for all
    methods and classes, so that two runs are shown side by side.

    A run may take days and does not end for what cannot be shown: where a file cannot be written (the disk is full,
    say), a warning names it, and a later run into the same folder writes what is missing.

    Args:
        folder: Folder of the event file.
        rank: Rank of this process; each writes a file of its own.
    """

    def __init__(self, folder: Path, rank: int = 0) -> None:
        self.folder = folder
        self.events = MarkedEvents(folder, rank)
        self.num_failed = 0

    def has_curves(self, key: str) -> bool:
        """Whether the curves of an explanation are in the folder, ``key`` being its own."""
        return f"curves {key}" in self.events

    def has_picture(self, key: str) -> bool:
        """Whether figure and sounds of an explanation are in the folder, ``key`` being its own."""
        return f"picture {key}" in self.events

    def settings(self, settings: Mapping[str, Any], step: int) -> None:
        """Write a text card with the settings and the command that shows all utterances, and lay out the curves."""
        from torch.utils.tensorboard import summary

        rows = [f"| {name} | {value} |" for name, value in settings.items()]
        command = SEE_ALL.format(folder=shlex.quote(str(self.folder.parent)))
        # As a block of code: a folder may have any characters in its name.
        text = "\n".join(
            ["| setting | value |", "| --- | --- |", *rows, "", "To see every utterance:", "", f"    {command}"]
        )
        gap = "explain/completeness_gap"
        charts = {
            "completeness gap, with its 95 % interval": ["Margin", [gap, f"{gap}_lower", f"{gap}_upper"]],
            "relative error": ["Multiline", ["explain/relative_error"]],
            "seconds an utterance": ["Multiline", ["explain/seconds"]],
        }
        parts = [summary.text("explain/settings", text), summary.custom_scalars({"explanations": charts})]
        self._write(f"settings {fingerprint(text, step)}", _values(parts), step)

    def utterance(
        self, name: str, key: str, rendering: Rendering, sample_rate: int, step: int, kind: Picture = "figure"
    ) -> None:
        """Write the picture and sounds of one utterance.

        Args:
            name: Utterance id.
            key: Different for every picture.
            rendering: Its figure and sounds.
            sample_rate: Hz.
            step: Training step of the explained model, for TensorBoard's slider.
            kind: Of one explanation, or of those by several ``methods``.
        """
        from tensorboard.compat.proto.summary_pb2 import Summary

        # TensorBoard strips a leading slash, which may be all that tells two names apart.
        tag = f"explain/{'%2F' + name[1:] if name.startswith('/') else name}"
        width, height = rendering.size
        # The function for it would decode the picture and encode it again.
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=rendering.png)
        figure = Summary(value=[Summary.Value(tag=f"{tag}/{kind}", image=image)])
        self._write(f"picture {key}", _values([figure, *_sounds(rendering, tag, sample_rate)]), step)

    def curves(self, values: Mapping[str, float], key: str, step: int) -> None:
        """Write points of the curves.

        Args:
            values: Points by the names of their curves.
            key: Different for every explanation.
            step: Where on the curves: a number of utterances.
        """
        from torch.utils.tensorboard.summary import scalar

        self._write(f"curves {key}", _values(scalar(f"explain/{name}", value) for name, value in values.items()), step)

    def summary(
        self,
        utterances: Iterable[Sequence[Row]],
        settings: Mapping[str, Any],
        seconds: float | None,
        settings_fingerprint: str,
        step: int,
    ) -> None:
        """Write histograms, hyperparameters, and points of the projector, once for a set of explanations.

        The latter two are a run of their own, ``explanations/settings/<fingerprint>``.

        Args:
            utterances: Rows of one after the other, of the same settings, with the columns :data:`SUMMARY_COLUMNS`.
            settings: The settings.
            seconds: Mean time of an utterance; None where unknown.
            settings_fingerprint: Of settings and model; each has its own line among the hyperparameters.
            step: Training step of the explained model.
        """
        found = SettingsSummary(utterances)
        if not found.num_utterances:
            return
        mark = f"summary {fingerprint(settings_fingerprint, found.digest)}"
        folder = self.folder / EXPLANATIONS / "settings" / settings_fingerprint
        if mark in self.events and folder.is_dir():  # it goes with the results if someone removes these
            return
        try:
            with self.events.only_writer() as is_alone:
                write_settings_run(folder, found, settings, seconds, is_alone)
        except OSError as error:
            self._failed(error)
        else:
            self._write(mark, _values(found.histograms()), step)

    def close(self) -> None:
        """Say if something could not be written."""
        if self.num_failed:
            logger.warning(
                "%d times something could not be written for TensorBoard; the same command again adds what is missing",
                self.num_failed,
            )

    def _write(self, mark: str, values: Iterable["Summary.Value"], step: int) -> None:
        try:
            self.events.write(mark, values, step)
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        if not self.num_failed:
            logger.warning("%s; TensorBoard will lack what is not written", error)
        self.num_failed += 1


def _sounds(rendering: Rendering, tag: str, sample_rate: int) -> list["Summary"]:
    """The sounds as players; of a long one a text."""
    from torch.utils.tensorboard import summary

    seconds = max((len(sound) / sample_rate for sound in rendering.sounds.values()), default=0.0)
    if seconds > LONGEST_SOUND_SECONDS:
        text = f"{seconds:.0f} s are too long to be heard here; report.html has the sound."
        return [summary.text(f"{tag}/audio", text)]
    return [
        summary.audio(f"{tag}/audio/{variant}", sound[None], sample_rate) for variant, sound in rendering.sounds.items()
    ]


def _values(summaries: Iterable["Summary"]) -> Iterable["Summary.Value"]:
    return chain.from_iterable(summary.value for summary in summaries)
