import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from speechshap import GradientSHAPCallback
from speechshap.attribution import gradient_shap
from speechshap.errors import UserError
from speechshap.explaining.own_model import OwnModel
from speechshap.frames import STRETCHES, FrameGrid

WAVEFORMS = 0.1 * torch.randn(3, 3200, generator=torch.Generator().manual_seed(0))
LENGTHS = torch.tensor([3200, 1600, 3200])


class ToyModule(pl.LightningModule):
    """A convolution, the mean over time, a linear layer; predicts classes and not logits."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv1d(1, 4, 40, 20)
        self.head = nn.Linear(4, 3)

    def forward(self, waveforms: Tensor) -> Tensor:
        return self.head(self.convolution(waveforms[:, None]).tanh().mean(-1))

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        return torch.zeros(3)


class MaskedModule(ToyModule):
    """The same for padded batches."""

    def forward(self, waveforms: Tensor, lengths: Tensor) -> Any:
        states = self.convolution(waveforms[:, None]).tanh()
        inside = torch.arange(states.shape[-1]) < ((lengths - 40) // 20 + 1)[:, None]
        return SimpleNamespace(logits=self.head((states * inside[:, None]).sum(-1) / inside.sum(1, keepdim=True)))


class NamedModule(ToyModule):
    classes = ("low", "middle", "high")

    def forward(self, waveforms: Tensor) -> Any:
        return {"scores": super().forward(waveforms)}


def explain(module: pl.LightningModule, loader: Any, folder: Path, **options: Any) -> pd.DataFrame:
    callback = GradientSHAPCallback(output_dir=str(folder), **{"n_samples": 8, "max_drawn": 0, **options})
    trainer = pl.Trainer(callbacks=[callback], logger=False, accelerator="cpu", enable_progress_bar=False)
    trainer.predict(module, loader)
    return pd.read_parquet(sorted((folder / "explanations").glob("part-*.parquet")))


def loader(*tensors: Tensor, batch_size: int = 2) -> DataLoader:
    return DataLoader(TensorDataset(*tensors), batch_size=batch_size)


def check(table: pd.DataFrame, module: ToyModule, lengths: Tensor) -> None:
    """Rows are those of the estimator for each utterance alone."""
    for row, waveform, length in zip(table.itertuples(), WAVEFORMS, lengths.tolist(), strict=True):
        expected = gradient_shap(
            lambda w, _: ToyModule.forward(module, w), waveform[None, :length], ids=[row.utterance], n_samples=8,
            grid=STRETCHES,
        )  # fmt: skip
        assert row.frame_attribution == pytest.approx(expected.frames[0, 0].numpy(), rel=1e-4, abs=1e-7)
        assert row.frame_standard_error == pytest.approx(
            expected.frames_standard_error[0, 0].numpy(), rel=1e-3, abs=1e-7
        )
        assert len(row.frame_attribution) == length // 320
        assert row.duration_seconds == length / 16000


def test_a_module_that_takes_waveforms_is_explained(tmp_path: Path) -> None:
    module = ToyModule()
    table = explain(module, loader(WAVEFORMS, torch.tensor([0, 1, 2])), tmp_path)
    assert list(table.utterance) == ["0-0-0-0", "0-0-0-1", "0-0-1-0"]
    assert list(table.label) == ["0", "1", "2"]
    check(table, module, torch.full((3,), 3200))


def test_a_module_that_hears_padding_is_asked_about_one_utterance_at_a_time(tmp_path: Path) -> None:
    module = ToyModule()
    batch = {"input_values": WAVEFORMS, "lengths": LENGTHS, "ids": ["a", "b", "c"]}
    table = explain(module, DataLoader([batch], batch_size=None), tmp_path).set_index("utterance", drop=False)
    check(table.loc[["a", "b", "c"]], module, LENGTHS)


def test_a_module_that_takes_lengths_and_returns_an_object(tmp_path: Path) -> None:
    module = MaskedModule()
    check(explain(module, loader(WAVEFORMS, LENGTHS), tmp_path), module, LENGTHS)


def test_functions_read_batches_and_outputs_that_nothing_else_can(tmp_path: Path) -> None:
    module = NamedModule()
    named = DataLoader([("a name", WAVEFORMS)], batch_size=None)
    functions = {"inputs": lambda batch: batch[1], "logits": lambda output: output["scores"]}
    table = explain(module, named, tmp_path, targets="all", **functions)
    assert set(table.target) == set(module.classes)
    assert len(table) == 9
    with pytest.raises(UserError, match=r"the model returns a dict for a batch of 1; expected logits .* give `logits`"):
        explain(module, loader(WAVEFORMS), tmp_path / "other")
    with pytest.raises(UserError, match=r"the waveforms of a batch are str.* give `inputs`"):
        explain(module, named, tmp_path / "third")


def test_layers_by_module_name_and_frames_of_the_model(tmp_path: Path) -> None:
    table = explain(
        ToyModule(), loader(WAVEFORMS), tmp_path, layers="convolution", grid=FrameGrid(hop=20, receptive_field=40)
    )
    assert [list(names) for names in table.layer_names] == [["convolution"]] * 3
    assert {len(frames) for frames in table.frame_attribution} == {(3200 - 40) // 20 + 1}


def test_other_frames_of_the_same_weights_are_explained_again(tmp_path: Path) -> None:
    explain(ToyModule(), loader(WAVEFORMS), tmp_path)
    table = explain(ToyModule(), loader(WAVEFORMS), tmp_path, grid=FrameGrid(hop=20, receptive_field=40))
    assert sorted(len(frames) for frames in table.frame_attribution) == 3 * [10] + 3 * [(3200 - 40) // 20 + 1]


def test_names_that_are_not_as_many_as_the_outputs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="`classes` are 2, but the model has 3 outputs"):
        explain(ToyModule(), loader(WAVEFORMS), tmp_path, classes=["a", "b"])


def test_a_label_that_the_model_does_not_have_is_unknown(tmp_path: Path) -> None:
    table = explain(ToyModule(), loader(WAVEFORMS, torch.tensor([0, 7, 2])), tmp_path)
    assert [label if isinstance(label, str) else None for label in table.label] == ["0", None, "2"]


def test_a_model_of_one_value_is_a_regression_when_it_is_called_one(tmp_path: Path) -> None:
    module = ToyModule()
    module.head = nn.Linear(4, 1)
    with pytest.raises(UserError, match="the model has one output; give `is_regression=True`"):
        explain(module, loader(WAVEFORMS), tmp_path / "no")
    table = explain(module, loader(WAVEFORMS), tmp_path, is_regression=True, classes=["arousal"])
    assert set(table.target) == {"arousal"}
    assert table.prediction.isna().all()


@pytest.mark.parametrize("options", [{"baselines": "dataset"}, {"calibration": 2}])
def test_what_needs_the_data_module_asks_for_it(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="predict with an AudioDataModule"):
        explain(ToyModule(), loader(WAVEFORMS), tmp_path, **options)


def test_all_layers_of_a_module_that_names_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the layers of this model are not known"):
        explain(ToyModule(), loader(WAVEFORMS), tmp_path, layers="all")


@pytest.mark.parametrize(
    ("forward", "expected"),
    [
        (lambda waveforms: waveforms, None),
        (lambda waveforms, lengths: waveforms, "lengths"),
        (lambda waveforms, wav_lens=None: waveforms, "lengths"),
        (lambda waveforms, attention_mask=None: waveforms, "mask"),
        (lambda waveforms, training=False: waveforms, None),
        (lambda waveforms, other: waveforms, "lengths"),
        (lambda waveforms, *rest, key=1: waveforms, None),
    ],
)
def test_what_forward_takes_is_seen_from_its_signature(forward: Any, expected: str | None) -> None:
    module = nn.Module()
    module.forward = forward
    assert OwnModel(module).second_argument == expected


class DeepModule(ToyModule):
    """The same, with its nonlinearity as a module."""

    def __init__(self) -> None:
        super().__init__()
        self.tanh, self.loss = nn.Tanh(), nn.CrossEntropyLoss()

    def forward(self, waveforms: Tensor) -> Tensor:
        return self.head(self.tanh(self.convolution(waveforms[:, None])).mean(-1))


def with_method(method: str, module: pl.LightningModule, folder: Path) -> pd.DataFrame:
    callback = GradientSHAPCallback(method, output_dir=str(folder), max_drawn=0)
    trainer = pl.Trainer(callbacks=[callback], logger=False, accelerator="cpu", enable_progress_bar=False)
    trainer.predict(module, DataLoader([{"input_values": WAVEFORMS, "lengths": LENGTHS}], batch_size=None))
    return pd.read_parquet(sorted((folder / "explanations").glob("part-*.parquet")))


def test_deep_lift_explains_a_convolutional_network_completely(tmp_path: Path) -> None:
    table = with_method("deep_lift", DeepModule(), tmp_path)
    assert len(table) == 3
    assert table.completeness_gap.abs().max() < 1e-6
    functional = with_method("deep_lift", ToyModule(), tmp_path / "functional")
    assert functional.completeness_gap.abs().max() > 3e-5  # a tanh that is no module is not seen


def test_a_convolutional_network_has_no_attention(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="`method` is attention_rollout, which cannot explain this model: ToyModule "):
        with_method("attention_rollout", ToyModule(), tmp_path)


@pytest.mark.slow
def test_the_example_finds_the_tone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(Path(__file__).parents[2] / "examples" / "own_model.py"), run_name="__main__")
    told = [line.split(": ")[1] for line in capsys.readouterr().out.splitlines() if "of the attribution" in line]
    shares = [int(line.split("%")[0]) for line in told]
    times = [int(line.split(", ")[1].split("%")[0]) for line in told]
    assert len(shares) == 4
    assert all(share > 2 * time for share, time in zip(shares, times, strict=True))
