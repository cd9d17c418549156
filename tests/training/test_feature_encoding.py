"""Trainings whose frozen backbone hears each recording once."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import soundfile
import torch
from families import family_config, of_each_kind
from helpers import unmeasured, write_sound
from torch import Tensor

from speechshap.cli.train import train
from speechshap.data import Batch, load_audio
from speechshap.data.augmentation import Augmentation
from speechshap.errors import UserError
from speechshap.models.backbone import Backbone
from speechshap.training import AudioDataModule, EmotionModule, EpochSeed
from speechshap.training.feature_batches import FeatureBatch
from speechshap.training.feature_cache import FeatureCache

QUIET: dict[str, Any] = {
    "logger": False, "accelerator": "cpu", "enable_checkpointing": False, "enable_progress_bar": False,
    "enable_model_summary": False, "num_sanity_val_steps": 0,
}  # fmt: skip

CLIPS = 60
"""Of the corpus."""

EXACT = {"rtol": 1e-4, "atol": 1e-5}


class Heard:
    """Counts the recordings that go through any backbone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        encode = Backbone.encode

        def counted(backbone: Backbone, waveforms: Tensor, *arguments: Any) -> Any:
            self.count += len(waveforms) * (waveforms.shape[1] > backbone.shortest)
            return encode(backbone, waveforms, *arguments)

        monkeypatch.setattr(Backbone, "encode", counted)

    def during(self, run: Callable[[], object]) -> int:
        """Recordings that are heard in a run."""
        before = self.count
        run()
        return self.count - before


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    return Heard(monkeypatch)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "features"


@pytest.fixture
def corpus(planted_root: Path, tmp_path: Path) -> Path:
    """A copy of the corpus, to be changed."""
    return Path(shutil.copytree(planted_root, tmp_path / "corpus"))


@pytest.fixture
def mixed_root(tmp_path: Path) -> Path:
    """Noise of several lengths."""
    rows = ["path,label,speaker,split"]
    for number in range(12):
        write_sound(tmp_path / f"{number}.wav", 0.4 + 0.05 * (number % 4), seed=number)
        rows.append(
            f"{number}.wav,{'calm' if number % 2 else 'angry'},{number // 6},{'train' if number < 6 else 'val'}"
        )
    (tmp_path / "list.csv").write_text("\n".join(rows))
    return tmp_path / "list.csv"


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO", "speechshap")


class Watching(EmotionModule):
    """Notes what it is trained on."""

    def on_train_start(self) -> None:
        super().on_train_start()
        self.batches: list[Any] = []

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.batches.append(batch)

    @property
    def trained_on(self) -> list[str]:
        """Ids of the utterances, in their order."""
        return [id_ for batch in self.batches for id_ in batch.ids]

    @property
    def kinds(self) -> set[type]:
        """Of the batches."""
        return {type(batch) for batch in self.batches}


def fit(
    root: Path,
    cache: Path | str,
    *,
    family: str = "wavlm",
    backbone_seed: int = 0,
    data: dict[str, Any] | None = None,
    trainer: dict[str, Any] | None = None,
    ckpt_path: Path | None = None,
    **options: Any,
) -> Watching:
    """Train for two epochs, a backbone of random weights that are always the same."""
    pl.seed_everything(backbone_seed)
    datamodule = AudioDataModule(
        root=str(root), cache=str(cache), **{"corpus": "planted", "batch_size": 7, **(data or {})}
    )
    module = Watching(datamodule.classes, backbone_config=family_config(family), **{"learning_rate": 1e-2, **options})
    pl.seed_everything(0)
    runner = pl.Trainer(**{**QUIET, "max_epochs": 2, **(trainer or {})}, callbacks=[EpochSeed()])
    runner.fit(module, datamodule, ckpt_path=ckpt_path, weights_only=None if ckpt_path is None else True)
    return module


def trained(module: EmotionModule) -> dict[str, Tensor]:
    return {name: value for name, value in module.state_dict().items() if "backbone" not in name}


def entries(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.safetensors"))


def flat(weights: dict[str, Tensor]) -> Tensor:
    return torch.cat([value.flatten().double() for value in weights.values()])


def assert_trained_the_same(
    root: Path, cache: Path, heard: Heard, family: str, options: dict[str, Any], tolerance: float
) -> None:
    """Train without a cache, with an empty one, and with a full one.

    Args:
        root: Of the corpus.
        cache: Folder that is not there yet.
        heard: Counts what goes through the backbone.
        family: Of the backbone.
        options: Of the module.
        tolerance: Largest difference of the trained weights relative to their change in training.
    """
    start = flat(trained(fit(root, "off", family=family, trainer={"max_epochs": 0}, **options)))
    expected = fit(root, "off", family=family, **options)
    for times_heard in (CLIPS, 0):
        before = heard.count
        found = fit(root, cache, family=family, **options)
        assert heard.count - before == times_heard
        assert found.kinds == {FeatureBatch}
        assert found.trained_on == expected.trained_on
        change = flat(trained(expected)) - start
        assert (flat(trained(found)) - flat(trained(expected))).norm() < tolerance * change.norm()


@pytest.mark.slow
@of_each_kind
@pytest.mark.parametrize(
    "options", [
        {"pooling": "mean"},
        {"pooling": "mean", "standardize": True},
        {"pooling": "mean_std", "standardize": True, "dropout": 0.5},
        {"pooling": "mean", "hidden_layer": 1},
    ],
)  # fmt: skip
def test_a_head_on_statistics_is_trained_to_the_same_weights(
    planted_root: Path, cache: Path, heard: Heard, family: str, options: dict[str, Any]
) -> None:
    assert_trained_the_same(planted_root, cache, heard, family, options, 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "options"), [
        ("wavlm", {"pooling": "attentive", "num_queries": 2}),
        ("wavlm", {"pooling": "attentive", "standardize": True}),
        ("wavlm", {"pooling": "mean", "convolutions": 1}),
        ("whisper", {"pooling": "attentive", "standardize": True}),
    ],
)  # fmt: skip
def test_a_head_on_frames_is_trained_to_the_same_weights_within_half_precision(
    planted_root: Path, cache: Path, heard: Heard, family: str, options: dict[str, Any]
) -> None:
    # Batch norm and Adam enlarge what rounding changes in features that hardly differ, as those of random weights.
    assert_trained_the_same(planted_root, cache, heard, family, options, 0.03)


@of_each_kind
@pytest.mark.parametrize(("pooling", "rounding"), [("mean_std", 0), ("attentive", 2**-11)])
def test_a_batch_has_the_features_of_each_utterance_alone(
    mixed_root: Path, cache: Path, family: str, pooling: str, rounding: float
) -> None:
    module = fit(mixed_root, cache, family=family, pooling=pooling, data={"corpus": "auto", "batch_seconds": 9})
    batches: list[FeatureBatch] = module.batches
    assert any(batch.padding_fraction for batch in batches) is (pooling == "attentive")
    for batch in batches:
        assert batch.features.values.dtype == torch.float32
        for row, path in enumerate(batch.paths):
            waveform = torch.from_numpy(load_audio(Path(path)))
            with torch.no_grad():
                alone = module.eval().classifier.features(waveform[None], torch.tensor([len(waveform)]))
            length = int(batch.features.frame_lengths[row])
            assert length == int(alone.frame_lengths)
            found = batch.features.values[:, row]
            expected = alone.values[:, 0]
            varies = float((expected - expected.mean(1, keepdim=True)).abs().amax())
            torch.testing.assert_close(found[:, :length], expected, rtol=1e-5, atol=1e-5 + rounding * varies)
            assert not found[:, length:].any()


def test_the_backbone_hears_each_recording_once_whatever_is_trained(
    planted_root: Path, cache: Path, heard: Heard
) -> None:
    assert heard.during(lambda: fit(planted_root, cache, standardize=True)) == CLIPS
    assert heard.during(lambda: fit(planted_root, cache, dropout=0.5, learning_rate=1e-3)) == 0
    assert heard.during(lambda: fit(planted_root, cache, data={"split_seed": 3, "batch_size": 4})) == 0
    assert len(entries(cache)) == CLIPS


def test_a_folder_of_the_users_cache_is_the_default(
    planted_root: Path, cache: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    assert heard.during(lambda: fit(planted_root, "auto")) == CLIPS
    assert len(entries(cache / "speechshap" / "features")) == CLIPS


@pytest.mark.parametrize(
    "other", [
        {"backbone_seed": 1}, {"window_seconds": 1.0}, {"hidden_layer": 1}, {"pooling": "mean_std"},
        {"pooling": "attentive"}, {"trainer": {"precision": "bf16-mixed"}},
    ],
)  # fmt: skip
def test_features_of_anything_else_are_not_taken(
    planted_root: Path, cache: Path, heard: Heard, other: dict[str, Any]
) -> None:
    assert heard.during(lambda: fit(planted_root, cache)) == CLIPS
    assert heard.during(lambda: fit(planted_root, cache, **other)) == CLIPS
    assert heard.during(lambda: fit(planted_root, cache, **other)) == 0


def test_a_recording_that_has_changed_is_heard_again(corpus: Path, cache: Path, heard: Heard) -> None:
    fit(corpus, cache)
    changed = sorted(corpus.rglob("*.wav"))[3]
    sound, rate = soundfile.read(changed)
    soundfile.write(changed, np.roll(sound, 100), rate)
    assert heard.during(lambda: fit(corpus, cache)) == 1


def test_recordings_of_other_names_in_another_place_are_known(
    planted_root: Path, cache: Path, heard: Heard, tmp_path: Path
) -> None:
    fit(planted_root, cache)
    rows = ["path,label,speaker"]
    for number, path in enumerate(sorted(planted_root.rglob("*.wav"))):
        shutil.copy(path, tmp_path / f"{number}.wav")
        rows.append(f"{number}.wav,{path.name.split('_')[0]},{path.parent.name}")
    manifest = tmp_path / "list.csv"
    manifest.write_text("\n".join(rows))
    assert heard.during(lambda: fit(manifest, cache, data={"corpus": "auto"})) == 0


def test_a_damaged_entry_is_made_anew_with_a_warning(
    planted_root: Path, cache: Path, heard: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    expected = fit(planted_root, cache)
    for path in entries(cache)[:2]:
        path.write_bytes(path.read_bytes()[:-4])
    module = fit(planted_root, cache)
    assert heard.count == CLIPS + 2
    assert "2 entries" in caplog.text
    torch.testing.assert_close(trained(module), trained(expected), **EXACT)


@pytest.mark.parametrize(
    ("obstacle", "reason"), [
        ({"freeze": "stem"}, "the backbone is trained"),
        ({"padding": "published"}, "changes with those of its batch"),
        ({"data": {"transform": lambda waveform: waveform}}, "`transform` changes"),
        ({"data": {"augment": Augmentation(gain=(-6, 6))}}, "`augment` changes"),
        ({"mixup": 0.2}, "`mixup` mixes"),
        ({"trainer": {"limit_train_batches": 1}}, "not all batches"),
        ({"trainer": {"fast_dev_run": True}}, "not all batches"),
    ],
)  # fmt: skip
def test_waveforms_go_through_the_model_where_features_would_not_be_the_same_or_of_no_use(
    planted_root: Path, cache: Path, caplog: pytest.LogCaptureFixture, obstacle: dict[str, Any], reason: str
) -> None:
    module = fit(planted_root, cache, **obstacle)
    assert module.kinds == {Batch}
    assert not cache.exists()
    assert reason in caplog.text


class OwnStep(Watching):
    """Has a training step that wants waveforms."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return super().training_step(batch._replace(waveforms=batch.waveforms * 0.5), batch_idx)


class OwnTransfer(Watching):
    """Changes waveforms on the device."""

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return batch._replace(waveforms=batch.waveforms * 0.5)


@pytest.mark.parametrize("kind", [OwnStep, OwnTransfer])
def test_a_module_that_handles_waveforms_itself_gets_them(planted_root: Path, cache: Path, kind: type) -> None:
    data = AudioDataModule(root=str(planted_root), corpus="planted", cache=str(cache))
    pl.Trainer(**QUIET, max_epochs=1).fit(kind(data.classes, backbone_config=family_config("wavlm")), data)
    assert not cache.exists()


def test_the_price_of_augmentation_is_told_where_features_would_be_cached_without_being_asked_for(
    planted_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options: dict[str, Any] = {"data": {"augment": Augmentation(gain=(-6, 6))}, "trainer": {"max_epochs": 1}}
    fit(planted_root, "auto", **options)
    assert caplog.text.count("features are not cached: `augment` changes the recordings in each epoch") == 1
    caplog.clear()
    fit(planted_root, "auto", freeze="stem", **options)
    assert "cached" not in caplog.text


def test_nothing_is_said_of_a_cache_that_nobody_asked_for(planted_root: Path, caplog: pytest.LogCaptureFixture) -> None:
    fit(planted_root, "auto", freeze="stem", trainer={"max_epochs": 1})
    assert "cache" not in caplog.text


def test_a_run_says_once_what_it_takes_from_where(
    planted_root: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fit(planted_root, cache, trainer={"num_sanity_val_steps": 2})
    (said,) = [message for message in caplog.messages if "cached features" in message]
    assert re.match(rf"cached features of 60 recordings \(60 encoded now\) are taken from {cache}/\w+, [\d.]+ MB", said)
    caplog.clear()
    fit(planted_root, cache)
    assert "(0 encoded now)" in caplog.text


def test_a_folder_says_what_it_is_of(planted_root: Path, cache: Path) -> None:
    fit(planted_root, cache, pooling="mean")
    (told,) = (json.loads(path.read_text()) for path in cache.rglob("about.json"))
    expected = {"model_type": "wavlm", "features": "mean", "states": 3, "size": 32, "precision": "32-true"}
    assert {name: told[name] for name in expected} == expected


def test_no_name_of_the_users_is_in_the_cache(planted_root: Path, cache: Path) -> None:
    fit(planted_root, cache)
    for path in cache.rglob("*"):
        assert re.fullmatch(r"[0-9a-f]+(\.safetensors)?|about\.json|\.write\.lock", path.name)
        assert not path.is_file() or b"angry" not in path.read_bytes()


def test_a_run_that_would_make_the_cache_too_large_goes_without(
    planted_root: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache.mkdir()
    (cache / "of_another_run").write_bytes(bytes(15_000))
    # 60 recordings with three states of 32 numbers take 23 kB.
    module = fit(planted_root, cache, data={"cache_gigabytes": 38e-6})
    assert module.kinds == {Batch}
    assert len(list(cache.iterdir())) == 1
    (said,) = [message for message in caplog.messages if "cache_gigabytes" in message]
    assert re.search(r"0\.023 MB are needed beside 0\.015 MB in ", said)
    assert fit(planted_root, cache, data={"cache_gigabytes": 39e-6}).kinds == {FeatureBatch}


@pytest.mark.parametrize("pooling", ["mean", "attentive"])
def test_the_size_that_is_foretold_is_about_that_of_the_entries(
    planted_root: Path, cache: Path, caplog: pytest.LogCaptureFixture, pooling: str
) -> None:
    fit(planted_root, cache, pooling=pooling, data={"cache_gigabytes": 1e-6})
    (foretold,) = re.findall(r"([\d.]+) MB are needed", caplog.text)
    fit(planted_root, cache, pooling=pooling)
    (kept,) = re.findall(r", ([\d.]+) MB;", caplog.text)
    assert float(foretold) == pytest.approx(float(kept), rel=1e-3)


def test_what_is_kept_already_is_taken_whatever_the_limit(planted_root: Path, cache: Path, heard: Heard) -> None:
    fit(planted_root, cache)
    assert heard.during(lambda: fit(planted_root, cache, data={"cache_gigabytes": 1e-6})) == 0


def test_a_folder_that_loses_what_is_written_is_an_error(
    planted_root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FeatureCache, "write", lambda cache, digest, *_: cache.path(digest).parent.mkdir(exist_ok=True))
    with pytest.raises(UserError, match=r"`cache`: \d+ entries in .* cannot be read back"):
        fit(planted_root, cache)


def test_a_folder_that_cannot_be_made_is_an_error(planted_root: Path, cache: Path) -> None:
    cache.write_text("a file")
    with pytest.raises(UserError, match=r"`cache`: .* cannot be written"):
        fit(planted_root, cache)


def test_a_users_cache_that_cannot_be_made_is_done_without(
    planted_root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache.write_text("a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    assert fit(planted_root, "auto").kinds == {Batch}
    assert "features are not cached" in caplog.text


def test_a_disk_that_becomes_full_ends_the_run_in_one_line(
    planted_root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bytes, written = Path.write_bytes, []

    def full(path: Path, data: bytes) -> int:
        written.extend([path] * (".safetensors" in path.name))
        if len(written) > 20:
            write_bytes(path, data[:10])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_bytes(path, data)

    (backbone := cache.with_name("backbone.yaml")).write_text(
        json.dumps({"model": {"backbone_config": family_config("wavlm")}})
    )
    options = ["fit", "--config", str(backbone), "--data.root", str(planted_root), "--data.cache", str(cache)]
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match=r"\w+\.safetensors cannot be written: No space left on device. Make room"):
        train([*options, "--trainer.accelerator", "cpu", "--trainer.max_epochs", "1"])
    assert len(entries(cache)) == 20
    assert not list(cache.rglob("*.partial"))


@pytest.mark.parametrize("value", ["auto", "off", "false"])
def test_off_is_understood_in_a_configuration_where_yaml_reads_it_as_false(
    planted_root: Path, cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, value: str
) -> None:
    config = tmp_path / "off.yaml"
    backbone = json.dumps(family_config("wavlm"))
    config.write_text(f"data:\n  cache: {value}\nmodel:\n  backbone_config: {backbone}\n")
    options = ["--trainer.accelerator", "cpu", "--trainer.max_epochs", "1", "--trainer.logger", "false"]
    train(["fit", "--config", str(config), "--data.root", str(planted_root), *options])
    assert ("cached features" in caplog.text) is (value == "auto")


@pytest.mark.parametrize("value", [True, ""])
def test_a_cache_that_is_no_folder_is_refused(value: Any) -> None:
    with pytest.raises(UserError, match=r"`cache` is .*; expected auto, off or a folder"):
        AudioDataModule(cache=value)
    with pytest.raises(UserError, match="`cache_gigabytes` is 0; expected a size above 0"):
        AudioDataModule(cache_gigabytes=0)


def test_a_training_that_is_resumed_ends_with_the_weights_of_an_undisturbed_one(
    planted_root: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The schedule goes by the number of epochs.
    monkeypatch.setattr(
        Watching, "configure_optimizers", lambda self: torch.optim.AdamW(self.classifier.head.parameters(), 1e-2)
    )
    options: dict[str, Any] = {"standardize": True, "dropout": 0.5}
    expected = trained(fit(planted_root, cache, **options))
    first = fit(planted_root, cache, trainer={"max_epochs": 1}, **options)
    first.trainer.save_checkpoint(tmp_path / "last.ckpt")
    resumed = trained(fit(planted_root, cache, ckpt_path=tmp_path / "last.ckpt", backbone_seed=1, **options))
    assert all(torch.equal(value, expected[name]) for name, value in resumed.items())


def test_tests_and_predictions_of_the_trained_model(planted_root: Path, cache: Path, heard: Heard) -> None:
    module = fit(planted_root, cache)
    data = AudioDataModule(root=str(planted_root), corpus="planted", cache=str(cache))
    trainer = pl.Trainer(**QUIET)
    assert heard.during(lambda: trainer.test(module, data, verbose=False)) == 0
    found = dict(trainer.callback_metrics)
    data.cache = "off"
    trainer.test(module, data, verbose=False)
    torch.testing.assert_close(found, dict(trainer.callback_metrics), **EXACT)
    data.cache = str(cache)
    assert heard.during(lambda: trainer.predict(module, data)) == CLIPS // 4


def test_who_looks_at_the_batches_after_a_run_sees_waveforms(planted_root: Path, cache: Path) -> None:
    module = fit(planted_root, cache)
    data = module.trainer.datamodule  # type: ignore[attr-defined]
    assert {type(batch) for batch in data.train_dataloader()} == {Batch}


def test_the_random_numbers_of_a_run_stay_as_they_are(planted_root: Path, cache: Path) -> None:
    drawn = []
    for place in ("off", cache, cache):
        fit(planted_root, place, dropout=0.5)
        drawn.append(torch.rand(3).tolist())
    assert drawn[0] == drawn[1] == drawn[2]


@pytest.mark.slow
def test_processes_that_decode_give_the_same_entries(planted_root: Path, tmp_path: Path) -> None:
    for workers in (0, 1):
        fit(planted_root, tmp_path / str(workers), data={"num_workers": workers}, trainer={"max_epochs": 1})
    one, other = ([path.read_bytes() for path in entries(tmp_path / name)] for name in "01")
    assert one == other


FIT = """
import json, sys, time
import pytorch_lightning as pl
from speechshap.training import AudioDataModule, EmotionModule
from speechshap.training.feature_cache import FeatureCache
root, cache, devices, seconds, backbone = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), sys.argv[5]
write = FeatureCache.write

def slow(*arguments):
    time.sleep(seconds)
    write(*arguments)
    sys.stdout.write(f"written {arguments[1]}\\n")
    sys.stdout.flush()

FeatureCache.write = slow
pl.seed_everything(0)
data = AudioDataModule(root=root, corpus="planted", batch_size=7, cache=cache)
module = EmotionModule(data.classes, backbone_config=json.loads(backbone))
trainer = pl.Trainer(
    max_epochs=1, logger=False, accelerator="cpu", devices=devices, enable_checkpointing=False,
    strategy="ddp" if devices > 1 else "auto", enable_progress_bar=False, enable_model_summary=False,
)
trainer.fit(module, data)
"""


class Script:
    """A training in a process of its own."""

    def __init__(self, root: Path, cache: Path, folder: Path) -> None:
        self.path = folder / "fit.py"
        self.path.write_text(FIT)
        self.arguments = [str(root), str(cache)]

    def start(self, devices: int = 1, seconds: float = 0.0) -> "subprocess.Popen[str]":
        backbone = json.dumps(family_config("wavlm"))
        command = [sys.executable, str(self.path), *self.arguments, str(devices), str(seconds), backbone]
        return subprocess.Popen(
            command, cwd=self.path.parent, env=unmeasured(), text=True, stdout=subprocess.PIPE,
            stderr=(self.path.parent / "stderr").open("a"),
        )  # fmt: skip

    def finish(self, process: "subprocess.Popen[str]") -> list[str]:
        """Wait; returns the digests whose entries it has written."""
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, (self.path.parent / "stderr").read_text()
        return re.findall(r"written (\w+)", said)


@pytest.fixture
def script(planted_root: Path, cache: Path, tmp_path: Path) -> Script:
    return Script(planted_root, cache, tmp_path)


@pytest.mark.slow
def test_a_run_that_was_killed_while_it_encoded_goes_on_where_it_was(script: Script, cache: Path) -> None:
    with script.start(seconds=0.05) as process:
        while len(entries(cache)) < 10:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    kept = {path.stem for path in entries(cache)}
    written = script.finish(script.start())
    assert kept | set(written) == {path.stem for path in entries(cache)}
    assert len(kept) + len(written) == CLIPS, "nothing is encoded twice, since nothing is half there"
    assert not list(cache.rglob("*.partial"))


@pytest.mark.slow
def test_two_runs_at_once_share_a_cache(script: Script, cache: Path) -> None:
    both = [script.start(seconds=0.02) for _ in range(2)]
    for process in both:
        script.finish(process)
    assert len(entries(cache)) == CLIPS
    assert script.finish(script.start()) == []


@pytest.mark.slow
def test_two_processes_of_a_run_divide_the_recordings(script: Script, cache: Path) -> None:
    written = script.finish(script.start(devices=2))
    assert len(written) == len(set(written)) == CLIPS
    assert len(entries(cache)) == CLIPS
