"""Parts of a corpus that many processes explain into one folder."""

from pathlib import Path

import pytest
from helpers import make_explanation

from speechshap.data.shards import Portion, Shard
from speechshap.errors import UserError
from speechshap.results.shards import SHARDS, Coverage, ShardRun
from speechshap.results.writer import ResultsWriter

SETTINGS = {"abc": {"method": "gradient_shap", "n_samples": 64, "targets": "all"}}


def portion(number: int, count: int = 3, num_utterances: int = 9, utterances: str = "ids") -> Portion:
    return Portion(Shard(number, count), num_utterances, utterances)


def run(folder: Path, own: Portion, settings: dict[str, dict[str, object]] = SETTINGS) -> Coverage:
    """Explain a part to its end."""
    group = f"of{own.shard.count}"
    with ResultsWriter(folder, group=group) as writer, ShardRun(writer, own, settings) as begun:
        return begun.finish()


def test_who_ends_last_finds_nothing_missing(tmp_path: Path) -> None:
    assert Coverage.read(tmp_path) is None
    assert [run(tmp_path, portion(number)).missing for number in (2, 3, 1)] == [[1, 3], [1], []]


def test_a_part_that_is_explained_again_stays_done(tmp_path: Path) -> None:
    run(tmp_path, portion(1))
    with ResultsWriter(tmp_path, group="of3") as writer, ShardRun(writer, portion(1), SETTINGS):
        found = Coverage.read(tmp_path)
    assert found is not None
    assert found.missing == [2, 3]


def test_parts_without_an_utterance_are_not_missing(tmp_path: Path) -> None:
    assert [run(tmp_path, portion(number, 5, num_utterances=2)).missing for number in (1, 2)] == [[2], []]


def test_a_part_is_explained_by_one_process_at_a_time(tmp_path: Path) -> None:
    with (
        ResultsWriter(tmp_path, group="of3") as writer,
        ResultsWriter(tmp_path, group="of3") as other,
        ShardRun(writer, portion(1), SETTINGS),
    ):
        with pytest.raises(UserError, match=rf"`shard` 1/3 of {tmp_path} is being explained by another process"):
            ShardRun(other, portion(1), SETTINGS)
        ShardRun(other, portion(2), SETTINGS).close()
    run(tmp_path, portion(1))


@pytest.mark.parametrize(
    ("other", "settings", "message"),
    [
        (portion(2, count=4), SETTINGS, "are of 3, and `shard` is of 4"),
        (
            portion(2, num_utterances=8, utterances="x"),
            SETTINGS,
            r"share 9 utterances, and here there are others \(8\)",
        ),
        (portion(2), {"x": SETTINGS["abc"] | {"n_samples": 32}}, "have `n_samples` 64, and here it is 32"),
        (portion(2), {"x": {"method": "energy"}}, "have `method` gradient_shap, and here it is energy"),
        (portion(2), SETTINGS | {"y": {"method": "energy"}}, "have 1 method, and here there are 2"),
        (portion(2), {"x": SETTINGS["abc"]}, "have another model, or other references"),
    ],
)
def test_parts_with_other_settings_are_refused_until_the_former_are_done(
    tmp_path: Path, other: Portion, settings: dict[str, dict[str, object]], message: str
) -> None:
    run(tmp_path, portion(1))
    with pytest.raises(UserError, match=message):
        run(tmp_path, other, settings)
    for number in (2, 3):
        run(tmp_path, portion(number))
    assert run(tmp_path, other, settings).plan.settings_fingerprints == list(settings)


def test_a_refused_part_keeps_nobody_from_it(tmp_path: Path) -> None:
    run(tmp_path, portion(1))
    with pytest.raises(UserError, match="n_samples"):
        run(tmp_path, portion(2), {"x": SETTINGS["abc"] | {"n_samples": 32}})
    assert run(tmp_path, portion(2)).missing == [3]


def test_the_plan_is_forgotten_with_its_folder(tmp_path: Path) -> None:
    run(tmp_path, portion(1))
    for path in (tmp_path / SHARDS).iterdir():
        path.unlink()
    assert run(tmp_path, portion(2, count=4)).missing == [1, 3, 4]


def test_a_plan_that_cannot_be_read_is_told_and_made_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run(tmp_path, portion(1))
    (tmp_path / SHARDS / "plan.json").write_text("{}")
    assert Coverage.read(tmp_path) is None
    assert "plan.json is not read" in caplog.text
    assert run(tmp_path, portion(2)).missing == [1, 3]


def test_processes_of_a_group_do_not_read_what_the_others_write(tmp_path: Path) -> None:
    with ResultsWriter(tmp_path, group="of2") as one, ResultsWriter(tmp_path, group="of2") as other:
        assert one.was_alone
        assert other.was_alone
        other.write([make_explanation(0.065, utterance="other.wav")])
        one.write([make_explanation(0.065, utterance="a.wav")])
        one.refresh()
        assert {name for name, _, _ in one.known} == {"a.wav"}


def test_a_run_of_no_group_and_one_of_a_group_write_no_row_twice(tmp_path: Path) -> None:
    with ResultsWriter(tmp_path, group="of2") as shard, ResultsWriter(tmp_path) as whole:
        assert not whole.was_alone
        whole.write([make_explanation(0.065, utterance="a.wav")])
        assert shard.write([make_explanation(0.065, utterance="a.wav")]) == []
        shard.write([make_explanation(0.065, utterance="b.wav")])
        assert whole.write([make_explanation(0.065, utterance="b.wav")]) == []
