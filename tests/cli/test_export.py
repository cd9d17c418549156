"""``speechshap export`` from the command line."""

import logging
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from helpers import write_sound

from speechshap import GradientSHAP
from speechshap.cli.explain import explain
from speechshap.cli.export import export
from speechshap.errors import UserError

EXPLAIN = ["--explain.preset", "textbook", "--explain.n_samples", "4", "--explain.max_drawn", "0", "--report", "false"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(tiny_checkpoint: Path) -> str:
    """Folder of a run."""
    return str(tiny_checkpoint.parent.parent)


def rows(folder: str) -> pd.DataFrame:
    return pd.concat(map(pd.read_parquet, Path(folder).rglob("part-*.parquet"))).sort_values("utterance")


def test_a_run_and_its_checkpoint_are_exported_alike(run: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="speechshap"):
        export([run, "one"])
    assert caplog.messages[-1] == (
        "export: one; its README.md says how to load it, and hf upload owner/name one publishes it"
    )
    export([f"{run}/checkpoints/best.ckpt", "two"])
    for name in ("config.json", "model.safetensors"):
        assert (Path("one") / name).read_bytes() == (Path("two") / name).read_bytes()
    modes = {path.stat().st_mode for path in Path("one").iterdir()}
    assert len(modes) == 1  # whoever may read one of them may read all


def test_an_exported_folder_is_explained_as_the_checkpoint(run: str) -> None:
    sounds = [str(write_sound(Path(f"{name}.wav"), 0.4, seed=seed)) for seed, name in enumerate("ab")]
    export([run, "exported"])
    explain(["--model", "exported", "--data.files", *sounds, "--explain.output_dir", "one", *EXPLAIN])
    explain(["--ckpt_path", run, "--data.files", *sounds, "--explain.output_dir", "two", *EXPLAIN])
    one, two = rows("one"), rows("two")
    assert list(one.utterance) == ["a.wav", "b.wav"]
    for name in ("prediction", "probability", "target", "target_logit"):
        assert list(one[name]) == list(two[name])
    for first, second in zip(one.frame_attribution, two.frame_attribution, strict=True):
        assert first.tolist() == second.tolist()
    assert GradientSHAP("exported").classes == GradientSHAP(f"{run}/checkpoints/best.ckpt").classes


def test_an_export_is_replaced_when_that_is_asked_for(run: str) -> None:
    export([run, "exported"])
    Path("exported/README.md").write_text("mine")
    with pytest.raises(UserError, match="exported is an export already; replace it with --overwrite, or give"):
        export([run, "exported"])
    assert Path("exported/README.md").read_text() == "mine"
    export([run, "exported", "--overwrite"])
    assert Path("exported/README.md").read_text().startswith("---\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "exported"], "checkpoint: no file nowhere; speechshap train fit writes checkpoints/best.ckpt"),
        (["{run}", "."], r"folder: \. has other files \(notes.txt\), and nothing of it is replaced"),
        (["{run}", "notes.txt"], "folder: notes.txt is something else, and nothing of it is replaced"),
    ],
)
def test_a_mistake_is_told_in_a_line(run: str, arguments: list[str], message: str) -> None:
    Path("notes.txt").write_text("mine")
    with pytest.raises(UserError, match=message) as told:
        export([argument.format(run=run) for argument in arguments])
    assert "\n" not in str(told.value)
    assert [path.name for path in Path().iterdir()] == ["notes.txt"]


def test_help_comes_before_torch_is_loaded() -> None:
    code = (
        "import sys; sys.argv = ['speechshap', 'export', '--help']\n"
        "from speechshap.cli import main\n"
        "try: main()\n"
        "except SystemExit: print({'torch', 'pytorch_lightning', 'transformers'} & set(sys.modules))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.splitlines()[-1] == "set()"


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        export(["--help"])
    told = " ".join(capsys.readouterr().out.split())
    for words in ("No code is in it", "hf upload owner/name FOLDER", "it names the speakers of the corpus"):
        assert words in told
