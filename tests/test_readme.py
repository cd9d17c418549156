"""Every command and snippet of README.md and docs/ runs as written, in the order in which it is written.

The models that they download lie in a cache of the hub, small and with random weights; the corpora and recordings that
they name are small, too. Commands get the options of ``SHORTER``. What cannot run here is in ``NOT_RUN``; there is no
third kind.
"""

import contextlib
import json
import re
import shlex
import sys
import textwrap
import warnings
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

import matplotlib
import pandas as pd
import pdoc.__main__
import pytest
import torch
from families import family_config, save
from helpers import write_sound
from transformers import AutoConfig, AutoModel, AutoModelForAudioClassification

from speechshap.attribution import SpectralGrid, method_names
from speechshap.models.spec_augment import SpecAugment
from speechshap.results.rows import SCHEMA

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", *sorted(f"docs/{path.name}" for path in (PROJECT / "docs").glob("*.md")))

NOT_RUN = {
    r"make \w+": "installs an environment first",
    r"pip install .*": "changes the environment; the packages are there",
    r"hf download .*": "needs a connection; the folder is there",
    r"hf upload .*": "needs a connection, and somebody's account",
    r"conda .*|mfa .*": "another program, with models of its own; the folder of its output is there",
    r"speechshap .* hf://owner/.*": "needs a connection; tests/data/test_hub.py has datasets in folders",
    r"tensorboard .*": "a server, which runs until it is stopped",
    r"python examples/own_model\.py": "is run by tests/explaining/test_own_model.py",
}
"""Commands that are not run, and why."""

SHORTER = {
    "train fit": ["--trainer.max_epochs", "1", "--data.num_workers", "0", "--trainer.enable_model_summary", "false"],
    "train test": ["--data.num_workers", "0"],
    "cross-validate": ["--trainer.max_epochs", "1", "--data.num_workers", "0"],
    "sweep": ["--trials", "1", "--trainer.max_epochs", "1", "--data.num_workers", "0"],
    "explain": ["--data.num_workers", "0", "--data.max_utterances", "2", "--explain.max_drawn", "0"],
    "benchmark": ["--data.max_utterances", "2", "--benchmark.again", "1"],
    "report": [],
    "export": [],
}
"""Options that are added to each command, so that it takes a second and not an hour."""

TEXT = "text"
"""Language of the blocks that are no code."""

ON_THE_HUB = {
    "microsoft/wavlm-base": ("wavlm", AutoModel),
    "microsoft/wavlm-base-plus": ("wavlm", AutoModel),
    "superb/hubert-large-superb-er": ("hubert", AutoModelForAudioClassification),
    "superb/wav2vec2-base-superb-er": ("wav2vec2", AutoModelForAudioClassification),
    "openai/whisper-base": ("whisper", AutoModel),
}


class Block(NamedTuple):
    """A fenced block: language, code without its indentation, and number of its first line."""

    language: str
    code: str
    line: int


def blocks(document: str) -> list[Block]:
    text = (PROJECT / document).read_text(encoding="utf-8")
    fenced = re.finditer(r"^( *)```(\w*)\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)
    return [Block(m[2], textwrap.dedent(m[3]), text.count("\n", 0, m.start(3)) + 1) for m in fenced]


def commands(block: Block) -> list[list[str]]:
    """Words of each command, with the continued lines."""
    lines = block.code.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def reason_not_to_run(command: list[str]) -> str | None:
    return next((why for pattern, why in NOT_RUN.items() if re.fullmatch(pattern, shlex.join(command))), None)


@pytest.fixture(scope="module")
def tree(planted_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with what the documents name: the run of the demo, RAVDESS, recordings, models."""
    folder = tmp_path_factory.mktemp("tree")
    (folder / "data").mkdir()
    (folder / "data" / "planted").symlink_to(planted_root)
    for path in ("a.wav", "recordings/b.wav", "recordings/c.wav"):
        write_sound(folder / path, 0.5, seed=len(path))
    (folder / "aligned").mkdir()
    (folder / "aligned" / "b.csv").write_text("Begin,End,Label,Type,Speaker\n0.1,0.3,yes,words,b\n")
    for speaker in ("03", "05", "08", "10", "12"):
        for emotion in range(1, 9):
            name = f"Actor_{speaker}/03-01-{emotion:02d}-01-01-01-{speaker}.wav"
            write_sound(folder / "RAVDESS" / name, 0.3, seed=10 * int(speaker) + emotion)
    write_emobox(folder / "EmoBox" / "data" / "ravdess", folder / "RAVDESS")
    write_manifests(folder / "corpus", folder / "RAVDESS")
    for name, (family, kind) in ON_THE_HUB.items():
        save_model(cached(folder / "hub", name), family, kind)
    save_model(folder / "wavlm-base-plus", "wavlm", AutoModel)
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(folder):
        patch.setenv("HOME", str(folder))
        patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder / "hub"))
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        speechshap("train fit --config demo")
        speechshap("explain --ckpt_path runs/demo/version_0 --explain.method gradient_shap --explain.layers all")
        yield folder


def write_emobox(folder: Path, corpus: Path) -> None:
    """Two folds of a corpus in EmoBox's form, whose test is one speaker each."""
    paths = sorted(corpus.rglob("*.wav"))
    for fold, speaker in ((1, "Actor_03"), (2, "Actor_05")):
        (folder / f"fold_{fold}").mkdir(parents=True)
        for name in ("train", "test"):
            lines = [
                json.dumps({"key": path.stem, "wav": str(path.relative_to(corpus)), "emo": path.stem[6:8]})
                for path in paths
                if (path.parent.name == speaker) == (name == "test")
            ]
            (folder / f"fold_{fold}" / f"ravdess_{name}_fold_{fold}.jsonl").write_text("\n".join(lines))


def write_manifests(folder: Path, corpus: Path) -> None:
    """A manifest of a corpus, and one with the lengths of its recordings."""
    sounds = sorted(corpus.rglob("*.wav"))
    rows = pd.DataFrame(
        {
            "path": [str(Path("..") / sound.relative_to(corpus.parent)) for sound in sounds],
            "label": [sound.stem[6:8] for sound in sounds],
            "speaker": [sound.parent.name for sound in sounds],
        }
    )
    folder.mkdir()
    rows.to_csv(folder / "manifest.csv", index=False)
    rows.assign(duration=0.3).to_parquet(folder / "manifest.parquet")


def save_model(folder: Path, family: str, kind: type) -> None:
    """A small model with random weights, as ``save_pretrained`` writes it."""
    fields = family_config(family, "group", id2label=dict(enumerate(["neutral", "happy", "angry", "sad"])))
    torch.manual_seed(0)
    save(kind.from_config(AutoConfig.for_model(fields.pop("model_type"), **fields)), folder)


def cached(hub: Path, name: str) -> Path:
    """Folder where the hub's cache has a model."""
    model = hub / f"models--{name.replace('/', '--')}"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text("0" * 40)
    return model / "snapshots" / ("0" * 40)


def speechshap(command: str | list[str]) -> None:
    """Run the console command in this process, which has imported everything."""
    from speechshap.cli import main

    words = shlex.split(command) if isinstance(command, str) else command
    (shorter,) = (options for name, options in SHORTER.items() if words[: len(name.split())] == name.split())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["speechshap", *(str(Path(word).expanduser()) for word in words), *shorter])
        main()


def run_command(command: list[str]) -> None:
    program, *words = command
    if program == "pdoc":
        with warnings.catch_warnings(action="error", category=UserWarning):
            pdoc.__main__.cli(words)
    else:
        assert program == "speechshap"
        speechshap(words)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_what_is_written_runs(document: str, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    matplotlib.use("agg")
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(document):
        if block.language == "python":
            torch.manual_seed(0)
            code = compile("\n" * (block.line - 1) + block.code, PROJECT / document, "exec")
            exec(code, names)  # noqa: S102 - that is the point
        for command in commands(block) if block.language == "bash" else ():
            if reason_not_to_run(command) is None:
                try:
                    run_command(command)
                except SystemExit as exit_:
                    pytest.fail(f"{document}, line {block.line}: {shlex.join(command)}: {exit_.code}")


def test_nothing_is_left_out_unseen() -> None:
    found = [block for document in DOCUMENTS for block in blocks(document)]
    assert {block.language for block in found} == {"bash", "python", TEXT}
    fences = sum((PROJECT / document).read_text().count("```") for document in DOCUMENTS)
    assert 2 * len(found) == fences
    spoken = [shlex.join(command) for block in found if block.language == "bash" for command in commands(block)]
    for pattern in NOT_RUN:
        assert any(re.fullmatch(pattern, command) for command in spoken), f"{pattern} excuses nothing"


def test_options_in_the_text_exist(capsys: pytest.CaptureFixture[str]) -> None:
    explain = [f"explain --explain.method {name}" for name in method_names()]
    for command in ("train fit", "cross-validate", "sweep", "benchmark", "report", "export", *explain):
        with pytest.raises(SystemExit, match="0"):
            speechshap(f"{command} --help")
    known = set(re.findall(r"--[\w.]+", capsys.readouterr().out))
    known |= {f"--explain.spectrum.{field.name}" for field in fields(SpectralGrid)}
    known |= {f"--model.spec_augment.{name}" for name in SpecAugment.__annotations__}
    foreign = {
        "--array", "--local-dir", "--logdir", "--samples_per_plugin", "--math", "--help", "--job-name", "--ntasks",
        "--cpus-per-task", "--gpus-per-node", "--time", "--requeue", "--nodes", "--ntasks-per-node", "--standalone",
        "--nproc_per_node", "--no-python", "--trainer.logger.project",
    }  # fmt: skip
    for document in DOCUMENTS:
        text = (PROJECT / document).read_text(encoding="utf-8")
        assert set(re.findall(r"(?<![\w-])--[a-z][\w.-]*\w", text)) - known - foreign == set(), document


def test_links_lead_somewhere() -> None:
    for document in DOCUMENTS:
        path = PROJECT / document
        for link in re.findall(r"\]\((?!https?:)([^)]*)\)", path.read_text(encoding="utf-8")):
            name, _, heading = link.partition("#")
            target = path.parent / name if name else path
            assert target.exists(), f"{document}: {link}"
            assert not heading or heading in headings(target), f"{document}: {link}"


def headings(path: Path) -> list[str]:
    """Names of the headings of a document, as links have them."""
    titles = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]


def test_every_column_is_explained() -> None:
    text = (PROJECT / "docs" / "results.md").read_text(encoding="utf-8")
    assert [name for name in SCHEMA.names if f"`{name}`" not in text] == []
