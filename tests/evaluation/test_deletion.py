import pytest
import torch
from evaluation.toys import all_valid, linear

from speechshap.attribution import Evaluator, NonFiniteOutputError, Targets, silence
from speechshap.evaluation import deletion_curves, draw_references, insertion_curves, mean_drop, reliance
from speechshap.frames import FrameGrid

WEIGHTS = [4.0, 1.0, 3.0, 0.0, 2.0]


def test_the_right_order_of_a_linear_model_by_hand() -> None:
    evaluator, targets = linear(WEIGHTS)
    scores, references = torch.tensor([WEIGHTS]), [torch.zeros(5)]
    deletion = deletion_curves(evaluator, targets, scores, references, steps=5)
    assert deletion.outputs.tolist() == [[10.0, 6.0, 3.0, 1.0, 0.0, 0.0]]
    insertion = insertion_curves(evaluator, targets, scores, references, steps=5)
    assert insertion.outputs.tolist() == [[0.0, 4.0, 7.0, 9.0, 10.0, 10.0]]
    torch.testing.assert_close(deletion.fractions, torch.linspace(0, 1, 6)[None])
    torch.testing.assert_close(insertion.fractions, torch.linspace(0, 1, 6)[None])
    torch.testing.assert_close(deletion.area, torch.tensor([(5 + 6 + 3 + 1 + 0) / 5.0]))
    torch.testing.assert_close(insertion.area, torch.tensor([(0 + 4 + 7 + 9 + 10 + 5) / 5.0]))
    # up to half of the frames: those without 4, and without 4 and 3
    torch.testing.assert_close(mean_drop(deletion, torch.tensor([10.0])), torch.tensor([(4 + 7) / 2.0]))
    torch.testing.assert_close(mean_drop(insertion, torch.tensor([10.0])), torch.tensor([(6 + 3) / 2.0]))


def test_no_order_beats_the_right_one() -> None:
    evaluator, targets = linear(WEIGHTS)
    references = [torch.zeros(5)]
    best = deletion_curves(evaluator, targets, torch.tensor([WEIGHTS]), references, steps=5).area
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        other = deletion_curves(evaluator, targets, torch.rand(1, 5, generator=generator), references, steps=5)
        assert bool(other.area >= best)


def test_fractions_are_those_that_really_changed() -> None:
    evaluator, targets = linear([1.0] * 7)
    curves = deletion_curves(evaluator, targets, torch.rand(1, 7), [torch.zeros(7)], steps=3)
    torch.testing.assert_close(curves.fractions, torch.tensor([[0, 2, 5, 7]]) / 7)
    torch.testing.assert_close(curves.outputs, 7 - 7 * curves.fractions)
    torch.testing.assert_close(curves.area, torch.tensor([3.5]))


def test_a_short_utterance_beside_a_long_one_has_the_curve_of_it_alone() -> None:
    def forward(waveforms: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return torch.stack([waveforms.sum(1), waveforms.square().sum(1)], 1)

    grid = FrameGrid(hop=10, receptive_field=10)
    generator = torch.Generator().manual_seed(0)
    waveforms, scores = torch.randn(2, 200, generator=generator), torch.randn(2, 20, generator=generator)
    both = Evaluator(forward, waveforms, torch.tensor([200, 130]), ids=["a", "b"], grid=grid)
    alone = Evaluator(forward, waveforms[1:, :130], ids=["b"], grid=grid)
    curves = [
        deletion_curves(each, Targets.from_classes(len(each), 1), scores[-len(each) :], draw_references(each, silence))
        for each in (both, alone)
    ]
    torch.testing.assert_close(curves[0].outputs[1:], curves[1].outputs)
    torch.testing.assert_close(curves[0].fractions[1:], curves[1].fractions)


def test_an_output_that_is_not_finite_is_told() -> None:
    evaluator = Evaluator(lambda waveforms: 1 / waveforms.sum(1, keepdim=True), torch.ones(1, 4), ids=["a.wav"])
    with pytest.raises(NonFiniteOutputError, match=r"a\.wav"):
        deletion_curves(evaluator, Targets.from_classes(1, 0), torch.ones(1, 1), [torch.zeros(4)])


def test_a_model_that_relies_on_the_stretch_falls_without_it() -> None:
    evaluator, targets = linear([0.0, 5.0, 5.0, 0.0, 1.0, 1.0])
    truth = torch.tensor([[False, True, True, False, False, False]])
    fall = reliance(evaluator, targets, truth, all_valid(1, 6), [torch.zeros(6)], n_draws=8)
    assert float(fall.on_evidence) == 10.0
    assert 0 <= float(fall.on_rest) <= 2


def test_where_nothing_is_planted_reliance_is_unknown() -> None:
    evaluator, targets = linear([1.0, 2.0])
    nothing = torch.zeros(1, 2, dtype=torch.bool)
    assert reliance(evaluator, targets, nothing, all_valid(1, 2), [torch.zeros(2)]).on_evidence.isnan().all()
