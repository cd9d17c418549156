"""Parts of the utterances to explain."""

from pathlib import Path

import pytest
from helpers import write_sound

from speechshap.data.catalogue import Catalogue
from speechshap.data.shards import Portion, Shard
from speechshap.data.utterance import Utterance
from speechshap.errors import UserError


def utterances(count: int) -> list[Utterance]:
    return [Utterance(f"speaker_{number % 7}/{number}.wav", Path(f"{number}.wav")) for number in range(count)]


@pytest.mark.parametrize(("length", "count"), [(100, 1), (100, 7), (3, 7), (0, 2)])
def test_every_utterance_is_in_one_part_and_parts_differ_by_one(length: int, count: int) -> None:
    parts = [Shard(number, count).of(utterances(length)) for number in range(1, count + 1)]
    assert sorted(u.id for part in parts for u in part) == sorted(u.id for u in utterances(length))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert parts == sorted(parts, key=len, reverse=True)  # where there are too few, the last parts are empty


def test_a_part_does_not_depend_on_the_order_of_the_list() -> None:
    forwards, backwards = (Shard(2, 5).of(part) for part in (utterances(50), utterances(50)[::-1]))
    assert forwards == backwards[::-1]
    assert forwards == [u for u in utterances(50) if u in forwards]  # which it keeps


def test_parts_are_no_regular_pattern_of_the_list() -> None:
    # Every seventh utterance is long, as where a corpus repeats its sentences in the same order.
    shares = [sum(u.id.startswith("speaker_0") for u in Shard(number, 7).of(utterances(700))) for number in range(1, 8)]
    assert sum(shares) == 100
    assert 0 < min(shares) <= max(shares) < 30  # and not 100 in one of them


@pytest.mark.parametrize("text", ["0/4", "5/4", "a/b", "3", "1/0", "-1/4", "1.5/4", "1/4/2", ""])
def test_what_is_no_part_is_told_with_what_is_expected(text: str) -> None:
    with pytest.raises(UserError, match=f"`shard` is {text}; expected which part"):
        Shard.parse(text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(5):
        write_sound(tmp_path / f"{number}.wav", seed=number)
    return tmp_path


def catalogue(shard: Shard, folder: Path) -> Catalogue:
    return Catalogue(files=[folder], shard=shard)


def portion(own: Catalogue) -> Portion:
    assert own.portion is not None
    return own.portion


def test_only_the_files_of_a_part_are_checked(folder: Path) -> None:
    one, other = (catalogue(Shard(number, 2), folder) for number in (1, 2))
    chosen = [part.utterances_to_explain("all", None) for part in (one, other)]
    assert [len(part) for part in chosen] == [3, 2]
    assert not {u.id for u in chosen[0]} & {u.id for u in chosen[1]}
    assert one.seconds(chosen[0][0]) == pytest.approx(0.2)
    with pytest.raises(KeyError, match="has not been checked"):
        one.seconds(chosen[1][0])
    assert portion(one)._replace(shard=portion(other).shard) == portion(other)
    assert portion(one).num_utterances == 5
    assert len(one.all_to_explain()) == 5


def test_a_part_of_more_parts_than_utterances_is_empty(folder: Path) -> None:
    own = catalogue(Shard(6, 6), folder)
    assert own.utterances_to_explain("all", None) == []
    assert portion(own).num_utterances == 5


def test_a_part_is_of_as_many_utterances_as_are_asked_for(folder: Path) -> None:
    chosen = [catalogue(Shard(number, 2), folder).utterances_to_explain("all", 3) for number in (1, 2)]
    assert sorted(map(len, chosen)) == [1, 2]


def test_other_utterances_to_share_have_another_fingerprint(folder: Path) -> None:
    own = catalogue(Shard(1, 2), folder)
    own.utterances_to_explain("all", None)
    before = portion(own)
    write_sound(folder / "new.wav")
    other = catalogue(Shard(1, 2), folder)
    other.utterances_to_explain("all", None)
    assert portion(other).utterances != before.utterances
