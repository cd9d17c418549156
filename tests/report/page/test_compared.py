"""Two explanations side by side in a browser, and their difference."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import CHANGE, choose_number, until
from helpers import REPLICATES, WHISPER_GRID, write_explanation
from scipy.stats import t

from speechshap.attribution.targets import Target
from speechshap.report.page import write_report
from speechshap.report.wording import variant_names
from speechshap.results.explanation import Explanation
from speechshap.results.folder import ResultsFolder
from speechshap.results.significance import significant


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Explanations of one utterance by runs of different seeds, references and methods, and another utterance."""
    root = tmp_path_factory.mktemp("explanations")
    contrast: dict[str, Any] = {"targets": ("happy", "sad", Target("happy", "sad")), "words": ["well"]}
    write_explanation(root, "compared.wav", **contrast)
    write_explanation(root, "compared.wav", **contrast, settings={"seed": 1}, relative_error=0.1)
    energy = {"method": "energy", "settings_fingerprint": "energy", "fingerprint": "energy"}
    write_explanation(root, "compared.wav", provenance=energy, relative_error=None)
    write_explanation(root, "compared.wav", settings={"baselines": "mean"}, grid=WHISPER_GRID)
    write_explanation(root, "other.wav")
    write_report(root, {})
    return root


def test_what_is_significant_of_a_difference_is_what_scipy_finds(page: Any) -> None:
    generator = np.random.default_rng(0)
    choose_number(page, 0)
    for degrees in (1, 3, 24, None):
        values = generator.normal(size=400) * np.where(np.arange(400) < 80, 6, 1)
        errors = generator.uniform(0.5, 1.5, 400)
        values[0] = errors[0] = 0
        expected = significant(values[None], errors[None], np.inf if degrees is None else degrees)[0]
        found = page.execute_script("return significance(...arguments)", values.tolist(), errors.tolist(), degrees)
        np.testing.assert_array_equal(found, expected)
        assert degrees == 1 or expected.any()


def test_a_value_without_an_error_is_not_told_significant(page: Any) -> None:
    choose_number(page, 0)
    assert page.execute_script("return significance([9, 9, null], [1, null, 1], 24)") == [True, False, False]


COMPARED = """
const [[oneName, oneTarget], [otherName, otherTarget]] = arguments;
const side = (name, target) => {
    const variant = state.payload.find((each) => each.name.includes(name));
    return sideOf(variant, variant.targets.find((each) => each.name === target));
};
return difference(side(oneName, oneTarget), side(otherName, otherTarget));
"""


def by_name(folder: Path) -> dict[str, Explanation]:
    """The explanations that are compared, by the names that the page has for them."""
    found = list(ResultsFolder(folder).explanations(utterance="compared.wav"))
    return dict(zip(variant_names(found), found, strict=True))


def test_independent_runs_differ_with_errors_in_quadrature(page: Any, folder: Path) -> None:
    choose_number(page, 0)
    named = by_name(folder)
    (first,), (second,) = (
        [own for name, own in named.items() if "energy" not in name and own.provenance.settings["seed"] == seed and
         own.provenance.settings["baselines"] == "noise"] for seed in (0, 1)
    )  # fmt: skip
    names = [next(name for name, own in named.items() if own is each) for each in (first, second)]
    found = page.execute_script(COMPARED, [names[0], "sad"], [names[1], "sad"])
    assert found["how"].startswith("Independent runs")
    assert first.frames.standard_error is not None
    assert second.frames.standard_error is not None
    errors = np.hypot(first.frames.standard_error[1], second.frames.standard_error[1])
    np.testing.assert_allclose(found["reach"], t.ppf(0.975, REPLICATES - 1) * errors, rtol=2e-3)
    # They have the same values.
    np.testing.assert_allclose(found["values"], 0, atol=1e-6)
    assert not any(found["significant"])


def test_two_targets_differ_by_their_contrast_or_with_a_conservative_interval(page: Any, folder: Path) -> None:
    choose_number(page, 0)
    (name, explanation) = next(
        (name, own) for name, own in by_name(folder).items() if own.provenance.settings["seed"] == 1
    )
    frames = explanation.frames
    assert frames.reach is not None
    for first, second, sign in (("happy", "sad", 1), ("sad", "happy", -1)):
        found = page.execute_script(COMPARED, [name, first], [name, second])
        assert found["how"] == "The contrast happy - sad was explained itself."
        np.testing.assert_allclose(found["values"], sign * frames.values[2], rtol=1e-3)
        np.testing.assert_allclose(found["reach"], frames.reach[2], rtol=1e-3)
        assert frames.significant is not None
        assert found["significant"] == frames.significant[2].tolist()
    found = page.execute_script(COMPARED, [name, "happy"], [name, "happy - sad"])
    assert "conservative" in found["how"]
    np.testing.assert_allclose(found["values"], frames.values[0] - frames.values[2], atol=2e-3)
    np.testing.assert_allclose(found["reach"], frames.reach[0] + frames.reach[2], rtol=2e-3)


def test_where_one_side_has_no_errors_significance_is_unknown(page: Any, folder: Path) -> None:
    choose_number(page, 0)
    (name,) = (name for name, own in by_name(folder).items() if own.provenance.settings["seed"] == 1)
    known = "state.payload.find(({ name }) => name === arguments[0]).targets[1]"
    page.execute_script(f"window.reach = {known}.reach; {known}.reach = null", name)
    found = page.execute_script(COMPARED, [name, "happy - sad"], [name, "sad"])
    page.execute_script(f"{known}.reach = window.reach", name)
    assert found["how"] == "Errors are unknown."
    assert (found["reach"], found["significant"]) == (None, None)


def test_there_is_no_difference_of_what_cannot_be_subtracted(page: Any, folder: Path) -> None:
    choose_number(page, 0)
    names = {
        "energy" if own.provenance.method == "energy" else own.provenance.settings["baselines"]: name
        for name, own in by_name(folder).items()
    }
    units = page.execute_script(COMPARED, [names["noise"], "happy"], [names["energy"], "happy"])
    assert units == {"how": "No difference: one is in logits, the other in energy."}
    bounds = page.execute_script(COMPARED, [names["noise"], "happy"], [names["mean"], "happy"])
    assert bounds == {"how": "No difference: their frames have different bounds."}


def test_the_finer_of_two_resolutions_is_brought_to_the_coarser(page: Any) -> None:
    script = """
        const rung = (name, edges, values) => ({ name, edges, values: [values], reach: [values.map(() => 0.1)] });
        const frames = rung("frames", [0, 1, 2, 3, 4], [1, 2, 3, 4]);
        const coarse = rung("100 ms", [0, 2, 4], [3, 7]);
        const side = (shown, ...resolutions) => ({
            clip: "a", unit: "logits", index: 0, variant: { name: shown.name, targets: [] },
            meta: { resolutions, degrees: 3, seed: shown.name, reach: 3.18 }, target: { name: "a", edges: shown.edges },
        });
        const other = rung("100 ms", [0, 3, 4], [6, 4]);
        return [
            difference(side(frames, frames, coarse), side(coarse, frames, coarse)).edges,
            difference(side(frames, frames, coarse), side(frames, frames, coarse)).edges,
            difference(side(coarse, frames, coarse), side(other, frames, other)).edges,
        ];
    """
    assert page.execute_script(script) == [[0, 2, 4], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]]


def test_two_sides_are_drawn_below_each_other(page: Any) -> None:
    choose_number(page, 0)
    page.execute_script(CHANGE, "variant", 2)  # the latest but two, of three targets
    until(lambda: page.execute_script("return state.pcm !== null"))
    page.execute_script(CHANGE, "other", "target 1")
    drawn = "return [...pair.querySelectorAll('.annotation-text')].map((title) => title.textContent)"
    first, second, last = until(lambda: page.execute_script(drawn))
    assert (first.startswith("happy, "), second.startswith("sad, "), last.startswith("difference (logits)")) == (
        True,
    ) * 3
    page.execute_async_script("zoomTo(0.2, 0.3).then(arguments[0])")
    until(lambda: page.execute_script("return pair.layout.xaxis.range[0]") == pytest.approx(0.2))
    page.find_element("id", "keep").click()
    choose_number(page, 1)
    page.execute_script(CHANGE, "other", "kept")
    titles = until(lambda: page.execute_script(drawn))
    assert [title.split(",")[0] for title in titles] == ["other.wav", "compared.wav"]  # without a difference
    assert page.execute_script("return pair.layout.xaxis2.range") == [0, 1]
    page.execute_script(CHANGE, "other", "")
    assert not page.find_element("id", "pair").is_displayed()
