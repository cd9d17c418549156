from pathlib import Path

import optuna

from speechshap.training.search_space import SearchSpace
from speechshap.training.sweep import Sweep

SPACE: SearchSpace = {"model.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}, "model.hidden_units": [8, 16]}


def tried(sweep: Sweep, most: int, ends: int) -> list[dict[str, object]]:
    """Values of trials, which score their number."""
    values = []
    for _ in range(ends):
        with sweep.next_trial(most) as trial:
            if trial is None:
                break
            values.append(sweep.described(trial).options)
            sweep.end(trial, trial.number / 10)
    return values


def test_a_sweep_that_was_stopped_between_two_trials_tries_what_an_undisturbed_one_tries(tmp_path: Path) -> None:
    expected = tried(Sweep(tmp_path / "whole", SPACE, 0), 14, 20)
    assert len(expected) == 14
    assert len({str(each) for each in expected}) > 10
    found = [each for _ in range(5) for each in tried(Sweep(tmp_path / "parts", SPACE, 0), 14, 3)]
    assert found == expected
    assert tried(Sweep(tmp_path / "other", SPACE, 1), 14, 20) != expected


def test_more_trials_may_be_asked_for(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, SPACE, 0)
    assert [len(tried(sweep, most, 9)) for most in (2, 2, 5)] == [2, 0, 3]
    best = sweep.best()
    assert best is not None
    assert (best.number, best.value) == (4, 0.4)


def test_a_trial_whose_process_died_is_taken_up_in_its_folder_with_its_values(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, SPACE, 0)
    with sweep.next_trial(2) as trial:  # which releases its lock, as the end of a process does
        assert trial is not None
        lost = sweep.described(trial)
    with Sweep(tmp_path, SPACE, 0).next_trial(2) as again:
        assert again is not None
        taken = sweep.described(again)
        assert (taken.folder, taken.options) == (lost.folder, lost.options)
        sweep.end(again, 0.5)
    assert [len(tried(sweep, 2, 9)), len(sweep.ended())] == [1, 2]


def test_a_trial_that_another_process_is_at_counts_and_is_left_alone(tmp_path: Path) -> None:
    one, other = Sweep(tmp_path, SPACE, 0), Sweep(tmp_path, SPACE, 0)
    with one.next_trial(2) as first, other.next_trial(2) as second:
        assert first is not None
        assert second is not None
        assert one.described(first).folder != other.described(second).folder
        assert one.described(first).options != other.described(second).options
        with one.next_trial(2) as third:
            assert third is None


def test_checkpoint_and_card_of_the_best_trial_alone_are_kept(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, SPACE, 0)
    for score in (0.3, 0.6, 0.5, None):
        with sweep.next_trial(9) as trial:
            assert trial is not None
            folder = sweep.described(trial).folder
            (folder / "checkpoints").mkdir(parents=True)
            for name in ("checkpoints/best.ckpt", "MODEL_CARD.md", "config.yaml"):
                (folder / name).touch()
            if score is None:
                sweep.fail(trial, "diverged")
            else:
                sweep.end(trial, score)
    for name in ("best.ckpt", "MODEL_CARD.md"):
        assert [path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob(name)] == ["trial_1"]
    assert len(list(tmp_path.rglob("config.yaml"))) == 4


def test_a_trial_that_failed_counts_and_the_next_one_tries_something_else(tmp_path: Path) -> None:
    sweep, tried = Sweep(tmp_path, SPACE, 0), []
    for reason in ("the training diverged", "a linear head drops nothing"):
        with sweep.next_trial(2) as trial:
            assert trial is not None
            tried.append(sweep.described(trial).options)
            sweep.fail(trial, reason)
    with sweep.next_trial(2) as trial:
        assert trial is None
    assert tried[0] != tried[1]
    assert sweep.best() is None
    assert sweep.failed() == {0: "the training diverged", 1: "a linear head drops nothing"}


def test_a_pruned_trial_has_the_score_that_it_came_to(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, SPACE, 0)
    with sweep.next_trial(1) as trial:
        assert trial is not None
        trial.report(0.2, 0)
        trial.report(0.4, 1)
        sweep.end(trial, 0.4, is_pruned=True)
    (ended,) = sweep.ended()
    assert ended.state == optuna.trial.TrialState.PRUNED
    assert (ended.value, ended.intermediate_values) == (0.4, {0: 0.2, 1: 0.4})
