"""Corpora whose files are opened when they are trained on."""

import csv
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import write_sound

from speechshap.data.audio import AudioFileError
from speechshap.data.batching import LengthBatchSampler
from speechshap.data.catalogue import Catalogue
from speechshap.data.dataset import Batch, UtteranceDataset
from speechshap.data.recognition import KnownRecordings
from speechshap.data.skipping import SkippingLoader, UncheckedDataset
from speechshap.errors import UserError

CLASSES = ["happy", "sad"]


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A working folder for ``skipped.csv``, and all that is logged."""
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO, "speechshap")


def corpus(root: Path, bad: Sequence[int] = (), count: int = 12, durations: bool = True) -> Path:
    """A manifest of recordings of six speakers, some of which are not there."""
    rows = [["path", "label", "speaker", "duration"]]
    for number in range(count):
        if number not in bad:
            write_sound(root / f"{number:02}.wav", 0.2, seed=number)
        rows.append([f"{number:02}.wav", CLASSES[number % 2], f"S{number // 2}", "0.2" if durations else ""])
    with (root / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return root / "manifest.csv"


def catalogue(root: Path, **options: Any) -> Catalogue:
    return Catalogue(root, classes=CLASSES, **{"check": "lazily", **options})


def loader(of: Catalogue, batch_size: int = 2, **options: Any) -> SkippingLoader:
    """Of all utterances, in the order of their numbers."""
    utterances = of.listing.utterances
    sampler = LengthBatchSampler([of.seconds(utterance) for utterance in utterances], batch_size)
    return SkippingLoader(UncheckedDataset(utterances, CLASSES), of, batch_size=None, sampler=sampler, **options)


def listed(path: Path) -> list[str]:
    with path.open(newline="") as file:
        return sorted(Path(row[0]).name for row in list(csv.reader(file))[1:])


def same(one: Batch, other: Batch) -> bool:
    tensors = ("waveforms", "lengths", "labels")
    return one.ids == other.ids and all(torch.equal(getattr(one, n), getattr(other, n)) for n in tensors)


def test_nothing_is_opened_before_the_first_batch(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = corpus(tmp_path, bad=range(12))
    lazy = catalogue(root)
    splits = lazy.set_up_splits("fit")
    assert sum(map(len, splits)) == 12
    assert not lazy.skipped
    assert {lazy.seconds(utterance) for part in splits for utterance in part} == {0.2}
    assert "nor whether the same recording is in two splits" in caplog.text
    with pytest.raises(AudioFileError, match=r"no such file \(and none of the other 11 files can be used"):
        catalogue(root, check="first").set_up_splits("fit")


def test_the_splits_are_those_of_checked_files(tmp_path: Path) -> None:
    root = corpus(tmp_path)
    assert catalogue(root).set_up_splits("fit") == catalogue(root, check="first").set_up_splits("fit")


@pytest.mark.parametrize("num_workers", [0, 2])
def test_good_files_give_the_batches_of_checked_ones(tmp_path: Path, num_workers: int) -> None:
    lazy = catalogue(corpus(tmp_path))
    skipping = loader(lazy, num_workers=num_workers)
    checked = UtteranceDataset(lazy.listing.utterances, CLASSES)
    expected = [checked[indices] for indices in skipping.sampler]
    assert all(same(one, other) for one, other in zip(skipping, expected, strict=True))
    assert not lazy.skipped


@pytest.mark.parametrize("num_workers", [0, 2])
def test_bad_files_are_left_out_of_their_batches_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, num_workers: int
) -> None:
    bad = [0, 1, 5, 8, 9]  # two batches are bad as a whole, the first one of them
    lazy = catalogue(corpus(tmp_path, bad))
    lazy.set_up_splits("fit")
    skipping = loader(lazy, num_workers=num_workers)
    for _ in range(2):
        batches = [batch.ids for batch in skipping]
        assert len(batches) == len(skipping)
        heard = Counter(name for ids in batches for name in ids)
        assert set(heard) == {f"{number:02}.wav" for number in range(12) if number not in bad}
        twice = {"02.wav", "03.wav", "06.wav", "07.wav"}  # in place of batches without a file
        assert heard == {name: 2 if name in twice else 1 for name in heard}
        counted = Counter(
            name for number, ids in enumerate(batches) if not skipping.is_repeated(number) for name in ids
        )
        assert counted == dict.fromkeys(heard, 1)
    assert listed(tmp_path / "skipped.csv") == [f"{number:02}.wav" for number in bad]
    assert caplog.text.count("5 files left out") == caplog.text.count("left out") == 1
    assert [skipped.path.name for skipped in lazy.skipped] == [f"{number:02}.wav" for number in bad]


def test_what_was_left_out_is_told_where_an_epoch_is_not_finished(tmp_path: Path) -> None:
    batches = iter(loader(catalogue(corpus(tmp_path, bad=[1]))))
    next(batches)
    batches.close()
    assert listed(tmp_path / "skipped.csv") == ["01.wav"]


def test_a_corpus_of_which_no_file_can_be_used_is_refused(tmp_path: Path) -> None:
    lazy = catalogue(corpus(tmp_path, bad=range(12)), audio_root=None)
    message = r"00.wav: no such file \(and none of 11 other files that were tried can be used; `audio_root` says"
    with pytest.raises(AudioFileError, match=message):
        list(loader(lazy))


def test_a_hundred_bad_files_are_enough(tmp_path: Path) -> None:
    lazy = catalogue(corpus(tmp_path, bad=range(200), count=300))
    with pytest.raises(AudioFileError, match="none of 99 other files"):
        list(loader(lazy))


def test_on_bad_file_raise_ends_the_run_at_the_first_one(tmp_path: Path) -> None:
    batches = iter(loader(catalogue(corpus(tmp_path, bad=[2]), on_bad_file="raise")))
    assert next(batches).ids == ["00.wav", "01.wav"]
    with pytest.raises(AudioFileError, match=r"02.wav: no such file"):
        next(batches)


@pytest.mark.parametrize(("seconds", "is_used"), [(0.2, True), (0.28, True), (0.4, False), (0.03, False)])
def test_a_file_of_another_duration_is_left_out(tmp_path: Path, seconds: float, is_used: bool) -> None:
    lazy = catalogue(corpus(tmp_path))
    write_sound(tmp_path / "03.wav", seconds)
    heard = {name for batch in loader(lazy) for name in batch.ids}
    assert ("03.wav" in heard) is is_used
    reasons = [f"lasts {seconds} s, while the manifest says 0.2 s; correct its duration, or the file"]
    assert [skipped.reason for skipped in lazy.skipped] == ([] if is_used else reasons)


def test_files_without_a_duration_alone_are_checked_first(tmp_path: Path) -> None:
    root = corpus(tmp_path, bad=[3, 4])
    root.write_text(root.read_text().replace("03.wav,sad,S1,0.2", "03.wav,sad,S1,").replace("S3,0.2", "S3,"))
    lazy = catalogue(root)
    names = {utterance.id for part in lazy.set_up_splits("fit") for utterance in part}
    assert names == {f"{number:02}.wav" for number in range(12) if number != 3}
    assert [skipped.path.name for skipped in lazy.skipped] == ["03.wav"]
    assert {lazy.seconds(utterance) for utterance in lazy.listing.utterances if utterance.id in names} == {0.2}


def test_without_any_duration_it_is_refused(tmp_path: Path) -> None:
    root = corpus(tmp_path, durations=False)
    message = r"`check` is lazily, but no duration .* is known; give a manifest with the column duration"
    with pytest.raises(UserError, match=message):
        catalogue(root).set_up_splits("fit")
    with pytest.raises(UserError, match="`check` is 'never'; expected first, lazily"):
        catalogue(root, check="never")


def test_what_is_explained_or_referred_to_is_checked_first(tmp_path: Path) -> None:
    root = corpus(tmp_path, bad=[0, 3, 7])
    explained = catalogue(root).utterances_to_explain("all", None)
    assert explained == catalogue(root, check="first").utterances_to_explain("all", None)
    assert listed(tmp_path / "skipped.csv") == ["00.wav", "03.wav", "07.wav"]
    lazy, checked = catalogue(root), catalogue(root, check="first")
    assert lazy.training_utterances(8) == checked.training_utterances(8)


def test_a_checkpoint_recognises_what_was_trained_unchecked_by_name(tmp_path: Path) -> None:
    root = corpus(tmp_path / "corpus")
    trained = catalogue(root)
    trained.set_up_splits("fit")
    known = KnownRecordings.from_state(trained.state())
    assert {recording.digest for recording in known.recordings} == {None}
    for check in ("first", "lazily"):
        again = catalogue(root, check=check)
        again.load_state(trained.state())
        assert again.set_up_splits("test") == trained.splits
    checked = catalogue(root, check="first")
    checked.set_up_splits("fit")
    for path in root.parent.glob("*.wav"):
        path.unlink()  # so that it would be seen if one were opened
    again = catalogue(root)
    again.load_state(checked.state())
    assert again.set_up_splits("test") == checked.splits
