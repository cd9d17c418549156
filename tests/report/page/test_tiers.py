"""Segments in the report: bars of the picture, rows of a table, and what the page makes of them."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import Browser, make_explanation, write_part, write_sound

from speechshap.report.colours import SPEAKS_AGAINST, SPEAKS_FOR
from speechshap.report.page.build import write_report
from speechshap.report.page.entry import Variant
from speechshap.report.page.tiers import segment_rows, tier_traces
from speechshap.results.estimate import Estimate
from speechshap.results.explanation import Explanation

WORDS = ["<img src=x onerror=document.title='hacked'>", "", "it & <b>"]


def spoken(frame_error: float = 0.2, **fields: Any) -> Explanation:
    """Of the words the first speaks for, the last against the first target, and 100 ms are known better than frames."""
    explanation = make_explanation(words=WORDS, targets=("happy", "sad"), relative_error=frame_error, **fields)
    segments = explanation.segments
    assert segments is not None
    values = segments.estimate.values.copy()
    values[0, :3] = [2.0, 0.1, -1.0]
    errors = np.where(np.arange(values.shape[1]) < 3, 0.1, 0.3 * np.abs(values)).astype(np.float32)
    return dataclasses.replace(
        explanation, segments=dataclasses.replace(segments, estimate=Estimate(values, errors, 25))
    )


def test_a_bar_with_its_interval_and_a_label_for_each_segment() -> None:
    (tier,) = spoken().read_tiers
    bars, labels = tier_traces(tier, 0, "y3", "logits")
    np.testing.assert_allclose(bars.y, tier.estimate.values[0])
    np.testing.assert_allclose(bars.x - bars.width / 2, tier.starts, atol=1e-6)
    np.testing.assert_allclose(bars.x + bars.width / 2, tier.ends, atol=1e-6)
    assert tier.estimate.reach is not None
    np.testing.assert_allclose(bars.error_y.array, tier.estimate.reach[0], rtol=1e-6)
    hollow = bars.marker.color[1]
    assert list(bars.marker.color) == [SPEAKS_FOR, hollow, SPEAKS_AGAINST]
    assert hollow.endswith(",0)")
    assert labels.text == ("&lt;img src=x onerror=document.title='hacked'&gt;", "", "it &amp; &lt;b&gt;")
    # Above all bars of all targets.
    assert labels.base > (tier.estimate.values + tier.estimate.reach).max()


def test_a_tier_without_errors_has_no_intervals_and_one_without_labels_no_strip() -> None:
    explanation = make_explanation(words=["", ""], relative_error=None)
    (bars,) = tier_traces(explanation.read_tiers[0], 0, "y3", "logits")
    assert bars.error_y.array is None
    assert set(bars.marker.color) <= {SPEAKS_FOR, SPEAKS_AGAINST}
    assert "±" not in bars.hovertemplate


def test_rows_are_of_segments_in_which_something_is_said() -> None:
    rows = segment_rows(spoken(), 0)
    assert [(row[0], row[1], row[4], row[6]) for row in rows] == [
        ("words", WORDS[0], 2.0, True),
        ("words", WORDS[2], -1.0, True),
    ]
    assert rows[0][2] == 0.0
    assert segment_rows(make_explanation(words=["so"], relative_error=None), 0)[0][5:] == [None, None]


def test_the_payload_has_the_resolution_that_the_draws_support() -> None:
    explanation = spoken(frame_error=0.8)
    segments = explanation.segments
    assert segments is not None
    payload = Variant("a", explanation, None).payload()
    target = payload["targets"][0]
    stretches = segments.tier("100 ms")
    np.testing.assert_allclose(target["values"], stretches.estimate.values[0], rtol=1e-4)
    assert len(target["edges"]) == len(target["values"]) + 1 == len(stretches.labels) + 1
    assert target["title"].startswith("attribution in 100 ms (logits), as frames are noise; filled: significant")
    assert target["reservation"] is None
    np.testing.assert_allclose(target["edges"], [*stretches.starts, stretches.ends[-1]], atol=1e-6)


@pytest.mark.slow
def test_the_page_shows_plays_and_escapes_words(tmp_path: Path, browser: Browser) -> None:
    path = write_sound(tmp_path / "a.wav", 1.0)
    write_part(tmp_path, spoken(frame_error=0.8, path=str(path)))
    (report,) = write_report(tmp_path, {})
    with browser() as driver:
        driver.get(report.as_uri())
        for _ in range(200):
            if driver.execute_script("return state.drawn !== undefined && state.pcm !== null"):
                break
            driver.execute_async_script("setTimeout(arguments[0], 50)")
        assert driver.title.startswith("Explanations")
        rows = driver.execute_script(
            "return [...document.querySelectorAll('#segment-rows tr')].map((row) => [row.textContent, row.className])"
        )
        assert [text.startswith(f"words{word}") for (text, _), word in zip(rows, [WORDS[0], WORDS[2]], strict=True)]
        assert rows[0][0].endswith("+2.0 ± 0.21yes")
        assert driver.find_element("id", "segments-heading").text == "Segments, in logits"
        drawn = driver.execute_script("return [...picture.querySelectorAll('.bartext')].map((own) => own.textContent)")
        assert set(drawn) <= {*WORDS}
        assert not driver.execute_script("return picture.querySelectorAll('img').length")
        titles = driver.execute_script("return picture.layout.annotations.map((each) => each.text)")
        assert any(own.startswith("attribution in 100 ms (logits), as frames are noise") for own in titles)
        assert driver.execute_script("return [byId('moment').max, targetNow().edges.length - 2].map(Number)") == [9, 9]
        # The other target's frames are as noisy, its stretches too.
        driver.execute_script("document.querySelectorAll('#segment-rows button')[1].click()")
        for _ in range(100):
            seconds = driver.execute_script("return state.seconds")
            if seconds > 0.6:
                break
            driver.execute_async_script("setTimeout(arguments[0], 50)")
        assert seconds > 0.6
        assert [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"] == []
