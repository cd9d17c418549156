import torch
from attribution.tiny import noise

from speechshap.attribution import Evaluator, Settings, Targets, gaussian_noise
from speechshap.attribution.draws import draw_generator
from speechshap.attribution.methods.random import explain


def scored(name: str, seed: int, samples: int = 160_000) -> torch.Tensor:
    evaluator = Evaluator(lambda x: x[:, :3], noise(1, samples, seed=seed).float(), ids=[name])
    return explain(evaluator, Targets.from_classes(1, [[0, 2]]), None, Settings(seed=seed)).frames[0]


def test_the_numbers_are_standard_normal_and_the_same_for_every_target() -> None:
    frames = torch.cat([scored("a", seed)[0] for seed in range(20)])
    assert abs(float(frames.mean())) < 0.05
    assert abs(float(frames.std()) - 1) < 0.05
    first, second = scored("a", 0)
    assert torch.equal(first, second)


def test_they_belong_to_the_utterance_and_the_seed() -> None:
    assert not torch.equal(scored("a", 0), scored("b", 0))
    assert not torch.equal(scored("a", 0), scored("a", 1))
    lengths = [1300, 900]
    together = Evaluator(lambda x, lengths: x[:, :3], torch.ones(2, 1300), lengths, ["a", "b"])
    result = explain(together, Targets.from_classes(2, 0), None, Settings())
    for row, length in enumerate(lengths):
        alone = scored("ab"[row], 0, length)[0]
        assert torch.equal(result.frames[row, 0, : len(alone)], alone)
        assert result.frames[row, 0, len(alone) :].abs().sum() == 0
    assert result.n_samples.tolist() == [0, 0]


def test_they_are_not_those_of_a_reference() -> None:
    waveform = torch.tensor([1.0, -1.0]).repeat(8000)
    reference = gaussian_noise()(waveform, draw_generator(0, "a", 0))
    assert (scored("a", 0, 16_000)[0] - reference[:49]).abs().max() > 0.5
