"""Explaining with other methods and other models, from the command line."""

import json
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
import yaml
from helpers import tiny_config, write_sound
from jsonargparse import ArgumentError
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoConfig, AutoModelForAudioClassification, Wav2Vec2FeatureExtractor

from speechshap.cli.explain import explain, fill_in_preset, make_callback
from speechshap.cli.explain_options import asked_method, parse, warn_of_options_without_effect
from speechshap.cli.report import report
from speechshap.errors import UserError

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def rows(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(sorted((folder / "explanations").glob("part-*.parquet")))


def save_classifier(folder: Path, family: str, **fields: object) -> Path:
    """A trained audio classifier of transformers, as the hub has it."""
    fields = {"id2label": {0: "neu", 1: "hap", 2: "ang"}, **fields}
    options = tiny_config(family, "group", classifier_proj_size=8, **fields)
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
        ["--model", str(model), "--data.files", "recordings",
         "--explain.preset", "textbook", "--explain.n_samples", "4", "--explain.layers", "all",
         "--explain.output_dir", "out", "--trainer.accelerator", "cpu"]
    )  # fmt: skip
    table = rows(tmp_path / "out")
    assert sorted(table.utterance) == ["recordings/b.wav", "recordings/sub/a.flac", "recordings/sub/deep/c.mp3"]
    assert set(table.prediction) <= {"neu", "hap", "ang"}
    assert [list(names) for names in table.layer_names] == [["layer_1", "layer_2"]] * 3
    assert (tmp_path / "out" / "explanations" / "report.html").is_file()


def test_a_silent_recording_is_explained_and_reported_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = save_classifier(tmp_path / "model", "wavlm")
    write_sound(tmp_path / "recordings" / "a.wav", seconds=0.3)
    soundfile.write(tmp_path / "recordings" / "silent.wav", np.zeros(4800), 16000)
    explain(
        ["--model", str(model), "--data.files", "recordings", "--explain.preset", "textbook",
         "--explain.n_samples", "4", "--explain.output_dir", "out", "--trainer.accelerator", "cpu"]
    )  # fmt: skip
    table = rows(tmp_path / "out").set_index("utterance")
    assert sorted(table.index) == ["recordings/a.wav", "recordings/silent.wav"]
    assert not table.frame_attribution["recordings/silent.wav"].any()
    assert table.frame_attribution["recordings/a.wav"].all()
    assert not (tmp_path / "out" / "explanations" / "skipped.csv").exists()
    assert "1 file with nothing but silence (every sample has the same value): silent.wav" in caplog.text
    assert "silent.wav" in (tmp_path / "out" / "explanations" / "report.html").read_text(encoding="utf-8")


def test_a_regression_is_explained_output_by_output(tmp_path: Path) -> None:
    model = save_classifier(tmp_path / "model", "wav2vec2", problem_type="regression")
    write_sound(tmp_path / "a.wav")
    explain(
        [
            "--model",
            str(model),
            "--data.files",
            "a.wav",
            "--explain.preset",
            "textbook",
            "--explain.n_samples",
            "4",
            "--explain.output_dir",
            "out",
        ]
    )
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
        with pytest.raises(
            UserError, match=r"give either --ckpt_path, a checkpoint or the folder of its run, or --model"
        ):
            explain(arguments)


def test_another_method_has_options_of_its_own(tiny_checkpoint: Path, planted_root: Path, tmp_path: Path) -> None:
    arguments = [
        "--ckpt_path", str(tiny_checkpoint), "--data.root", str(planted_root), "--data.max_utterances", "2",
        "--explain.output_dir", "out", "--report", "false",
    ]  # fmt: skip
    occlusion = ["--explain.method", "occlusion", "--explain.stretch_frames", "10", "--explain.n_draws", "2"]
    explain([*arguments, *occlusion])
    config = {"explain": {"preset": "textbook", "method": "integrated_gradients", "n_points": 7}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    explain(["--config", "config.yaml", *arguments])
    table = rows(tmp_path / "out")
    settings = {method: json.loads(group.settings.iloc[0]) for method, group in table.groupby("method")}
    assert settings["occlusion"]["stretch_frames"] == 10
    assert settings["integrated_gradients"]["n_points"] == 7
    assert "n_samples" not in settings["occlusion"]
    assert len(table) == 4
    with pytest.raises(UserError, match=r"--explain.n_points is an option of integrated_gradients; the method is occ"):
        explain([*arguments, *occlusion, "--explain.n_points", "7"])


def test_several_methods_from_options_and_from_a_configuration(run_folder: Path, tmp_path: Path) -> None:
    for seed, name in enumerate(["a.wav", "b.wav"]):
        write_sound(tmp_path / name, seconds=0.3, seed=seed)
    arguments = [
        "--ckpt_path", str(run_folder), "--data.files", "a.wav", "b.wav", "--explain.max_drawn", "0",
        "--trainer.accelerator", "cpu",
    ]  # fmt: skip
    explain([*arguments, "--explain.methods", "occlusion(stretch_frames=10), energy", "--explain.baselines", "silence"])
    (tmp_path / "config.yaml").write_text("explain: {methods: 'saliency, gradient_shap(n_samples=4)', seed: 3}")
    explain(["--config", "config.yaml", *arguments])
    table = rows(run_folder)
    settings = {method: json.loads(group.settings.iloc[0]) for method, group in table.groupby("method")}
    assert table.method.value_counts().to_dict() == dict.fromkeys(settings, 2)
    assert sorted(settings) == ["energy", "gradient_shap", "occlusion", "saliency"]
    assert (settings["occlusion"]["baselines"], settings["occlusion"]["stretch_frames"]) == ("silence", 10)
    assert (settings["gradient_shap"]["n_samples"], settings["gradient_shap"]["seed"]) == (4, 3)
    assert (run_folder / "explanations" / "report.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["method=lime", "methods=energy"], "give either --explain.method, one method with all its options, or --expl"),
        (
            ["methods=lime, energy", "n_samples=4"],
            "--explain.n_samples is an option of gradient_shap, kernel_shap, lime",
        ),
        (["methods=lime, tea"], "--explain.methods: there is no method 'tea'"),
        (["methods=energy, random", "baselines=silence"], "there is no parameter --explain.baselines; expected"),
    ],
)
def test_a_mistake_in_several_methods_is_one_sentence(
    run_folder: Path, two_sounds: list[str], arguments: list[str], words: str
) -> None:
    options = [
        argument
        for argument in two_sounds
        if argument not in ("--explain.preset", "textbook", "--explain.n_samples", "4")
    ]
    with pytest.raises(UserError, match=words):
        explain(["--ckpt_path", str(run_folder), *options, *(f"--explain.{argument}" for argument in arguments)])
    assert contents(run_folder) == {"checkpoints", "checkpoints/best.ckpt"}


@pytest.mark.parametrize(
    ("method", "n_samples"),
    [
        ("saliency", 1), ("gradient_x_input", 1), ("smooth_grad", 3), ("energy", 0), ("random", 0),
        ("attention_rollout", 1),
    ],
)  # fmt: skip
def test_methods_without_references_leave_a_report(
    tiny_checkpoint: Path, planted_root: Path, tmp_path: Path, method: str, n_samples: int
) -> None:
    options = ["--explain.n_samples", "3"] if method == "smooth_grad" else []
    explain(
        ["--ckpt_path", str(tiny_checkpoint), "--data.root", str(planted_root), "--data.max_utterances", "2",
         "--explain.output_dir", "out", "--explain.targets", "all", "--explain.method", method, *options]
    )  # fmt: skip
    table = rows(tmp_path / "out")
    assert set(table.n_samples) == {n_samples}
    assert table.completeness_gap.isna().all()
    of_classes = [group.frame_attribution.tolist() for _, group in table.groupby("utterance")]
    are_alike = all((frames[0] == each).all() for frames in of_classes for each in frames)
    assert are_alike == (method in ("energy", "random", "attention_rollout"))
    assert all((values < 0).any() for values in table.frame_attribution) == (method in ("gradient_x_input", "random"))
    folder = tmp_path / "out" / "explanations"
    assert (folder / "report.html").is_file()
    assert (folder / "corpus" / "time.png").is_file()
    assert list((tmp_path / "out").glob("events.out.tfevents.*"))


@pytest.mark.parametrize("family", ["wavlm", "whisper"])
def test_a_speech_transformer_is_no_network_for_deep_lift(tiny_checkpoint: Path, planted_root: Path) -> None:
    with pytest.raises(UserError, match="method is deep_lift, which cannot explain this model: the rescale rule"):
        explain(
            ["--ckpt_path", str(tiny_checkpoint), "--data.root", str(planted_root), "--explain.method", "deep_lift"]
        )


def test_layers_along_the_path_are_refused_in_mixed_precision(
    tiny_checkpoint: Path, planted_root: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r'--explain\.layer_method is "path", whose forward-mode derivatives'):
        explain(
            ["--ckpt_path", str(tiny_checkpoint), "--data.root", str(planted_root), "--data.max_utterances", "1",
             "--explain.method", "gradient_shap", "--explain.n_samples", "4", "--explain.layers", "all",
             "--explain.layer_method", "path", "--trainer.precision", "bf16-mixed", "--trainer.accelerator", "cpu",
             "--explain.output_dir", str(tmp_path)]
        )  # fmt: skip


def classifier_of(*classes: str, spaces: Sequence[str] = ()) -> SimpleNamespace:
    """What the preset asks a model for."""
    return SimpleNamespace(classes=list(classes), is_regression=False, spaces=spaces)


def wanting(arguments: list[str], caplog: pytest.LogCaptureFixture) -> list[str]:
    """What is told of settings, which come before anything that needs the model."""
    _, options = parse(["--explain.preset", "textbook", *arguments], "explain")
    fill_in_preset(options, classifier_of("happy", "sad"), find_clips=lambda label: None)
    callback = make_callback(options)
    warn_of_options_without_effect(callback.methods, callback.options)
    return [message for message in caplog.messages if not message.startswith("asked as in the preset")]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["baselines=silence", "snr_db=3"], ["`snr_db` has no effect, because `baselines` is silence"]),
        (["n_references=3"], ["`n_references` has no effect, because `baselines` is noise"]),
        (["layer_method=path"], ["`layer_method` has no effect, because `layers` is none"]),
        (["tolerance=0.2"], ["`tolerance` has no effect, because `n_samples` is 50"]),
        (["method=occlusion", "snr_db=3", "draw=wrong", "log_every=2"],
         ["`log_every` has no effect, because `draw` is wrong"]),
        (["methods=occlusion, lime, energy", "snr_db=3", "baselines=silence"],
         ["`snr_db` has no effect, because `baselines` is silence"]),
        (["baselines=dataset", "n_references=3", "layers=1", "layer_method=path", "n_samples=auto", "tolerance=1"], []),
    ],
)  # fmt: skip
def test_an_option_that_others_leave_without_effect_is_told(
    caplog: pytest.LogCaptureFixture, arguments: list[str], words: list[str]
) -> None:
    assert wanting([f"--explain.{argument}" for argument in arguments], caplog) == words


@pytest.mark.parametrize(
    ("methods", "baselines"),
    [
        ("occlusion, kernel_shap(baselines=silence)", "dataset:neutral"),
        ("occlusion(baselines=noise), kernel_shap(baselines=silence)", None),
        ("energy", None),
    ],
)
def test_training_clips_are_looked_for_where_a_method_needs_them(methods: str, baselines: str | None) -> None:
    looked_for: list[str] = []
    _, options = parse(["--explain.methods", methods], "explain")
    fill_in_preset(options, classifier_of("neutral", "sad"), looked_for.append)
    assert options.explain.baselines == baselines
    assert looked_for == ([] if baselines is None else ["neutral"])


@pytest.mark.parametrize(
    ("arguments", "spaces", "space", "baselines"),
    [
        (["method=gradient_shap"], ["stem"], "stem", "dataset:neutral"),
        (["method=integrated_gradients"], ["stem"], "stem", "mean:dataset:neutral"),
        (["method=integrated_gradients", "baselines=silence"], ["stem"], "stem", "silence"),
        (["method=integrated_gradients", "space=waveform"], ["stem"], "waveform", "dataset:neutral"),
        (["method=gradient_shap", "spectrum.num_mel_bands=16"], ["stem"], "waveform", "dataset:neutral"),
        (["method=integrated_gradients"], [], "waveform", "dataset:neutral"),
        (["preset=textbook"], ["stem"], "waveform", "noise"),
    ],
)
def test_paths_run_between_features_of_the_stem_unless_frequencies_are_asked_for(
    arguments: list[str], spaces: list[str], space: str, baselines: str
) -> None:
    _, options = parse([f"--explain.{argument}" for argument in arguments], "explain")
    fill_in_preset(options, classifier_of("neutral", "sad", spaces=spaces), lambda label: None)
    assert (options.explain.space, options.explain.baselines) == (space, baselines)
    make_callback(options)


def test_a_classifier_without_its_corpus_is_explained_against_noise(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = save_classifier(tmp_path / "model", "wavlm", id2label={0: "neutral", 1: "happy"})
    write_sound(tmp_path / "a.wav")
    explain(
        ["--model", str(model), "--data.files", "a.wav", "--explain.n_draws", "2", "--explain.output_dir", "out",
         "--explain.max_drawn", "0", "--report", "false", "--trainer.accelerator", "cpu"]
    )  # fmt: skip
    assert rows(tmp_path / "out").baselines.tolist() == ["noise"]
    assert "sounds are compared with noise, and not with neutral voices of the training" in caplog.text
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("explain: {n_sampels: 7}", "own.yaml: there is no option explain.n_sampels; did you mean explain.n_samples?"),
        ("explian: {n_samples: 7}", "own.yaml: there is no option explian.n_samples; did you mean explain.n_samples?"),
        (
            "explain: {preset: textbook, n_samples: few}",
            "--explain.n_samples is few; expected an integer or auto",
        ),
        (
            "explain: {preset: [textbook]}",
            "--explain.preset is ['textbook']; expected recommended or textbook",
        ),
    ],
)
def test_a_mistake_in_a_configuration_is_told(tmp_path: Path, config: str, words: str) -> None:
    (tmp_path / "own.yaml").write_text(config)
    with pytest.raises(ArgumentError, match=f"^{re.escape(words)}$"):
        explain(["--ckpt_path", "no.ckpt", "--config", "own.yaml"])


@pytest.mark.parametrize(
    ("arguments", "method"),
    [
        ([], "kernel_shap"),
        (["--explain.preset", "textbook"], "gradient_shap"),
        (["--explain.preset=textbook", "--explain.method", "occlusion"], "occlusion"),
        (["--explain.preset", "none"], "kernel_shap"),
        (["--explain.method", "occlusion"], "occlusion"),
        (["--explain.method=occlusion"], "occlusion"),
        (["--explain.method"], "kernel_shap"),
        (["--explain.method", "none"], "kernel_shap"),
        (["--config", "missing.yaml"], "kernel_shap"),
        (["-c", "config.yaml"], "occlusion"),
        (["-c", "config.yaml", "--explain.method", "integrated_gradients"], "integrated_gradients"),
    ],
)
def test_the_method_is_known_before_its_options_are_read(tmp_path: Path, arguments: list[str], method: str) -> None:
    (tmp_path / "config.yaml").write_text("explain:\n  method: occlusion\n")
    assert asked_method(arguments) == method


@pytest.fixture
def run_folder(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """The folder of a run with nothing explained yet."""
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "best.ckpt").symlink_to(tiny_checkpoint)
    return tmp_path / "run"


@pytest.fixture
def two_sounds(tmp_path: Path) -> list[str]:
    """Options that explain two short sounds with few draws."""
    for seed, name in enumerate(["a.wav", "b.wav"]):
        write_sound(tmp_path / name, seconds=0.3, seed=seed)
    return [
        "--data.files", "a.wav", "b.wav",
        "--explain.preset", "textbook", "--explain.n_samples", "4", "--explain.max_drawn", "0",
        "--trainer.accelerator", "cpu",
    ]  # fmt: skip


def contents(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_the_folder_of_a_run_stands_for_its_best_checkpoint(run_folder: Path, two_sounds: list[str]) -> None:
    explain(["--ckpt_path", "run", *two_sounds, "--report=false"])
    assert sorted(rows(run_folder).utterance) == ["a.wav", "b.wav"]
    assert not (run_folder / "explanations" / "report.html").exists()


def test_a_list_is_a_list_however_it_is_written(run_folder: Path, two_sounds: list[str], tmp_path: Path) -> None:
    (tmp_path / "lists.yaml").write_text(yaml.safe_dump({"explain": {"targets": ["happy", "sad"], "layers": [1, 2]}}))
    (tmp_path / "number.yaml").write_text(yaml.safe_dump({"explain": {"targets": "happy", "layers": 2}}))
    arguments = ["--ckpt_path", "run", *two_sounds, "--report", "false"]
    for lists in (
        ["--explain.targets", "[happy,sad]", "--explain.layers", "[1, 2]"],
        ["--explain.targets", "happy, sad", "--explain.layers=1,2"],
        ["--config", "lists.yaml"],
    ):
        explain([*arguments, *lists])
    table = rows(run_folder)
    assert len(table) == 4  # the first run's, which the others found
    assert set(table.target) == {"happy", "sad"}
    assert [list(names) for names in table.layer_names] == [["layer_1", "layer_2"]] * 4
    explain([*arguments, "--config", "number.yaml", "--explain.output_dir", "number"])
    assert [list(names) for names in rows(tmp_path / "number").layer_names] == [["layer_2"]] * 2


def test_a_dev_run_tries_everything_and_keeps_nothing(
    run_folder: Path, two_sounds: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = contents(tmp_path)
    with caplog.at_level("INFO"):
        explain(["--ckpt_path", "run", "--trainer.fast_dev_run", *two_sounds, "--data.batch_size", "1"])
    assert "1 utterance explained" in caplog.text
    assert "report.html" in caplog.text
    assert "nothing of it is kept" in caplog.text
    assert tempfile.gettempdir() not in caplog.text  # a folder that is gone
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("options", "folder"),
    [
        (["--trainer.default_root_dir", "elsewhere"], "elsewhere"),
        (["--trainer.logger=false"], "run"),
        (["--trainer.logger=CSVLogger", "--trainer.logger.save_dir=logs"], "logs/lightning_logs/version_0"),
        (
            ["--trainer.logger=TensorBoardLogger", "--trainer.logger.save_dir=logs", "--trainer.logger.name=er"],
            "logs/er/version_0",
        ),
        (["--trainer.logger=CSVLogger", "--trainer.logger.save_dir=logs", "--explain.output_dir=out"], "out"),
    ],
)
def test_where_results_go(
    run_folder: Path, two_sounds: list[str], tmp_path: Path, options: list[str], folder: str
) -> None:
    explain(["--ckpt_path", "run", *two_sounds, "--report", "false", *options])
    assert len(rows(tmp_path / folder)) == 2
    assert contents(tmp_path) & {"lightning_logs", "explanations"} == set()


def test_as_many_batches_are_explained_as_asked_for(run_folder: Path, two_sounds: list[str]) -> None:
    limits = ["--data.batch_size", "1", "--trainer.limit_predict_batches", "1", "--report", "false"]
    explain(["--ckpt_path", "run", *two_sounds, *limits])
    assert len(rows(run_folder)) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--explain.targets", "bored"], "--explain.targets: no class 'bored'"),
        (["--explain.layers", "9"], "--explain.layers: no layer '9'"),
        (["--explain.spectrum.hop", "900"], "--explain.spectrum: a window of 400 and a hop of 900"),
        (["--explain.output_dir", "/proc/new"], "--explain.output_dir is /proc/new, where nothing can be written"),
        (["--explain.output_dir", "a.wav"], "--explain.output_dir is a.wav, a file"),
        (
            ["--trainer.logger=CSVLogger", "--trainer.logger.save_dir=/proc/new"],
            "version_0, where nothing can be written",
        ),
        (["--explain.output_dir", "new/out", "--data.files", "none.wav"], "none.wav"),
        (["--config", "ravdess"], "--config is a configuration of training; leave it out"),
        (["--trainer.limit_predict_batches", "0"], "nothing is explained: --trainer.limit_predict_batches is 0"),
        (["--trainer.max_epochs", "3"], "--trainer.max_epochs is an option of training, and has no effect"),
        (["--model.learning_rate", "3"], "--model.learning_rate is an option of training, and has no effect"),
        (["--seed_everything", "3"], "--seed_everything is an option of training"),
        (["--trainer.devices", "0"], "--trainer.devices is 0; "),
        (["--trainer.strategy", "nope"], "--trainer.strategy is 'nope'; "),
    ],
)
def test_a_run_that_is_refused_leaves_nothing(
    run_folder: Path, two_sounds: list[str], tmp_path: Path, options: list[str], words: str
) -> None:
    before = contents(tmp_path)
    with pytest.raises(UserError, match=re.escape(words)):
        explain(["--ckpt_path", "run", *two_sounds, *options])
    assert contents(tmp_path) == before


def test_a_layer_without_an_output_of_its_own_is_told(run_folder: Path, two_sounds: list[str]) -> None:
    with pytest.raises(UserError, match=r"--explain.layers: layer classifier.backbone did not run within forward"):
        explain(["--ckpt_path", "run", *two_sounds, "--explain.layers", "classifier.backbone"])


def test_a_corpus_that_is_gone_is_told_with_the_option(run_folder: Path, tmp_path: Path) -> None:
    path = run_folder / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["datamodule_hyper_parameters"]["root"] = str(tmp_path / "gone")
    path.unlink()
    torch.save(checkpoint, path)
    with pytest.raises(
        UserError, match=r"gone: no such folder; give that of the corpus with --data.root, or recordings"
    ):
        explain(["--ckpt_path", "run"])


def trained_on_planted(run: Path) -> None:
    """Have the checkpoint of a run say that it was trained on the planted-evidence corpus of the working folder."""
    path = run / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["datamodule_hyper_parameters"]["root"] = None
    path.unlink()
    torch.save(checkpoint, path)


@pytest.mark.parametrize(
    ("arguments", "explained"),
    [([], "/data/planted/"), (["--data.files", "../a.wav", "--explain.baselines", "dataset"], "a.wav")],
)
def test_the_planted_corpus_of_the_training_is_taken_from_any_folder(
    run_folder: Path,
    planted_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    explained: str,
) -> None:
    write_sound(tmp_path / "a.wav")
    trained_on_planted(run_folder)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "planted").symlink_to(planted_root)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    options = [
        "--data.max_utterances",
        "1",
        "--explain.preset",
        "textbook",
        "--explain.n_samples",
        "4",
        "--report",
        "false",
        *arguments,
    ]
    explain(["--ckpt_path", "../run", *options, "--explain.max_drawn", "0", "--trainer.accelerator", "cpu"])
    assert explained in rows(run_folder).path[0]
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_planted_corpus_that_is_gone_is_made_anew_and_told(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def make(root: Path, kind: str) -> None:
        raise UserError(f"made in {root}, {kind}")

    trained_on_planted(run_folder)
    monkeypatch.setattr("speechshap.data.catalogue.make_planted_corpus", make)
    with caplog.at_level("INFO"), pytest.raises(UserError, match="made in data/planted, planted"):
        explain(["--ckpt_path", "run", "--trainer.accelerator", "cpu"])
    assert "the planted-evidence corpus of the training is not there any more" in caplog.text


def explain_shard(tiny_checkpoint: Path, planted_root: Path, shard: str, *options: str) -> None:
    """Explain a part of five utterances of the test split."""
    explain(
        ["--ckpt_path", str(tiny_checkpoint), "--data.root", str(planted_root), "--data.shard", shard,
         "--data.max_utterances", "5", "--explain.method", "energy", "--explain.max_drawn", "3",
         "--explain.output_dir", "out", "--trainer.accelerator", "cpu", *options]
    )  # fmt: skip


def test_the_shard_that_ends_last_shows_all_of_them(
    tiny_checkpoint: Path, planted_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "out" / "explanations"
    for shard in ("3/3", "1/3"):
        caplog.clear()
        with caplog.at_level("INFO"):
            explain_shard(tiny_checkpoint, planted_root, shard)
    assert (
        "3 of 5 utterances are explained; shard 2 of 3 is missing; the process that ends last shows all" in caplog.text
    )
    assert not (folder / "report.html").exists()
    assert not (folder / "settings").exists()
    report([str(tmp_path / "out")])
    assert "3 of 5 utterances are explained; shard 2 of 3 is missing" in (folder / "report.html").read_text()
    assert "3 of 5 utterances are explained; shard 2 of 3 is missing" in caplog.messages
    explain_shard(tiny_checkpoint, planted_root, "2/3", "--data.batch_size", "1")
    page = (folder / "report.html").read_text()
    assert "are explained" not in page
    assert page.count('id="payload-') == 5
    events = EventAccumulator(str(tmp_path / "out"), size_guidance={"images": 0}).Reload()
    assert len(events.Tags()["images"]) == 3  # of all shards together
    assert events.Tags()["scalars"] == []
    (summary,) = (path for path in (folder / "settings").iterdir() if path.is_dir())
    (event,) = EventAccumulator(str(summary)).Reload().Histograms("explain/probability")
    assert event.histogram_value.num == 5


def test_shards_learn_the_same_from_all_of_the_corpus(
    tiny_checkpoint: Path, planted_root: Path, tmp_path: Path
) -> None:
    options = ("--explain.preset", "textbook", "--explain.n_samples", "6", "--explain.calibration", "2",
               "--explain.method", "gradient_shap", "--report", "false")  # fmt: skip
    for shard in ("1/2", "2/2"):
        explain_shard(tiny_checkpoint, planted_root, shard, *options)
    explain_shard(tiny_checkpoint, planted_root, "1/1", *options, "--explain.output_dir", "alone")
    shared, alone = (rows(tmp_path / name).sort_values("utterance") for name in ("out", "alone"))
    assert shared.fingerprint.tolist() == alone.fingerprint.tolist()
    assert shared.settings.nunique() == 1


def test_a_shard_of_more_shards_than_utterances_ends_well(
    tiny_checkpoint: Path, planted_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        explain_shard(tiny_checkpoint, planted_root, "6/6")
    assert caplog.messages[-1] == "--data.shard 6/6 has no utterance: there are 5 utterances; nothing is to be done"
    assert not (tmp_path / "out").exists()


def test_a_shard_with_other_settings_is_refused(tiny_checkpoint: Path, planted_root: Path) -> None:
    explain_shard(tiny_checkpoint, planted_root, "1/2")
    with pytest.raises(UserError, match=r"have --explain\.targets .*, and here it is all; .*--explain\.output_dir"):
        explain_shard(tiny_checkpoint, planted_root, "2/2", "--explain.targets", "all")
    with pytest.raises(UserError, match=r"share 5 utterances, and here there are others \(4\)"):
        explain_shard(tiny_checkpoint, planted_root, "2/2", "--data.max_utterances", "4")


@pytest.mark.parametrize("shard", ["0/4", "5/4", "a/b"])
def test_what_is_no_shard_is_told_by_its_flag(tiny_checkpoint: Path, planted_root: Path, shard: str) -> None:
    with pytest.raises(UserError, match=f"--data.shard is {shard}; expected which part, counted from 1"):
        explain_shard(tiny_checkpoint, planted_root, shard)
