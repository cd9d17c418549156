"""What a checkpoint keeps of its training."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from families import family_config, make_model, save

from speechshap.data.augmentation import Augmentation
from speechshap.data.utterance import Skipped
from speechshap.training import AudioDataModule, EmotionModule
from speechshap.training.training_record import TrainingRecord, reasons, record_training, without_folders

TRAINER = {"logger": False, "accelerator": "cpu", "enable_checkpointing": False, "max_epochs": 4}


def record(root: Path, **options: Any) -> TrainingRecord:
    data = AudioDataModule(**{"root": str(root), "corpus": "planted", **options})
    module = EmotionModule(data.classes, backbone_config=family_config("wavlm"), dropout=0.3)
    trainer = pl.Trainer(**TRAINER)
    data.setup("fit")
    trainer.datamodule = data  # type: ignore[attr-defined]
    return record_training(trainer, module, ["speechshap", "train"])


def test_what_is_used_of_each_split_is_counted(planted_root: Path) -> None:
    told = record(planted_root, max_utterances=7)
    assert (told.corpus, told.root, told.split) == ("planted", "planted", "by speaker, seed 0")
    assert {name: part.num_utterances for name, part in told.parts.items()} == {"train": 7, "val": 7, "test": 7}
    speakers = [set(part.speakers) for part in told.parts.values()]
    assert not (speakers[0] & speakers[1] | speakers[0] & speakers[2] | speakers[1] & speakers[2])
    assert told.validates_others
    assert told.options == {"dropout": 0.3, "max_utterances": 7, "max_epochs": 4, "precision": "32-true",
                            "accumulate_grad_batches": 1}  # fmt: skip
    assert record(planted_root, split_by="utterance").validates_others is False
    augmented = record(planted_root, augment=Augmentation(gain=(-6, 6), probability=0.2)).options
    assert {name: value for name, value in augmented.items() if name.startswith("augment")} == {
        "augment.gain": "-6, 6", "augment.probability": 0.2,
    }  # fmt: skip


def test_it_survives_a_checkpoint(planted_root: Path, tmp_path: Path) -> None:
    told = record(planted_root)
    torch.save(told.state(), tmp_path / "state")
    state = torch.load(tmp_path / "state", weights_only=True)
    assert TrainingRecord.from_state(state) == told
    assert TrainingRecord.from_state({**state, "of_a_later_version": 1}) == told


@pytest.mark.parametrize(("given", "expected"), [("folder", ("wavlm", False)), ("hub", ("anna/wavlm", True))])
def test_the_first_weights_have_the_name_of_the_hub_or_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, expected: tuple[str, bool]
) -> None:
    name = save(make_model(), tmp_path / "wavlm")
    module = EmotionModule(["calm", "angry"], backbone=name)
    if given == "hub":
        module.backbone.model.config._name_or_path = "anna/wavlm"  # as from_pretrained leaves it
    told = record_training(pl.Trainer(**TRAINER), module)
    assert (told.backbone, told.is_on_hub) == expected


def test_a_network_of_an_earlier_training_has_no_known_beginning(tiny_module: EmotionModule) -> None:
    assert record_training(pl.Trainer(**TRAINER), tiny_module).backbone == ""
    tiny_module.trained_steps = 5
    assert record_training(pl.Trainer(**TRAINER), tiny_module).backbone is None


def test_reasons_are_counted_without_what_is_of_one_file() -> None:
    texts = ("silent: every sample", "the same sound as b.wav of the test split", "the same sound as c.wav of the val",
             "not named as in ravdess (like 03.wav)")  # fmt: skip
    assert reasons(Skipped(Path(text), text) for text in texts) == {
        "the same sound as another": 2, "silent": 1, "not named as in ravdess": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("/home/anna/My Data/RAVDESS", ".../RAVDESS"),
        ("--data.root=/home/anna/RAVDESS/", "--data.root=.../RAVDESS/"),
        ('{"backbone": "/home/anna/wavlm", "x": "~/y/z"}', '{"backbone": ".../wavlm", "x": ".../z"}'),
        ("[/a/b,/c/d]", "[.../b,.../d]"),
        ("--data.root=hf:///home/anna/voices", "--data.root=hf://.../voices"),
        ("hf://owner/name", "hf://owner/name"),
        ("../anna/RAVDESS", ".../RAVDESS"),
        ("microsoft/wavlm-base", "microsoft/wavlm-base"),
        ("runs/ravdess", "runs/ravdess"),
        ("0.5", "0.5"),
    ],
)
def test_of_a_path_the_last_name_is_kept(word: str, expected: str) -> None:
    assert without_folders(word) == expected
