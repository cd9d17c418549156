import base64
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from helpers import tiny_config, write_explanation, write_sound

from speechshap.errors import UserError

pytestmark = pytest.mark.slow

SETUP = """
import logging, numpy, os, speechshap, torch
logging.disable()
from speechshap import EmotionModule, GradientSHAP
torch.manual_seed(0)
explainer = GradientSHAP(model=EmotionModule(["angry", "happy"], backbone_config={config}), num_samples=4)
show = explainer.visualize_explanations
def draw(): return speechshap.visualize_audio_attributions(numpy.zeros(8000), numpy.zeros(24), 16000, "happy", 0.5)
"""

CELLS = {
    "show('a.wav', progress=False)": 1,  # as the last value
    "figure = show('a.wav', progress=False)": 1,  # kept
    "figure": 1,  # in another cell
    "for _ in range(2): show('a.wav', progress=False)": 2,
    "draw()": 1,
    "figure = draw()": 1,
    "import matplotlib.pyplot as plt": 0,
    "show('a.wav', progress=False) ": 1,  # as the last value where matplotlib shows figures, too
}
"""How many pictures each cell shows."""


def pictures(cell: Any) -> list[str]:
    shown = [output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})]
    assert len(cell.outputs) == len(shown)  # and nothing else
    return shown


def test_pictures_and_results_are_shown_without_magic(run_notebook: Callable[[Any], None], tmp_path: Path) -> None:
    write_sound(tmp_path / "cwd" / "a.wav", 0.5)
    sources = [SETUP.replace("{config}", repr(tiny_config())), *CELLS, "explainer.explain('a.wav', progress=False)"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    run_notebook(notebook)
    assert [len(pictures(cell)) for cell in notebook.cells[1:-1]] == list(CELLS.values())
    assert all(base64.b64decode(png).startswith(b"\x89PNG") for cell in notebook.cells[1:-1] for png in pictures(cell))
    (output,) = notebook.cells[-1].outputs
    assert output.data["text/plain"].startswith("a.wav: predicted ")
    assert output.data["text/html"].startswith("<div><p>a.wav: predicted ")


def test_an_explanation_and_the_results_of_a_run_are_shown_to_play_with(
    run_notebook: Callable[[Any], None], tmp_path: Path
) -> None:
    write_sound(tmp_path / "cwd" / "a.wav", 0.5)
    write_explanation(tmp_path / "cwd" / "runs" / "explanations", "b.wav", targets=("happy",))
    sources = [
        SETUP.replace("{config}", repr(tiny_config())),
        "result = explainer.explain('a.wav', progress=False); result.show()",
        "speechshap.show_results('runs')",
        "speechshap.show_results('runs/explanations', most=1)",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    run_notebook(notebook)
    for cell, name in zip(notebook.cells[1:], ("a.wav", "b.wav", "b.wav"), strict=True):
        (output,) = cell.outputs
        html = output.data["text/html"]
        assert re.match(r'<div><iframe title="[^"]*" sandbox="allow-scripts allow-downloads" ', html)
        assert html.count("id=&quot;payload-") == 1
        assert f"&quot;utterance&quot;: &quot;{name}&quot;" in html


def test_outside_of_a_notebook_there_is_no_page(tiny_checkpoint: Path, tmp_path: Path) -> None:
    from speechshap import GradientSHAP, show_results

    explainer = GradientSHAP(str(tiny_checkpoint), num_samples=4)
    result = explainer.explain(write_sound(tmp_path / "a.wav"), progress=False)
    with pytest.raises(UserError, match="no notebook runs that could show it; `speechshap report RUN` writes a page"):
        result.show()
    samples = explainer.explain(write_sound(tmp_path / "a.wav"), resolution="sample", progress=False)
    with pytest.raises(UserError, match="attributions of single samples have no picture"):
        samples.show()
    with pytest.raises(UserError, match="`most` is 0; expected 1 at least"):
        show_results(tmp_path, most=0)
    with pytest.raises(UserError, match="no explanations"):
        show_results(tmp_path)


def test_outside_of_a_notebook_nothing_is_shown(
    tiny_checkpoint: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from speechshap import GradientSHAP

    explainer = GradientSHAP(str(tiny_checkpoint), num_samples=4)
    capfd.readouterr()
    figure = explainer.visualize_explanations(write_sound(tmp_path / "a.wav"), progress=False)
    assert not hasattr(figure, "_ipython_display_")
    assert capfd.readouterr().out == ""
