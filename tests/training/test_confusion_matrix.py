from pathlib import Path

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from speechshap.training import AudioDataModule, ConfusionMatrixCallback, EmotionModule
from speechshap.training.confusion_matrix import confusion_matrix_figure


def test_the_figure_of_validation_and_test_is_in_tensorboard(
    tiny_checkpoint: Path, planted_root: Path, tmp_path: Path
) -> None:
    module = EmotionModule.load_from_checkpoint(tiny_checkpoint, weights_only=True)
    data = AudioDataModule(root=str(planted_root))
    trainer = pl.Trainer(
        logger=TensorBoardLogger(tmp_path, name=""), callbacks=[ConfusionMatrixCallback()], accelerator="cpu",
        enable_progress_bar=False,
    )  # fmt: skip
    trainer.validate(module, data, verbose=False)
    trainer.test(module, data, verbose=False)
    assert int(module.confusion_matrix("test").compute().sum()) == 12
    trainer.logger.finalize("success")  # type: ignore[union-attr]
    tags = EventAccumulator(str(tmp_path / "version_0")).Reload().Tags()
    assert set(tags["images"]) == {"val/confusion_matrix", "test/confusion_matrix"}
    assert {"val/uar", "val/wa", "val/f1", "val/loss", "test/uar"} <= set(tags["scalars"])


def test_confusion_matrix_shows_counts_and_shares() -> None:
    figure = confusion_matrix_figure(np.array([[3, 1], [0, 0]]), ["happy", "sad"])
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["3", "1", "0", "0"]
    assert axes.get_title() == "4 utterances"
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.75, 0.25], [0, 0]])
