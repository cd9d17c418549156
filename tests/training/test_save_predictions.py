"""Predictions and scores that a test leaves in the folder of its run."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from sklearn.metrics import balanced_accuracy_score

from speechshap.training import AudioDataModule, SavePredictions, load_checkpoint
from speechshap.training.predictions import read_predictions

FILES = ["test_predictions.parquet", "test_scores.md"]


def run_test(checkpoint: Path, root: Path, folder: Path | None, devices: int = 1, **options: object) -> pl.Trainer:
    trainer = pl.Trainer(
        logger=False, default_root_dir=folder, callbacks=[SavePredictions()], accelerator="cpu", devices=devices,
        strategy="auto" if devices == 1 else "ddp_fork", enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    data = AudioDataModule(root=str(root), corpus="planted", batch_size=2, **options)  # type: ignore[arg-type]
    trainer.test(load_checkpoint(checkpoint), data, verbose=False)
    return trainer


def test_the_table_has_every_utterance_with_its_prediction(
    tiny_checkpoint: Path, planted_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="speechshap"):
        trainer = run_test(tiny_checkpoint, planted_root, tmp_path)
    rows = pd.read_parquet(tmp_path / FILES[0])
    data = trainer.datamodule  # type: ignore[attr-defined]
    expected = {u.id: u for u in data.splits.test}
    assert list(rows.utterance) == sorted(expected)
    assert [expected[name].label for name in rows.utterance] == list(rows.label)
    assert [str(expected[name].path) for name in rows.utterance] == list(rows.path)
    assert [expected[name].speaker for name in rows.utterance] == list(rows.speaker)
    module = load_checkpoint(tiny_checkpoint).eval()
    with torch.no_grad():
        for batch in data.test_dataloader():
            logits = module(batch.waveforms, batch.lengths)
            own = rows.set_index("utterance").loc[batch.ids]
            columns = own[[f"probability of {name}" for name in module.classes]].to_numpy()
            np.testing.assert_allclose(columns, logits.softmax(1), rtol=1e-5)
            assert list(own.prediction) == [module.classes[place] for place in logits.argmax(1)]
    uar = balanced_accuracy_score(rows.label, rows.prediction)
    assert float(trainer.callback_metrics["test/uar"]) == pytest.approx(uar)
    text = (tmp_path / FILES[1]).read_text()
    (line,) = (line for line in text.splitlines() if line.startswith("| UAR "))
    assert [cell.strip() for cell in line.split("|")[2:5]] == [f"{uar:.3f}", "", str(len(rows))]  # of one speaker
    assert f"{len(rows)} utterances of 1 speaker" in text
    assert f"test: UAR {uar:.2f}" in caplog.text


def test_a_test_of_other_recordings_is_kept_beside_the_first(
    tiny_checkpoint: Path, planted_root: Path, tmp_path: Path
) -> None:
    for speaker in ("speaker_00", "speaker_01", "speaker_00"):
        run_test(tiny_checkpoint, planted_root, tmp_path, test_speakers=[speaker])
    names = ("test_predictions.parquet", "test_predictions-2.parquet")
    assert [set(read_predictions(tmp_path / name).speakers) for name in names] == [{"speaker_00"}, {"speaker_01"}]
    assert sorted(path.name for path in tmp_path.glob("*.md")) == ["test_scores-2.md", "test_scores.md"]


def test_of_several_processes_each_utterance_is_there_once(
    tiny_checkpoint: Path, planted_root: Path, tmp_path: Path
) -> None:
    """Fifteen utterances in batches of two: one of the processes tests some once more."""
    for name, devices in (("one", 1), ("two", 2)):
        run_test(tiny_checkpoint, planted_root, tmp_path / name, devices)
    one, two = (read_predictions(tmp_path / name / FILES[0]) for name in ("one", "two"))
    assert one.utterances == two.utterances
    np.testing.assert_allclose(one.probabilities, two.probabilities, rtol=1e-5)


def test_without_a_folder_nothing_is_written(
    tiny_checkpoint: Path, planted_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_test(tiny_checkpoint, planted_root, None)
    assert not list(tmp_path.iterdir())
