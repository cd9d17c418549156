"""Explanations in any logger of Lightning, as far as it takes them."""

import csv
import io
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

import soundfile

from speechshap.data.wording import counted
from speechshap.fingerprint import fingerprint
from speechshap.report.log import Shown
from speechshap.report.settings_summary import SettingsSummary
from speechshap.report.tensorboard import ExplanationLog
from speechshap.report.utterance_table import Line

logger = logging.getLogger(__name__)

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What spreadsheets take for the beginning of a formula, or for space before it."""


class LoggerLog:
    """Shows explanations in a logger of Lightning, by whichever of these it has.

    * ``log_image``, ``log_audio`` and ``log_table``, called as those of ``WandbLogger``: pictures, sounds, and the
      table of utterances.
    * An experiment that takes files, as those of ``MLFlowLogger`` (``log_artifact``) and ``CometLogger``
      (``log_asset``): the same as PNG, WAV and CSV.
    * ``log_metrics`` and ``log_hyperparams``, which every logger has: seconds, mean errors, and settings.

    A logger that fails (its server is away, say) costs what it was to show, with a warning, and never the run. Where a
    run of a logger is resumed, nothing is shown in it twice.

    Args:
        of_lightning: The logger; of several processes, the first one has it.
        log: TensorBoard's, whose files remember what was shown, and which says how utterances are named.
        label: Of the method, where there are several.
    """

    def __init__(self, of_lightning: Any, log: ExplanationLog, label: str | None = None) -> None:
        self._logger = of_lightning
        self._log = log
        # Other characters are no name for MLflow.
        self._prefix = "/".join(["explain", *([] if label is None else [re.sub(r"[^\w.: -]+", " ", label).strip()])])
        self._send_file: Callable[[Path, str], Any] | None = None
        self._run = self._name = type(of_lightning).__name__
        self.num_failed = 0
        self._try(self._meet)

    def _meet(self) -> None:
        """Ask the logger for its experiment, for which it may ask its server."""
        self._send_file = _file_taker(self._logger)
        self._run = f"{self._name} {self._logger.name} {self._logger.version} {self._prefix}"

    def has_picture(self, key: str) -> bool:
        """Whether nothing is to be drawn: the picture is there already, or is not taken."""
        takes = self._send_file or hasattr(self._logger, "log_image")
        return not takes or self._mark(f"picture {key}") in self._log.events

    def settings(self, settings: Mapping[str, Any], step: int) -> None:
        """Log the settings as hyperparameters."""
        plain = {f"{self._prefix}/{name}": "none" if value is None else str(value) for name, value in settings.items()}
        self._once(f"settings {fingerprint(plain)}", lambda: self._logger.log_hyperparams(plain))

    def picture(self, shown: Shown, step: int) -> None:
        """Log the picture and sounds of an utterance, if they are not there already."""
        if not self.has_picture(shown.key):
            self._once(f"picture {shown.key}", lambda: self._send_picture(shown, step))

    def _send_picture(self, shown: Shown, step: int) -> None:
        name = f"{self._prefix}/{self._log.name(shown.utterance)}"
        sounds = {} if shown.is_long else shown.sounds
        if self._send_file is not None:
            self._send_as_file(f"{name}/{shown.kind}.png", shown.rendering.png)
            for variant, sound in sounds.items():
                buffer = io.BytesIO()
                soundfile.write(buffer, sound, shown.sample_rate, format="WAV", subtype="PCM_16")
                self._send_as_file(f"{name}/{variant}.wav", buffer.getvalue())
            return
        from PIL import Image

        image = Image.open(io.BytesIO(shown.rendering.png))
        self._logger.log_image(f"{name}/{shown.kind}", [image], step=step, caption=[shown.caption])
        for variant, sound in sounds.items() if hasattr(self._logger, "log_audio") else ():
            options = {"sample_rate": [shown.sample_rate], "caption": [f"{shown.utterance}: {variant}"]}
            self._logger.log_audio(f"{name}/{variant}", [sound], step=step, **options)

    def seconds(self, seconds: float, key: str, count: int) -> None:
        """Log how long an explanation took."""
        self._try(lambda: self._logger.log_metrics({f"{self._prefix}/seconds": seconds}, step=count))

    def summary(
        self,
        found: SettingsSummary,
        settings: Mapping[str, Any],
        seconds: float | None,
        settings_fingerprint: str,
        step: int,
    ) -> None:
        """Log mean errors, and the table of utterances."""
        numbers = {f"{self._prefix}/{name}": value for name, value in found.numbers(seconds).items()}

        def send() -> None:
            self._logger.log_metrics(numbers, step=step)
            self._send_table(f"{self._prefix}/utterances", found.table.lines, step)

        self._once(f"summary {settings_fingerprint} {found.digest:x}", send)

    def _send_table(self, name: str, lines: Sequence[Line], step: int) -> None:
        columns = list(Line._fields)
        if self._send_file is not None:
            text = io.StringIO()
            cells = [[_no_formula(cell) for cell in line] for line in lines]
            csv.writer(text, lineterminator="\n").writerows([columns, *cells])
            self._send_as_file(f"{name}.csv", text.getvalue().encode())
        elif hasattr(self._logger, "log_table"):
            self._logger.log_table(name, columns=columns, data=[list(line) for line in lines], step=step)

    def _send_as_file(self, name: str, content: bytes) -> None:
        """Have the experiment take a file, under a name that leaves no folder."""
        place = PurePosixPath(*("%2E%2E" if part == ".." else part for part in name.split("/")))
        with TemporaryDirectory() as folder:
            path = Path(folder) / place.name
            path.write_bytes(content)
            if self._send_file is not None:
                self._send_file(path, str(place.parent))

    def _mark(self, what: str) -> str:
        return f"{what} in {self._run}"

    def _once(self, what: str, send: Callable[[], None]) -> None:
        if self._mark(what) not in self._log.events and self._try(send):
            self._log.remember(self._mark(what))

    def _try(self, send: Callable[[], None]) -> bool:
        """Call a logger, which may raise anything; whether it did not."""
        try:
            send()
        except Exception as error:
            if not self.num_failed:
                logger.warning("%s lacks what it cannot take: %s", self._name, error)
            self.num_failed += 1
            return False
        return True

    def close(self) -> None:
        """Say if something could not be shown."""
        if self.num_failed:
            times = counted(self.num_failed, "time")
            logger.warning("%s could not take something %s; TensorBoard's files have it", self._name, times)


def tell_what_is_left_out(loggers: Sequence[Any]) -> None:
    """Say which loggers take numbers alone, or no sounds."""
    for each in loggers:
        try:
            if _file_taker(each) is not None:
                continue
        except Exception as error:
            logger.warning("%s cannot be reached: %s", type(each).__name__, error)
            continue
        methods = {"log_image": "pictures", "log_audio": "sounds", "log_table": "tables"}
        lacking = [name for method, name in methods.items() if not hasattr(each, method)]
        if lacking:
            names = " or ".join(lacking)
            logger.info("%s takes no %s; TensorBoard and the report have them", type(each).__name__, names)


def _no_formula(cell: Any) -> Any:
    """A cell that no spreadsheet takes for a formula, which a name in a corpus may look like.

    An apostrophe in front makes it text. Numbers, of which some begin with a minus, stay numbers.
    """
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def _file_taker(of_lightning: Any) -> Callable[[Path, str], Any] | None:
    """What gives a file, and its folder there, to the experiment of a logger; None where it takes none, or pictures."""
    if hasattr(of_lightning, "log_image"):
        return None
    experiment = of_lightning.experiment
    if hasattr(of_lightning, "run_id") and hasattr(experiment, "log_artifact"):
        return lambda path, folder: experiment.log_artifact(of_lightning.run_id, str(path), folder)
    if hasattr(experiment, "log_asset"):
        return lambda path, folder: experiment.log_asset(str(path), f"{folder}/{path.name}")
    return None
