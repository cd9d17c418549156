import base64
import io
import pickle
import re
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from helpers import make_explanation

from speechshap import EmotionModule, GradientSHAP
from speechshap.attribution import Target
from speechshap.report.explanation_result import ExplanationResult


def made(seconds: float = 1.0, **fields: object) -> ExplanationResult:
    """A result of random numbers."""
    explanation = make_explanation(seconds, **fields)
    waveform = np.random.default_rng(0).normal(0, 0.1, explanation.num_samples).astype(np.float32)
    return ExplanationResult(attributions=torch.zeros(49), target_class=1, explanation=explanation, waveform=waveform)


def test_it_is_printed_in_a_few_lines() -> None:
    result = made(targets=(Target("happy", "sad"),), prediction="happy")
    frames = np.zeros_like(result["explanation"].frames.values)
    frames[0, 10:20], frames[0, 30:32] = 0.5, -1.0
    estimate = replace(result["explanation"].frames, values=frames)
    result["explanation"] = replace(result["explanation"], frames=estimate)
    error = result["explanation"].relative_error[0]
    assert repr(result).splitlines() == [
        "a.wav: predicted happy (75 %)",
        f"explained: happy - sad, 49 frames in 1.00 s, relative error {error:.2f}",
        "significant: 0.20 to 0.40 s (+5), 0.60 to 0.64 s (-2) logits",
    ]


def test_it_is_said_where_nothing_is_significant() -> None:
    assert "significant: nothing at this number of draws" in repr(made(relative_error=2.0)).splitlines()


def test_sizes_are_not_said_to_be_significant() -> None:
    result = made(provenance={"method": "smooth_grad"})
    sizes = replace(result["explanation"].frames, is_signed=False)
    result["explanation"] = replace(result["explanation"], frames=sizes)
    assert repr(result).splitlines()[-1].startswith("strongest: ")


def test_a_regression_is_printed_with_its_output() -> None:
    assert repr(made(targets=("arousal",), prediction=None, probability=None)).startswith("a.wav: arousal 0.00\n")


def test_a_notebook_gets_picture_and_sounds_in_the_page_itself() -> None:
    html = made()._repr_html_()
    assert html is not None
    sources = re.findall(r'src="([^"]*)"', html)
    assert [source.split(",")[0] for source in sources] == ["data:image/png;base64", *["data:audio/flac;base64"] * 3]
    for source in sources[1:]:
        sound, rate = soundfile.read(io.BytesIO(base64.b64decode(source.split(",")[1])))
        assert (len(sound), rate) == (16000, 16000)
        assert 0 < np.abs(sound).max() < 1
    assert not re.search(r"https?:|href|<script", re.sub(r'"data:[^"]*"', "", html))


def test_names_are_escaped_in_a_notebook() -> None:
    html = made(utterance='<img src=x onerror="alert(1)">.wav', prediction="<b>", targets=("<i>&",))._repr_html_()
    assert html is not None
    assert "&lt;img src=x onerror=&quot;alert(1)&quot;&gt;.wav: predicted &lt;b&gt;" in html
    assert "<i>" not in html
    assert html.count("<img") == 1


def test_the_sound_of_a_long_recording_is_left_out() -> None:
    html = made(seconds=121)._repr_html_()
    assert html is not None
    assert "<audio" not in html
    assert "without sound: 121 s" in html


@pytest.mark.parametrize("resolution", ["frame", "sample"])
def test_it_is_a_dict_that_is_pickled(tiny_module: EmotionModule, resolution: str) -> None:
    result = GradientSHAP(model=tiny_module, num_samples=4).explain(
        torch.linspace(-0.1, 0.1, 2000), 1, resolution=resolution
    )
    loaded = pickle.loads(pickle.dumps(result))  # noqa: S301 - our own
    assert isinstance(loaded, dict)
    assert type(loaded) is ExplanationResult
    assert list(loaded) == list(result)
    assert torch.equal(loaded["attributions"], result["attributions"])
    assert repr(loaded) == repr(result)
    assert loaded._repr_html_() == result._repr_html_()


def test_words_that_are_known_to_count_are_printed() -> None:
    result = made(words=["so", "", "it"], relative_error=0.2)
    sums, margins = (part[0] for part in (result["explanation"].read_tiers[0].estimate.values,
                                          result["explanation"].read_tiers[0].estimate.reach))  # fmt: skip
    order = sorted([0, 2], key=lambda place: -abs(sums[place]))
    expected = ", ".join(f"{['so', '', 'it'][place]} ({sums[place]:+.3g} ± {margins[place]:.2g})" for place in order)
    assert repr(result).splitlines()[-1] == f"words: {expected}"
    assert "words" not in repr(made(words=["so", "", "it"], relative_error=0.9))  # no word differs from 0
