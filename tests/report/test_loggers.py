"""Loggers of Lightning: its own, and such as have the methods of products that are not installed."""

import csv
import io
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from helpers import make_explanation
from PIL import Image
from pytorch_lightning.loggers import CSVLogger, WandbLogger

from speechshap.report.log import Log, Shown
from speechshap.report.loggers import LoggerLog, tell_what_is_left_out
from speechshap.report.rendering import Rendering, png_bytes
from speechshap.report.settings_summary import SettingsSummary
from speechshap.report.tensorboard import ExplanationLog
from speechshap.results.estimate import Estimate
from speechshap.results.rows import to_rows

SOUNDS = ("the sound", "the evidence alone for happy", "all but the evidence for happy")


class Nothing:
    """An experiment that takes nothing."""


class Given:
    """A logger of numbers, which notes what it is given.

    Args:
        version: Of its run.
        experiment: What it logs to.
    """

    name = "project"

    def __init__(self, version: str = "run", experiment: Any = None) -> None:
        self.version = version
        self.experiment = experiment or Nothing()
        self.given: dict[str, Any] = {}

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.given |= {name: (value, step) for name, value in metrics.items()}

    def log_hyperparams(self, params: dict[str, Any]) -> None:
        self.given |= params


class LikeWandb(Given):
    """Takes pictures, sounds and tables, called as Lightning's logger of W&B is."""

    def _note(self, method: str, key: str, *arguments: Any, **options: Any) -> None:
        signature(getattr(WandbLogger, method)).bind(self, key, *arguments, **options)
        assert key not in self.given
        self.given[key] = (arguments, options)

    def log_image(self, *arguments: Any, **options: Any) -> None:
        self._note("log_image", *arguments, **options)

    def log_audio(self, *arguments: Any, **options: Any) -> None:
        self._note("log_audio", *arguments, **options)

    def log_table(self, *arguments: Any, **options: Any) -> None:
        self._note("log_table", *arguments, **options)


class Mlflow:
    """Takes files, as the client of MLflow does."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def log_artifact(self, run_id: str, local_path: str, artifact_path: str | None = None) -> None:
        assert run_id == "mlflow's run"
        path = Path(local_path)
        self.files[f"{artifact_path}/{path.name}"] = path.read_bytes()


class LikeMlflow(Given):
    run_id = "mlflow's run"


class Comet:
    """Takes files, as an experiment of Comet does."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def log_asset(self, file_data: str, file_name: str | None = None, overwrite: bool = False, **others: Any) -> None:
        assert file_name is not None
        self.files[file_name] = Path(file_data).read_bytes()


def shown(name: str = "a.wav", seconds: float = 0.1) -> Shown:
    from matplotlib.figure import Figure

    sounds = dict.fromkeys(("original", "kept", "removed"), np.full(round(16000 * seconds), 0.5, np.float32))
    return Shown(name, name, "figure", "happy", f"{name} in words", Rendering(*png_bytes(Figure()), sounds), 16000)


def show_all(log: Log, name: str = "a.wav", seconds: float = 0.1) -> None:
    """Show settings, an utterance and its time, and a summary of two."""
    log.settings({"method": "lime", "spectrum": None}, 7)
    log.picture(shown(name, seconds), 7)
    log.seconds(2.5, "key", 1)
    found = SettingsSummary(to_rows(make_explanation(0.1, utterance=each)) for each in ("a.wav", "b.wav"))
    log.summary(found, {"method": "lime"}, 2.5, "abc", 7)
    log.close()


def logger_log(logger: Any, folder: Path, label: str | None = None) -> LoggerLog:
    return LoggerLog(logger, ExplanationLog(folder), label)


def test_pictures_sounds_and_the_table_are_shown_where_there_are_methods_for_them(tmp_path: Path) -> None:
    logger = LikeWandb()
    show_all(logger_log(logger, tmp_path), "x/a.wav")
    given = logger.given
    (images,), options = given["explain/x/a.wav/figure"]
    assert (images[0].size, options) == (Image.open(io.BytesIO(shown().rendering.png)).size,
                                         {"step": 7, "caption": ["x/a.wav in words"]})  # fmt: skip
    for name in SOUNDS:
        (sounds,), options = given[f"explain/x/a.wav/{name}"]
        assert sounds[0].tolist() == [0.5] * 1600
        assert options == {"step": 7, "sample_rate": [16000], "caption": [f"x/a.wav: {name}"]}
    _, table = given["explain/utterances"]
    assert table["columns"][:3] == ["utterance", "label", "prediction"]
    assert [line[:3] for line in table["data"]] == [["a.wav", "sad", "happy"], ["b.wav", "sad", "happy"]]


class Away(Given):
    """A logger that asks its server for an experiment, in vain."""

    @property
    def experiment(self) -> Any:
        raise ConnectionError("no route to host")

    @experiment.setter
    def experiment(self, value: Any) -> None:
        pass


def test_a_server_that_is_away_costs_a_warning_and_not_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = logger_log(Away(), tmp_path)
    show_all(log)
    log.close()
    tell_what_is_left_out([Away()])
    assert "Away lacks what it cannot take: no route to host" in caplog.text
    assert "Away cannot be reached: no route to host" in caplog.text


def test_every_logger_has_times_mean_errors_and_settings(tmp_path: Path) -> None:
    logger = Given()
    show_all(logger_log(logger, tmp_path))
    assert logger.given == {
        "explain/method": "lime", "explain/spectrum": "none", "explain/seconds": (2.5, 1),
        "explain/mean_seconds": (2.5, 7), "explain/num_utterances": (2.0, 7),
        "explain/mean_relative_error": (pytest.approx(0.2), 7),
        "explain/mean_absolute_completeness_gap": (pytest.approx(0.1), 7),
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["mlflow", "comet"])
def test_an_experiment_that_takes_files_gets_all_as_files(tmp_path: Path, kind: str) -> None:
    experiment: Any = Mlflow() if kind == "mlflow" else Comet()
    logger = (LikeMlflow if kind == "mlflow" else Given)(experiment=experiment)
    show_all(logger_log(logger, tmp_path), "x/a.wav")
    files = experiment.files
    place = "explain/x/a.wav"
    assert set(files) == {f"{place}/figure.png", *(f"{place}/{name}.wav" for name in SOUNDS), "explain/utterances.csv"}
    assert files[f"{place}/figure.png"] == shown().rendering.png
    sound, rate = soundfile.read(io.BytesIO(files[f"{place}/the sound.wav"]))
    assert (rate, sound.tolist()) == (16000, [0.5] * 1600)
    lines = list(csv.DictReader(io.StringIO(files["explain/utterances.csv"].decode())))
    assert [(line["utterance"], line["explained"], line["badge"]) for line in lines] == [
        ("a.wav", "happy", "fair"), ("b.wav", "happy", "fair")
    ]  # fmt: skip
    assert logger.given["explain/seconds"] == (2.5, 1)


def test_a_name_that_looks_like_a_formula_is_none_in_a_spreadsheet_and_numbers_stay_numbers(tmp_path: Path) -> None:
    experiment = Mlflow()
    gap = Estimate(np.array([-0.5], np.float32))
    rows = to_rows(make_explanation(0.1, ("@sad",), utterance="=1+1.wav", label="-", completeness_gap=gap))
    log = logger_log(LikeMlflow(experiment=experiment), tmp_path)
    log.summary(SettingsSummary([rows]), {"method": "lime"}, None, "abc", 7)
    (line,) = csv.DictReader(io.StringIO(experiment.files["explain/utterances.csv"].decode()))
    assert (line["utterance"], line["label"], line["prediction"], line["explained"]) == (
        "'=1+1.wav", "'-", "'@sad", "'@sad"
    )  # fmt: skip
    assert float(line["completeness_gap"]) == -0.5


def test_a_name_with_dots_leaves_no_folder(tmp_path: Path) -> None:
    experiment = Mlflow()
    logger_log(LikeMlflow(experiment=experiment), tmp_path).picture(shown("../../a.wav"), 0)
    assert "explain/%2E%2E/%2E%2E/a.wav/figure.png" in experiment.files


def test_methods_have_names_of_their_own(tmp_path: Path) -> None:
    logger = LikeWandb()
    for label in ("lime(seed=1)", "energy"):
        show_all(logger_log(logger, tmp_path, label))
    assert {"explain/lime seed 1/a.wav/figure", "explain/energy/a.wav/figure"} <= set(logger.given)


def test_a_run_that_is_resumed_has_nothing_twice_and_another_one_has_all(tmp_path: Path) -> None:
    show_all(logger_log(first := LikeWandb("run 1"), tmp_path))
    again, other = LikeWandb("run 1"), LikeWandb("run 2")
    show_all(logger_log(again, tmp_path))
    assert set(again.given) == {"explain/seconds"}  # a new point, not a former one
    assert not logger_log(other, tmp_path).has_picture("a.wav")
    show_all(logger_log(other, tmp_path))
    assert set(other.given) == set(first.given)


def test_what_takes_no_pictures_needs_none_drawn_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logger = CSVLogger(tmp_path / "csv", name="", version="")
    log = logger_log(logger, tmp_path)
    with caplog.at_level("INFO"):
        tell_what_is_left_out([logger, LikeWandb(), Given(experiment=Comet())])
        show_all(log)
    logger.save()
    assert log.has_picture("a.wav")
    assert caplog.messages == ["CSVLogger takes no pictures or sounds or tables; TensorBoard and the report have them"]
    with (tmp_path / "csv" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["step"], row["explain/seconds"], row["explain/mean_seconds"]) for row in rows] == [
        ("1", "2.5", ""), ("7", "", "2.5")
    ]  # fmt: skip


def test_a_logger_that_fails_costs_what_it_was_to_show_until_it_works_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise ConnectionError("no server today")

    logger = LikeWandb()
    with monkeypatch.context() as broken:
        for method in ("log_image", "log_metrics"):
            broken.setattr(logger, method, fail, raising=False)
        show_all(logger_log(logger, tmp_path))
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [
        "LikeWandb lacks what it cannot take: no server today",
        "LikeWandb could not take something 3 times; TensorBoard's files have it",
    ]
    show_all(logger_log(logger, tmp_path))
    assert {"explain/a.wav/figure", "explain/utterances", "explain/mean_seconds"} <= set(logger.given)


def test_very_long_sounds_are_left_out(tmp_path: Path) -> None:
    logger = LikeWandb()
    logger_log(logger, tmp_path).picture(shown(seconds=121), 0)
    assert set(logger.given) == {"explain/a.wav/figure"}
