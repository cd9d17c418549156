from pathlib import Path

import pytest

from speechshap.data.recognition import KnownRecordings, Recording
from speechshap.data.utterance import Utterance


def known(*recordings: tuple[str, str, str | None, str | None]) -> KnownRecordings:
    """Recordings as (split, id, speaker, digest)."""
    return KnownRecordings(
        [Recording(split, id_, Path(id_).stem, speaker, digest) for split, id_, speaker, digest in recordings]  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("id_", "speaker", "split"),
    [
        ("S1/a.wav", "S1", "train"),
        ("corpus/S1/a.wav", "S1", "train"),  # one level up
        ("corpus/S2/a.flac", None, "test"),  # as loose files
        ("a.wav", "S2", "test"),  # a level down: the speaker decides
        ("a.wav", None, None),  # the name alone does not
        ("S1/a.wav", "S2", "test"),  # a speaker weighs more than a path
        ("S1/a.wav", "S9", None),
        ("elsewhere/a.wav", "S1", "train"),
        ("elsewhere/a.wav", None, None),
        ("S1/b.wav", "S1", None),
    ],
)
def test_recordings_are_known_by_path_and_speaker(id_: str, speaker: str | None, split: str | None) -> None:
    recordings = known(("train", "S1/a.wav", "S1", "1"), ("test", "S2/a.wav", "S2", "2"))
    found = recordings.find_by_name([Utterance(id_, Path("/data") / id_, speaker=speaker)])
    assert (found[id_].split if found else None) == split


@pytest.mark.parametrize("count", [1, 2])
def test_a_name_alone_serves_where_nothing_else_was_kept_and_it_is_certain(count: int) -> None:
    recordings = known(*[("train", "x/a.wav", None, None), ("test", "y/a.wav", None, None)][:count])
    found = recordings.find_by_name([Utterance("a.wav", Path("a.wav"))])
    assert [recording.split for recording in found.values()] == ["train"][: 2 - count]


def test_several_recordings_of_one_split_are_certain_enough() -> None:
    recordings = known(("val", "happy/S1/1.wav", "S1", "1"), ("val", "sad/S1/1.wav", "S1", "2"))
    found = recordings.find_by_name([Utterance("1.wav", Path("1.wav"), speaker="S1")])
    assert found["1.wav"].split == "val"


def test_the_state_keeps_names_that_ids_do_not_tell() -> None:
    recordings = KnownRecordings(
        [
            Recording("train", "emodb-03a01Fa", "03a01Fa", "03", "1", "ff"),
            Recording("test", "x/b.wav", "b", None, "2"),
        ],
        "emodb",
    )
    state = recordings.state()
    assert state["train"]["names"] == ["03a01Fa"]
    assert state["test"]["names"] == [None]
    assert KnownRecordings.from_state(state) == recordings


def test_former_states_were_ids_alone_whose_names_tell_the_speaker() -> None:
    former = KnownRecordings.from_state({"train": ["wav/03a01Fa.wav"], "val": [], "test": ["wav/08a01Na.wav"]})
    assert [(r.split, r.speaker, r.digest) for r in former.recordings] == [("train", "03", None), ("test", "08", None)]
    assert KnownRecordings.from_state({}) == KnownRecordings()
