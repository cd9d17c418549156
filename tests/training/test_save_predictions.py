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


def run_test(
    checkpoint: Path, root: Path, folder: Path | None, devices: int = 1, batch_size: int = 2, **options: object
) -> pl.Trainer:
    trainer = pl.Trainer(
        logger=False, default_root_dir=folder, callbacks=[SavePredictions()], accelerator="cpu", devices=devices,
        strategy="auto" if devices == 1 else "ddp_fork", enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    data = AudioDataModule(root=str(root), corpus="planted", batch_size=batch_size, **options)  # type: ignore[arg-type]
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


@pytest.mark.parametrize("batch_size", [1, 2])
def test_of_several_processes_each_utterance_counts_once(
    tiny_checkpoint: Path, planted_root: Path, tmp_path: Path, batch_size: int
) -> None:
    """Fifteen utterances: one by one, the second of two processes hears one of them once more."""
    one, two = (
        run_test(tiny_checkpoint, planted_root, tmp_path / str(devices), devices, batch_size, num_workers=0)
        for devices in (1, 2)
    )
    assert len(one.test_dataloaders.dataset) == 15  # type: ignore[union-attr]
    assert {name: float(value) for name, value in two.callback_metrics.items()} == pytest.approx(
        {name: float(value) for name, value in one.callback_metrics.items()}, rel=1e-5
    )
    first, second = (read_predictions(tmp_path / str(devices) / FILES[0]) for devices in (1, 2))
    assert first.utterances == second.utterances
    np.testing.assert_allclose(first.probabilities, second.probabilities, rtol=1e-5)


def test_without_a_folder_nothing_is_written(
    tiny_checkpoint: Path, planted_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_test(tiny_checkpoint, planted_root, None)
    assert not list(tmp_path.iterdir())
