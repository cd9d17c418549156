import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import pytorch_lightning as pl
import soundfile
import torch
from families import of_each_kind
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.logger import DummyLogger
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader, TensorDataset

from speechshap import AudioDataModule, EmotionModule, GradientSHAPCallback
from speechshap.attribution import (
    NonFiniteGradientError,
    PathDensity,
    SpectralGrid,
    Target,
    gaussian_noise,
    gradient_shap,
    parse_methods,
)
from speechshap.data import Batch
from speechshap.data.audio import AudioFileError, load_audio
from speechshap.errors import UserError
from speechshap.explaining.batch_explainer import BatchExplainer
from speechshap.fingerprint import fingerprint
from speechshap.report.rendering import BackgroundRenderer, RenderingError
from speechshap.results import parts
from speechshap.results.neurons import neuron_file


def predict(
    checkpoint: Path,
    root: Path,
    folder: Path,
    data: dict[str, Any] | None = None,
    trainer: dict[str, Any] | None = None,
    **options: Any,
) -> tuple[EmotionModule, AudioDataModule]:
    """Explain a few utterances of the planted-evidence corpus."""
    module = EmotionModule.load_from_checkpoint(checkpoint, weights_only=True)
    data_module = AudioDataModule(
        root=str(root), corpus="planted", **{"max_utterances": 3, "batch_size": 2, **(data or {})}
    )
    parameters = {"n_samples": 4, "max_drawn": 0, **options}
    parameters = {name: value for name, value in parameters.items() if value is not None}
    callback = GradientSHAPCallback(output_dir=str(folder), **parameters)
    arguments = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, **(trainer or {})}
    pl.Trainer(callbacks=[callback], default_root_dir=folder, **arguments).predict(
        module, data_module, return_predictions=False
    )
    return module, data_module


def read(folder: Path) -> pd.DataFrame:
    """The rows, with each target as people read it."""
    table = pd.read_parquet(sorted((folder / "explanations").glob("part-*.parquet")))
    pairs = zip(table.target, table.against, strict=True)
    table["target"] = [str(Target(label, other if isinstance(other, str) else None)) for label, other in pairs]
    return table.sort_values(["utterance", "target"]).reset_index(drop=True)


@pytest.mark.parametrize(("family", "inference_mode"), [("wavlm", True), ("wavlm", False), ("whisper", True)])
def test_rows_are_what_the_estimator_computes(
    tiny_checkpoint: Path, planted_root: Path, tmp_path: Path, inference_mode: bool
) -> None:
    trainer = {"inference_mode": inference_mode}
    module, data = predict(tiny_checkpoint, planted_root, tmp_path, trainer=trainer, targets="all", seed=4)
    table = read(tmp_path)
    assert len(table) == 3 * 5
    loose = AudioDataModule(files=[str(u.path) for u in data.predict_utterances], batch_size=3)
    loose.setup("predict")
    (batch,) = loose.predict_dataloader()
    module.eval()
    result = gradient_shap(
        module, batch.waveforms, lengths=batch.lengths, ids=[u.id for u in data.predict_utterances],
        targets=torch.arange(5).expand(3, 5), n_samples=4, seed=4, grid=module.grid,
    )  # fmt: skip
    for index, utterance in enumerate(data.predict_utterances):
        for target, name in enumerate(module.classes):
            (row,) = table[(table.utterance == utterance.id) & (table.target == name)].to_dict("records")
            expected = result.frames[index, target, : result.frame_lengths[index]]
            assert expected.abs().max() > 0
            torch.testing.assert_close(
                torch.tensor(row["frame_attribution"].tolist()),
                expected,
                rtol=1e-4,
                atol=1e-5 * float(expected.abs().max()),
            )
            assert len(row["frame_standard_error"]) == len(expected) == module.grid.num_frames(9600)
            assert row["target_logit"] == pytest.approx(float(result.logits[index, target]), abs=1e-5)
            assert row["prediction"] == module.classes[int(result.logits[index].argmax())]
            assert row["probability"] == pytest.approx(float(result.logits[index].softmax(0).max()), abs=1e-5)
            assert row["completeness_gap"] == pytest.approx(float(result.completeness_gap[index, target]), abs=1e-4)
            assert (row["label"], row["path"]) == (utterance.label, str(utterance.path))
            assert (row["method"], row["seed"], row["n_samples"]) == ("gradient_shap", 4, 4)
            assert row["hop_seconds"] == 0.02


def events_of(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"images": 0, "audio": 0, "tensors": 0}).Reload()


@pytest.mark.slow
def test_tensorboard_has_figures_sounds_the_time_and_histograms(
    tiny_checkpoint: Path, planted_root: Path, tmp_path: Path
) -> None:
    _, data = predict(tiny_checkpoint, planted_root, tmp_path, max_drawn=9, layers="all", n_samples=400)
    events = events_of(tmp_path)
    tags = events.Tags()
    ids = {utterance.id for utterance in data.predict_utterances}
    assert set(tags["images"]) == {f"explain/{name}/figure" for name in ids}
    table = read(tmp_path)
    target = dict(zip(table.utterance, table.target, strict=True))
    assert set(tags["audio"]) == {
        f"explain/{name}/{sound}"
        for name in ids
        for sound in ("the sound", f"the evidence alone for {target[name]}", f"all but the evidence for {target[name]}")
    }
    assert tags["scalars"] == ["explain/seconds"]
    assert [event.step for event in events.Scalars("explain/seconds")] == [1, 2, 3]
    assert {event.step for tag in tags["images"] for event in events.Images(tag)} == {2}  # trained for two steps
    (folder,) = (path for path in (tmp_path / "explanations" / "settings").iterdir() if path.is_dir())
    summary = events_of(folder)
    layers = {f"explain/layer_share/layer_{number}" for number in (1, 2)}
    frames = {f"explain/frame_attribution/{name}" for name in set(table.target)}
    assert frames | layers | {"explain/relative_error", "explain/probability"} <= set(summary.Tags()["histograms"])
    assert sum(summary.Histograms(f"explain/layer_share/layer_{n}")[0].histogram_value.sum for n in (1, 2)) == (
        pytest.approx(3)
    )
    assert "--samples_per_plugin=images=100,audio=100" in str(
        events.Tensors("explain/settings/text_summary")[0].tensor_proto
    )


class Pictures(DummyLogger):
    """A logger that takes pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: list[str] = []

    def log_image(self, key: str, images: list[Any], step: int | None = None, **options: Any) -> None:
        self.keys.append(key)


def test_other_loggers_have_what_they_take(
    tiny_checkpoint: Path, planted_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pictures, numbers = Pictures(), CSVLogger(tmp_path, name="numbers")
    with caplog.at_level("INFO"):
        _, data = predict(
            tiny_checkpoint, planted_root, tmp_path / "out", trainer={"logger": [pictures, numbers]}, max_drawn=2
        )
    ids = [utterance.id for utterance in data.predict_utterances]
    assert len(pictures.keys) == 2
    assert set(pictures.keys) <= {f"explain/{name}/figure" for name in ids}
    with (tmp_path / "numbers" / "version_0" / "metrics.csv").open() as file:
        assert sum(bool(row["explain/seconds"]) for row in csv.DictReader(file)) == 3
    assert [message for message in caplog.messages if "takes no" in message] == [
        "CSVLogger takes no pictures or sounds or tables; TensorBoard and the report have them"
    ]


def test_tags_lack_the_folder_that_all_sounds_lie_in(tiny_checkpoint: Path, planted_root: Path, tmp_path: Path) -> None:
    module = EmotionModule.load_from_checkpoint(tiny_checkpoint, weights_only=True)
    folders = sorted(path for path in planted_root.iterdir() if path.is_dir())[:2]
    files = [min(folder.glob("*.wav")) for folder in folders]
    data = AudioDataModule(files=[str(path) for path in files])
    callback = GradientSHAPCallback(method="energy", output_dir=str(tmp_path))
    pl.Trainer(callbacks=[callback], logger=False, accelerator="cpu").predict(module, data, return_predictions=False)
    assert set(events_of(tmp_path).Tags()["images"]) == {
        f"explain/{path.parent.name}/{path.name}/figure" for path in files
    }


@of_each_kind
def test_each_setting_has_its_summary_and_the_projector_its_points(
    tiny_checkpoint: Path, planted_root: Path, tmp_path: Path
) -> None:
    module, data = predict(tiny_checkpoint, planted_root, tmp_path)
    predict(tiny_checkpoint, planted_root, tmp_path, n_samples=6)
    folders = sorted(path for path in (tmp_path / "explanations" / "settings").iterdir() if path.is_dir())
    assert len(folders) == 2
    assert {json.loads((folder / "summary.json").read_text())["settings"]["n_samples"] for folder in folders} == {4, 6}
    for folder in folders:
        assert events_of(folder).Histograms("explain/probability")[0].histogram_value.num == 3
        (config,) = folder.glob("projector_config.pbtxt")
        (points,) = folder.glob("**/tensors.tsv")
        (metadata,) = folder.glob("**/metadata.tsv")
        assert metadata.relative_to(folder).as_posix() in config.read_text()
        labels = pd.read_csv(metadata, sep="\t").set_index("utterance")
        vectors = pd.read_csv(points, sep="\t", header=None).to_numpy()
        for utterance in data.predict_utterances:
            waveform = torch.from_numpy(load_audio(utterance.path))[None]
            with torch.no_grad():
                expected = module.eval().classifier.embed(waveform, torch.tensor([waveform.shape[1]]))[0]
            found = torch.tensor(vectors[labels.index.get_loc(utterance.id)], dtype=torch.float32)
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
            assert labels.loc[utterance.id, "label"] == utterance.label


@pytest.mark.slow
@pytest.mark.parametrize("draw", ["first", "wrong", "unsure", "each_class"])
def test_what_is_drawn_is_limited(tiny_checkpoint: Path, planted_root: Path, tmp_path: Path, draw: str) -> None:
    predict(tiny_checkpoint, planted_root, tmp_path, data={"max_utterances": 6}, max_drawn=2, log_every=2, draw=draw)
    rows = read(tmp_path)
    assert len(rows) == 6
    drawn = {tag.removeprefix("explain/").removesuffix("/figure") for tag in events_of(tmp_path).Tags()["images"]}
    if draw == "first":
        written = pd.read_parquet(sorted((tmp_path / "explanations").glob("part-*.parquet"))).utterance
        assert drawn == {written[0], written[2]}
    elif draw == "unsure":
        assert drawn == set(rows.nsmallest(2, "probability").utterance)
    elif draw == "wrong":
        assert drawn == set(rows[rows.label != rows.prediction].nlargest(2, "probability").utterance)
    else:
        assert len(drawn) == 2


def test_a_file_that_is_gone_is_not_drawn(
    tiny_checkpoint: Path, planted_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    def gone(path: Path) -> Any:
        raise AudioFileError(path, "no such file")

    monkeypatch.setattr("speechshap.report.display.load_audio", gone)
    predict(tiny_checkpoint, planted_root, tmp_path, draw="unsure", max_drawn=1)
    assert "no such file; it is not drawn" in caplog.text


def test_a_picture_that_cannot_be_drawn_does_not_end_the_run(
    tiny_checkpoint: Path, planted_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    def ask(renderer: BackgroundRenderer, request: Any) -> RenderingError:
        return RenderingError("Traceback …\nMemoryError: too large")

    monkeypatch.setattr(BackgroundRenderer, "_ask", ask)
    predict(tiny_checkpoint, planted_root, tmp_path, max_drawn=2)
    assert len(read(tmp_path)) == 3
    assert "could not be drawn: MemoryError: too large" in caplog.text
    assert "2 not drawn: " in caplog.text


@pytest.mark.slow
def test_a_sound_that_was_changed_is_drawn_as_it_is_now(
    tiny_checkpoint: Path, planted_root: Path, tmp_path: Path
) -> None:
    root = tmp_path / "corpus"
    shutil.copytree(planted_root, root)
    _, data = predict(tiny_checkpoint, root, tmp_path)
    (path,) = {utterance.path for utterance in data.predict_utterances[:1]}
    soundfile.write(path, load_audio(path)[:8000], 16000)
    predict(tiny_checkpoint, root, tmp_path, draw="unsure", max_drawn=3)
    assert len(read(tmp_path)) == 4
    events = events_of(tmp_path)
    assert len(events.Tags()["images"]) == 3
    (sounds,) = [events.Audio(tag) for tag in events.Tags()["audio"] if data.predict_utterances[0].id in tag][:1]
    assert sounds[0].length_frames == 8000


def test_a_run_in_which_all_is_known_leaves_the_summary(
    tiny_checkpoint: Path, planted_root: Path, tmp_path: Path
) -> None:
    for _ in range(2):
        predict(tiny_checkpoint, planted_root, tmp_path)
        (recorded,) = (tmp_path / "explanations" / "settings").glob("*/summary.json")
        assert json.loads(recorded.read_text())["numbers"]["mean_seconds"] > 0


def test_predicted_and_runner_up_follow_the_logits(tiny_checkpoint: Path, planted_root: Path, tmp_path: Path) -> None:
    predict(tiny_checkpoint, planted_root, tmp_path / "all", targets="all")
    predict(tiny_checkpoint, planted_root, tmp_path / "two", targets="predicted, runner-up, predicted - runner-up")
    everything, two = read(tmp_path / "all"), read(tmp_path / "two")
    assert len(two) == 9
    for utterance, own in everything.groupby("utterance"):
        first, second = own.nlargest(2, "target_logit").target
        rows = two[two.utterance == utterance].set_index("target")
        assert set(rows.index) == {first, second, f"{first} - {second}"}
        difference = rows.loc[f"{first} - {second}"].frame_attribution
        expected = rows.loc[first].frame_attribution - rows.loc[second].frame_attribution
        assert difference == pytest.approx(expected, abs=1e-4 * float(abs(expected).max()))


def test_a_class_asked_for_twice_has_one_row(tiny_checkpoint: Path, planted_root: Path, tmp_path: Path) -> None:
    module, _ = predict(
        tiny_checkpoint, planted_root, tmp_path, targets="predicted, neutral, angry, fearful, happy, sad"
    )
    assert len(read(tmp_path)) == 3 * len(module.classes)


@of_each_kind
def test_what_is_done_is_not_computed_again(
    tiny_checkpoint: Path, planted_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    explained: list[str] = []
    attribute = BatchExplainer._attribute

    def spy(explainer: BatchExplainer, batch: Batch, targets: Any, segments: Any) -> Any:
        explained.extend(batch.ids)
        return attribute(explainer, batch, targets, segments)

    monkeypatch.setattr(BatchExplainer, "_attribute", spy)
    monkeypatch.setattr(parts, "PART_BYTES", 0)  # so that each batch is one
    predict(tiny_checkpoint, planted_root, tmp_path)
    assert len(explained) == 3
    (last,) = (tmp_path / "explanations").glob("part-*-00001.parquet")
    last.unlink()  # as if it had been stopped before the second part
    (tmp_path / "explanations" / f".{last.name}.123.partial").write_text("half a part")
    predict(tiny_checkpoint, planted_root, tmp_path)
    assert explained[3:] == explained[2:3]
    assert [path.name for path in (tmp_path / "explanations").glob(".*")] == [".runs"]
    predict(tiny_checkpoint, planted_root, tmp_path, n_samples=6)
    assert len(explained) == 7
    table = read(tmp_path)
    assert sorted(table.n_samples) == [4, 4, 4, 6, 6, 6]
    predict(tiny_checkpoint, planted_root, tmp_path, targets="all")
    table = read(tmp_path)
    assert len(table) == 3 * 5 + 6  # the draws follow all targets, so that the predicted class is computed again
    assert not table.duplicated(["utterance", "target", "fingerprint"]).any()


@of_each_kind
def test_batch_size_and_chunk_size_change_nothing(tiny_checkpoint: Path, planted_root: Path, tmp_path: Path) -> None:
    predict(tiny_checkpoint, planted_root, tmp_path / "one", data={"batch_size": 1}, chunk_size=2)
    predict(tiny_checkpoint, planted_root, tmp_path / "three", data={"batch_size": 3}, chunk_size=7)
    one, three = read(tmp_path / "one"), read(tmp_path / "three")
    assert list(one.utterance) == list(three.utterance)
    for first, second in zip(one.frame_attribution, three.frame_attribution, strict=True):
        torch.testing.assert_close(
            torch.tensor(first.tolist()), torch.tensor(second.tolist()), rtol=1e-4, atol=1e-5 * float(abs(second).max())
        )


@pytest.mark.gpu
@of_each_kind
def test_a_gpu_gives_the_rows_of_the_cpu(tiny_checkpoint: Path, planted_root: Path, tmp_path: Path) -> None:
    for accelerator in ("cpu", "gpu"):
        trainer = {"accelerator": accelerator, "devices": 1}
        predict(tiny_checkpoint, planted_root, tmp_path / accelerator, trainer=trainer, targets="all")
    for first, second in zip(
        read(tmp_path / "cpu").frame_attribution, read(tmp_path / "gpu").frame_attribution, strict=True
    ):
        scale = float(abs(first).max())
        torch.testing.assert_close(
            torch.tensor(second.tolist()), torch.tensor(first.tolist()), rtol=1e-2, atol=1e-3 * scale
        )


@of_each_kind
def test_given_classes_and_training_clips_as_references(
    tiny_checkpoint: Path, planted_root: Path, tmp_path: Path
) -> None:
    predict(tiny_checkpoint, planted_root, tmp_path, targets="sad, angry", baselines="dataset", n_references=4)
    table = read(tmp_path)
    assert list(table.target) == ["angry", "sad"] * 3
    assert set(table.baselines) == {"dataset"}


@of_each_kind
def test_bfloat16_follows_the_trainer(tiny_checkpoint: Path, planted_root: Path, tmp_path: Path) -> None:
    options = {"n_samples": 8, "targets": "happy"}
    predict(tiny_checkpoint, planted_root, tmp_path / "full", **options)
    predict(tiny_checkpoint, planted_root, tmp_path / "half", trainer={"precision": "bf16-mixed"}, **options)
    full, half = (
        torch.tensor([row.tolist() for row in read(tmp_path / name).frame_attribution]) for name in ("full", "half")
    )
    assert not torch.equal(full, half)
    assert (full - half).norm() < 0.15 * full.norm()


def test_an_unknown_target_is_named(tiny_checkpoint: Path, planted_root: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match="no class 'bored'; expected predicted, runner-up, all, some of 'neutral', 'angry'"
    ):
        predict(tiny_checkpoint, planted_root, tmp_path, targets="bored")
    with pytest.raises(UserError, match=r"`n_samples` is 1; expected auto, or 4 at least"):
        GradientSHAPCallback(n_samples=1)


def test_a_fingerprint_tells_weights_and_sounds_apart() -> None:
    module = torch.nn.Linear(2, 2)
    before = fingerprint(module.state_dict(), None, "32-true", torch.ones(3))
    assert before == fingerprint(module.state_dict(), None, "32-true", torch.ones(3))
    assert before != fingerprint(module.state_dict(), None, "32-true", torch.ones(4))
    assert before != fingerprint(module.state_dict(), None, "bf16-mixed", torch.ones(3))
    with torch.no_grad():
        module.bias[0] += 1
    assert before != fingerprint(module.state_dict(), None, "32-true", torch.ones(3))


@of_each_kind
def test_contrasts_layers_and_frequencies_by_configuration(
    tiny_checkpoint: Path, planted_root: Path, tmp_path: Path
) -> None:
    module, data = predict(
        tiny_checkpoint, planted_root, tmp_path, data={"max_utterances": 2}, targets="happy - sad, angry",
        output="log_odds", layers="all", layer_method="path", spectrum=SpectralGrid(num_mel_bands=20), snr_db=6.0,
    )  # fmt: skip
    table = read(tmp_path)
    assert sorted(set(table.target)) == ["angry", "happy - sad"]
    assert set(table.output) == {"log_odds"}
    waveforms = [load_audio(utterance.path) for utterance in data.predict_utterances]
    for utterance, waveform in zip(data.predict_utterances, waveforms, strict=True):
        own = table[table.utterance == utterance.id].set_index("target")
        happy, sad, angry = (module.classes.index(name) for name in ("happy", "sad", "angry"))
        expected = gradient_shap(
            module.eval(), torch.from_numpy(waveform)[None], gaussian_noise(6.0), torch.tensor([[happy, angry]]),
            ids=[utterance.id], n_samples=4, against=torch.tensor([[sad, -1]]), output="log_odds",
            layers=module.backbone.layers, layer_method="path", spectrum=SpectralGrid(num_mel_bands=20),
            grid=module.grid,
        )  # fmt: skip
        tensors = load_file(neuron_file(tmp_path / "explanations", table.settings_fingerprint[0], utterance.id))
        assert len(tensors) == 2 * 2 * 2
        for column, target in enumerate(["happy - sad", "angry"]):
            row = own.loc[target]
            assert row.target_output == pytest.approx(float(expected.outputs[0, column]), abs=1e-4)
            logits = expected.logits[0]
            logit = float(logits[happy] - logits[sad]) if column == 0 else float(logits[angry])
            assert row.target_logit == pytest.approx(logit, abs=1e-4)
            bands = torch.tensor([band.tolist() for band in row.time_frequency_attribution])
            scale = float(expected.time_frequency[0, column].abs().max())
            torch.testing.assert_close(bands, expected.time_frequency[0, column], atol=1e-3 * scale, rtol=1e-3)
            assert len(row.frequencies_hz) == len(row.time_frequency_standard_error) == 20
            assert row.time_frequency_hop_seconds == 0.01
            assert list(row.layer_names) == ["layer_1", "layer_2"]
            for layer, mass in zip(row.layer_names, row.layer_mass, strict=True):
                values = expected.layers[layer][0, column]
                stored = tensors[f"{target}/{layer}"]
                torch.testing.assert_close(stored, values, atol=1e-3 * float(values.abs().max()), rtol=1e-3)
                assert mass == pytest.approx(float(stored.abs().sum()), rel=1e-4)
                assert tensors[f"{target}/{layer}/standard_error"].shape == stored.shape


def test_auto_draws_as_many_as_an_utterance_needs(
    tiny_checkpoint: Path, planted_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    predict(tiny_checkpoint, planted_root, tmp_path, n_samples="auto", tolerance=0.5, max_samples=24)
    table = read(tmp_path)
    assert ((table.relative_error <= 0.5) | (table.n_samples == 24)).all()
    unconverged = int((table.relative_error > 0.5).sum())
    assert (f"{unconverged} utterances did not reach the `tolerance`" in caplog.text) == (unconverged > 0)


def test_a_gradient_that_is_not_finite_costs_its_utterance_only(
    tiny_checkpoint: Path,
    planted_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    attempts = []
    attribute = BatchExplainer._attribute

    def broken(explainer: BatchExplainer, batch: Batch, targets: Any, segments: Any) -> Any:
        attempts.append(list(batch.ids))
        if len(attempts) == 1:
            raise NonFiniteGradientError(batch.ids[0])
        return attribute(explainer, batch, targets, segments)

    monkeypatch.setattr(BatchExplainer, "_attribute", broken)
    predict(tiny_checkpoint, planted_root, tmp_path)
    table = read(tmp_path)
    assert len(table) == 2
    assert attempts[0][0] not in set(table.utterance)
    assert f"{attempts[0][0]} is not explained: the gradient" in caplog.text
    predict(tiny_checkpoint, planted_root, tmp_path)
    assert len(read(tmp_path)) == 3  # tried again by the next run


def test_what_calibration_learns_is_kept_and_used(
    tiny_checkpoint: Path, planted_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    densities = []
    attribute = BatchExplainer._attribute

    def spy(explainer: BatchExplainer, batch: Batch, targets: Any, segments: Any) -> Any:
        densities.append(explainer.settings.density)
        return attribute(explainer, batch, targets, segments)

    monkeypatch.setattr(BatchExplainer, "_attribute", spy)
    predict(tiny_checkpoint, planted_root, tmp_path, calibration=2)
    assert densities[0] == densities[1] != PathDensity.base().heights
    (kept,) = (tmp_path / "explanations").glob("_learnt-*.json")
    assert tuple(json.loads(kept.read_text())["density"]) == densities[0]
    predict(tiny_checkpoint, planted_root, tmp_path, calibration=2)
    assert len(densities) == 2  # neither learnt nor explained again
    assert json.loads(read(tmp_path).settings[0])["density"] == list(densities[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"targets": "happy - bored"}, "no class 'bored'"),
        ({"targets": "sad - sad"}, "no class 'sad - sad'"),
        ({"layers": "3"}, "no layer '3'; expected none, all, or some of 1 to 2"),
    ],
)
def test_what_the_model_does_not_have(
    tiny_checkpoint: Path, planted_root: Path, tmp_path: Path, options: dict, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        predict(tiny_checkpoint, planted_root, tmp_path, **options)


def test_settings_that_cannot_be() -> None:
    with pytest.raises(UserError, match=r"`tolerance` is 0; expected a relative error above 0"):
        GradientSHAPCallback(n_samples="auto", tolerance=0)
    with pytest.raises(UserError, match=r"`calibration` is -1; expected 0 at least"):
        GradientSHAPCallback(calibration=-1)
    with pytest.raises(UserError, match=r"`calibration` is for the adaptive scheme"):
        GradientSHAPCallback(calibration=2, scheme="uniform")
    with pytest.raises(UserError, match=r"`output` is 'loss'; expected logit, log_odds, probability"):
        GradientSHAPCallback(output="loss")
    with pytest.raises(UserError, match=r"`draw` is 'best'; expected first, wrong, unsure, each_class"):
        GradientSHAPCallback(draw="best")
    with pytest.raises(UserError, match=r"`log_every` is 0; expected 1 at least"):
        GradientSHAPCallback(log_every=0)
    GradientSHAPCallback(n_samples=2, scheme="uniform")


@of_each_kind
def test_checkpointing_changes_nothing_and_is_over_afterwards(
    tiny_checkpoint: Path, planted_root: Path, tmp_path: Path
) -> None:
    predict(tiny_checkpoint, planted_root, tmp_path / "plain")
    module, _ = predict(tiny_checkpoint, planted_root, tmp_path / "less", gradient_checkpointing=True)
    assert not module.backbone.gradient_checkpointing
    plain, less = read(tmp_path / "plain"), read(tmp_path / "less")
    for expected, found in zip(plain.frame_attribution, less.frame_attribution, strict=True):
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-4 * float(abs(expected).max()))


def test_checkpointing_does_not_go_with_slopes_along_the_path(
    tiny_checkpoint: Path, planted_root: Path, tmp_path: Path
) -> None:
    options = {"layers": "all", "layer_method": "path", "gradient_checkpointing": True}
    with pytest.raises(UserError, match="`gradient_checkpointing` does not go with"):
        predict(tiny_checkpoint, planted_root, tmp_path, **options)


def test_a_parameter_that_the_method_does_not_have_is_named() -> None:
    with pytest.raises(UserError, match=r"there is no parameter `n_sampels`; expected some of .*n_samples"):
        GradientSHAPCallback(n_sampels=3)
    with pytest.raises(UserError, match="there is no parameter `n_samples`"):
        GradientSHAPCallback("occlusion", n_samples=8)
    with pytest.raises(UserError, match=r"`method` is 'tea_leaves'; expected .*gradient_shap, .*occlusion"):
        GradientSHAPCallback("tea_leaves")


METHODS = "gradient_shap(n_samples=4), occlusion(stretch_frames=10), energy"


@pytest.mark.slow
def test_several_methods_leave_the_rows_of_each_alone_and_tags_that_stand_side_by_side(
    tiny_checkpoint: Path, planted_root: Path, tmp_path: Path
) -> None:
    options = {"n_samples": None, "seed": 4, "targets": "all", "max_drawn": 2}
    for _ in range(2):  # the second run finds all
        predict(tiny_checkpoint, planted_root, tmp_path / "all", methods=METHODS, **options)
    choices = parse_methods(METHODS)
    for choice in choices:
        own = {"n_samples": 4} if choice.name == "gradient_shap" else {"stretch_frames": 10}
        alone = {**options, "max_drawn": 0, **(own if choice.name != "energy" else {})}
        predict(tiny_checkpoint, planted_root, tmp_path / choice.name, method=choice.name, **alone)
        expected, found = read(tmp_path / choice.name), read(tmp_path / "all")
        found = found[found.method == choice.name].reset_index(drop=True)
        pd.testing.assert_frame_equal(found.drop(columns="explained_at"), expected.drop(columns="explained_at"))
    tags = [events_of(tmp_path / "all" / str(choice)).Tags() for choice in choices]
    assert tags[0]["images"] == tags[1]["images"] == tags[2]["images"]
    # Methods without errors always have evidence to hear, the others where it is significant.
    assert set(tags[0]["audio"]) <= set(tags[1]["audio"]) == set(tags[2]["audio"])
    assert len(tags[0]["images"]) == 2
    run = events_of(tmp_path / "all")
    assert run.Tags()["images"] == [tag.replace("/figure", "/methods") for tag in tags[0]["images"]]
    assert all(len(run.Images(tag)) == 1 for tag in run.Tags()["images"])
    assert run.Tags()["scalars"] == []
    assert not list((tmp_path / "occlusion").glob("occlusion*"))  # alone, it needs no folder of its own
    # The report shows the first method first.
    latest = max(read(tmp_path / "all").to_dict("records"), key=lambda row: row["explained_at"])
    assert latest["method"] == "gradient_shap"


def test_a_run_of_several_methods_asks_a_model_for_its_logits_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Loudness(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(1, 2)

        def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
            return self.layer(waveforms.abs().mean(1, keepdim=True))

    asked = []
    logits = BatchExplainer.logits
    monkeypatch.setattr(BatchExplainer, "logits", lambda own, batch: asked.append(batch.ids) or logits(own, batch))
    callback = GradientSHAPCallback(methods="energy, random, occlusion", output_dir=str(tmp_path), max_drawn=0)
    trainer = pl.Trainer(callbacks=[callback], logger=False, accelerator="cpu", enable_progress_bar=False)
    trainer.predict(Loudness(), DataLoader(torch.randn(4, 2000), batch_size=2))
    assert [len(ids) for ids in asked] == [2, 2]
    assert len(read(tmp_path)) == 12


def test_methods_that_cannot_explain_the_model_are_left_out(
    tiny_checkpoint: Path, planted_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"n_samples": None, "data": {"max_utterances": 1}}
    predict(tiny_checkpoint, planted_root, tmp_path, methods="deep_lift, energy", **options)
    assert "deep_lift cannot explain this model: the rescale rule" in caplog.text
    assert read(tmp_path).method.tolist() == ["energy"]
    both = "deep_lift, deep_lift(baselines=silence)"
    with pytest.raises(UserError, match=r"deep_lift.* cannot explain this model: the rescale rule"):
        predict(tiny_checkpoint, planted_root, tmp_path / "none", methods=both, **options)
    assert not (tmp_path / "none").exists()


def test_of_several_methods_each_says_what_it_could_not_explain(
    tiny_module: EmotionModule, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sounds = torch.randn(2, 16000, generator=torch.Generator().manual_seed(0))
    callback = GradientSHAPCallback(methods="energy, random", output_dir=str(tmp_path), max_drawn=0)
    broken = {"waveforms": torch.stack([sounds[0], sounds[1] * float("nan")]), "ids": ["a", "b"]}
    trainer = pl.Trainer(callbacks=[callback], logger=False, accelerator="cpu", enable_progress_bar=False)
    trainer.predict(tiny_module, DataLoader([broken], batch_size=None))
    told = [message for message in caplog.messages if "not explained" in message]
    methods = ("energy", "random")
    assert told[:2] == [f"b is not explained by {method}: its waveform is not finite" for method in methods]
    assert told[2:] == [f"1 not explained by {method}: b" for method in methods]
    assert read(tmp_path).utterance.tolist() == ["a", "a"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "occlusion", "methods": "energy"}, "give either `method`, one method with all its options, or `me"),
        (
            {"methods": "occlusion, lime", "n_samples": 4},
            "`n_samples` is no parameter of all `methods`; give it in the",
        ),
        ({"methods": "energy, random", "baselines": "silence"}, "there is no parameter `baselines`; expected some of"),
        ({"methods": "energy, tea_leaves"}, "there is no method 'tea_leaves'"),
    ],
)
def test_several_methods_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        GradientSHAPCallback(**options)


def test_several_methods_have_settings_in_common_and_of_their_own() -> None:
    callback = GradientSHAPCallback(methods="occlusion(baselines=noise), lime, energy", baselines="silence", seed=3)
    occlusion, lime, energy = (choice.settings.as_dict() for choice in callback.methods)
    assert (occlusion["baselines"], lime["baselines"]) == ("noise", "silence")
    assert {settings["seed"] for settings in (occlusion, lime, energy)} == {3}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["integrated_gradients", "occlusion"])
@of_each_kind
def test_other_methods_leave_the_same_results(
    tiny_checkpoint: Path, planted_root: Path, tmp_path: Path, method: str
) -> None:
    predict(tiny_checkpoint, planted_root, tmp_path, method=method, n_samples=None, max_drawn=1)
    table = read(tmp_path)
    assert set(table.method) == {method}
    assert all(abs(values).max() > 0 for values in table.frame_attribution)
    has_errors = method == "integrated_gradients"  # those of the quadrature; one reference of occlusion has none
    assert (table.frame_standard_error.notna() == has_errors).all()
    assert (table.relative_error.notna() == has_errors).all()
    assert len(events_of(tmp_path).Tags()["images"]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("method", ["kernel_shap", "lime"])
def test_bands_that_are_features_are_bands_of_the_record(
    tiny_checkpoint: Path, planted_root: Path, tmp_path: Path, method: str
) -> None:
    options = {"features": "cells", "num_bands": 2, "stretch_frames": 40, "n_samples": 64, "n_draws": 2, "max_drawn": 1}
    predict(tiny_checkpoint, planted_root, tmp_path, method=method, **options)
    for row in read(tmp_path).itertuples():
        bands = torch.tensor([band.tolist() for band in row.time_frequency_attribution])
        assert len(row.frequencies_hz) == len(bands) == 2
        assert row.time_frequency_hop_seconds == 0.01
        torch.testing.assert_close(float(bands.sum()), float(row.frame_attribution.sum()), atol=1e-5, rtol=1e-4)
        assert row.time_frequency_standard_error[0].max() > 0
    assert len(events_of(tmp_path).Tags()["images"]) == 1


def test_runs_that_differ_in_a_setting_are_stored_with_it(
    tiny_checkpoint: Path, planted_root: Path, tmp_path: Path
) -> None:
    for snr_db in (0.0, 10.0):
        predict(tiny_checkpoint, planted_root, tmp_path, snr_db=snr_db)
    table = read(tmp_path)
    assert [json.loads(settings)["snr_db"] for settings in sorted(set(table.settings))] == [0.0, 10.0]
    assert len(table) == 6


@of_each_kind
def test_an_emotion_module_explains_a_plain_dataloader(tiny_module: EmotionModule, tmp_path: Path) -> None:
    waveforms = 0.1 * torch.randn(3, 2000, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([2000, 1500, 900])
    loader = DataLoader(TensorDataset(waveforms, lengths), batch_size=2)
    callback = GradientSHAPCallback(n_samples=4, max_drawn=0, output_dir=str(tmp_path))
    pl.Trainer(callbacks=[callback], logger=False, accelerator="cpu").predict(tiny_module, loader)
    table = read(tmp_path)
    for row, waveform, length in zip(table.itertuples(), waveforms, lengths.tolist(), strict=True):
        expected = gradient_shap(
            tiny_module, waveform[None, :length], ids=[row.utterance], n_samples=4, grid=tiny_module.grid
        )
        scale = float(expected.frames.abs().max())
        assert row.frame_attribution == pytest.approx(expected.frames[0, 0].numpy(), rel=1e-3, abs=1e-4 * scale)
        assert row.prediction in tiny_module.classes


@of_each_kind
def test_a_clip_that_is_too_short_for_the_model_costs_itself_alone(
    tiny_module: EmotionModule, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Silent(EmotionModule):
        def predict_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            return torch.zeros(len(batch["lengths"]), 3)

    tiny_module.__class__ = Silent
    waveforms = 0.1 * torch.randn(2, 2000, generator=torch.Generator().manual_seed(0))
    batch = {"waveforms": waveforms, "lengths": torch.tensor([2000, 200]), "ids": ["long", "short"]}
    callback = GradientSHAPCallback(n_samples=4, max_drawn=0, output_dir=str(tmp_path))
    trainer = pl.Trainer(callbacks=[callback], logger=False, accelerator="cpu")
    trainer.predict(tiny_module, DataLoader([batch], batch_size=None))
    assert list(read(tmp_path).utterance) == ["long"]
    assert f"short is not explained: it has 200 samples, and the model needs {tiny_module.shortest}" in caplog.text
