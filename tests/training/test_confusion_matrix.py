import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from speechshap.training import AudioDataModule, ConfusionMatrixCallback, EmotionModule, load_checkpoint
from speechshap.training.confusion_matrix import confusion_matrix_figure


def test_the_figure_of_validation_and_test_is_in_tensorboard(
    tiny_checkpoint: Path, planted_root: Path, tmp_path: Path
) -> None:
    module = EmotionModule.load_from_checkpoint(tiny_checkpoint, weights_only=True)
    data = AudioDataModule(root=str(planted_root), corpus="planted")
    trainer = pl.Trainer(
        logger=TensorBoardLogger(tmp_path, name=""), callbacks=[ConfusionMatrixCallback()], accelerator="cpu",
        enable_progress_bar=False,
    )  # fmt: skip
    trainer.validate(module, data, verbose=False)
    trainer.test(module, data, verbose=False)
    assert int(module.confusion_matrix("test").compute().sum()) == 15
    trainer.logger.finalize("success")  # type: ignore[union-attr]
    tags = EventAccumulator(str(tmp_path / "version_0")).Reload().Tags()
    assert set(tags["images"]) == {"val/confusion_matrix", "test/confusion_matrix"}
    assert {"val/uar", "val/wa", "val/f1", "val/loss", "test/uar"} <= set(tags["scalars"])


class ImageLogger(Logger):
    """A logger with the interface of WandbLogger."""

    name, version, save_dir = "project", "a1b2", "."

    def __init__(self) -> None:
        super().__init__()
        self.images: dict[str, Any] = {}

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None: ...

    def log_hyperparams(self, params: object, *args: object, **options: object) -> None: ...

    @property
    def experiment(self) -> object:
        return object()

    def log_image(self, key: str, images: list[Any], step: int | None = None) -> None:
        self.images[key] = images


def test_other_loggers_get_an_image_or_leave_a_table(tiny_checkpoint: Path, planted_root: Path, tmp_path: Path) -> None:
    module, data = load_checkpoint(tiny_checkpoint), AudioDataModule(root=str(planted_root), corpus="planted")
    tables, images = CSVLogger(tmp_path, name=""), ImageLogger()
    for loggers in ([tables], [tables, images]):
        trainer = pl.Trainer(
            logger=loggers, callbacks=[ConfusionMatrixCallback()], accelerator="cpu", enable_progress_bar=False
        )
        (trainer.validate if loggers == [tables] else trainer.test)(module, data, verbose=False)
    with (tmp_path / "version_0" / "val_confusion_matrix.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["true", *(f"predicted {name}" for name in module.classes)]
    assert [row[0] for row in rows] == module.classes
    assert sum(int(count) for row in rows for count in row[1:]) == 15
    assert list(images.images) == ["test/confusion_matrix"]
    (image,) = images.images["test/confusion_matrix"]
    assert image.ndim == 3
    assert not (tmp_path / "version_0" / "test_confusion_matrix.csv").exists()


def test_confusion_matrix_shows_counts_and_shares() -> None:
    figure = confusion_matrix_figure(np.array([[3, 1], [0, 0]]), ["happy", "sad"])
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["3", "1", "0", "0"]
    assert axes.get_title() == "4 utterances"
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.75, 0.25], [0, 0]])


def test_the_title_says_what_the_numbers_are_not() -> None:
    figure = confusion_matrix_figure(np.array([[3, 1], [0, 0]]), ["happy", "sad"], "speaker-dependent")
    assert figure.axes[0].get_title() == "4 utterances, speaker-dependent"
