from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from speechshap.training import AudioDataModule, ConfusionMatrixCallback, EmotionModule


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
