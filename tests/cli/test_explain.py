"""Explaining with other methods and other models, from the command line."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from helpers import tiny_config, write_sound
from transformers import AutoConfig, AutoModelForAudioClassification, Wav2Vec2FeatureExtractor

from speechshap.cli import explain
from speechshap.cli.explain import DEFAULT_METHOD, _asked_method
from speechshap.errors import UserError


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def rows(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(sorted((folder / "explanations").glob("part-*.parquet")))


def save_classifier(folder: Path, family: str, **fields: object) -> Path:
    """A trained audio classifier of transformers, as the hub has it."""
    options = tiny_config(family, "group", id2label={0: "neu", 1: "hap", 2: "ang"}, classifier_proj_size=8, **fields)
    torch.manual_seed(0)
    config = AutoConfig.for_model(options.pop("model_type"), **options)
    AutoModelForAudioClassification.from_config(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("family", "weighted"), [("wavlm", True), ("wavlm", False), ("wav2vec2", False), ("hubert", True)]
)
def test_a_folder_of_recordings_and_a_classifier_of_transformers(tmp_path: Path, family: str, weighted: bool) -> None:
    model = save_classifier(tmp_path / "models" / "er", family, use_weighted_layer_sum=weighted)
    for seed, name in enumerate(["b.wav", "sub/a.flac", "sub/deep/c.mp3"]):
        write_sound(tmp_path / "recordings" / name, seconds=0.3 + 0.1 * seed, seed=seed)
    (tmp_path / "recordings" / "notes.txt").write_text("no sound")
    explain(
        ["--model", str(model), "--data.files", "recordings", "--explain.n_samples", "4", "--explain.layers", "all",
         "--explain.output_dir", "out", "--trainer.accelerator", "cpu"]
    )  # fmt: skip
    table = rows(tmp_path / "out")
    assert sorted(table.utterance) == ["recordings/b.wav", "recordings/sub/a.flac", "recordings/sub/deep/c.mp3"]
    assert set(table.prediction) <= {"neu", "hap", "ang"}
    assert [list(names) for names in table.layer_names] == [["layer_1", "layer_2"]] * 3
    assert (tmp_path / "out" / "explanations" / "report.html").is_file()


def test_a_regression_is_explained_output_by_output(tmp_path: Path) -> None:
    model = save_classifier(tmp_path / "model", "wav2vec2", problem_type="regression")
    write_sound(tmp_path / "a.wav")
    explain(["--model", str(model), "--data.files", "a.wav", "--explain.n_samples", "4", "--explain.output_dir", "out"])
    table = rows(tmp_path / "out")
    assert sorted(table.target) == ["ang", "hap", "neu"]
    assert table.prediction.isna().all()
    assert "ang" in (tmp_path / "out" / "explanations" / "report.html").read_text()


def test_an_encoder_without_a_trained_head_is_refused(tmp_path: Path) -> None:
    model = save_classifier(tmp_path / "model", "wavlm")
    AutoModelForAudioClassification.from_pretrained(model).wavlm.save_pretrained(model)
    write_sound(tmp_path / "a.wav")
    with pytest.raises(UserError, match="without a trained head"):
        explain(["--model", str(model), "--data.files", "a.wav"])


def test_a_model_or_a_checkpoint_and_not_both() -> None:
    for arguments in ([], ["--ckpt_path", "a.ckpt", "--model", "b"]):
        with pytest.raises(UserError, match=r"give either --ckpt_path, a checkpoint of train.py, or --model"):
            explain(arguments)


def test_another_method_has_options_of_its_own(tiny_checkpoint: Path, planted_root: Path, tmp_path: Path) -> None:
    arguments = [
        "--ckpt_path", str(tiny_checkpoint), "--data.root", str(planted_root), "--data.max_utterances", "2",
        "--explain.output_dir", "out", "--report", "false",
    ]  # fmt: skip
    occlusion = ["--explain.method", "occlusion", "--explain.stretch_frames", "10", "--explain.n_draws", "2"]
    explain([*arguments, *occlusion])
    config = {"explain": {"method": "integrated_gradients", "n_points": 6}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    explain(["--config", "config.yaml", *arguments])
    table = rows(tmp_path / "out")
    settings = {method: json.loads(group.settings.iloc[0]) for method, group in table.groupby("method")}
    assert settings["occlusion"]["stretch_frames"] == 10
    assert settings["integrated_gradients"]["n_points"] == 6
    assert "n_samples" not in settings["occlusion"]
    assert len(table) == 4
    with pytest.raises(UserError, match=r"--explain.n_points is an option of integrated_gradients; the method is occ"):
        explain([*arguments, *occlusion, "--explain.n_points", "8"])


@pytest.mark.parametrize(
    ("arguments", "method"),
    [
        ([], DEFAULT_METHOD),
        (["--explain.method", "occlusion"], "occlusion"),
        (["--explain.method=occlusion"], "occlusion"),
        (["--explain.method"], DEFAULT_METHOD),
        (["--explain.method", "none"], DEFAULT_METHOD),
        (["--config", "missing.yaml"], DEFAULT_METHOD),
        (["-c", "config.yaml"], "occlusion"),
        (["-c", "config.yaml", "--explain.method", "integrated_gradients"], "integrated_gradients"),
    ],
)
def test_the_method_is_known_before_its_options_are_read(tmp_path: Path, arguments: list[str], method: str) -> None:
    (tmp_path / "config.yaml").write_text("explain:\n  method: occlusion\n")
    assert _asked_method(arguments) == method
