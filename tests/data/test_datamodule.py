import csv
import shutil
from pathlib import Path

import pytest
import torch
from helpers import write_sound

from speechshap.data import AudioDataModule, AudioFileError, load_audio
from speechshap.errors import UserError


def make_module(root: Path, stage: str = "fit", **options: object) -> AudioDataModule:
    module = AudioDataModule(root=str(root), **options)  # type: ignore[arg-type]
    module.prepare_data()
    module.setup(stage)
    return module


@pytest.fixture
def broken_root(planted_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The planted-evidence corpus with one empty file, in a working folder of its own."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(planted_root, tmp_path / "corpus")
    (tmp_path / "corpus" / "speaker_00" / "angry_0000.wav").write_bytes(b"")
    return tmp_path / "corpus"


def test_a_batch_carries_waveforms_lengths_labels_and_ids(planted_root: Path) -> None:
    module = make_module(planted_root, batch_size=4)
    assert module.splits is not None
    batch = next(iter(module.val_dataloader()))
    assert batch.waveforms.shape == (4, 9600)
    assert batch.lengths.tolist() == [9600] * 4
    assert [module.classes[label] for label in batch.labels] == [Path(name).name.split("_")[0] for name in batch.ids]
    assert torch.equal(batch.waveforms[2], torch.from_numpy(load_audio(Path(batch.paths[2]))))
    assert not {u.speaker for u in module.splits.train} & {u.speaker for u in module.splits.test}


def test_a_bad_file_is_left_out_counted_and_listed(broken_root: Path, caplog: pytest.LogCaptureFixture) -> None:
    module = make_module(broken_root)
    assert module.splits is not None
    assert sum(map(len, module.splits)) == 47
    rows = list(csv.DictReader(Path("skipped.csv").read_text().splitlines()))
    assert rows == [{"path": str(broken_root / "speaker_00/angry_0000.wav"), "reason": "the file is empty (0 bytes)"}]
    assert "1 file(s) left out" in caplog.text


def test_a_bad_file_ends_the_run_where_that_is_asked_for(broken_root: Path) -> None:
    with pytest.raises(AudioFileError, match=r"angry_0000.wav: the file is empty"):
        make_module(broken_root, on_bad_file="raise")


def test_loose_files_need_no_labels(planted_root: Path) -> None:
    files = [str(path) for path in sorted(planted_root.rglob("*.wav"))[:3]]
    module = AudioDataModule(files=files)
    module.setup("predict")
    (batch,) = module.predict_dataloader()
    assert batch.ids == batch.paths == files
    assert batch.labels.tolist() == [-1, -1, -1]
    with pytest.raises(UserError, match="files are for explaining"):
        module.train_dataloader()


def test_a_single_bad_file_is_an_error_and_not_an_empty_run(tmp_path: Path) -> None:
    with pytest.raises(AudioFileError, match="no such file"):
        AudioDataModule(files=[str(tmp_path / "no.wav")]).setup("predict")
    with pytest.raises(UserError, match="2 times"):
        AudioDataModule(files=["a.wav", "a.wav"]).setup("predict")


@pytest.mark.parametrize(("split", "count"), [("train", 24), ("val", 12), ("test", 12), ("all", 48)])
def test_what_is_explained(planted_root: Path, split: str, count: int) -> None:
    module = make_module(planted_root, "predict", predict_split=split)
    assert len(module.predict_utterances) == count


def test_max_samples_limits_each_split_but_moves_no_speaker(planted_root: Path) -> None:
    whole, part = make_module(planted_root), make_module(planted_root, max_samples=5)
    assert whole.splits is not None
    assert part.splits is not None
    for all_of_it, some in zip(whole.splits, part.splits, strict=True):
        assert len(some) == 5
        assert set(some) < set(all_of_it)


def test_a_label_that_is_no_class_is_named(tmp_path: Path) -> None:
    for label in ("happy", "sad"):
        write_sound(tmp_path / label / "a.wav")
    with pytest.raises(UserError, match=r"sad.a.wav: label 'sad' is none of the classes happy, angry"):
        make_module(tmp_path, classes=["happy", "angry"])


def test_a_folder_without_labels_tells_what_to_do(tmp_path: Path) -> None:
    write_sound(tmp_path / "a.wav")
    with pytest.raises(UserError, match=r"no file has a label.*--data.files"):
        make_module(tmp_path)


def test_one_speaker_or_one_class_missing(tmp_path: Path) -> None:
    for number, emotion in enumerate(("01", "03", "04")):
        write_sound(tmp_path / f"03-01-{emotion}-01-01-01-0{number + 1}.wav")
    with pytest.raises(UserError, match="the train split of 1 utterances has none of the class"):
        make_module(tmp_path, classes=["neutral", "happy", "sad"])
    for path in tmp_path.glob("*0[23].wav"):
        path.unlink()
    with pytest.raises(UserError, match="1 speaker"):
        make_module(tmp_path)


def test_references_come_from_the_training_split(planted_root: Path) -> None:
    module = make_module(planted_root)
    assert module.splits is not None
    train = [torch.from_numpy(load_audio(utterance.path)) for utterance in module.splits.train]
    references = module.reference_waveforms(5)
    assert len(references) == 5
    assert all(any(torch.equal(reference, waveform) for waveform in train) for reference in references)


def test_fractions_out_of_range_are_refused() -> None:
    with pytest.raises(UserError, match=r"--data.test_fraction is 1.5; expected a share between 0 and 1"):
        AudioDataModule(test_fraction=1.5)


def test_real_speech(ravdess_root: Path) -> None:
    module = make_module(ravdess_root, max_samples=40, batch_size=20)
    assert len(module.classes) == 8
    batch = next(iter(module.val_dataloader()))
    assert 2.5 * 16000 < int(batch.lengths.min()) < int(batch.lengths.max()) < 6 * 16000
    assert int(batch.lengths.max()) == batch.waveforms.shape[1]
    for waveform, length in zip(batch.waveforms, batch.lengths, strict=True):
        assert waveform[:length].std() > 1e-4
        assert waveform[length:].abs().sum() == 0


def test_published_files_and_resampled_ones_sound_alike(ravdess_root: Path) -> None:
    originals = sorted((ravdess_root.parent / "ravdess_original").glob("*.wav"))
    if not originals:
        pytest.skip("no folder ravdess_original with published 48 kHz files beside RAVDESS_ROOT")
    for path in originals:
        original = load_audio(path)
        (resampled,) = ravdess_root.rglob(f"{path.stem}.flac")
        other = load_audio(resampled)
        assert abs(len(original) - len(other)) <= 1
        length = min(len(original), len(other))
        assert torch.corrcoef(torch.tensor([original[:length].tolist(), other[:length].tolist()]))[0, 1] > 0.99
