import numpy as np
from corpus_rows import corpus, cue_rows, row

from speechshap.data.cues import CUES
from speechshap.report.corpus import band_profile, class_agreement, layer_profile, time_profile
from speechshap.report.corpus_table import TABLE_SCHEMA, corpus_table
from speechshap.report.cue_profile import cue_profile


def test_the_table_holds_every_value_with_its_error_and_count() -> None:
    rows = corpus(("sad", "happy"), per_emotion=3)
    time, bands, layers, agreement = time_profile(rows), band_profile(rows), layer_profile(rows), class_agreement(rows)
    table = corpus_table(time, bands, layers, agreement)
    assert table.schema == TABLE_SCHEMA
    frame = table.to_pandas()
    assert frame.groupby("quantity").size().to_dict() == {"time": 100, "band": 12, "layer": 10, "agreement": 4}
    for name, profile in (("time", time), ("band", bands), ("layer", layers)):
        assert profile is not None
        values = frame[(frame.quantity == name) & (frame.emotion == "sad")]
        np.testing.assert_array_equal(values.value, profile.mean[1])
        np.testing.assert_array_equal(values.standard_error, profile.standard_error[1])
        assert (values.n == 3).all()
        assert values.other.isna().all()
        np.testing.assert_array_equal(values.position.astype(profile.positions.dtype), profile.positions)
    assert agreement is not None
    pair = frame[(frame.quantity == "agreement") & (frame.emotion == "sad") & (frame.other == "happy")]
    assert pair.value.item() == agreement.correlation[1, 0]
    assert pair.n.item() == 6
    assert pair.position.isna().all()


def test_the_table_holds_cues_with_their_interval_and_effect_size() -> None:
    profile = cue_profile(cue_rows({"sad": 3, "happy": 1}))
    assert profile is not None
    frame = corpus_table(None, None, None, None, profile).to_pandas()
    cues = frame[frame.quantity == "cue"]
    assert cues.position.tolist() == list(CUES) * 2
    for name in ("low", "high"):
        np.testing.assert_array_equal(cues[name], getattr(profile, name).ravel())
    np.testing.assert_array_equal(cues.value, profile.mean.ravel())
    np.testing.assert_array_equal(frame[frame.quantity == "cue_effect"].value, profile.effect.ravel())
    assert cues.n.tolist() == [1] * 8 + [3] * 8


def test_the_table_has_nulls_for_what_is_unknown() -> None:
    table = corpus_table(time_profile([row("sad", frame_attribution=[1.0])], 2), None, None, None)
    assert table["standard_error"].null_count == 2
    assert table["value"].to_pylist() == [0.5, 0.5]


def test_the_table_of_nothing_has_its_columns() -> None:
    table = corpus_table(None, None, None, None)
    assert (table.num_rows, table.schema) == (0, TABLE_SCHEMA)
