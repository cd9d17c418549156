import pytest
import torch
from attribution.tiny import noise
from torch import Tensor

from speechshap.attribution import ReferenceSettings, UtteranceError, as_baseline, baseline_from_settings
from speechshap.attribution.baselines import draw_reference, from_references
from speechshap.errors import UserError


def test_references_as_the_settings_ask_for_them() -> None:
    waveform, clips = noise(50, seed=0), noise(3, 50, seed=1)

    def drawn(references: Tensor | None = None, **options: object) -> Tensor:
        baseline = baseline_from_settings(ReferenceSettings(**options), references)
        return baseline(waveform, torch.Generator().manual_seed(0))

    assert float(drawn(baselines="silence").abs().sum()) == 0
    quieter = drawn(snr_db=20.0) - waveform.mean()
    torch.testing.assert_close(10 * quieter, drawn() - waveform.mean())
    assert any(torch.equal(drawn(clips, baselines="dataset"), clip.float().double()) for clip in clips)
    with pytest.raises(UserError, match='`baselines="dataset"` draws from clips'):
        drawn(baselines="dataset")


def test_references_are_cropped_or_repeated() -> None:
    utterance, long = torch.zeros(40), torch.arange(100.0)[None]
    generator = torch.Generator().manual_seed(9)
    cropped = [from_references(long)(utterance, generator) for _ in range(20)]
    assert all(torch.equal(row, row[0] + torch.arange(40.0)) for row in cropped)
    assert len({float(row[0]) for row in cropped}) > 5
    assert torch.equal(from_references(long[:, :15])(utterance, generator), torch.arange(40.0) % 15)


@pytest.mark.parametrize(
    ("baselines", "message"),
    [
        (torch.zeros(8), r"`baselines` have shape \(8,\); expected \(references, time\)"),
        (torch.full((1, 8), torch.nan), "`baselines` are not finite"),
        (None, "`baselines` are a NoneType; expected a name, a callable or a tensor"),
    ],
)
def test_what_no_references_can_be_drawn_from(baselines: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        as_baseline(baselines)


def test_a_reference_is_a_sound_like_the_utterance() -> None:
    waveform, generator = noise(50, seed=0), torch.Generator()
    with pytest.raises(ValueError, match=r"the reference of utterance a has shape \(49,\); expected \(50,\)"):
        draw_reference(lambda own, _: own[1:], waveform, "a", generator)
    with pytest.raises(UtteranceError, match="a reference of utterance a is not finite"):
        draw_reference(lambda own, _: own * torch.inf, waveform, "a", generator)
