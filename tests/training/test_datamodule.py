import csv
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from helpers import write_sound
from jsonargparse import ArgumentParser, Namespace

from speechshap.data import AudioFileError, Batch, load_audio
from speechshap.data.shards import EmptyShardError
from speechshap.errors import UserError
from speechshap.training import AudioDataModule
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
