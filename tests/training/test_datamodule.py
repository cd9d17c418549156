import csv
import random
import shutil
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from families import family_config
from helpers import write_sound
from jsonargparse import ArgumentParser, Namespace
from torch import Tensor

from speechshap.data import AudioFileError, Batch, load_audio
from speechshap.data.augmentation import Augmentation
from speechshap.data.shards import EmptyShardError
from speechshap.errors import UserError
from speechshap.training import AudioDataModule, EmotionModule
from speechshap.training.datamodule import CORPUS_OPTIONS


def make_module(root: Path, stage: str = "fit", **options: object) -> AudioDataModule:
    module = AudioDataModule(root=str(root), **options)  # type: ignore[arg-type]
    module.prepare_data()
    module.setup(stage)
    return module


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a trainer, ``skipped.csv`` goes to the working folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def broken_root(planted_root: Path, tmp_path: Path) -> Path:
    """The planted-evidence corpus with one empty file."""
    shutil.copytree(planted_root, tmp_path / "corpus")
    (tmp_path / "corpus" / "speaker_00" / "angry_0001.wav").write_bytes(b"")
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
    assert sum(map(len, module.splits)) == 59
    rows = list(csv.DictReader(Path("skipped.csv").read_text().splitlines()))
    assert rows == [{"path": str(broken_root / "speaker_00/angry_0001.wav"), "reason": "the file is empty (0 bytes)"}]
    assert "1 file left out" in caplog.text


def test_the_list_of_bad_files_grows_and_is_not_written_over(broken_root: Path) -> None:
    make_module(broken_root)
    (broken_root / "speaker_01" / "notes.wav").write_text("no sound")
    files = [str(path) for path in broken_root.glob("speaker_01/*.wav")]
    AudioDataModule(files=files).setup("predict")
    skipped = [row["path"] for row in csv.DictReader(Path("skipped.csv").read_text().splitlines())]
    assert [Path(path).name for path in skipped] == ["angry_0001.wav", "notes.wav"]


def test_a_folder_of_bad_files_says_that_there_are_more() -> None:
    rows = [f"{speaker}{number}.wav,{label},{speaker}" for speaker in "abc" for number, label in enumerate("xy")]
    Path("list.csv").write_text("\n".join(["path,label,speaker", *rows]))
    with pytest.raises(AudioFileError, match=r"no such file .and none of the other 5 files .*`audio_root`"):
        make_module(Path("list.csv"))
    assert len(Path("skipped.csv").read_text().splitlines()) == 7


def test_a_bad_file_ends_the_run_where_that_is_asked_for(broken_root: Path) -> None:
    with pytest.raises(AudioFileError, match=r"angry_0001.wav: the file is empty"):
        make_module(broken_root, on_bad_file="raise")


def test_loose_files_need_no_labels(planted_root: Path) -> None:
    files = [str(path) for path in sorted(planted_root.rglob("*.wav"))[:3]]
    module = AudioDataModule(files=files)
    module.setup("predict")
    (batch,) = module.predict_dataloader()
    assert batch.ids == batch.paths == files
    assert batch.labels.tolist() == [-1, -1, -1]
    with pytest.raises(UserError, match="`files` are for explaining"):
        module.setup("fit")


def test_a_single_bad_file_is_an_error_and_not_an_empty_run(tmp_path: Path) -> None:
    with pytest.raises(AudioFileError, match="no such file"):
        AudioDataModule(files=[str(tmp_path / "no.wav")]).setup("predict")


@pytest.mark.parametrize(("split", "count"), [("train", 30), ("val", 15), ("test", 15), ("all", 60)])
def test_what_is_explained(planted_root: Path, split: str, count: int) -> None:
    module = make_module(planted_root, "predict", predict_split=split)
    assert len(module.predict_utterances) == count


def test_max_utterances_limits_each_split_but_moves_no_speaker(planted_root: Path) -> None:
    whole, part = make_module(planted_root), make_module(planted_root, max_utterances=5)
    assert part.splits == whole.splits
    assert part.splits is not None
    seen = [id_ for batch in part.test_dataloader() for id_ in batch.ids]
    assert len(seen) == 5
    assert set(seen) < {utterance.id for utterance in part.splits.test}
    # nor does it change what explanations are compared with
    references = [module.reference_set(9) for module in (whole, part)]
    assert all(torch.equal(one, other) for one, other in zip(*references, strict=True))


def test_a_bad_file_moves_no_other_to_another_split(planted_root: Path, broken_root: Path) -> None:
    whole, broken = (make_module(root, split_by="utterance").splits for root in (planted_root, broken_root))
    assert whole is not None
    assert broken is not None
    for all_of_it, rest in zip(whole, broken, strict=True):
        lost = {utterance.id for utterance in all_of_it} - {utterance.id for utterance in rest}
        assert lost <= {"speaker_00/angry_0001.wav"}
        assert len(rest) == len(all_of_it) - len(lost)


def test_a_checkpoint_brings_its_split(planted_root: Path) -> None:
    trained, other = make_module(planted_root, split_seed=1), make_module(planted_root, split_seed=0)
    assert trained.splits != other.splits
    other.load_state_dict(trained.state_dict())  # as Lightning does, after setup
    assert other.splits == trained.splits
    assert trained.splits is not None
    explained = AudioDataModule(root=str(planted_root), split_seed=0)
    explained.load_state_dict(trained.state_dict())  # as explain.py does, before it
    explained.setup("predict")
    assert explained.predict_utterances == trained.splits.test


def test_the_split_of_another_corpus_is_not_taken_nor_claimed(
    planted_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    module = make_module(planted_root)
    before = module.splits
    caplog.clear()
    with caplog.at_level("INFO", logger="speechshap"):
        module.load_state_dict({"train": ["other/a.wav"], "val": [], "test": []})
    assert module.splits == before
    assert "split by speaker" in caplog.text
    assert "as the checkpoint was trained with" not in caplog.text


def test_a_part_of_the_corpus_without_the_split_is_told(planted_root: Path) -> None:
    state = make_module(planted_root).state_dict()
    module = AudioDataModule(root=str(planted_root))
    module.load_state_dict({**state, "train": [*state["train"], *state["test"]], "test": []})
    with pytest.raises(UserError, match=r"nothing of the test split is there; .*`predict_split=.all.`"):
        module.setup("predict")


def test_explaining_after_training_takes_what_is_asked_for(planted_root: Path) -> None:
    module = make_module(planted_root, predict_split="all")
    module.setup("predict")
    assert len(module.predict_utterances) == 60


def test_a_label_that_is_no_class_is_named(tmp_path: Path) -> None:
    for label in ("happy", "sad"):
        write_sound(tmp_path / label / "a.wav")
    with pytest.raises(UserError, match=r"sad.a.wav: label 'sad' is none of the classes happy, angry"):
        make_module(tmp_path, classes=["happy", "angry"])


def test_a_folder_without_labels_tells_what_to_do(tmp_path: Path) -> None:
    write_sound(tmp_path / "a.wav")
    with pytest.raises(UserError, match=r"no file has a label.*`files`"):
        make_module(tmp_path)


def test_one_speaker_or_one_class_missing(tmp_path: Path) -> None:
    for number, emotion in enumerate(("01", "03", "04")):
        write_sound(tmp_path / f"03-01-{emotion}-01-01-01-0{number + 1}.wav", seed=number)
    with pytest.raises(UserError, match="the train split of 1 utterance has none of the class"):
        make_module(tmp_path, classes=["neutral", "happy", "sad"])
    for path in tmp_path.glob("*0[23].wav"):
        path.unlink()
    with pytest.raises(UserError, match="1 speaker"):
        make_module(tmp_path)


def test_folds_belong_to_the_corpus_and_are_kept_with_it(planted_root: Path) -> None:
    module = make_module(planted_root, folds="speaker", fold=2)
    assert module.num_folds == 4
    assert module.speaker_overlap is not None
    assert module.speaker_overlap.is_independent
    assert (module.hparams["folds"], module.hparams["fold"]) == ("speaker", 2)
    assert {"folds", "fold"} <= set(CORPUS_OPTIONS)


def test_references_come_from_the_training_split(planted_root: Path) -> None:
    module = make_module(planted_root)
    assert module.splits is not None
    train = [torch.from_numpy(load_audio(utterance.path)) for utterance in module.splits.train]
    references = module.reference_set(5)
    assert len(references) == 5
    assert all(any(torch.equal(reference, waveform) for waveform in train) for reference in references)


def test_references_of_a_class(planted_root: Path) -> None:
    module = make_module(planted_root)
    assert module.splits is not None
    sad = [load_audio(utterance.path) for utterance in module.splits.train if utterance.label == "sad"]
    references = module.reference_set(99, "sad")
    assert sorted(map(float, references.sum(1))) == pytest.approx(sorted(float(torch.from_numpy(w).sum()) for w in sad))
    with pytest.raises(UserError, match="no training recording is labelled 'bored'; expected one of angry"):
        module.reference_set(5, "bored")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_fraction": 1.5}, r"`test_fraction` is 1.5; expected a share between 0 and 1"),
        ({"val_fraction": 0.5, "test_fraction": 0.5}, r"`val_fraction` is 0.5 and .* expected a sum below 1"),
        ({"split_seed": -1}, r"`split_seed` is -1; expected 0 at least"),
        ({"batch_size": 0}, r"`batch_size` is 0; expected 1 at least"),
        ({"max_utterances": 0}, r"`max_utterances` is 0; expected 1 at least"),
        ({"num_workers": -1}, r"`num_workers` is -1; expected 0 at least"),
        ({"corpus": "ravdess"}, r"`root` is missing; give the folder .* of the ravdess corpus"),
    ],
)
def test_options_out_of_range_are_refused(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        AudioDataModule(**options)


def test_real_speech(ravdess_root: Path) -> None:
    module = make_module(ravdess_root, max_utterances=40, batch_size=20)
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


def test_batches_are_of_similar_length_and_differ_from_epoch_to_epoch(tmp_path: Path) -> None:
    for number in range(24):
        write_sound(tmp_path / "ab"[number % 2] / f"{number:02}.wav", 0.1 + 0.1 * (number // 4), seed=number)
    module = AudioDataModule(root=str(tmp_path), corpus="folder", split_by="utterance", batch_size=2)
    module.setup("fit")
    loader = module.train_dataloader()
    epochs = []
    for epoch in (0, 1):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined] # as Lightning does
        batches = list(loader)
        assert sum(len(batch.ids) for batch in batches) == len(module.splits.train)  # type: ignore[union-attr]
        epochs.append([batch.ids for batch in batches])
        assert sum(batch.padding_fraction for batch in batches) / len(batches) < 0.15
    assert epochs[0] != epochs[1]


def test_the_budget_of_seconds_bounds_a_batch(planted_root: Path) -> None:
    module = make_module(planted_root, batch_size=16, batch_seconds=2.5)  # clips of 0.6 s
    module.setup("fit")
    assert max(len(batch.ids) for batch in module.train_dataloader()) == 4


def test_a_sampler_of_single_utterances_works_too(planted_root: Path) -> None:
    """Lightning's ``overfit_batches`` puts one in place."""
    module = make_module(planted_root, batch_size=4)
    assert len(module.train_dataloader().dataset[3].ids) == 1


@pytest.mark.parametrize("rank", [0, 2])
def test_more_processes_than_utterances_are_refused_in_each_of_them(planted_root: Path, rank: int) -> None:
    module = make_module(planted_root, stage="predict", max_utterances=2)
    module.trainer = SimpleNamespace(world_size=3, global_rank=rank)  # type: ignore[assignment]
    with pytest.raises(UserError, match=r"`devices` asks for 3 processes to explain 2 utterances;"):
        module.predict_dataloader()


class Loudness(pl.LightningModule):
    """A classifier of five classes that hears the level alone."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 5)
        self.heard: list[str] = []

    def training_step(self, batch: Batch) -> torch.Tensor:
        self.heard += batch.ids
        logits = self.layer(batch.waveforms.square().mean(1, keepdim=True))
        return torch.nn.functional.cross_entropy(logits, batch.labels)

    def test_step(self, batch: Batch) -> None:
        self.heard += batch.ids

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters())


def quiet_trainer(**options: object) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, **options,  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.fixture
def loudness_checkpoint(planted_root: Path, tmp_path: Path) -> Path:
    """A checkpoint after one epoch; speaker_03 was for test and speaker_02 for validation."""
    data = AudioDataModule(root=str(planted_root), test_speakers=[3], val_speakers=[2])
    trainer = quiet_trainer(max_epochs=1)
    trainer.fit(Loudness(), data)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    return tmp_path / "last.ckpt"


def test_a_checkpoint_is_tested_on_its_own_test_speakers_after_a_move(
    planted_root: Path, loudness_checkpoint: Path, tmp_path: Path
) -> None:
    shutil.copytree(planted_root, tmp_path / "moved" / "inner")
    manifest = tmp_path / "moved" / "manifest.csv"  # one level further up
    first, *rows = (planted_root / "manifest.csv").read_text().splitlines()
    manifest.write_text("\n".join([first, *(f"inner/{row}" for row in rows)]))
    model = Loudness()
    data = AudioDataModule(root=str(manifest), split_seed=1)
    quiet_trainer().test(model, data, ckpt_path=loudness_checkpoint, verbose=False)
    assert {id_.split("/")[1] for id_ in model.heard} == {"speaker_03"}
    assert len(model.heard) == 15


def test_testing_a_checkpoint_on_its_training_speakers_is_refused(
    planted_root: Path, loudness_checkpoint: Path
) -> None:
    data = AudioDataModule(root=str(planted_root), test_speakers=["speaker_00"], val_speakers=["speaker_02"])
    with pytest.raises(UserError, match=r"trained on 15 of 15 recordings of the test split: speaker_00/angry_0"):
        quiet_trainer().test(Loudness(), data, ckpt_path=loudness_checkpoint, verbose=False)


def test_a_training_is_resumed_with_its_own_split(planted_root: Path, loudness_checkpoint: Path) -> None:
    model = Loudness()
    data = AudioDataModule(root=str(planted_root), split_seed=1)
    quiet_trainer(max_epochs=2).fit(model, data, ckpt_path=loudness_checkpoint)
    assert {Path(id_).parts[0] for id_ in model.heard} == {"speaker_00", "speaker_01"}


@pytest.fixture
def parser() -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(AudioDataModule, "data")
    return parser


def numbered_corpus(folder: Path, speakers: list[str]) -> Path:
    """A manifest of speakers with numbers for names, without sounds."""
    rows = [f"{speaker}_{label}.wav,{label},{speaker}" for speaker in speakers for label in ("happy", "sad")]
    (folder / "list.csv").write_text("\n".join(["path,label,speaker", *rows]))
    for number, row in enumerate(rows):
        write_sound(folder / row.split(",")[0], seed=number)
    return folder / "list.csv"


def speakers_for_test(options: Namespace) -> list[str | None]:
    module = AudioDataModule(**options.data.as_dict())
    module.setup("test")
    assert module.splits is not None
    return sorted({utterance.speaker for utterance in module.splits.test}, key=str)


@pytest.mark.parametrize("written", ["[03,10,011]", '["03","10","011"]', "03,10,011", "[3, 10, 011]"])
@pytest.mark.parametrize("from_file", [False, True])
def test_speakers_that_are_numbers(parser: ArgumentParser, tmp_path: Path, written: str, from_file: bool) -> None:
    root = numbered_corpus(tmp_path, ["01", "02", "03", "10", "011"])
    arguments = ["--data.root", str(root), "--data.val_speakers", "[01]", "--data.test_speakers", written]
    if from_file:
        Path("config.yaml").write_text(f"data:\n  root: {root}\n  val_speakers: [01]\n  test_speakers: {written}\n")
        arguments = ["--config", "config.yaml"]
    assert speakers_for_test(parser.parse_args(arguments)) == ["011", "03", "10"]


@pytest.mark.parametrize(("written", "found"), [("[03,08]", ["Actor_03", "Actor_08"]), ("08", ["Actor_08"])])
def test_a_number_is_the_speaker_whose_name_ends_in_it(
    parser: ArgumentParser, tmp_path: Path, written: str, found: list[str]
) -> None:
    root = numbered_corpus(tmp_path, ["Actor_03", "Actor_08", "Actor_13", "Actor_18"])
    assert speakers_for_test(parser.parse_args(["--data.root", str(root), "--data.test_speakers", written])) == found


@pytest.mark.parametrize("name", ["max_utterances", "max_samples"])
def test_the_former_name_of_max_utterances_is_understood(parser: ArgumentParser, name: str) -> None:
    options = parser.parse_args([f"--data.{name}", "12"])
    assert AudioDataModule(**options.data.as_dict()).max_utterances == 12


def test_both_names_of_max_utterances_are_too_many() -> None:
    with pytest.raises(UserError, match="`max_samples` is the former name of `max_utterances`; give one of them"):
        AudioDataModule(max_utterances=3, max_samples=3)


def test_options_of_former_checkpoints_are_understood(planted_root: Path) -> None:
    saved = {
        "root": str(planted_root), "corpus": "planted", "audio_root": None, "val_speakers": None,
        "test_speakers": ["speaker_01"], "split_by": "speaker", "val_fraction": 0.15, "test_fraction": 0.2,
        "split_seed": 0,
    }  # fmt: skip
    module = AudioDataModule(**saved, max_samples=2)  # type: ignore[arg-type]
    module.setup("predict")
    assert [u.speaker for u in module.predict_utterances] == ["speaker_01"] * 2


def test_the_options_that_a_checkpoint_keeps_are_plain(loudness_checkpoint: Path) -> None:
    checkpoint = torch.load(loudness_checkpoint, weights_only=True)
    assert checkpoint["datamodule_hyper_parameters"]["test_speakers"] == [3]
    assert set(checkpoint["AudioDataModule"]) == {"corpus", "fold", "train", "val", "test"}


def waveforms_by_id(loader: Any, epoch: int = 0) -> dict[str, Tensor]:
    loader.sampler.set_epoch(epoch)
    return {
        id_: waveform[:length]
        for batch in loader
        for id_, waveform, length in zip(batch.ids, batch.waveforms, batch.lengths.tolist(), strict=True)
    }


def files_of(root: Path, ids: Iterable[str]) -> dict[str, Tensor]:
    return {id_: torch.from_numpy(load_audio(root / id_)) for id_ in ids}


def test_recordings_are_augmented_in_training_alone(planted_root: Path) -> None:
    module = make_module(planted_root, augment=Augmentation(gain=(20, 20), probability=1.0))
    trained = waveforms_by_id(module.train_dataloader())
    assert len(trained) == 30
    for id_, waveform in files_of(planted_root, trained).items():
        torch.testing.assert_close(trained[id_], 10 * waveform)
    module.setup("test")
    module.setup("predict")
    for loader in (module.val_dataloader(), module.test_dataloader(), module.predict_dataloader()):
        heard = waveforms_by_id(loader)
        assert len(heard) == 15
        assert all(torch.equal(heard[id_], waveform) for id_, waveform in files_of(planted_root, heard).items())
    plain = make_module(planted_root)
    assert torch.equal(module.reference_set(5), plain.reference_set(5))
    plain.setup("predict")
    for one, other in zip(module.calibration_waveforms(3), plain.calibration_waveforms(3), strict=True):
        assert torch.equal(one, other)


def random_gain(waveform: Tensor) -> Tensor:
    """Draws from all generators that a transform may draw from."""
    return waveform * (torch.rand(()) + random.random() + np.random.rand())  # noqa: NPY002, S311


@pytest.mark.parametrize(
    "options",
    [
        {"augment": Augmentation(noise_snr=(5, 30), gain=(-6, 6), speed=(0.9, 1.1), reverberation=(0.1, 0.3))},
        {"transform": random_gain},
    ],
    ids=["augment", "transform"],
)
def test_what_augmentation_draws_belongs_to_the_recording_and_the_epoch(
    planted_root: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "3")
    in_one = make_module(planted_root, batch_size=4, **options).train_dataloader()
    in_workers = make_module(planted_root, batch_size=7, num_workers=2, **options).train_dataloader()
    of_epochs = []
    for epoch in (1, 4):
        torch.manual_seed(epoch)
        expected, found = waveforms_by_id(in_one, epoch), waveforms_by_id(in_workers, epoch)
        assert list(expected) != list(found)  # another order
        assert all(torch.equal(expected[id_], found[id_]) for id_ in expected)
        of_epochs.append(expected)
    monkeypatch.setenv("PL_GLOBAL_SEED", "4")
    with_other_seed = waveforms_by_id(make_module(planted_root, **options).train_dataloader(), 4)
    for id_, waveform in of_epochs[1].items():
        assert not torch.equal(of_epochs[0][id_], waveform)
        assert not torch.equal(with_other_seed[id_], waveform)


def test_augmentation_leaves_the_random_numbers_of_the_training_alone(planted_root: Path) -> None:
    drawn = []
    for options in ({}, {"augment": Augmentation(noise_snr=(5, 30), speed=(0.9, 1.1))}):
        loader = make_module(planted_root, **options).train_dataloader()
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        list(loader)
        drawn.append((float(torch.rand(())), random.random(), float(np.random.rand())))  # noqa: NPY002, S311
    assert drawn[0] == drawn[1]


def test_an_own_transform_comes_before_the_augmentation(planted_root: Path) -> None:
    module = make_module(
        planted_root, transform=lambda waveform: waveform + 1, augment=Augmentation(gain=(20, 20), probability=1.0)
    )
    trained = waveforms_by_id(module.train_dataloader())
    for id_, waveform in files_of(planted_root, trained).items():
        torch.testing.assert_close(trained[id_], 10 * (waveform + 1))


def test_speed_keeps_recordings_within_what_the_model_hears(planted_root: Path) -> None:
    module = make_module(planted_root, augment=Augmentation(speed=(0.5, 2), probability=1.0), batch_seconds=2.4)
    free = [len(waveform) for waveform in waveforms_by_id(module.train_dataloader()).values()]
    assert min(free) < 9000 < 10000 < max(free)  # of 9600 each
    model = SimpleNamespace(shortest=9000, longest=10000)
    state = SimpleNamespace(status=None)
    module.trainer = SimpleNamespace(world_size=1, lightning_module=model, state=state)  # type: ignore[assignment]
    bounded = [len(waveform) for waveform in waveforms_by_id(module.train_dataloader()).values()]
    assert 9000 <= min(bounded) < 9300
    assert 9900 < max(bounded) <= 10000


def test_a_folder_without_noise_is_told_before_the_training_and_to_nobody_who_tests(planted_root: Path) -> None:
    module = AudioDataModule(root=str(planted_root), augment=Augmentation(noise_snr=(5, 30), noise_folder="nowhere"))
    with pytest.raises(UserError, match="`noise_folder` is nowhere"):
        module.setup("fit")
    module.setup("test")
    assert len(list(module.test_dataloader())) == 1


@pytest.fixture
def listed_root(tmp_path: Path) -> Path:
    """A manifest with durations, of whose 24 recordings some are bad: a whole batch of the training among them."""
    rows = ["path,label,speaker,split,duration"]
    for number in range(24):
        split = ("train", "val", "test")[min(number // 8, 2)]
        seconds = 0.3 + 0.01 * number
        path = write_sound(tmp_path / f"{number:02}.wav", seconds, seed=number)
        rows.append(f"{path.name},{'calm' if number % 2 else 'angry'},{number // 8},{split},{seconds}")
        if number in (2, 3, 9, 17):
            path.write_bytes(b"")
    (tmp_path / "list.csv").write_text("\n".join(rows))
    return tmp_path / "list.csv"


@pytest.mark.parametrize("num_workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_training_skips_files_that_turn_out_to_be_bad(
    listed_root: Path, num_workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    data = AudioDataModule(root=str(listed_root), check="lazily", batch_size=2, num_workers=num_workers)
    model = Heard(["angry", "calm"], backbone_config=family_config("wavlm"))
    trainer = pl.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, data)
    assert trainer.global_step == 8  # as many as if all were good
    assert set(model.trained) == {f"{number:02}.wav" for number in range(8) if number not in (2, 3)}
    assert caplog.text.count("left out (") == 2  # in two epochs, once for each split
    trainer.test(model, data, verbose=False)
    assert sorted(model.tested) == [f"{number:02}.wav" for number in range(16, 24) if number != 17]
    assert {skipped.path.name for skipped in data.skipped} == {"02.wav", "03.wav", "09.wav", "17.wav"}


class Heard(EmotionModule):
    """Notes what it is trained and tested on."""

    def setup(self, stage: str) -> None:
        super().setup(stage)
        self.trained: list[str] = getattr(self, "trained", [])
        self.tested: list[str] = []

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        self.trained += batch.ids

    def on_test_batch_start(self, batch: Batch, batch_idx: int) -> None:
        self.tested += batch.ids


def test_features_are_not_cached_where_no_file_is_opened_first(
    listed_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "speechshap")
    data = AudioDataModule(root=str(listed_root), check="lazily", batch_size=2, cache=str(tmp_path / "features"))
    model = EmotionModule(["angry", "calm"], backbone_config=family_config("wavlm"), freeze="backbone")
    pl.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(model, data)  # fmt: skip
    assert "features are not cached: recordings are found by what they contain, and `check` is lazily" in caplog.text


@pytest.mark.parametrize("check", ["first", "lazily"])
def test_a_tiny_part_can_be_learnt_by_heart(listed_root: Path, check: str) -> None:
    """Lightning makes the loader anew for ``overfit_batches``."""
    data = AudioDataModule(root=str(listed_root), check=check, batch_size=2, cache="off")  # type: ignore[arg-type]
    model = EmotionModule(["angry", "calm"], backbone_config=family_config("wavlm"))
    trainer = pl.Trainer(
        max_epochs=2, overfit_batches=2, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, data)
    assert trainer.global_step == 4


def test_a_part_of_the_utterances_is_not_trained_on(planted_root: Path) -> None:
    with pytest.raises(UserError, match="`shard` is a part of the utterances to explain; leave it out to train"):
        make_module(planted_root, shard="1/2")


def test_parts_of_what_is_explained_are_all_of_it(planted_root: Path) -> None:
    whole = make_module(planted_root, "predict")
    parts = [make_module(planted_root, "predict", shard=f"{number}/2") for number in (1, 2)]
    ids = [utterance.id for part in parts for utterance in part.predict_utterances]
    assert sorted(ids) == sorted(utterance.id for utterance in whole.predict_utterances)
    assert whole.portion is None
    with pytest.raises(EmptyShardError, match="`shard` 99/99 has no utterance"):
        make_module(planted_root, "predict", shard="99/99").predict_dataloader()
