"""The scripts, as a user runs them; what the console command does beside is in ``test_main.py``."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pandas as pd
import pyarrow.parquet
import pytest
import torch
import yaml
from families import family_config, make_config, of_each_kind, save
from helpers import tiny_config, write_sound
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoModel

from speechshap.cli.explain import explain
from speechshap.cli.program import run
from speechshap.cli.report import report
from speechshap.cli.train import train

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[2]
CONFIGS = PROJECT / "configs"


def script(name: str, *arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run ``train.py`` or ``explain.py`` in a folder."""
    command = [sys.executable, str(PROJECT / f"{name}.py"), *map(str, arguments)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)


@pytest.fixture
def mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run a script in this process, where it has to end with one line about a mistake; returns the line."""
    monkeypatch.chdir(tmp_path)

    def run_it(command: Callable[[list[str]], None], *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["script", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            run(command)
        assert isinstance(exit_.value.code, str)  # which Python prints to stderr, and exits with 1
        assert exit_.value.code.startswith("error: ")
        assert "\n" not in exit_.value.code
        return exit_.value.code

    return run_it


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as ``save_pretrained`` writes it, in place of microsoft/wavlm-base-plus."""
    folder = tmp_path_factory.mktemp("backbone")
    save(AutoModel.from_config(make_config("wavlm", "group")), folder, do_normalize=False)
    return folder


CORPORA = {
    "ravdess": [f"Actor_{s:02d}/03-01-{e:02d}-01-01-01-{s:02d}.wav" for s in (1, 2, 3) for e in range(1, 9)],
    "emodb": [f"wav/{s}a01{e}a.wav" for s in ("03", "08", "09") for e in "NFTWAEL"],
    "savee": [f"{s}/{e}01.wav" for s in ("DC", "JE", "JK", "KL") for e in ("n", "h", "sa", "a", "f", "d", "su")],
    "crema_d": [f"{s}_DFA_{e}_XX.wav" for s in (1001, 1002, 1003) for e in ("NEU", "HAP", "SAD", "ANG", "FEA", "DIS")],
    "tess": [
        f"OAF_{word}_{emotion}.wav"
        for word in ("back", "bar", "base", "bath")
        for emotion in ("neutral", "happy", "sad", "angry", "fear", "disgust", "ps")
    ],
    "folder": [f"{label}/{number}.wav" for label in ("calm", "excited") for number in range(4)],
    "manifest": [f"{speaker}_{label}.wav" for speaker in "abc" for label in ("calm", "excited")],
}


def make_corpus(root: Path, name: str) -> Path:
    """Short noise under a corpus' names; returns what ``--data.root`` takes."""
    for seed, path in enumerate(CORPORA[name]):
        write_sound(root / path, seed=seed)
    if name != "manifest":
        return root
    rows = [f"{path},{Path(path).stem[2:]},{path[0]}" for path in CORPORA[name]]
    (root / "list.csv").write_text("\n".join(["path,label,speaker", *rows]))
    return root / "list.csv"


@pytest.mark.parametrize("name", CORPORA)
def test_each_corpus_configuration_trains(name: str, tiny_backbone: Path, tmp_path: Path) -> None:
    root = make_corpus(tmp_path / "corpus", name)
    result = script(
        "train", "fit", "--config", CONFIGS / f"{name}.yaml", "--data.root", root, "--model.backbone", tiny_backbone,
        "--trainer.fast_dev_run", "true", "--trainer.accelerator", "cpu", "--data.num_workers", "0", folder=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr


AFTER_A_CORPUS = {
    "small_wavlm": None, "wavlm_large": "wavlm", "hubert_large": "hubert", "whisper": "whisper", "augment": "wavlm",
    "wavlm_base_plus_lora": "wavlm", "wavlm_large_lora": "wavlm",
}  # fmt: skip
"""Configurations that go after that of any corpus, and the family that they load from the hub."""


def test_every_configuration_is_tried_here() -> None:
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == {*CORPORA, *AFTER_A_CORPUS, "demo"}


@pytest.mark.parametrize(("name", "loaded"), AFTER_A_CORPUS.items())
def test_a_backbone_or_augmentation_goes_with_any_corpus(name: str, loaded: str | None, tmp_path: Path) -> None:
    root = make_corpus(tmp_path / "corpus", "ravdess")
    stand_in = []
    if loaded is not None:
        model = AutoModel.from_config(make_config(loaded, is_stable=loaded != "whisper"))
        stand_in = ["--model.backbone", save(model, tmp_path / "backbone")]
    if name == "wavlm_large_lora":
        stand_in += ["--model.trained_layers", "1"]  # of two
    result = script(
        "train", "fit", "--config", CONFIGS / "ravdess.yaml", "--config", CONFIGS / f"{name}.yaml", "--data.root", root,
        *stand_in, "--trainer.fast_dev_run", "true", "--data.num_workers", "0", folder=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr


def test_the_demo_configuration_makes_its_corpus_and_trains(tmp_path: Path) -> None:
    result = script(
        "train", "fit", "--config", CONFIGS / "demo.yaml", "--trainer.fast_dev_run", "true", folder=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert len(list((tmp_path / "data" / "planted").rglob("*.wav"))) == 960
    assert "split by speaker" in result.stderr


@pytest.fixture(scope="session")
def trained_runs(planted_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a short training run on a family; trained when it is first asked for."""

    @cache
    def fit(family: str) -> Path:
        folder = tmp_path_factory.mktemp("session")
        backbone = family_config(family, do_normalize=family != "whisper")
        config = {
            "data": {"root": str(planted_root), "corpus": "planted", "batch_size": 8},
            "model": {"freeze": "none", "standardize": family == "whisper", "backbone_config": backbone},
            "trainer": {"max_epochs": 2, "accelerator": "cpu", "logger": {"init_args": {"name": "tiny"}}},
        }
        (folder / "tiny.yaml").write_text(yaml.safe_dump(config))
        result = script("train", "fit", "--config", "tiny.yaml", folder=folder)
        assert result.returncode == 0, result.stderr
        return folder / "runs" / "tiny" / "version_0"

    return fit


@pytest.fixture
def trained_run(trained_runs: Callable[[str], Path], family: str) -> Path:
    """The folder of a short training run."""
    return trained_runs(family)


def test_what_a_training_run_leaves_behind(trained_run: Path) -> None:
    assert {path.name for path in (trained_run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    steps = torch.load(trained_run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert steps == 8  # the last epoch's, even where an earlier one was better
    assert (trained_run / "config.yaml").is_file()
    assert (trained_run / "hparams.yaml").is_file()
    tags = EventAccumulator(str(trained_run)).Reload().Tags()
    assert {"train/loss", "val/loss", "val/uar", "val/wa", "val/f1"} <= set(tags["scalars"])
    assert "val/confusion_matrix" in tags["images"]


def test_test_takes_the_architecture_from_the_checkpoint(trained_run: Path, planted_root: Path, tmp_path: Path) -> None:
    result = script(
        "train", "test", "--data.root", planted_root, "--data.corpus", "planted", "--trainer.accelerator", "cpu",
        "--ckpt_path", trained_run / "checkpoints" / "best.ckpt", folder=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "test/uar" in result.stdout


@of_each_kind
def test_training_goes_on_where_it_stopped(trained_run: Path, tmp_path: Path) -> None:
    result = script(
        "train", "fit", "--config", trained_run / "config.yaml", "--ckpt_path", trained_run / "checkpoints/last.ckpt",
        "--trainer.max_epochs", "3", "--trainer.logger.init_args.name", "resumed", folder=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    events = EventAccumulator(str(tmp_path / "runs/resumed/version_0")).Reload()
    assert [event.step for event in events.Scalars("val/uar")] == [11]  # the third epoch, of four steps as the others


@of_each_kind
def test_explaining_the_unseen_speakers(trained_run: Path, tmp_path: Path) -> None:
    shutil.copytree(trained_run, tmp_path / "run")
    result = script(
        "explain",
        "--ckpt_path",
        "run/checkpoints/best.ckpt",
        "--explain.preset",
        "textbook",
        "--explain.n_samples",
        "4",
        folder=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    table = pd.read_parquet(parts(tmp_path / "run"))
    assert len(table) == table.utterance.nunique() == 15
    assert table.utterance.str.split("/").str[0].nunique() == 1  # the one test speaker
    images = EventAccumulator(str(tmp_path / "run"), size_guidance={"images": 0}).Reload().Tags()["images"]
    assert sum(tag.startswith("explain/") for tag in images) == 15
    explanations = tmp_path / "run" / "explanations"
    assert explanations.joinpath("report.html").read_text().count('id="payload-') == 15
    assert sorted(path.name for path in (explanations / "corpus").iterdir()) == [
        "beeswarm.png", "cues.png", "table.csv", "time.png"
    ]  # fmt: skip
    (explanations / "report.html").unlink()
    result = script("report", "run", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "report: run/explanations/report.html" in result.stderr
    assert explanations.joinpath("report.html").is_file()


def test_explaining_loose_files(trained_run: Path, tmp_path: Path) -> None:
    shutil.copytree(trained_run, tmp_path / "run")
    names = ["one two.wav", "drei-ä.flac", "四.mp3"]
    for seed, name in enumerate(names):
        write_sound(tmp_path / name, seconds=0.5 + 0.1 * seed, rate=44100, seed=seed)
    write_sound(tmp_path / "broken.wav").write_bytes(b"RIFF")
    result = script(
        "explain", "--ckpt_path", "run/checkpoints/best.ckpt",
        "--explain.preset", "textbook", "--explain.n_samples", "4", "--explain.targets", "all",
        "--explain.output_dir", "out", "--data.files", *names, "broken.wav", folder=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    table = pd.read_parquet(parts(tmp_path / "out"))
    assert sorted(table.utterance) == sorted(names * 5)
    assert table.label.isna().all()
    assert "1 file left out" in result.stderr
    assert "broken.wav" in (tmp_path / "out" / "explanations" / "skipped.csv").read_text()


def test_a_long_recording_is_explained_in_windows(trained_run: Path, tmp_path: Path) -> None:
    shutil.copytree(trained_run, tmp_path / "run")
    write_sound(tmp_path / "long.wav", seconds=45)
    write_sound(tmp_path / "short.wav", seconds=0.5)
    arguments = [
        "--ckpt_path", "run/checkpoints/best.ckpt", "--data.files", "long.wav", "short.wav",
        "--explain.preset", "textbook", "--explain.n_samples", "4",
    ]  # fmt: skip
    result = script("explain", *arguments, "--explain.output_dir", "out", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    table = pd.read_parquet(parts(tmp_path / "out")).set_index("utterance")
    assert len(table.frame_attribution["long.wav"]) == 2249
    assert table.relative_error["long.wav"] > 0
    result = script("explain", *arguments, "--explain.layers", "2", "--explain.output_dir", "neurons", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (
        "long.wav is not explained: neurons are explained within a window of 20 s; leave --explain.layers out"
        in result.stderr
    )
    assert list(pd.read_parquet(parts(tmp_path / "neurons")).utterance) == ["short.wav"]


def test_a_corpus_that_moved_is_tested_and_explained_on_the_same_speakers(tmp_path: Path) -> None:
    make_corpus(tmp_path / "here" / "RAVDESS", "ravdess")
    config = {
        "model": {"freeze": "none", "backbone_config": tiny_config()},
        "data": {"corpus": "ravdess", "test_speakers": ["Actor_02"]},
        "trainer": {"max_epochs": 1, "accelerator": "cpu", "logger": {"init_args": {"name": "tiny"}}},
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    result = script("train", "fit", "--config", "tiny.yaml", "--data.root", "here/RAVDESS", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    (tmp_path / "here").rename(tmp_path / "there")
    checkpoint = ("--ckpt_path", "runs/tiny/version_0/checkpoints/best.ckpt")
    result = script("train", "test", "--data.root", "there", "--data.corpus", "ravdess", *checkpoint, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "test     8 utterances of 1 speaker: Actor_02" in result.stderr
    result = script(
        "explain",
        *checkpoint,
        "--data.root",
        "there",
        "--explain.preset",
        "textbook",
        "--explain.n_samples",
        "4",
        folder=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert "8 utterances of 1 speaker: Actor_02" in result.stderr
    table = pd.read_parquet(parts(tmp_path / "runs" / "tiny" / "version_0"))
    assert set(table.path.map(lambda path: Path(path).parent.name)) == {"Actor_02"}
    heard = next((tmp_path / "there" / "RAVDESS" / "Actor_01").glob("*.wav"))
    result = script(
        "explain",
        *checkpoint,
        "--data.files",
        heard,
        "--explain.preset",
        "textbook",
        "--explain.n_samples",
        "4",
        folder=tmp_path,
    )
    assert "1 of 1 recording to explain was in the training split" in result.stderr


def test_two_processes_train_together(planted_root: Path, tmp_path: Path) -> None:
    """Batches by length are shared so that neither waits for a batch that the other has not."""
    config = {
        "data": {"root": str(planted_root), "corpus": "planted", "batch_size": 7},
        "model": {"freeze": "none", "backbone_config": tiny_config(do_normalize=True)},
        "trainer": {"max_epochs": 2, "accelerator": "cpu", "devices": 2, "strategy": "ddp_find_unused_parameters_true"},
    }
    (tmp_path / "two.yaml").write_text(yaml.safe_dump(config))
    result = script("train", "fit", "--config", "two.yaml", "--float32_matmul_precision", "high", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    checkpoint = torch.load(
        next(tmp_path.glob("runs/emotion/version_0/checkpoints/last.ckpt")), map_location="cpu", weights_only=True
    )
    assert checkpoint["global_step"] == 2 * 3  # 30 clips of two speakers: six batches, three for each process


def parts(run: Path) -> list[Path]:
    return sorted((run / "explanations").glob("part-*.parquet"))


def num_rows(run: Path) -> int:
    return sum(pyarrow.parquet.read_metadata(part).num_rows for part in parts(run))


@of_each_kind
def test_two_processes_write_the_rows_of_one(trained_run: Path, tmp_path: Path) -> None:
    """Five utterances for two ranks: one has a batch more than the other, and nobody waits for it."""
    tables = []
    for devices, strategy in ((1, "auto"), (2, "ddp")):
        run = tmp_path / f"run_{devices}"
        shutil.copytree(trained_run, run)
        result = script(
            "explain", "--ckpt_path", run / "checkpoints" / "best.ckpt", "--trainer.devices", devices,
            "--trainer.strategy", strategy, "--trainer.accelerator", "cpu", "--data.max_utterances", "5",
            "--data.batch_size", "1",
            "--explain.preset", "textbook", "--explain.n_samples", "auto", "--explain.max_samples", "20",
            "--explain.targets", "all", "--explain.layers", "all", "--explain.spectrum.num_mel_bands", "20",
            "--explain.calibration", "1", folder=tmp_path,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        names = [part.stem.rsplit("-", 2) for part in parts(run)]  # run, rank, number
        assert len({name[0] for name in names}) == 1
        assert {name[1] for name in names} == {str(rank) for rank in range(devices)}
        assert len(list((run / "explanations" / "layers").glob("*/*.safetensors"))) == 5
        assert (run / "explanations" / "report.html").read_text().count('id="payload-') == 5
        pictures = sorted(path.stem for path in (run / "explanations" / "corpus").glob("*.png"))
        # There are dots only where the evidence is a part of the speech, and these models were hardly trained.
        assert [name for name in pictures if name != "beeswarm"] == ["agreement", "cues", "frequency", "layers", "time"]
        tables.append(pd.read_parquet(parts(run)).sort_values(["utterance", "target"]).reset_index(drop=True))
    one, two = tables
    assert len(one) == 25
    assert list(one.columns) == list(two.columns)
    for first, second in zip(one.itertuples(), two.itertuples(), strict=True):
        assert (first.utterance, first.target, first.n_samples) == (second.utterance, second.target, second.n_samples)
        assert first.fingerprint == second.fingerprint
        scale = float(abs(first.frame_attribution).max())
        assert first.frame_attribution == pytest.approx(second.frame_attribution, rel=1e-4, abs=1e-5 * scale)


def test_a_run_that_was_killed_goes_on(trained_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    arguments = ["--ckpt_path", str(run / "checkpoints" / "best.ckpt"), "--data.batch_size", "1"]
    command = [sys.executable, str(PROJECT / "explain.py"), *arguments]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while num_rows(run) < 3 and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.05)
        process.kill()
    before = {part: part.read_bytes() for part in parts(run)}
    count = num_rows(run)
    assert 3 <= count < 15
    result = script("explain", *arguments, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert f"{15 - count} utterances explained, {count} were there already" in result.stderr
    assert all(part.read_bytes() == content for part, content in before.items())
    table = pd.read_parquet(parts(run))
    assert len(table) == table.utterance.nunique() == 15


TEXTBOOK = ("--explain.preset", "textbook")


def test_help_teaches(tmp_path: Path) -> None:
    for name, words in (("train", "fit"), ("report", "report.html"), ("explain", "--explain.n_samples")):
        result = script(name, "--help", folder=tmp_path)
        assert result.returncode == 0
        assert words in result.stdout
    assert "Coalitions that the model is asked for" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "folder: no folder nowhere"),
        (["empty"], "empty has no explanations, or those of an earlier version only; speechshap explain writes them"),
        ([], "folder"),
    ],
)
def test_mistakes_of_reporting(
    mistake: Callable[..., str], tmp_path: Path, arguments: list[object], words: str
) -> None:
    (tmp_path / "empty").mkdir()
    assert words in mistake(report, *arguments)


SMALL = ["--config", CONFIGS / "small_wavlm.yaml", "--trainer.fast_dev_run", "true"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fit", *SMALL, "--data.root", "nowhere"], "nowhere: no such folder; give the folder of the corpus"),
        (["fit", *SMALL, "--data.root", "empty"], "empty: no sound files in this folder"),
        (["fit", *SMALL, "--data.root", "one_speaker"], "1 speaker only (Actor_01)"),
        (["fit", *SMALL, "--data.root", "x", "--data.split_by", "sex"], "data.split_by"),
        (["fit", *SMALL, "--data.rot", "x"], "unrecognized arguments: --data.rot"),
        (["fit", *SMALL, "--data.corpus", "iemocap"], "data.corpus"),
        (
            ["fit", "--data.corpus", "ravdess"],
            "--data.root is missing; give the folder (or the manifest) of the ravdess",
        ),
        (["fit", "--data.corpus", "planted", "--model.backbone", "./none"], "--model.backbone: no folder ./none"),
        (["fit", "--data.corpus", "planted", "--data.batch_size", "0"], "--data.batch_size is 0"),
        (["fit", "--data.corpus", "planted", "--data.split_seed", "-1"], "--data.split_seed is -1"),
        (["fit", "--data.corpus", "planted", *SMALL, "--model.warmup_fraction", "3"], "--model.warmup_fraction is 3"),
        (["fit", "--data.corpus", "planted", *SMALL, "--trainer.strategy", "nope"], "--trainer.strategy is 'nope'"),
        (["fit", "--data.corpus", "planted", "--data.batch_seconds", "0"], "--data.batch_seconds is 0"),
        (["fit", "--data.corpus", "planted", *SMALL, "--model.window_seconds", "0.5"], "--model.window_seconds is 0.5"),
        (["fit", "--data.corpus", "planted", *SMALL, "--model.padding", "zero"], "model.padding"),
        (["fit", "--data.corpus", "planted", *SMALL, "--float32_matmul_precision", "low"], "float32_matmul_precision"),
        (["fit", "--data.files", "[a.wav]", *SMALL], "--data.files are for explaining; training and testing take"),
        (["test", "--data.root", "x", "--ckpt_path", "no.ckpt"], "--ckpt_path: no file no.ckpt"),
        (["predict"], "has no predict: "),
        ([], "subcommand"),
    ],
)
def test_mistakes_of_training(mistake: Callable[..., str], tmp_path: Path, arguments: list[object], words: str) -> None:
    (tmp_path / "empty").mkdir()
    write_sound(tmp_path / "one_speaker" / "03-01-06-01-02-01-01.wav")
    assert words in mistake(train, *arguments)


def test_a_hub_that_cannot_be_reached(mistake: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", refuse)
    assert "and give the folder" in mistake(train, "fit", "--data.corpus", "ravdess", "--data.root", "x")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--ckpt_path", "no.ckpt"], "--ckpt_path: no file no.ckpt"),
        (["--ckpt_path", "short.ckpt"], "short.ckpt cannot be read as a checkpoint"),
        (["--ckpt_path", "other.ckpt"], "other.ckpt is not a checkpoint of this project"),
        (["--ckpt_path", "good.ckpt", "--data.files", "empty.wav"], "empty.wav: the file is empty"),
        (["--ckpt_path", "good.ckpt", "--explain.targets", "bored"], "no class 'bored'"),
        (["--ckpt_path", "good.ckpt", "--explain.n_samples", "1"], "--explain.n_samples is 1"),
        (["--ckpt_path", "good.ckpt", "--explain.n_samples", "20"], "--explain.n_draws is 16; expected 10 at most"),
        (["--ckpt_path", "good.ckpt", "--explain.preset", "best"], "--explain.preset"),
        (["--ckpt_path", "good.ckpt", "--explain.n_samples", "many"], "explain.n_samples"),
        (["--ckpt_path", "good.ckpt", *TEXTBOOK, "--explain.layers", "9"], "--explain.layers: no layer '9'"),
        (["--ckpt_path", "good.ckpt", *TEXTBOOK, "--explain.scheme", "sobol"], "explain.scheme"),
        (
            ["--ckpt_path", "good.ckpt", *TEXTBOOK, "--explain.spectrum.hop", "900"],
            "--explain.spectrum: a window of 400",
        ),
        (["--ckpt_path", "good.ckpt", "--explain.baselines", "music"], "explain.baselines"),
        (
            ["--ckpt_path", "good.ckpt", "--data.files", "noise.wav", "--trainer.precision", "16-true"],
            "--trainer.precision is 16-true, but activations of this backbone can exceed",
        ),
        (
            ["--ckpt_path", "good.ckpt", "--data.root", "emodb", "--data.corpus", "emodb"],
            "is none of the classes neutral, angry",
        ),
        ([], "ckpt_path"),
    ],
)
def test_mistakes_of_explaining(
    mistake: Callable[..., str], trained_run: Path, tmp_path: Path, arguments: list[object], words: str
) -> None:
    shutil.copy(trained_run / "checkpoints" / "best.ckpt", tmp_path / "good.ckpt")
    (tmp_path / "short.ckpt").write_bytes((tmp_path / "good.ckpt").read_bytes()[:5000])
    torch.save({"weights": torch.zeros(2)}, tmp_path / "other.ckpt")
    (tmp_path / "empty.wav").touch()
    write_sound(tmp_path / "noise.wav")
    make_corpus(tmp_path / "emodb", "emodb")
    assert words in mistake(explain, *arguments)


def test_a_checkpoint_for_other_classes(mistake: Callable[..., str], trained_run: Path, tmp_path: Path) -> None:
    root, checkpoint = make_corpus(tmp_path / "corpus", "emodb"), trained_run / "checkpoints" / "best.ckpt"
    line = mistake(train, "test", "--data.root", root, "--trainer.logger", "false", "--ckpt_path", checkpoint)
    assert "made for the classes neutral, angry, fearful, happy, sad" in line


def test_a_mistake_is_one_line_and_debug_shows_where(tmp_path: Path) -> None:
    result = script("explain", "--ckpt_path", "no.ckpt", folder=tmp_path)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("error: --ckpt_path: no file no.ckpt")
    assert "Traceback" not in result.stderr
    result = script("explain", "--ckpt_path", "no.ckpt", "--debug", folder=tmp_path)
    assert result.returncode == 1
    assert "Traceback" in result.stderr
