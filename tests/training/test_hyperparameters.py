"""Hyperparameters and scores of trainings in TensorBoard."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from helpers import tiny_config
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.plugins.hparams.metadata import EXPERIMENT_TAG, SESSION_START_INFO_TAG

from speechshap.data.augmentation import Augmentation
from speechshap.training import AudioDataModule, EmotionModule, Hyperparameters
from speechshap.training.hyperparameters import BEST


def plugin_data(events: EventAccumulator, tag: str) -> Any:
    content = events.SummaryMetadata(tag).plugin_data.content
    return plugin_data_pb2.HParamsPluginData.FromString(content)


def test_tensorboard_has_hyperparameters_with_the_best_score(planted_root: Path, tmp_path: Path) -> None:
    data = AudioDataModule(root=str(planted_root), corpus="planted", batch_size=16, augment=Augmentation(gain=(-6, 6)))
    head = torch.nn.Linear(32, len(data.classes))
    module = EmotionModule(data.classes, backbone_config=tiny_config(), learning_rate=0.02, head=head)
    trainer = pl.Trainer(
        logger=TensorBoardLogger(tmp_path, name="", version="run", default_hp_metric=False), max_epochs=3,
        callbacks=[Hyperparameters()], accelerator="cpu", enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, num_sanity_val_steps=1,
    )  # fmt: skip
    trainer.fit(module, data)
    events = EventAccumulator(str(tmp_path / "run")).Reload()
    found = plugin_data(events, SESSION_START_INFO_TAG).session_start_info.hparams
    assert found["learning_rate"].number_value == 0.02
    assert found["architecture"].string_value == "wavlm 2 x 32"
    assert found["split_by"].string_value == "speaker"
    assert found["batch_size"].number_value == 16
    assert found["augment.gain"].string_value == "-6, 6"
    assert found["augment.probability"].number_value == 0.5
    assert "augment.speed" not in found  # which was not asked for
    assert not any(name.startswith(("backbone_config", "classes")) for name in found)
    experiment = plugin_data(events, EXPERIMENT_TAG).experiment
    first = {info.name for info in experiment.hparam_infos if info.differs}  # which TensorBoard shows first
    assert first == {"backbone", "freeze", "head", "learning_rate", "pooling"}
    metrics = {info.name.tag for info in experiment.metric_infos}
    assert metrics == {BEST, "test/uar"}
    assert "test/uar" not in events.Tags()["scalars"]  # which nobody has measured
    scores = [event.value for event in events.Scalars("val/uar")]
    best = [event.value for event in events.Scalars(BEST)]
    assert best == [max(scores[: number + 1]) for number in range(3)]
    assert [event.step for event in events.Scalars(BEST)] == [event.step for event in events.Scalars("val/uar")]
