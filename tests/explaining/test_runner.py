"""What cannot be explained costs itself alone, and what is explained already is left alone or completed."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import pytorch_lightning as pl
import soundfile
import torch
from helpers import tiny_config
from safetensors.torch import load
from torch import Tensor
from torch.utils.data import DataLoader

from speechshap import EmotionModule, GradientSHAPCallback
from speechshap.attribution import MethodChoice
from speechshap.attribution.methods.gradient_shap import GradientSHAPSettings
from speechshap.cli.explain import explain
from speechshap.errors import UserError
from speechshap.explaining.options import Place
from speechshap.explaining.runner import Runner
from speechshap.report.display import Display
from speechshap.results.folder import ResultsFolder
from speechshap.results.writer import ResultsWriter

CLASSES = ["angry", "happy", "sad"]


def waveforms(count: int = 3) -> Tensor:
    return 0.1 * torch.randn(count, 2000, generator=torch.Generator().manual_seed(0))


def batch_of(sounds: Tensor, ids: str = "abc") -> dict[str, Any]:
    return {"waveforms": sounds, "ids": list(ids)}


def predict(module: pl.LightningModule, folder: Path, *batches: dict[str, Any], **options: Any) -> GradientSHAPCallback:
    callback = GradientSHAPCallback(**{"n_samples": 4, "max_drawn": 0, "output_dir": str(folder), **options})
    trainer = pl.Trainer(callbacks=[callback], logger=False, accelerator="cpu", enable_progress_bar=False)
    trainer.predict(module, DataLoader(list(batches), batch_size=None))
    return callback


class Silent(EmotionModule):
    """Predicts the same for all."""

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        return torch.zeros(len(batch["waveforms"]), 3)


@pytest.fixture
def module() -> EmotionModule:
    torch.manual_seed(0)
    return Silent(CLASSES, backbone_config=tiny_config()).eval()


def explained(folder: Path) -> list[str]:
    return [row["utterance"] for row in ResultsFolder(folder / "explanations").read(("utterance",))]


@pytest.mark.parametrize("loud", [1e25, 1e38])
def test_a_sound_of_absurd_loudness_costs_itself_alone(
    tiny_checkpoint: Path, tmp_path: Path, loud: float, capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    for name, sound in zip("abc", waveforms() * torch.tensor([[1.0], [loud], [1.0]]), strict=True):
        soundfile.write(tmp_path / f"{name}.wav", sound.numpy(), 16000, subtype="FLOAT")
    explain(
        ["--ckpt_path", str(tiny_checkpoint), "--data.files", *(str(tmp_path / f"{name}.wav") for name in "abc"),
         "--explain.output_dir", str(tmp_path), "--explain.max_drawn", "0", "--report", "false",
         "--explain.preset", "textbook", "--trainer.accelerator", "cpu"]
    )  # fmt: skip
    assert [Path(name).name for name in explained(tmp_path)] == ["a.wav", "c.wav"]
    assert caplog.text.count("is not explained") == 1
    assert "b.wav is not explained" in caplog.text
    assert "100%|██████████| 3/3 utterances" in capfd.readouterr().err


def test_a_reference_that_is_not_finite_costs_its_utterance_alone(
    module: EmotionModule, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    predict(module, tmp_path, batch_of(waveforms() * torch.tensor([[1.0], [3e38], [1.0]])))
    assert explained(tmp_path) == ["a", "c"]
    assert "b is not explained: a reference of utterance b is not finite" in caplog.text


def test_an_output_that_is_not_finite_costs_its_utterance_alone(
    module: EmotionModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    logits = torch.zeros(3, 3).index_fill(0, torch.tensor([1]), torch.inf)
    monkeypatch.setattr(Silent, "predict_step", lambda module, batch, batch_idx: logits)
    predict(module, tmp_path, batch_of(waveforms()))
    assert explained(tmp_path) == ["a", "c"]
    assert "b is not explained: an output of the model is not finite" in caplog.text


def test_a_run_in_which_nothing_is_explained_is_a_mistake(
    module: EmotionModule, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(UserError, match="nothing was explained; the warnings above tell why"):
        predict(module, tmp_path, batch_of(torch.full((3, 2000), torch.nan)))
    assert caplog.text.count("its waveform is not finite") == 3
    assert not list((tmp_path / "explanations").glob(".run-*"))


def test_a_run_in_which_everything_is_explained_already_is_none(module: EmotionModule, tmp_path: Path) -> None:
    for _ in range(2):
        predict(module, tmp_path, batch_of(waveforms()))
    assert explained(tmp_path) == ["a", "b", "c"]


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_weights_that_are_not_finite_are_refused(module: EmotionModule, tmp_path: Path, value: float) -> None:
    name, weight = list(module.named_parameters())[3]
    with torch.no_grad():
        weight.view(-1)[0] = value
    with pytest.raises(UserError, match=rf"the weights of the model are not finite \({name}\)"):
        predict(module, tmp_path, batch_of(waveforms()))


def test_an_id_that_stands_for_two_sounds_is_refused(module: EmotionModule, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the id 'a' comes twice, with different sounds"):
        predict(module, tmp_path, batch_of(waveforms()[:2], "ab"), batch_of(waveforms()[2:], "a"))


def test_an_utterance_that_comes_twice_is_written_once(module: EmotionModule, tmp_path: Path) -> None:
    predict(module, tmp_path, batch_of(waveforms()), batch_of(waveforms()[:1], "a"))
    assert explained(tmp_path) == ["a", "b", "c"]


def remove(path: Path) -> None:
    path.unlink()


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


@pytest.mark.parametrize("spoil", [remove, cut_short])
def test_neurons_that_are_missing_are_explained_again_and_rows_are_not_doubled(
    module: EmotionModule, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    batches = [batch_of(sound[None], name) for sound, name in zip(waveforms(), "abc", strict=True)]
    predict(module, tmp_path, *batches, layers="all")
    files = sorted((tmp_path / "explanations" / "layers").rglob("*.safetensors"))
    before = load(files[1].read_bytes())
    spoil(files[1])
    callback = predict(module, tmp_path, *batches, layers="all")
    torch.testing.assert_close(load(files[1].read_bytes()), before, rtol=1e-3, atol=1e-6)
    assert (callback.runner.num_explained, callback.runner.num_found) == (1, 2)
    table = pd.read_parquet(sorted((tmp_path / "explanations").glob("part-*.parquet")))
    assert sorted(table.utterance) == ["a", "b", "c"]


def test_neurons_of_other_settings_are_kept(module: EmotionModule, tmp_path: Path) -> None:
    for seed in (0, 1):
        predict(module, tmp_path, batch_of(waveforms()), layers="all", seed=seed)
    assert len(list((tmp_path / "explanations" / "layers").glob("*/*.safetensors"))) == 6


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str | tuple[str, int]]:
    """Utterances that are drawn, and those whose time is shown with its step, in their order; all lack a picture."""
    calls: list[str | tuple[str, int]] = []

    def draw(display: Display, explanation: Any, waveform: Any) -> None:
        assert len(waveform) == explanation.num_samples
        calls.append(explanation.utterance)

    def took(display: Display, utterance: str, fingerprint: str, seconds: float, count: int) -> None:
        calls.append((utterance, count))

    monkeypatch.setattr(Display, "lacks", lambda display, utterance, fingerprint: True)
    monkeypatch.setattr(Display, "explanation", draw)
    monkeypatch.setattr(Display, "took", took)
    return calls


def test_what_was_explained_earlier_is_drawn_where_that_is_lacking(
    module: EmotionModule, tmp_path: Path, shown: list[str | tuple[str, int]]
) -> None:
    predict(module, tmp_path, batch_of(waveforms()[:2], "ab"))
    assert shown == [("a", 1), "a", ("b", 2), "b"]
    del shown[:]
    predict(module, tmp_path, batch_of(waveforms()))
    assert shown == ["a", "b", ("c", 3), "c"]


def test_what_another_run_explains_is_left_to_it_to_show(
    module: EmotionModule, tmp_path: Path, shown: list[str | tuple[str, int]]
) -> None:
    predict(module, tmp_path, batch_of(waveforms()[:2], "ab"))
    del shown[:]
    with ResultsWriter(tmp_path / "explanations"):
        predict(module, tmp_path, batch_of(waveforms()))
    assert shown == [("c", 3), "c"]


def test_rows_are_written_before_they_are_shown(
    module: EmotionModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        raise OSError("nothing is shown today")

    monkeypatch.setattr(Display, "took", fail)
    with pytest.raises(OSError, match="nothing is shown today"):
        predict(module, tmp_path, batch_of(waveforms()))
    assert explained(tmp_path) == ["a", "b", "c"]


@pytest.mark.parametrize("part", ["Display", "tqdm"])
def test_a_run_that_cannot_begin_holds_no_lock(
    module: EmotionModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise OSError("not today")

    monkeypatch.setattr(f"speechshap.explaining.runner.{part}", fail)
    with pytest.raises(OSError, match="not today"):
        predict(module, tmp_path, batch_of(waveforms()))
    assert not list((tmp_path / "explanations").glob(".run-*"))


def test_one_utterance_is_told_in_the_singular(
    module: EmotionModule, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "speechshap"):
        for _ in range(2):
            predict(module, tmp_path, batch_of(waveforms(1), "a"))
    folder = tmp_path / "explanations"
    told = [message for message in caplog.messages if "explained" in message]
    assert told == [
        f"1 utterance explained: {folder}",
        f"0 utterances explained, 1 was there already: {folder}",
    ]


def test_processes_with_folders_of_their_own_learn_the_same(module: EmotionModule, tmp_path: Path) -> None:
    shared: list[Any] = []
    settings = GradientSHAPSettings(n_samples=4, calibration=1)

    def first(value: Any) -> Any:
        shared.append(value)
        return value

    learnt = []
    for rank, share in enumerate([first, lambda value: shared[0]]):
        place = Place(rank, 2, share=share)
        runner = Runner(
            module, [MethodChoice("gradient_shap", settings, settings)], tmp_path / str(rank),
            calibration=lambda count: list(waveforms(count)), place=place,
        )  # fmt: skip
        learnt.append(runner.runs[0].explainer.settings.as_dict()["density"])
        runner.close()
    assert learnt[0] is not None
    assert learnt[0] == learnt[1]


def test_the_former_handler_of_sigterm_is_back_after_a_run(module: EmotionModule, tmp_path: Path) -> None:
    def own(signum: int, frame: Any) -> None:
        """A handler of the user."""

    former = signal.signal(signal.SIGTERM, own)
    try:
        predict(module, tmp_path, batch_of(waveforms()))
        assert signal.getsignal(signal.SIGTERM) is own
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        signal.signal(signal.SIGTERM, former)


def test_too_many_features_cost_their_utterance_alone(
    module: EmotionModule, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sounds, lengths = torch.randn(2, 8000, generator=torch.Generator().manual_seed(0)), torch.tensor([8000, 2000])
    batch = {"waveforms": sounds, "lengths": lengths, "ids": ["long", "short"]}
    predict(module, tmp_path, batch, method="kernel_shap", stretch_frames=1, n_divisions=1, n_samples=24, n_draws=2)
    assert explained(tmp_path) == ["short"]
    assert "long is not explained: utterance long has 24 features (24 stretches)" in caplog.text
