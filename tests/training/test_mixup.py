"""Mixup against sums that are written out."""

from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from families import family_config, of_each_kind
from scipy import stats
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from speechshap.data import Batch
from speechshap.errors import UserError
from speechshap.training import EmotionModule
from speechshap.training.losses import classification_loss
from speechshap.training.mixup import Mixing, draw_mixing, mixed, mixed_loss

WEIGHTS = torch.tensor([0.5, 3.0, 1.0])
LABELS = [0, 1, 2, 1]


def make_batch(labels: list[int] = LABELS, prefix: str = "") -> Batch:
    generator = torch.Generator().manual_seed(0)
    waveforms = [torch.randn(900 + 200 * row, generator=generator) for row in range(len(labels))]
    names = [f"{prefix}{row}.wav" for row in range(len(labels))]
    lengths = torch.tensor([len(waveform) for waveform in waveforms])
    return Batch(pad_sequence(waveforms, batch_first=True), lengths, torch.tensor(labels), names, names, names)


def test_a_mixture_is_the_sum_of_both_waveforms_with_silence_after_the_shorter() -> None:
    batch = make_batch()
    mixture = mixed(batch, Mixing(0.3, torch.tensor([1, 3, 2, 0])))
    assert mixture.lengths.tolist() == [1100, 1500, 1300, 1500]
    for row, partner in enumerate([1, 3, 2, 0]):
        own, other = (np.zeros(1500) for _ in range(2))
        own[: 900 + 200 * row] = batch.waveforms[row, : 900 + 200 * row]
        other[: 900 + 200 * partner] = batch.waveforms[partner, : 900 + 200 * partner]
        np.testing.assert_allclose(mixture.waveforms[row], 0.3 * own + 0.7 * other, atol=1e-6)
    assert (mixture.ids, mixture.labels.tolist()) == (batch.ids, LABELS)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
@pytest.mark.parametrize("gamma", [0.0, 2.0])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_the_loss_is_that_of_both_labels_in_the_shares_of_the_waveforms(
    weights: Tensor | None, gamma: float, label_smoothing: float
) -> None:
    logits = 2 * torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    partners, share = [1, 3, 2, 0], 0.3
    of_classes = np.ones(3) if weights is None else weights.double().numpy()
    total, weight = 0.0, 0.0
    for row, partner in enumerate(partners):
        probabilities = np.exp(logits[row].numpy()) / np.exp(logits[row].numpy()).sum()
        for part, label in ((share, LABELS[row]), (1 - share, LABELS[partner])):
            asked = (np.arange(3) == label) * (1 - label_smoothing) + label_smoothing / 3
            terms = -of_classes * asked * (1 - probabilities) ** gamma * np.log(probabilities)
            total += part * terms.sum()
            weight += part * of_classes[label]
    found = mixed_loss(
        make_batch(),
        Mixing(share, torch.tensor(partners)),
        lambda _: logits,
        lambda values, labels: classification_loss(values, labels, weights, gamma, label_smoothing),
    )
    assert float(found) == pytest.approx(total / weight, rel=1e-6)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_have_the_beta_distribution_and_partners_are_any(alpha: float) -> None:
    batch = make_batch()
    drawn = [draw_mixing(batch, alpha, epoch) for epoch in range(2000)]
    assert stats.kstest([mixing.share for mixing in drawn], "beta", (alpha, alpha)).pvalue > 0.01
    counts = np.bincount([int(mixing.partners[0]) for mixing in drawn], minlength=4)
    assert stats.chisquare(counts).pvalue > 0.01


def test_what_is_drawn_belongs_to_seed_epoch_and_utterances(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    batch = make_batch()
    first = draw_mixing(batch, 1.0, 0)
    torch.manual_seed(5)
    again = draw_mixing(batch, 1.0, 0)
    assert again.share == first.share
    assert torch.equal(again.partners, first.partners)
    others = [draw_mixing(batch, 1.0, 1), draw_mixing(make_batch(prefix="x"), 1.0, 0)]
    monkeypatch.setenv("PL_GLOBAL_SEED", "1")
    others.append(draw_mixing(batch, 1.0, 0))
    assert len({first.share, *(mixing.share for mixing in others)}) == 4


@of_each_kind
def test_a_step_of_training_mixes_and_an_evaluation_does_not(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mixing = Mixing(0.3, torch.tensor([1, 3, 2, 0]))
    monkeypatch.setattr("speechshap.training.emotion_module.draw_mixing", lambda *_: mixing)
    torch.manual_seed(0)
    module = EmotionModule(["a", "b", "c"], backbone_config=family_config(family), mixup=0.2, dropout=0.0)
    logged: dict[str, Any] = {}
    trainer = pl.Trainer(logger=False, accelerator="cpu", enable_checkpointing=False)
    module.trainer = trainer
    monkeypatch.setattr(module, "log", lambda name, value, **_: logged.update({name: value}))
    monkeypatch.setattr(module, "log_dict", lambda *_, **__: None)
    batch = make_batch()
    mixture = mixed(batch, mixing)
    logits = module(mixture.waveforms, mixture.lengths)
    expected = 0.3 * functional.cross_entropy(logits, batch.labels) + 0.7 * functional.cross_entropy(
        logits, batch.labels[mixing.partners]
    )
    assert float(module.training_step(batch, 0).detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    module.eval()
    module.validation_step(batch, 0)
    plain = functional.cross_entropy(module(batch.waveforms, batch.lengths), batch.labels)
    assert float(logged["val/loss"].compute()) == pytest.approx(float(plain.detach()), rel=1e-5)


def test_a_parameter_below_zero_is_refused() -> None:
    with pytest.raises(UserError, match="`mixup` is -1; expected 0 at least"):
        EmotionModule(["a", "b"], backbone_config=family_config("wavlm"), mixup=-1)
