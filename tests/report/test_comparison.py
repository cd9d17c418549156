from typing import Any

import numpy as np
import pytest
from corpus_rows import INF, NAN, row

from speechshap.errors import UserError
from speechshap.report.comparison import Comparable, comparable, compare, compare_all, compare_pair, comparison_table
from speechshap.report.gathering import Totals

BANDS = [100.0, 200.0, 400.0]


def spoken(emotion: str, speaker: str | None, number: int = 0, **columns: Any) -> dict[str, Any]:
    return row(emotion, utterance=f"{speaker}-{emotion}-{number}.wav", speaker=speaker, **columns)


def of(gathered: Comparable, emotion: str) -> Totals:
    return gathered.statistic.of[emotion]


def corpus(emotions: tuple[str, ...] = ("angry", "calm", "sad"), speakers: int = 8) -> list[dict[str, Any]]:
    """Anger has its evidence in the first band, and where pitch is high; the others have it anywhere."""
    generator = np.random.default_rng(0)
    rows = []
    for speaker in range(speakers):
        for emotion in emotions:
            bands = generator.normal(scale=0.1, size=(3, 7))
            bands[0] += emotion == "angry"
            rows.append(
                spoken(
                    emotion, f"speaker {speaker}",
                    frame_attribution=generator.normal(size=int(generator.integers(20, 90))).tolist(),
                    frequencies_hz=BANDS, time_frequency_attribution=bands.tolist(),
                    cue_names=["f0", "rate"], cue_evidence=generator.normal([5 * (emotion == "angry"), 0]).tolist(),
                    cue_rest=[0.0, 0.0],
                )
            )  # fmt: skip
    return rows


def test_attributions_are_compared_as_shares_whatever_their_size() -> None:
    frames = np.random.default_rng(1).normal(size=100)
    bands = {"frequencies_hz": BANDS, "time_frequency_attribution": [[1.0, 2.0], [-1.0, 0.0], [0.0, 0.0]]}
    rows = [
        spoken("sad", "Anna", frame_attribution=frames.tolist(), **bands),
        spoken("sad", "Bert", frame_attribution=(1000 * frames).tolist(), **bands),
    ]
    found = comparable(rows)
    sums = frames.reshape(20, 5).sum(1)
    np.testing.assert_allclose(of(found["time"], "sad").sums, [sums / np.abs(sums).sum()] * 2)
    np.testing.assert_allclose(of(found["band"], "sad").sums, [[0.75, -0.25, 0]] * 2)
    assert "cue" not in found


def test_a_cue_is_compared_in_its_own_unit_and_may_be_unknown() -> None:
    cues = {"cue_names": ["f0", "rate"], "cue_evidence": [3.0, NAN], "cue_rest": [1.0, 4.0]}
    found = of(comparable([spoken("sad", "Anna", **cues)])["cue"], "sad")
    assert (found.sums.tolist(), found.counts.tolist()) == ([[2.0, 0.0]], [[1, 0]])


def test_what_cannot_be_compared_is_left_out() -> None:
    rows = [
        spoken("sad", "Anna", frame_attribution=[1.0]),
        spoken("sad", "Anna", 1, frame_attribution=[INF]),
        spoken("sad", "Anna", 2, frame_attribution=[0.0, 0.0]),
        spoken("sad", None, frame_attribution=[1.0]),
        spoken("sad", "Bert", frame_attribution=[1.0]) | {"against": "calm", "prediction": "calm"},
        spoken("sad", "Bert", 1, frame_attribution=[1.0]) | {"prediction": "calm"},
    ]
    found = comparable(rows)["time"]
    assert (list(found.statistic.of), of(found, "sad").names, found.left_out) == (["sad"], ["Anna"], 2)
    assert (of(found, "sad").counts == 1).all()


def test_two_emotions_differ_where_their_evidence_lies() -> None:
    found = {each.quantity: each for each in compare_pair(comparable(corpus()), "angry", "sad")}
    assert list(found) == ["time", "band", "cue"]
    assert found["band"].positions.tolist() == BANDS
    assert found["band"].found.significant[0]
    assert found["band"].found.difference[0] > 0.3
    assert found["cue"].found.significant.tolist() == [True, False]
    assert found["cue"].found.difference[0] == pytest.approx(5, abs=1.5)
    assert not found["time"].found.significant.any()
    other_way = {each.quantity: each for each in compare_pair(comparable(corpus()), "sad", "angry")}
    np.testing.assert_allclose(other_way["band"].found.difference, -found["band"].found.difference)
    np.testing.assert_allclose(other_way["band"].found.p, found["band"].found.p)


def test_an_emotion_is_compared_with_all_others_together() -> None:
    gathered = comparable(corpus())["band"]
    found = compare("band", gathered, "angry")
    assert found is not None
    # Each speaker has one utterance of each emotion.
    others = (of(gathered, "calm").sums + of(gathered, "sad").sums) / 2
    np.testing.assert_allclose(found.found.difference, (of(gathered, "angry").sums - others).mean(0))
    assert (found.other, found.found.speakers, found.found.paired) == (None, 8, True)


def test_contrasts_are_compared_by_the_predicted_class_under_the_name_of_what_was_explained() -> None:
    plain = corpus()
    contrasts = [each | {"against": "calm" if each["target"] != "calm" else "sad"} for each in plain]
    found, expected = (compare_pair(comparable(rows), "angry", "sad") for rows in (contrasts, plain))
    assert {(each.emotion, each.other) for each in found} == {("angry - calm", "sad - calm")}
    for each, of_classes in zip(found, expected, strict=True):
        np.testing.assert_array_equal(each.found.difference, of_classes.found.difference)
    assert set(comparison_table(compare_all(comparable(contrasts)))["class"].to_pylist()) == {
        "angry - calm", "calm - sad", "sad - calm",
    }  # fmt: skip


def test_the_table_has_all_pairs_and_each_emotion_against_the_rest() -> None:
    rows = comparison_table(compare_all(comparable(corpus()))).to_pylist()
    assert {each["quantity"] for each in rows} == {"time", "band", "cue"}
    bands = [each for each in rows if each["quantity"] == "band"]
    assert [(each["class"], each["other"]) for each in bands[::3]] == [
        ("angry", None), ("calm", None), ("sad", None), ("angry", "calm"), ("angry", "sad"), ("calm", "sad"),
    ]  # fmt: skip
    assert [each["position"] for each in bands[:3]] == ["100", "200", "400"]
    assert {(each["speakers"], each["paired"]) for each in rows} == {(8, True)}


def test_utterances_are_counted_of_the_speakers_who_are_compared() -> None:
    frames = {"frame_attribution": [1.0, -2.0, 3.0, 1.0]}
    of_both = [
        spoken(emotion, name, number, **frames)
        for name, count in (("Anna", 2), ("Bert", 3))
        for emotion in ("sad", "calm")
        for number in range(count)
    ]
    of_one = [spoken("sad", "Cleo", number, **frames) for number in range(9)]
    paired = compare("time", comparable([*of_both, *of_one])["time"], "sad", "calm")
    assert paired is not None
    assert (paired.found.paired, paired.utterances) == (True, (5, 5))
    others = [spoken("calm", name, **frames) for name in ("Dora", "Emil", "Finn")]
    apart = [spoken("sad", name, **frames) for name in ("Gina", "Hugo")]
    unpaired = compare("time", comparable([*of_both, *of_one, *apart, *others])["time"], "sad", "calm")
    assert unpaired is not None
    assert (unpaired.found.paired, unpaired.utterances) == (False, (11, 3))
    (first, *_) = comparison_table([unpaired]).to_pylist()
    assert (first["utterances"], first["other_utterances"]) == (11, 3)


def test_an_unknown_cue_is_null_in_the_table() -> None:
    rows = [each | {"cue_evidence": [1.0, NAN]} for each in corpus()]
    cue = comparison_table(compare_pair(comparable(rows), "angry", "sad")).to_pylist()[-1]
    assert (cue["position"], cue["difference"], cue["standard_error"], cue["p"]) == ("rate", None, None, None)


def test_an_emotion_of_one_speaker_is_in_no_comparison() -> None:
    alone = spoken("happy", "speaker 0", frame_attribution=[1.0, 2.0])
    found = compare_all(comparable([*corpus(), alone]))
    assert {each.emotion for each in found} == {"angry", "calm", "sad"}
    assert {each.other for each in found} == {"calm", "sad", None}


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (("angry", "furious"), "the prediction furious is never explained; there are angry, calm, happy, sad"),
        (("sad", "sad"), "takes two different classes; got sad twice"),
        (
            ("happy", "sad"),
            "happy and sad need two speakers who speak both, or two each who speak one of them; happy is spoken by "
            r"speaker 0, sad by speaker 0, speaker 1, speaker 2, \.\.\.",
        ),
    ],
)
def test_a_pair_that_cannot_be_compared_is_told(pair: tuple[str, str], message: str) -> None:
    alone = spoken("happy", "speaker 0", frame_attribution=[1.0, 2.0])
    with pytest.raises(UserError, match=f"^`compare`:? {message}$"):
        compare_pair(comparable([*corpus(), alone]), *pair)


def test_unknown_speakers_are_told() -> None:
    rows = [each | {"speaker": None} for each in corpus()]
    assert compare_all(comparable(rows)) == []
    with pytest.raises(UserError, match=r"^`compare`: speakers are compared, and no explanation .* says whose speech"):
        compare_pair(comparable(rows), "angry", "sad")
