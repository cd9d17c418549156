"""What is taken in one utterance after the other says the same as all of them at once."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from corpus_rows import INF, NAN, corpus, row

from speechshap.report.gathering import EmotionMoments, Gathered, Gatherer, Moments, Totals, taken_in
from speechshap.results.rows import explaining_prediction


def test_moments_are_those_of_pandas_in_whatever_portions_they_come() -> None:
    values = np.random.default_rng(0).normal(1e6, 1, (50, 3))
    values[::7, 1] = NAN
    values[:, 2] = NAN
    parts = [Moments(), Moments(), Moments()]
    for number, each in enumerate(values):
        parts[number % 2].take(each)
    whole = Moments()
    for part in parts:  # one of them empty
        whole.merge(part)
    table = pd.DataFrame(values)
    np.testing.assert_allclose(whole.mean, table.mean())
    np.testing.assert_allclose(whole.deviation, table.std(), rtol=1e-6)
    np.testing.assert_allclose(whole.standard_error, table.sem(), rtol=1e-6)
    np.testing.assert_array_equal(whole.count, table.count())


def test_totals_are_those_of_a_table_by_speaker_in_whatever_portions_they_come() -> None:
    generator = np.random.default_rng(0)
    values, speakers = generator.normal(size=(100, 2)), generator.integers(0, 40, 100).astype(str)
    values[5, 0] = INF
    whole, other = Totals(), Totals()
    for number, (speaker, each) in enumerate(zip(speakers, values, strict=True)):
        (other if number % 3 else whole).take(speaker, each)
    whole.merge(other)
    table = pd.DataFrame(np.where(np.isfinite(values), values, NAN)).groupby(speakers)
    np.testing.assert_allclose(pd.DataFrame(whole.sums, whole.names).sort_index(), table.sum())
    np.testing.assert_array_equal(pd.DataFrame(whole.counts, whole.names).sort_index(), table.count())


def gathered(rows: list[dict[str, Any]]) -> Gathered[EmotionMoments] | None:
    gatherer = Gatherer(
        "layer_mass", lambda own: tuple(own["layer_names"]), lambda own: np.array(own["layer_mass"]), EmotionMoments
    )
    return taken_in(gatherer, rows).result()


def contrast(utterance: str, target: str, against: str, mass: float) -> dict[str, Any]:
    return row(target, utterance=utterance, against=against, layer_names=["one"], layer_mass=[mass])


@pytest.mark.parametrize("seed", range(6))
def test_the_rows_that_count_are_those_chosen_where_all_are_there_at_once(seed: int) -> None:
    """Of utterances with a class, or one contrast or several of it, in any order."""
    generator = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for number in range(40):
        own = [contrast(f"{number}", "sad", against, generator.normal()) for against in ("calm", "happy", "angry")]
        plain = row("sad", utterance=f"{number}", layer_names=["one"], layer_mass=[generator.normal()])
        chosen = [own[place] for place in generator.permutation(3)[: generator.integers(0, 4)]]
        rows += [plain, *chosen] if generator.random() < 0.6 else chosen
    expected = explaining_prediction(rows)
    found = gathered(rows)
    assert found is not None
    assert found.statistic.of["sad"].count[0] == len(expected)
    assert found.statistic.of["sad"].mean[0] == pytest.approx(np.mean([each["layer_mass"][0] for each in expected]))


def test_rows_with_other_positions_than_most_are_left_out_and_counted() -> None:
    rows = [row("sad", utterance=f"{number}", layer_names=["one"], layer_mass=[1.0]) for number in range(3)]
    others = [row("calm", utterance="x", layer_names=["one", "two"], layer_mass=[1.0, 2.0])]
    found = gathered([*others, *rows])
    assert found is not None
    assert (found.positions.tolist(), list(found.statistic.of), found.left_out) == (["one"], ["sad"], 1)
    assert found.explained == {"sad": "sad"}
    assert gathered([row("sad")]) is None


def test_rows_of_an_utterance_need_not_be_side_by_side() -> None:
    rows = corpus(("sad", "calm"), per_emotion=2, num_layers=2)
    one, other = gathered(rows), gathered(sorted(rows, key=lambda each: each["target"]))
    assert one is not None
    assert other is not None
    np.testing.assert_allclose(one.statistic.of["sad"].mean, other.statistic.of["sad"].mean)


def test_speakers_are_counted_by_emotion_where_all_are_known() -> None:
    one, other = EmotionMoments(), EmotionMoments()
    for number, (emotion, speaker) in enumerate(
        [("sad", "Anna"), ("sad", "Ben"), ("sad", "Anna"), ("calm", "Anna"), ("calm", None), ("happy", "")]
    ):
        (other if number % 2 else one).add(row(emotion, speaker=speaker), np.zeros(1))
    one.merge(other)
    assert [one.num_speakers(emotion) for emotion in ("sad", "calm", "happy")] == [2, 0, 0]
