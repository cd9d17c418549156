"""Explanations as TensorBoard tags."""

import logging
import shlex
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechshap.fingerprint import fingerprint
from speechshap.markdown import plain
from speechshap.report.events import MarkedEvents
from speechshap.report.log import Shown, short_name
from speechshap.report.settings_run import (
    compare_settings,
    is_written,
    settings_folder,
    settings_table,
    write_settings_run,
)
from speechshap.report.settings_summary import SettingsSummary

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary

logger = logging.getLogger(__name__)

SEE_ALL = "tensorboard --logdir {folder} --samples_per_plugin=images=100,audio=100"

_NAMED_BELOW = "named below "


class ExplanationLog:
    """Writes explanations to a TensorBoard event file, each part of them once for all runs into the folder.

    TensorBoard keeps ten images and clips of a tag, so each utterance has its own tags. They are the same for all
    methods and classes, so that two runs are shown side by side.

    A run may take days and does not end for what cannot be shown: where a file cannot be written (the disk is full,
    say), a warning names it, and a later run into the same folder writes what is missing.

    Args:
        folder: Folder of the event file.
        rank: Rank of this process; each writes a file of its own.
        common_folder: What tags leave out of the ids of utterances (:func:`speechshap.report.log.common_folder`).
            Once there are pictures, it is that of the first one, so that all runs into the folder name alike.
    """

    def __init__(self, folder: Path, rank: int = 0, common_folder: str = "") -> None:
        self.folder = folder
        self.events = MarkedEvents(folder, rank)
        self.num_failed = 0
        self._common_folder = common_folder

    def has_picture(self, key: str) -> bool:
        """Whether figure and sounds of an explanation are in the folder, ``key`` being its own."""
        return _picture(key) in self.events

    def settings(self, settings: Mapping[str, Any], step: int) -> None:
        """Write a text card with the settings and the command that shows all utterances."""
        from torch.utils.tensorboard import summary

        command = SEE_ALL.format(folder=shlex.quote(str(self.folder.parent)))
        # As a block of code: a folder may have any characters in its name.
        text = f"{settings_table(settings)}\n\nTo see every utterance:\n\n    {command}"
        self._write(f"settings {fingerprint(text, step)}", summary.text("explain/settings", text).value, step)

    def picture(self, shown: Shown, step: int) -> None:
        """Write the picture and sounds of one utterance; the step is that of TensorBoard's slider."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        tag = f"explain/{self.name(shown.utterance)}"
        width, height = shown.rendering.size
        # The function for it would decode the picture and encode it again.
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=shown.rendering.png)
        figure = Summary(value=[Summary.Value(tag=f"{tag}/{shown.kind}", image=image)])
        self._write(_picture(shown.key), _values([figure, *_sounds(shown, tag)]), step)

    def name(self, utterance: str) -> str:
        """The id of an utterance as tags have it."""
        return short_name(utterance, self._agreed_folder())

    def _agreed_folder(self) -> str:
        """What tags leave out, which is written with the first of them."""
        found = [mark for mark in self.events.steps if mark.startswith(_NAMED_BELOW)]
        if not found:
            has_full_names = any(mark.startswith(_picture("")) for mark in self.events.steps)
            found = [f"{_NAMED_BELOW}{'' if has_full_names else self._common_folder}"]
            self.remember(found[0])
        return found[0].removeprefix(_NAMED_BELOW)

    def remember(self, mark: str) -> None:
        """Write a mark that shows nothing."""
        self._write(mark, [], 0)

    def seconds(self, seconds: float, key: str, count: int) -> None:
        """Write a point of the only curve: how long an explanation took.

        Args:
            seconds: Time.
            key: Different for every explanation.
            count: Where on the curve: a number of utterances.
        """
        from torch.utils.tensorboard.summary import scalar

        self._write(f"curves {key}", scalar("explain/seconds", seconds).value, count)

    def summary(
        self,
        found: SettingsSummary,
        settings: Mapping[str, Any],
        seconds: float | None,
        settings_fingerprint: str,
        step: int,
    ) -> None:
        """Write what explanations have in common, as a run of its own, ``explanations/settings/<fingerprint>``.

        Args:
            found: The explanations.
            settings: Their settings.
            seconds: Mean time of an utterance; None where unknown.
            settings_fingerprint: Of settings and model.
            step: Training step of the explained model.
        """
        folder = settings_folder(self.folder) / settings_fingerprint
        if is_written(folder, found):
            return
        try:
            with self.events.only_writer() as is_alone:
                write_settings_run(folder, found, settings, seconds, step, is_alone)
        except OSError as error:
            self._failed(error)

    def compare_settings(self, step: int) -> None:
        """Write a table of all settings with their errors and their cost."""
        try:
            with self.events.only_writer():
                compare_settings(self.folder, step)
        except OSError as error:
            self._failed(error)

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


def _picture(key: str) -> str:
    """Mark of a picture."""
    return f"picture {key}"


def _sounds(shown: Shown, tag: str) -> list["Summary"]:
    """The sounds as players; of a long one a text."""
    from torch.utils.tensorboard import summary

    sounds = shown.sounds
    if shown.is_long:
        names = ", ".join(sounds)
        text = f"{shown.caption}. {shown.seconds:.0f} s are too long to be heard here; report.html has {names}."
        return [summary.text(f"{tag}/{next(iter(sounds))}", plain(text))]
    return [summary.audio(f"{tag}/{name}", sound[None], shown.sample_rate) for name, sound in sounds.items()]


def _values(summaries: Iterable["Summary"]) -> Iterable["Summary.Value"]:
    return chain.from_iterable(summary.value for summary in summaries)
