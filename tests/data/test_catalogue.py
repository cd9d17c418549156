"""Which utterances are trained, tested and explained, before and after recordings have moved."""

import json
import logging
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from helpers import write_sound

from speechshap.data.audio import AudioFileError, load_audio
from speechshap.data.catalogue import Catalogue
from speechshap.data.planted import find_planted_corpus, make_planted_corpus
from speechshap.data.planted_clip import PLANTED_KINDS, PlantedKind
from speechshap.data.recognition import KnownRecordings
from speechshap.data.splits import SplitOptions
from speechshap.errors import UserError

CLASSES = ["neutral", "happy"]
ACTORS = [f"Actor_{number:02}" for number in range(1, 7)]


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A working folder for ``skipped.csv``, and all that is logged."""
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO, "speechshap")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Six actors of RAVDESS with two recordings each, below a folder of their own."""
    return write_actors(tmp_path / "data" / "RAVDESS")


def write_actors(root: Path, first_seed: int = 0, count: int = 6, take: str = "01-01-01") -> Path:
    for number in range(2 * count):
        actor, emotion = number // 2 + 1, ("01", "03")[number % 2]
        write_sound(root / f"Actor_{actor:02}" / f"03-01-{emotion}-{take}-{actor:02}.wav", seed=first_seed + number)
    return root


def catalogue(root: Path, seed: int = 0, **options: Any) -> Catalogue:
    corpus = options.pop("corpus", "auto")
    names = {name: options.pop(name) for name in ("audio_root", "classes", "files", "on_bad_file") if name in options}
    return Catalogue(root, corpus, options=SplitOptions(seed=seed, **options), **{"classes": CLASSES, **names})


def trained_state(root: Path, **options: Any) -> dict[str, Any]:
    """What a checkpoint keeps after a training on this corpus."""
    trained = catalogue(root, **options)
    trained.set_up_splits("fit")
    return trained.state()


def speakers(utterances: list) -> set[str]:
    return {utterance.speaker for utterance in utterances}


def with_checkpoint(root: Path, state: dict[str, Any], **options: Any) -> Catalogue:
    """A catalogue for a test with a checkpoint, whose own draw would be another one."""
    other = catalogue(root, seed=5, **options)
    other.load_state(state)
    other.set_up_splits("test")
    return other


def renamed(root: Path) -> Path:
    """A copy elsewhere, flat and with other names: only the sound tells."""
    target = root.parents[1] / "renamed"
    for number, path in enumerate(sorted(root.rglob("*.wav"))):
        actor, emotion = path.stem.split("-")[-1], {"01": "neutral", "03": "happy"}[path.stem.split("-")[2]]
        (target / emotion / actor).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target / emotion / actor / f"{number:03}.wav")
    return target


def as_flac(root: Path) -> Path:
    """A copy elsewhere as FLAC, one folder further down."""
    for path in root.rglob("*.wav"):
        target = root.parents[1] / "copies" / "flac" / path.relative_to(root).with_suffix(".flac")
        target.parent.mkdir(parents=True, exist_ok=True)
        samples, rate = soundfile.read(path, dtype="int16")
        soundfile.write(target, samples, rate)
    return root.parents[1] / "copies"


def at_another_rate(root: Path) -> Path:
    """A copy elsewhere as FLAC of 48 kHz."""
    for path in root.rglob("*.wav"):
        target = root.parents[1] / "resampled" / path.relative_to(root).with_suffix(".flac")
        target.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(target, load_audio(path, 48000), 48000)
    return root.parents[1] / "resampled"


def flat_and_louder(root: Path) -> Path:
    """Recordings in one folder and of another level: names and speakers alone tell."""
    target = root.parents[1] / "flat"
    target.mkdir()
    for path in root.rglob("*.wav"):
        samples, rate = soundfile.read(path)
        soundfile.write(target / path.name, 1.5 * samples, rate)
    return target


@pytest.mark.parametrize(
    "move", [lambda root: root, lambda root: root.parent, as_flac, at_another_rate, flat_and_louder, renamed],
    ids=["as it was", "one level up", "as FLAC, elsewhere", "at another rate", "flat and louder", "renamed"],
)  # fmt: skip
def test_the_speakers_of_a_test_stay_wherever_the_recordings_lie(root: Path, move: Callable[[Path], Path]) -> None:
    state = trained_state(root)
    expected = KnownRecordings.from_state(state)
    moved = move(root)
    splits = with_checkpoint(moved, state).splits
    assert splits is not None
    for name, part in splits._asdict().items():
        actors = {recording.speaker for recording in expected.recordings if recording.split == name}
        assert {(speaker or "")[-2:] for speaker in speakers(part)} == {(actor or "")[-2:] for actor in actors}
        assert len(part) == 2 * len(actors)
    assert speakers(catalogue(root, seed=5).set_up_splits("test").test) != speakers(splits.test)


def test_one_speakers_folder_is_recognised(root: Path) -> None:
    state = trained_state(root)
    (actor,) = {r.speaker for r in KnownRecordings.from_state(state).recordings if r.split == "test"}
    folder = with_checkpoint(root / str(actor), state)
    assert folder.splits is not None
    assert [len(part) for part in folder.splits] == [0, 0, 2]
    trained_on = next(r.speaker for r in KnownRecordings.from_state(state).recordings if r.split == "train")
    with pytest.raises(
        UserError, match=r"the test split, as the checkpoint was trained with, is empty .2 train, 0 val, 0 test."
    ):
        with_checkpoint(root / str(trained_on), state)


@pytest.mark.parametrize("above", [False, True])
def test_checkpoints_that_kept_ids_alone_are_recognised(root: Path, above: bool) -> None:
    ids = [f"{actor}/03-01-{code}-01-01-01-{actor[-2:]}.wav" for actor in ACTORS for code in ("01", "03")]
    state = {"train": ids[:8], "val": ids[8:10], "test": ids[10:]}
    splits = with_checkpoint(root.parent if above else root, state).splits
    assert splits is not None
    assert [speakers(part) for part in splits] == [set(ACTORS[:4]), {"Actor_05"}, {"Actor_06"}]


def test_the_state_is_plain_compact_and_comes_back(root: Path, tmp_path: Path) -> None:
    state = trained_state(root)
    torch.save(state, tmp_path / "state.pt")
    assert torch.load(tmp_path / "state.pt", weights_only=True) == state
    assert len(json.dumps(state)) < 12 * 110 + 200  # a hundred bytes a recording, or so
    again = catalogue(root)
    again.set_up_splits("fit")
    again.load_state(state)
    assert again.state() == state


def test_a_recording_that_is_not_the_checkpoints_is_left_out_and_listed(root: Path) -> None:
    state = trained_state(root)
    write_sound(root / "Actor_07" / "03-01-01-01-01-01-07.wav", seed=99)
    other = with_checkpoint(root, state)
    assert "Actor_07" not in {speaker for part in other.splits or () for speaker in speakers(part)}
    (skipped,) = other.skipped
    assert skipped.path.name == "03-01-01-01-01-01-07.wav"
    assert skipped.reason == "in no split; the corpus is split as the checkpoint was trained with"


def test_a_test_on_speakers_of_the_training_is_refused(root: Path) -> None:
    named: dict[str, Any] = {"test_speakers": [1], "val_speakers": [2]}
    state = trained_state(root, **named)
    assert with_checkpoint(root, state, **named).splits is not None
    with pytest.raises(UserError, match=r"trained on 2 of 4 recordings of the test split: Ac"):
        with_checkpoint(root, state, test_speakers=[1, 3], val_speakers=[2])
    with pytest.raises(UserError, match=r"trained on 2 of 2 recordings of the val split"):
        catalogue_resuming(root, state, test_speakers=[1], val_speakers=[3])


def catalogue_resuming(root: Path, state: dict[str, Any], **options: Any) -> Catalogue:
    """A catalogue that goes on with a training: the checkpoint is read after the set-up, as Lightning does."""
    resumed = catalogue(root, **options)
    resumed.set_up_splits("fit")
    resumed.load_state(state)
    return resumed


def test_a_resumed_training_has_the_split_of_its_checkpoint(root: Path) -> None:
    state = trained_state(root)
    resumed = catalogue_resuming(root.parent, state, seed=5)
    old, new = (KnownRecordings.from_state(one).recordings for one in (state, resumed.state()))
    assert {(r.split, r.name, r.speaker, r.digest) for r in old} == {
        (r.split, r.name, r.speaker, r.digest) for r in new
    }
    assert len(new) == 12


def test_what_was_trained_on_before_another_corpus_is_not_forgotten(root: Path, tmp_path: Path) -> None:
    first = trained_state(root)
    other = write_actors(tmp_path / "other", first_seed=50, count=3, take="02-02-02")
    second = catalogue_resuming(other, first).state()
    assert trained_on(second) == trained_on(first) | {
        r.speaker for r in KnownRecordings.from_state(second).recordings if r.split == "train"
    }
    with pytest.raises(UserError, match="recordings of the test split"):
        with_checkpoint(
            root, second, test_speakers=sorted(trained_on(first))[:1], val_speakers=sorted(trained_on(first))[1:2]
        )


def trained_on(state: dict[str, Any]) -> set[str]:
    return {str(r.speaker) for r in KnownRecordings.from_state(state).recordings if r.split == "train"}


def write_manifest(path: Path, sounds: Path, splits: dict[str, str]) -> Path:
    """A manifest that gives each actor a split."""
    rows = [
        f"{sound},{('neutral', 'happy')['-03-' in sound.name[1:]]},{sound.parent.name},{splits[sound.parent.name]}"
        for sound in sorted(sounds.rglob("*.wav"))
        if sound.parent.name in splits
    ]
    path.write_text("\n".join(["path,label,speaker,split", *rows]))
    return path


def fold(test: str, val: str | None = None) -> dict[str, str]:
    return {actor: {test: "test", val: "dev"}.get(actor, "train") for actor in ACTORS}


def test_a_split_column_is_kept_as_it_is(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    manifest = write_manifest(tmp_path / "list.csv", root, fold("Actor_03", "Actor_05"))
    splits = catalogue(manifest).set_up_splits("fit")
    assert (speakers(splits.val), speakers(splits.test)) == ({"Actor_05"}, {"Actor_03"})
    assert "split as the manifest has it" in caplog.text
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_validation_is_drawn_from_train_where_a_manifest_has_none(root: Path, tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "list.csv", root, fold("Actor_03"))
    first = catalogue(manifest)
    splits = first.set_up_splits("fit")
    assert speakers(splits.test) == {"Actor_03"}
    assert len(speakers(splits.val)) == 1
    assert not speakers(splits.train) & speakers(splits.val)
    for seed in range(4):  # and stays what it was for a checkpoint
        again = catalogue(manifest, seed=seed)
        again.load_state(first.state())
        assert again.set_up_splits("fit") == splits


def test_a_manifest_that_is_all_test_is_tested_whole_and_not_trained_on(root: Path, tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "list.csv", root, dict.fromkeys(ACTORS, "test"))
    assert len(catalogue(manifest).set_up_splits("test").test) == 12
    assert len(catalogue(manifest).utterances_to_explain("test", None)) == 12
    with pytest.raises(
        UserError,
        match=r"the train split, as the manifest has it, is empty .0 train, 0 val, 12 test.; this corpus cannot",
    ):
        catalogue(manifest).set_up_splits("fit")
    with pytest.raises(UserError, match="no training recordings to compare with"):
        catalogue(manifest).training_utterances(4)


def test_a_given_test_split_without_a_class_is_tested_with_a_warning(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for path in root.rglob("03-01-03-*"):
        path.unlink()
    manifest = write_manifest(tmp_path / "list.csv", root, dict.fromkeys(ACTORS, "test"))
    assert len(catalogue(manifest).set_up_splits("test").test) == 6
    assert "the test split of 6 utterances has none of the class happy" in caplog.text


def test_a_speaker_in_two_given_splits_is_warned_of(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = write_manifest(tmp_path / "list.csv", root, fold("Actor_03", "Actor_05"))
    given = manifest.read_text()
    manifest.write_text(given.replace("Actor_05,dev", "Actor_03,dev"))
    catalogue(manifest).set_up_splits("fit")
    (warning,) = (record for record in caplog.records if record.levelno == logging.WARNING)
    assert "speaker-dependent: the test speaker is heard in training or validation" in warning.getMessage()
    manifest.write_text(given.replace("Actor_05,dev", "Actor_01,dev"))
    catalogue(manifest).set_up_splits("fit")
    assert "1 speaker in both the train and the val split: Actor_01" in caplog.text


def test_what_is_split_by_utterance_is_called_speaker_dependent(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    by_utterance = catalogue(root, split_by="utterance", test_fraction=0.4)
    assert by_utterance.speaker_overlap is None
    by_utterance.set_up_splits("fit")
    assert by_utterance.speaker_overlap is not None
    assert by_utterance.speaker_overlap.is_independent is False
    assert "speaker-dependent" in caplog.text
    assert not [record for record in caplog.records if record.levelno == logging.WARNING]


def test_each_utterance_is_tested_in_one_fold_and_a_checkpoint_finds_its_own_again(root: Path, tmp_path: Path) -> None:
    tested = []
    for number in (1, 2, 3):
        own = catalogue(root, folds=3, fold=number)
        assert own.num_folds == 3
        splits = own.set_up_splits("fit")
        tested += [utterance.id for utterance in splits.test]
        again = catalogue(root, folds=3, fold=number)
        again.load_state(own.state())
        assert again.set_up_splits("test") == splits
        moved = catalogue(renamed(root) if number == 1 else tmp_path / "renamed")  # whose own draw is another one
        moved.load_state(own.state())
        assert len(moved.set_up_splits("test").test) == len(splits.test)
        other = catalogue(root, folds=3, fold=number % 3 + 1)
        other.load_state(own.state())
        with pytest.raises(UserError, match="the checkpoint was trained on"):
            other.set_up_splits("test")
    assert sorted(tested) == sorted(utterance.id for utterance in catalogue(root).listing.utterances)


def test_a_file_that_cannot_be_used_moves_no_other_to_another_fold(root: Path) -> None:
    whole = [catalogue(root, folds=3, fold=number).set_up_splits("fit") for number in (1, 2, 3)]
    bad = root / "Actor_01" / "03-01-03-01-01-01-01.wav"
    bad.write_bytes(b"no sound")
    for number, splits in enumerate(whole, start=1):
        own = catalogue(root, folds=3, fold=number).set_up_splits("fit")
        assert [[u for u in part if u.path != bad] for part in splits] == list(own)


def test_folds_of_emobox_are_its_folders(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number, speaker in ((1, "Actor_01"), (2, "Actor_02")):
        for name in ("train", "test"):
            lines = [
                json.dumps({"key": path.stem, "wav": f"{path.parent.name}/{path.name}", "emo": label})
                for path in sorted(root.glob("*/*.wav"))
                if (path.parent.name == speaker) == (name == "test")
                for label in [CLASSES["-03-" in path.stem[5:]]]
            ]
            (tmp_path / "emobox" / f"fold_{number}").mkdir(parents=True, exist_ok=True)
            (tmp_path / "emobox" / f"fold_{number}" / f"x_{name}_fold_{number}.jsonl").write_text("\n".join(lines))
    gone = root / "Actor_02" / "03-01-03-01-01-01-02.wav"
    gone.unlink()
    second = catalogue(tmp_path / "emobox", audio_root=root, folds="emobox", fold=2)
    assert second.num_folds == 2
    splits = second.set_up_splits("test")
    assert [utterance.speaker for utterance in splits.test] == ["Actor_02"]
    assert "split as fold 2 of EmoBox has it" in caplog.text
    assert "1 file left out (03-01-03-01-01-01-02.wav)" in caplog.text
    assert f"1 of them: no such file at their paths below {root}, and no other of their name" in caplog.text
    assert gone.name in Path("skipped.csv").read_text()
    with pytest.raises(UserError, match="`fold` is 3; this corpus has 2 folds"):
        catalogue(tmp_path / "emobox", audio_root=root, folds="emobox", fold=3).set_up_splits("test")
    with pytest.raises(UserError, match="folds of EmoBox, which have the splits; choose one with `folds` emobox"):
        catalogue(tmp_path / "emobox", audio_root=root).set_up_splits("test")
    with pytest.raises(UserError, match="no JSON lines whose names say train and test, as `folds` emobox"):
        catalogue(root, folds="emobox", fold=1).set_up_splits("test")


def test_the_same_sound_is_never_on_both_sides(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    original = root / "Actor_01" / "03-01-03-01-01-01-01.wav"
    for number in range(2, 8):
        copy = root / "Actor_01" / f"03-01-03-01-01-{number:02}-01.flac"
        soundfile.write(copy, *soundfile.read(original, dtype="int16"))
    own = catalogue(root, split_by="utterance", test_fraction=0.3, val_fraction=0.3)
    splits = own.set_up_splits("fit")
    sides = [{load_audio(u.path).tobytes() for u in part} for part in splits]
    assert not sides[0] & sides[1] | sides[0] & sides[2] | sides[1] & sides[2]
    assert "the same sound as" in Path("skipped.csv").read_text()
    assert "left out" in caplog.text
    assert re.search(r"[1-6] of them: the same sound as another that is evaluated", caplog.text)
    again = catalogue(root, split_by="utterance", test_fraction=0.3, val_fraction=0.3)
    again.load_state(own.state())
    assert again.set_up_splits("test") == splits
    strict = catalogue(root, split_by="utterance", test_fraction=0.3, val_fraction=0.3, on_bad_file="raise")
    with pytest.raises(AudioFileError, match=r"the same sound as .* of the (test|val) split"):
        strict.set_up_splits("fit")


def test_the_test_split_of_another_fold_is_refused_and_explained_with_a_warning(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = write_manifest(tmp_path / "one.csv", root, fold("Actor_01", "Actor_02"))
    two = write_manifest(tmp_path / "two.csv", root, fold("Actor_03", "Actor_02"))
    state = trained_state(one)
    assert len(with_checkpoint(one, state).splits.test) == 2  # type: ignore[union-attr]
    with pytest.raises(UserError, match=r"trained on 2 of 2 recordings of the test split"):
        with_checkpoint(two, state)
    explained = catalogue(two)
    explained.load_state(state)
    assert len(explained.utterances_to_explain("test", None)) == 2
    assert "2 of 2 recordings to explain were in the training split: " in caplog.text


def test_a_test_on_recordings_of_the_validation_is_told(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = trained_state(write_manifest(tmp_path / "one.csv", root, fold("Actor_01", "Actor_02")))
    with_checkpoint(write_manifest(tmp_path / "two.csv", root, {"Actor_01": "test", "Actor_02": "test"}), state)
    assert "2 of 4 recordings to test were in the validation split: " in caplog.text


def test_a_split_by_utterance_is_no_mistake_of_the_checkpoint(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    with_checkpoint(root, trained_state(root, split_by="utterance"))
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_the_same_keys_in_another_manifest_are_other_recordings(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    states = []
    for number, name in enumerate(("one", "two")):
        rows = [{"key": key, "wav": f"{name}/{key}.wav", "emo": ("neutral", "happy")[key % 2]} for key in range(12)]
        for row in rows:
            write_sound(tmp_path / row["wav"], seed=100 * number + row["key"])
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        states.append(trained_state(tmp_path / f"{name}.jsonl", split_by="utterance"))
    moved = tmp_path / "two.jsonl"
    for state, origin in zip(states, ("by utterance, seed 5", "as the checkpoint was trained with"), strict=True):
        caplog.clear()
        with_checkpoint(moved, state, split_by="utterance")
        assert f"split {origin}" in caplog.text


def test_emobox_folds_know_a_checkpoint_of_the_corpus_folder(root: Path, tmp_path: Path) -> None:
    state = trained_state(root, test_speakers=[1], val_speakers=[2])
    for name, actors in (("train", ACTORS[:-2]), ("test", ACTORS[-2:])):
        lines = [
            {"key": f"ravdess-{path.stem}", "wav": f"downloads/{path.name}", "emo": "happy"}
            for actor in actors
            for path in sorted((root / actor).glob("*.wav"))
        ]
        (tmp_path / "fold_1").mkdir(exist_ok=True)
        (tmp_path / "fold_1" / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(UserError, match=r"trained on 4 of 4 recordings of the test split: ravdess-03-01-01"):
        with_checkpoint(tmp_path / "fold_1", state, audio_root=root)


def test_missing_recordings_of_a_manifest_are_counted_and_named(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = write_manifest(tmp_path / "list.csv", root, fold("Actor_03", "Actor_05"))
    shutil.rmtree(root / "Actor_01")
    splits = catalogue(manifest).set_up_splits("fit")
    assert len(splits.train) == 6
    assert "2 files left out (03-01-01-01-01-01-01.wav, 03-01-03-01-01-01-01.wav)" in caplog.text
    with pytest.raises(UserError, match="no such file"):
        catalogue(manifest, on_bad_file="raise").set_up_splits("fit")
    shutil.rmtree(root)
    with pytest.raises(UserError, match=r"no such file .and none of the other 11 files can be used; `audio_root`"):
        catalogue(manifest).set_up_splits("fit")


@pytest.mark.parametrize(
    ("split", "trained", "validated"), [("all", "8 of 12", "2 of 12"), ("train", "8 of 8", None), ("test", None, None)]
)
def test_explaining_says_what_the_checkpoint_was_trained_with(
    root: Path, split: Any, trained: str | None, validated: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    explained = catalogue(root)
    explained.load_state(trained_state(root))
    caplog.clear()
    explained.utterances_to_explain(split, None)
    assert (f"{trained} recordings to explain were in the training split: " in caplog.text) is (trained is not None)
    assert (f"{validated} recordings to explain were in the validation split: " in caplog.text) is (
        validated is not None
    )
    assert ("training split" in caplog.text) is (trained is not None)


def test_explaining_prints_the_split_and_its_speakers(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = trained_state(root, test_speakers=[4, 2])
    explained = catalogue(root)
    explained.load_state(state)
    caplog.clear()
    explained.utterances_to_explain("test", 3)
    assert "to explain, split as the checkpoint was trained with" in caplog.text
    assert "test     3 utterances of 2 speakers: Actor_02 Actor_04" in caplog.text


def test_loose_files_that_the_checkpoint_was_trained_on_are_told(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = trained_state(root)
    copies = tmp_path / "copies"
    copies.mkdir()
    for number, path in enumerate(sorted(root.rglob("*.wav"))):
        shutil.copy(path, copies / f"recording {number}.wav")
    write_sound(copies / "new.wav", seed=99)
    loose = Catalogue(files=[copies])
    loose.load_state(state)
    caplog.clear()
    assert len(loose.utterances_to_explain("test", None)) == 13
    assert f"8 of 13 recordings to explain were in the training split: {copies}/recording" in caplog.text
    assert "2 of 13 recordings to explain were in the validation split: " in caplog.text
    assert "files   13 utterances\n" in caplog.text


def test_a_name_alone_does_not_make_a_recording_of_the_training(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, path in enumerate(sorted(root.rglob("*.wav"))):
        path.rename(path.with_name(f"{number}-{path.name[6:8]}-.wav"))
    manifest = write_manifest(tmp_path / "list.csv", root, fold("Actor_03", "Actor_05"))
    state = trained_state(manifest)
    write_sound(tmp_path / "new" / "0-01-.wav", seed=99)
    loose = Catalogue(files=[tmp_path / "new"])
    loose.load_state(state)
    loose.utterances_to_explain("test", None)
    assert "training split" not in caplog.text


def test_speakers_of_the_same_names_are_warned_of_where_no_recording_is_recognised(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = trained_state(root)
    other = write_actors(tmp_path / "other", first_seed=50, take="02-02-02")
    with_checkpoint(other, state)
    assert "but the names of 4 speakers are those of training: Actor_" in caplog.text


def test_another_corpus_is_split_anew_without_a_warning(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = trained_state(root)
    for number in range(8):
        write_sound(tmp_path / "emodb" / f"{number // 2:02}a01{'NF'[number % 2]}a.wav", seed=50 + number)
    caplog.clear()
    other = with_checkpoint(tmp_path / "emodb", state)
    assert other.splits is not None
    assert "split by speaker, seed 5" in caplog.text
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def write_folders(root: Path, first_seed: int, with_speakers: bool) -> Path:
    """A corpus of class folders with common names."""
    for number in range(12):
        speaker = f"s{number // 2 % 3}" if with_speakers else "."
        write_sound(root / CLASSES[number % 2] / speaker / f"{number:03}.wav", seed=first_seed + number)
    return root


@pytest.mark.parametrize("with_speakers", [True, False], ids=["speakers", "no speakers"])
def test_other_recordings_of_the_same_names_are_not_the_checkpoints(
    tmp_path: Path, with_speakers: bool, caplog: pytest.LogCaptureFixture
) -> None:
    options: dict[str, Any] = {"split_by": "speaker" if with_speakers else "utterance"}
    state = trained_state(write_folders(tmp_path / "trained", 0, with_speakers), **options)
    foreign = write_folders(tmp_path / "foreign", 100, with_speakers)
    write_sound(foreign / "happy" / "s0" / "new.wav", seed=999)
    caplog.clear()
    tested = with_checkpoint(foreign, state, **options)
    assert f"split by {options['split_by']}, seed 5" in caplog.text
    assert sum(map(len, tested.splits or ())) == 13
    assert ("none of the 12 recordings of the checkpoint was found, but" in caplog.text) is with_speakers
    caplog.clear()
    explained = catalogue(foreign, **options)
    explained.load_state(state)
    assert len(explained.utterances_to_explain("all", None)) == 13
    assert "the model was trained on them" not in caplog.text


def test_among_other_recordings_of_the_same_names_the_checkpoints_own_are_recognised(root: Path) -> None:
    state = trained_state(root)
    (tested,) = {r.speaker for r in KnownRecordings.from_state(state).recordings if r.split == "test"}
    shutil.copytree(root / str(tested), root / "kept")
    write_actors(root, first_seed=50)
    shutil.rmtree(root / str(tested))
    (root / "kept").rename(root / str(tested))
    splits = with_checkpoint(root, state).splits
    assert splits is not None
    assert [len(part) for part in splits] == [0, 0, 2]
    assert speakers(splits.test) == {tested}


def test_a_few_edited_recordings_stay_the_checkpoints(root: Path) -> None:
    state = trained_state(root)
    for number, path in enumerate(sorted((root / "Actor_02").glob("*.wav"))):
        write_sound(path, 0.3, seed=50 + number)
    splits = with_checkpoint(root, state).splits
    assert splits is not None
    assert sum(map(len, splits)) == 12


@pytest.mark.parametrize("dropped", [("envelopes",), ("envelopes", "digests")])
def test_the_name_decides_where_a_checkpoint_tells_nothing_of_the_sound(root: Path, dropped: tuple[str, ...]) -> None:
    state = trained_state(root)
    for part in ("train", "val", "test"):
        state[part] = {name: column for name, column in state[part].items() if name not in dropped}
    write_actors(root, first_seed=50)
    splits = with_checkpoint(root, state).splits
    assert splits is not None
    assert [utterance.id for part in splits for utterance in part] == [
        id_ for part in ("train", "val", "test") for id_ in state[part]["ids"]
    ]


def test_all_processes_but_the_first_show_and_write_nothing(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    state = trained_state(root)
    moved = renamed(root)
    (moved / "happy" / "bad.wav").write_bytes(b"")
    bars = []
    monkeypatch.setattr("tqdm.auto.tqdm", lambda items, disable, **options: bars.append(disable) or items)
    other = catalogue(moved)
    other.report_to(tmp_path, quiet=True)
    other.load_state(state)
    caplog.clear()
    other.set_up_splits("test")
    assert bars
    assert all(bars)
    assert not caplog.text
    assert not (tmp_path / "skipped.csv").exists()


def test_files_that_were_left_out_are_listed_in_the_folder_that_was_asked_for(root: Path, tmp_path: Path) -> None:
    next(root.rglob("*.wav")).write_bytes(b"")
    told = catalogue(root)
    told.report_to(tmp_path / "run")
    told.set_up_splits("fit")
    assert len((tmp_path / "run" / "skipped.csv").read_text().splitlines()) == 2


def test_loose_files_without_a_training_are_compared_with_no_planted_corpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    loose = Catalogue(files=[write_sound(tmp_path / "a.wav")], classes=CLASSES)
    with pytest.raises(UserError, match="no training recordings to compare with; give the corpus of the training as"):
        loose.training_utterances(1)
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_a_file_that_was_left_out_is_told_once(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    bad = write_sound(root.parent / "loose" / "bad.wav")
    good = write_sound(root.parent / "loose" / "good.wav")
    bad.write_bytes(b"")
    told = catalogue(root, files=[bad, good])
    told.utterances_to_explain("test", None)
    told.training_utterances(2)
    assert caplog.text.count("1 file left out (bad.wav)") == caplog.text.count("left out") == 1


@pytest.mark.parametrize("files", [["a.m4a", "b.wav", "c.mp4"], ["."]])
def test_what_a_missing_decoder_leaves_out_is_told_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, files: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    for name in ("a.m4a", "c.mp4"):
        Path(name).write_bytes(b"sound")
    write_sound(tmp_path / "b.wav")
    loose: dict[str, Any] = {"files": [Path(name) for name in files], "classes": CLASSES}
    assert len(Catalogue(**loose).utterances_to_explain("test", None)) == 1
    assert "2 files left out (a.m4a, c.mp4)" in caplog.text
    assert "2 of them: needs the decoder of speechshap[media]: pip install 'speechshap[media]'" in caplog.text
    with pytest.raises(AudioFileError, match=r"a\.m4a: needs the decoder"):
        Catalogue(**loose, on_bad_file="raise").utterances_to_explain("test", None)


def test_the_planted_corpus_of_a_run_is_found_above_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "project" / "runs" / "demo" / "version_0"
    for folder in (run, tmp_path / "project" / "data" / "planted", tmp_path / "elsewhere"):
        folder.mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert find_planted_corpus(run) == tmp_path / "project" / "data" / "planted"
    assert not caplog.text
    (tmp_path / "project" / "data" / "planted").rmdir()
    assert find_planted_corpus(run) is None
    assert "made anew in data/planted" in caplog.text
    monkeypatch.chdir(tmp_path / "project")
    (tmp_path / "project" / "data" / "planted").mkdir()
    assert find_planted_corpus(run) is None  # which is what is taken in any case


def test_each_kind_of_planted_corpus_has_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(root: Path, kind: PlantedKind) -> None:
        made.append(root.as_posix())
        make_planted_corpus(root, kind, num_clips=10, num_speakers=2, duration_seconds=0.3)

    made: list[str] = []
    monkeypatch.setattr("speechshap.data.catalogue.make_planted_corpus", make)
    monkeypatch.chdir(tmp_path)
    for kind in PLANTED_KINDS:
        catalogue = Catalogue(corpus=kind)
        assert catalogue.classes == ["neutral", "angry", "fearful", "happy", "sad"]
        assert catalogue.listing.name == kind
        assert find_planted_corpus(tmp_path / "runs", kind) is None  # it is here
    assert Catalogue().listing.name == "planted"
    assert made == [f"data/{kind}" for kind in PLANTED_KINDS]
    monkeypatch.chdir("/")
    assert find_planted_corpus(tmp_path / "runs" / "demo", "planted_pair") == tmp_path / "data" / "planted_pair"
