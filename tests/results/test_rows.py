import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from helpers import PADDED_GRIDS, make_explanation

from speechshap.attribution.targets import Target
from speechshap.data import Stretch
from speechshap.frames import FrameGrid
from speechshap.results.estimate import Estimate
from speechshap.results.evidence import Evidence
from speechshap.results.explanation import Explanation
from speechshap.results.rows import SCHEMA, SHOWN, by_utterance, explaining_prediction, from_rows, target_of, to_rows

HOSTILE = ("a - b", "müde, traurig", "<i>\"$x$'</i>", "悲しい")


def parquet(rows: list[dict[str, Any]], columns: tuple[str, ...] | None = None) -> list[dict[str, Any]]:
    """Rows as they come out of a table."""
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    return (table if columns is None else table.select(columns)).to_pylist()


def assert_same(one: Any, other: Any) -> None:
    """Compare records field by field; NaN is equal to NaN."""
    assert type(one) is type(other)
    if dataclasses.is_dataclass(one):
        for field in dataclasses.fields(one):
            assert_same(getattr(one, field.name), getattr(other, field.name))
    elif isinstance(one, np.ndarray):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype
    elif isinstance(one, tuple) and one and isinstance(one[0], np.ndarray):
        for own, others in zip(one, other, strict=True):
            assert_same(own, others)
    else:
        assert one == other


ANSWERS = np.array([[0.5, np.nan], [0.25, 0.125]], np.float32)
EVIDENCE = Evidence(
    (np.array([[0.1, 0.25], [0.5, 0.6]]), np.zeros((0, 2))),
    *(ANSWERS[:, column % 2] for column in range(3)),
    ANSWERS,
    ANSWERS[::-1],
)


@pytest.mark.parametrize(
    "explanation",
    [
        make_explanation(),
        make_explanation(relative_error=None),
        make_explanation(label=None, targets=("happy", "sad"), embedding=np.arange(3, dtype=np.float32)),
        make_explanation(targets=tuple(HOSTILE)),
        make_explanation(targets=("happy", Target("happy", "a - b"), Target("happy - a", "b"))),
        make_explanation(layers=3, bands=8, targets=("a", "b")),
        make_explanation(cues=True, targets=("a", "b")),
        make_explanation(cues=True, targets=("a",)),
        make_explanation(bands=8, layers=2, relative_error=None),
        make_explanation(truth=(Stretch(0.25, 0.5), Stretch(0.75, 0.875, 1000.0, 2000.0))),
        make_explanation(probabilities={"happy": 0.75, "a - b": 0.25}),
        make_explanation(targets=("a", "b"), evidence=EVIDENCE),
        make_explanation(prediction=None, probability=None, targets=("arousal", "valence")),
        make_explanation(0.0251),
        make_explanation(1.2345, grid=FrameGrid(160, 465)),
        make_explanation(completeness_gap=Estimate(np.full(1, np.nan, np.float32), None, 25)),
        make_explanation(
            0.045,
            frames=Estimate(np.array([[np.nan, np.inf]], np.float32), np.array([[np.nan, np.inf]], np.float32), 25),
        ),
        make_explanation(settings={"spectrum": {"hop": 160, "num_mel_bands": None}, "snr_db": -3.5, "layers": "1,2"}),
    ],
)
def test_a_record_comes_back_from_its_rows_as_it_was(explanation: Explanation) -> None:
    assert_same(from_rows(parquet(to_rows(explanation))), explanation)


@pytest.mark.parametrize("grid", [FrameGrid(), FrameGrid(40, 61), *PADDED_GRIDS])
def test_frames_come_back_as_many_and_where_they_were(grid: FrameGrid) -> None:
    for num_samples in (grid.shortest, grid.shortest + 7, 1040, 1119, 1120, 16_000):
        explanation = make_explanation(num_samples / 16_000, grid=grid)
        found = from_rows(parquet(to_rows(explanation)))
        assert found.grid.num_frames(num_samples) == grid.num_frames(num_samples) == found.frames.values.shape[1]
        assert torch.equal(found.grid.center_seconds(num_samples), grid.center_seconds(num_samples))
        np.testing.assert_array_equal(found.frame_edges, explanation.frame_edges)
        assert found.grid.receptive_field >= 1
        assert min(found.grid.padding_before, found.grid.padding_after) >= 0


def test_a_sound_that_is_too_short_for_a_frame_comes_back_as_one() -> None:
    explanation = from_rows(parquet(to_rows(make_explanation(200 / 16_000))))
    assert explanation.grid.num_frames(200) == explanation.frames.values.shape[1] == 1
    assert explanation.frame_edges.tolist() == [0, 200 / 16_000]


def test_rows_without_what_pictures_do_not_show_lack_just_that() -> None:
    explanation = make_explanation(bands=8, layers=2, embedding=np.ones(2, np.float32))
    shown = from_rows(parquet(to_rows(explanation), SHOWN))
    assert shown.embedding is None
    assert_same(shown.bands, explanation.bands)
    assert_same(shown.layers, explanation.layers)
    assert_same(shown.frames, explanation.frames)


def test_cues_that_one_of_the_targets_lacks_are_not_read() -> None:
    rows = [to_rows(make_explanation(targets=(name,), cues=name == "a"))[0] for name in "ab"]
    assert from_rows(rows).cues is None
    assert from_rows(rows[:1]).cues is not None


def test_unknown_numbers_are_null() -> None:
    gap = Estimate(np.full(1, np.nan, np.float32))
    (row,) = to_rows(make_explanation(relative_error=None, completeness_gap=gap, prediction=None, probability=None))
    unknown = {name for name, value in row.items() if value is None}
    assert unknown >= {
        "frame_standard_error", "completeness_gap", "completeness_gap_standard_error", "relative_error", "prediction",
        "probability", "layer_names", "frequencies_hz", "embedding", "cue_names", "cue_evidence", "cue_rest",
        "cue_rule",
    }  # fmt: skip


def test_a_row_holds_the_class_and_what_is_subtracted_apart() -> None:
    rows = to_rows(make_explanation(targets=("a - b", Target("a - b", "c, d"))))
    assert [(row["target"], row["against"]) for row in rows] == [("a - b", None), ("a - b", "c, d")]
    assert [target_of(row) for row in rows] == [Target("a - b"), Target("a - b", "c, d")]


def test_a_row_tells_settings_by_name_and_as_a_whole() -> None:
    (row,) = to_rows(make_explanation(settings={"seed": 3, "baselines": "silence", "width": 5}))
    assert (row["seed"], row["baselines"], row["output"]) == (3, "silence", "logit")
    assert '"width": 5' in row["settings"]
    assert list(row) == SCHEMA.names


def test_outputs_of_a_regression_are_all_of_interest() -> None:
    rows = to_rows(make_explanation(prediction=None, probability=None, targets=("arousal", Target("arousal", "x"))))
    assert explaining_prediction(rows) == rows[:1]
    assert explaining_prediction(rows[1:]) == []


def contrasts_of(utterance: str, *targets: str | Target, prediction: str = "happy") -> list[dict[str, Any]]:
    return to_rows(make_explanation(utterance=utterance, prediction=prediction, targets=targets))


def test_contrasts_explain_the_prediction_where_the_class_itself_does_not() -> None:
    rows = [*contrasts_of("a.wav", Target("happy", "calm")), *contrasts_of("b.wav", Target("sad", "calm"))]
    assert explaining_prediction(rows) == rows[:1]  # happy is predicted for b.wav, too
    assert explaining_prediction(contrasts_of("a.wav", Target("sad", "happy"), "sad")) == []


def test_a_class_and_its_contrasts_are_never_mixed() -> None:
    both = contrasts_of("a.wav", "happy", Target("happy", "calm"))
    contrast = contrasts_of("b.wav", Target("happy", "calm"))
    assert explaining_prediction(both) == both[:1]
    assert explaining_prediction([*both, *contrast]) == [both[1], *contrast]  # more utterances


def test_of_several_contrasts_an_utterance_has_the_one_that_its_class_has_most_often() -> None:
    rows = [
        row
        for number, runner_up in enumerate(("sad", "angry"))
        for row in contrasts_of(f"{number}.wav", Target("happy", runner_up), Target("happy", "calm"))
    ]
    assert explaining_prediction(rows) == rows[1::2]
    assert explaining_prediction(rows[::-1]) == rows[1::2][::-1]


def test_of_a_target_that_was_written_twice_the_last_row_counts() -> None:
    first, last = (to_rows(make_explanation(n_draws=number))[0] for number in (1, 2))
    explanation = from_rows([first, last])
    assert explanation.targets == (Target("happy"),)
    assert explanation.n_draws == 2


def test_intervals_of_targets_of_several_runs_are_those_of_the_fewest_replicates() -> None:
    frames = [Estimate(np.ones((1, 49), np.float32), np.ones((1, 49), np.float32), count) for count in (40, 8)]
    rows = [to_rows(make_explanation(targets=(name,), frames=own))[0] for name, own in zip("ab", frames, strict=True)]
    explanation = from_rows(parquet(rows))
    assert explanation.frames.n_replicates == 8
    np.testing.assert_array_equal(explanation.frames.reach[1:], frames[1].reach)


def test_of_a_sound_that_was_changed_the_later_rows_are_kept() -> None:
    old = make_explanation(provenance={"fingerprint": "old"}, targets=("happy",))
    other = make_explanation(utterance="b.wav")
    new = make_explanation(provenance={"fingerprint": "new"}, targets=("happy", "sad"))
    variant = make_explanation(settings={"n_samples": 9})
    rows = [*to_rows(new), *to_rows(other), *to_rows(old), *to_rows(variant)]
    same = {"settings_fingerprint": "s"}
    rows = [row | same if row["n_samples"] == 50 else row for row in rows]
    assert by_utterance(rows) == [rows[:2], [rows[2]], [rows[4]]]
