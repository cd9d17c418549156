from pathlib import Path

import pytest
from helpers import write_sound

from speechshap.data import read_corpus
from speechshap.data.corpora import loose_files
from speechshap.errors import UserError


@pytest.mark.parametrize(
    ("corpus", "name", "label", "speaker"),
    [
        ("ravdess", "Actor_12/03-01-06-01-02-01-12.wav", "fearful", "Actor_12"),
        ("ravdess", "Actor_01/03-01-01-01-01-01-01.wav", "neutral", "Actor_01"),
        ("ravdess", "03-01-08-02-02-02-24.flac", "surprised", "Actor_24"),
        ("ravdess", "Actor_03/03-02-02-01-01-01-03.wav", "calm", "Actor_03"),
        ("emodb", "wav/03a01Fa.wav", "happy", "03"),
        ("emodb", "wav/16b10Wb.wav", "angry", "16"),
        ("emodb", "wav/08a02Nb.wav", "neutral", "08"),
        ("emodb", "wav/11b03Lc.wav", "bored", "11"),
        ("emodb", "wav/14a05Ea.wav", "disgust", "14"),
        ("emodb", "wav/15a07Ac.wav", "fearful", "15"),
        ("emodb", "wav/13b09Ta.wav", "sad", "13"),
        ("savee", "DC_a01.wav", "angry", "DC"),
        ("savee", "JE_sa15.wav", "sad", "JE"),
        ("savee", "JK_su03.wav", "surprised", "JK"),
        ("savee", "AudioData/KL/n30.wav", "neutral", "KL"),
        ("crema_d", "1001_DFA_ANG_XX.wav", "angry", "1001"),
        ("crema_d", "1091_IEO_NEU_XX.wav", "neutral", "1091"),
        ("crema_d", "1040_ITH_SAD_X.wav", "sad", "1040"),
        ("crema_d", "1002_IEO_HAP_HI.wav", "happy", "1002"),
        ("tess", "OAF_angry/OAF_back_angry.wav", "angry", "OAF"),
        ("tess", "YAF_ps/YAF_wheat_ps.wav", "surprised", "YAF"),
        ("tess", "OAF_neutral/OA_bite_neutral.wav", "neutral", "OAF"),
        ("tess", "YAF_fear/YAF_chain_fear.wav", "fearful", "YAF"),
    ],
)
def test_emotion_and_speaker_of_real_names(tmp_path: Path, corpus: str, name: str, label: str, speaker: str) -> None:
    write_sound(tmp_path / name)
    found = read_corpus(tmp_path, corpus)  # type: ignore[arg-type]
    (utterance,) = found.utterances
    assert (utterance.id, utterance.label, utterance.speaker, utterance.corpus) == (name, label, speaker, corpus)
    assert label in found.classes
    assert read_corpus(tmp_path, "auto") == found  # and the corpus is recognised without being named


@pytest.mark.parametrize(
    ("one", "other", "sentence"),
    [
        ("03-01-01-01-02-01-12.wav", "03-01-06-02-02-02-12.wav", "01-02"),
        ("03-02-01-01-02-01-12.wav", "03-02-06-02-02-02-12.wav", "02-02"),  # sung
        ("03a01Nc.wav", "03a01Fa.wav", "a01"),
        ("1001_DFA_NEU_XX.wav", "1001_DFA_ANG_HI.wav", "DFA"),
        ("OA_bite_neutral.wav", "OAF_bite_ps.wav", "bite"),
        ("DC_n01.wav", "DC_a01.wav", None),  # which are not the same sentence
    ],
)
def test_sentence_of_real_names(tmp_path: Path, one: str, other: str, sentence: str | None) -> None:
    for name in (one, other):
        write_sound(tmp_path / name)
    assert [utterance.sentence for utterance in read_corpus(tmp_path).utterances] == [sentence] * 2
    assert [utterance.sentence for utterance in loose_files([tmp_path])] == [sentence] * 2


def test_the_order_is_stable_and_hidden_files_and_other_suffixes_are_passed_over(tmp_path: Path) -> None:
    for name in ("happy/b.wav", "angry/z.ogg", "angry/a/c.FLAC", "angry/._z.wav", "angry/.old/y.wav", "happy/a.mp3"):
        write_sound(tmp_path / name, format=None if name.endswith(("wav", "ogg", "mp3")) else "FLAC")
    (tmp_path / "happy" / "notes.txt").write_text("no sound")
    corpus = read_corpus(tmp_path, "folder")
    assert [utterance.id for utterance in corpus.utterances] == [
        "angry/a/c.FLAC",
        "angry/z.ogg",
        "happy/a.mp3",
        "happy/b.wav",
    ]
    assert corpus.classes == ["angry", "happy"]
    assert [utterance.speaker for utterance in corpus.utterances] == ["a", None, None, None]


@pytest.mark.parametrize(
    ("names", "classes", "found"),
    [
        (("corpus/happy/s1/a.wav", "corpus/sad/s2/b.wav"), ["happy", "sad"], [("happy", "s1"), ("sad", "s2")]),
        (("corpus/happy/a.wav", "b.wav"), ["happy", "sad"], [(None, None), ("happy", None)]),
        (("corpus/happy/a.wav",), None, [("corpus", "happy")]),
        (("corpus/happy/a.wav", "corpus/s1/b.wav"), ["happy", "sad"], [("corpus", "happy"), ("corpus", "s1")]),
        (("happy/sad/a.wav", "happy/sad/b.wav"), ["happy", "sad"], [("happy", "sad")] * 2),  # a speaker called sad
    ],
)
def test_class_folders_may_lie_one_level_down_where_the_classes_are_known(
    tmp_path: Path, names: tuple[str, ...], classes: list[str] | None, found: list
) -> None:
    for name in names:
        write_sound(tmp_path / name)
    corpus = read_corpus(tmp_path, "folder", classes=classes)
    assert [(u.label, u.speaker) for u in corpus.utterances] == found


def test_linked_folders_are_followed_and_loops_are_not(tmp_path: Path) -> None:
    write_sound(tmp_path / "elsewhere" / "a.wav")
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "happy").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "corpus" / "happy" / "again").symlink_to(tmp_path / "corpus")
    (tmp_path / "corpus" / "dangling.wav").symlink_to(tmp_path / "nowhere.wav")
    ids = [utterance.id for utterance in read_corpus(tmp_path / "corpus", "folder").utterances]
    assert ids == ["dangling.wav", "happy/a.wav"]


def test_a_name_against_the_rule_is_skipped_with_the_reason(tmp_path: Path) -> None:
    write_sound(tmp_path / "03-01-06-01-02-01-12.wav")
    write_sound(tmp_path / "03-01-09-01-02-01-12.wav")  # there is no emotion 09
    corpus = read_corpus(tmp_path, "ravdess")
    assert len(corpus.utterances) == 1
    assert [(item.path.name, item.reason) for item in corpus.skipped] == [
        ("03-01-09-01-02-01-12.wav", "not named as in ravdess (like 03-01-06-01-02-01-12.wav)")
    ]


def test_loose_files_and_folders_count_once(tmp_path: Path) -> None:
    for name in ("a/one.wav", "a/deep/two.flac", "three.wav"):
        write_sound(tmp_path / name)
    files = [tmp_path / "a" / "one.wav", tmp_path / "a", tmp_path / "three.wav", tmp_path / "three.wav"]
    found = loose_files(files)
    assert [Path(u.id).name for u in found] == ["one.wav", "two.flac", "three.wav"]
    assert all(u.id == str(u.path) and u.label is None for u in found)


def test_a_folder_of_loose_files_without_sound_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{tmp_path}: no sound files in this folder"):
        loose_files([tmp_path])


def test_a_missing_empty_or_foreign_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        read_corpus(tmp_path / "nowhere", "ravdess")
    with pytest.raises(UserError, match="no sound files"):
        read_corpus(tmp_path, "ravdess")
    write_sound(tmp_path / "some.wav")
    with pytest.raises(UserError, match=r"none of the 1 sound files is named as in emodb .like 03a01Fa.wav."):
        read_corpus(tmp_path, "emodb")


def test_ravdess_itself(ravdess_root: Path) -> None:
    corpus = read_corpus(ravdess_root)
    assert corpus.name == "ravdess"
    assert not corpus.skipped
    assert len({utterance.speaker for utterance in corpus.utterances}) * 60 == len(corpus.utterances)
    neutral = [utterance for utterance in corpus.utterances if utterance.label == "neutral"]
    assert len(neutral) * 15 == len(corpus.utterances)
