"""The metrics by hand, and whether they can tell a right explanation from a wrong one."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from evaluation.bursts import CLASSES, bursts, trained
from torch import Tensor, nn

from speechshap.attribution import (
    Attribution,
    Evaluator,
    SpectralGrid,
    Target,
    Targets,
    UtteranceError,
    as_baseline,
    find_method,
    gaussian_noise,
    silence,
)  # fmt: skip
from speechshap.data import Stretch
from speechshap.errors import UserError
from speechshap.evaluation import mean_with_interval
from speechshap.evaluation.case import Case, Judged
from speechshap.evaluation.metrics import METRICS, choose_metrics
from speechshap.frames import FrameGrid

WEIGHTS = [4.0, -1.0, 3.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0]
"""What the ten frames of 20 ms add to the output; the evidence is said to be in the first two."""

HOP = 320


class Weighted(nn.Module):
    """The weighted sum of the means of the frames."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(WEIGHTS), requires_grad=False)

    def forward(self, waveforms: Tensor) -> Tensor:
        output = waveforms.unflatten(1, (-1, HOP)).mean(2) @ self.weights
        return torch.stack([torch.zeros_like(output), output], 1)


def toy_case(stretches: list[Stretch] | None = None, module: nn.Module | None = None) -> Case:
    model = Weighted()
    evaluator = Evaluator(
        model, torch.ones(1, 10 * HOP), ids=["a.wav"], grid=FrameGrid(HOP, HOP), module=module or model
    )
    known = [Stretch(0.0, 0.04)] if stretches is None else stretches
    return Case(evaluator, Targets.from_classes(1, 1), {"silence": silence}, [known])


def attribution_of(case: Case, frames: Tensor, **others: Tensor) -> Attribution:
    count, unknown = torch.ones(len(frames), dtype=torch.int64), torch.full((len(frames), 1), torch.nan)
    parts = {"frames": frames[:, None], "completeness_gap": unknown, **others}
    return Attribution(
        frame_lengths=case.evaluator.frame_lengths, targets=case.targets, logits=case.evaluator.logits,
        outputs=case.output[:, None], n_samples=count, n_replicates=count, **parts,
    )  # fmt: skip


def toy(factor_again: float = 1.0, **others: Tensor) -> Judged:
    """The right explanation of the toy; explained once more, it is this many times as large."""
    case, frames = toy_case(), torch.tensor([WEIGHTS])
    again = attribution_of(case, factor_again * frames)
    return Judged(case, attribution_of(case, frames, **others), lambda evaluator, seed: again)


# Signed, 4 outranks all eight of the rest and -1 none of them; absolute, 1 outranks the six zeros.
@pytest.mark.parametrize(
    ("name", "variant", "expected"),
    [
        ("auc", "signed 20 ms", 8 / 16),
        ("auc", "absolute 20 ms", 14 / 16),
        ("pointing", "signed 20 ms", 1.0),
        ("mass", "signed 20 ms", 4 / 9),
        ("mass", "absolute 20 ms", 5 / 10),
        ("precision", "signed 20 ms", 1 / 2),
        # The output after each step is 8 4 1 -1 ... -1 0; the other way round 0 4 7 9 ... 9 8.
        ("deletion", "silence", (8 / 2 + 4 + 1 - 7 * 1 + 0) / 10),
        ("insertion", "silence", (0 + 4 + 7 + 7 * 9 + 8 / 2) / 10),
        ("comprehensiveness", "silence", (4 + 7 + 9 + 9 + 9) / 5),
        ("sufficiency", "silence", (4 + 1 - 1 - 1 - 1) / 5),
        ("infidelity", "silence", 0.0),
        ("sparseness", "", (3 * 1 + 5 * 2 + 7 * 3 + 9 * 4) / (10 * 10)),
        ("max_sensitivity", "", 0.0),
        ("seed_agreement", "20 ms", 1.0),
        ("randomization", "head", 1.0),
        ("randomization", "all", 1.0),
    ],
)
def test_values_by_hand(name: str, variant: str, expected: float) -> None:
    assert METRICS[name].compute(toy())[variant].tolist() == pytest.approx([expected], abs=1e-5)


def test_what_is_read_over_a_hundred_milliseconds_by_hand() -> None:
    # Means over five frames: 2, 1.5, 1.6, 0.8, 1, 0.4, 0.4, 0, 0, 0: the first outranks all eight of the rest, the
    # second seven of them.
    assert METRICS["auc"].compute(toy())["signed 100 ms"].tolist() == [15 / 16]


def test_explanations_that_are_made_again_are_compared_with_the_first() -> None:
    assert METRICS["max_sensitivity"].compute(toy(3.0))[""].tolist() == pytest.approx([2.0])
    opposite = METRICS["seed_agreement"].compute(toy(-1.0))
    assert [float(values) for values in opposite.values()] == pytest.approx([-1.0, -1.0, -1.0])
    assert METRICS["randomization"].compute(toy(-1.0))["all"].tolist() == pytest.approx([1.0])  # of either sign


def test_randomization_shuffles_the_weights_and_puts_them_back() -> None:
    case, frames = toy_case(), torch.tensor([WEIGHTS])

    def explain(evaluator: Evaluator, seed: int) -> Attribution:
        return attribution_of(case, evaluator.module.weights[None].clone())

    values = METRICS["randomization"].compute(Judged(case, attribution_of(case, frames), explain))
    assert float(values["all"]) < 0.9
    assert case.evaluator.module.weights.tolist() == WEIGHTS


def test_randomization_needs_the_module() -> None:
    judged = toy()
    judged.case.evaluator.module = None
    with pytest.raises(UserError, match="`randomization` shuffles the weights"):
        METRICS["randomization"].compute(judged)


def test_completeness_by_hand() -> None:
    assert METRICS["completeness"].compute(toy(completeness_gap=torch.tensor([[2.0]])))[""].tolist() == pytest.approx(
        [2 / 6]
    )
    assert METRICS["completeness"].compute(toy())[""].isnan().all()  # a method without such a sum


def test_bands_and_frames_by_hand() -> None:
    spectrum = SpectralGrid(window=640, hop=320, sample_rate=16000)  # bands of 25 Hz
    case = toy_case([Stretch(0.0, 0.04, 1000, 2000)])
    cells = torch.zeros(1, 1, spectrum.num_bands, spectrum.num_frames(10 * HOP))
    cells[..., 40:81, :2] = -1.0  # what lies in the evidence
    whole = attribution_of(case, torch.tensor([WEIGHTS]), time_frequency=cells)
    judged = Judged(case, whole, lambda evaluator, seed: whole, bands=spectrum.bands)
    values = METRICS["time_frequency_auc"].compute(judged)
    assert {name: value.tolist() for name, value in values.items()} == {"signed": [0.0], "absolute": [1.0]}
    assert METRICS["time_frequency_auc"].compute(toy())["signed"].isnan().all()


def test_without_known_evidence_there_is_nothing_to_point_at() -> None:
    case = toy_case(stretches=[])
    whole = attribution_of(case, torch.tensor([WEIGHTS]))
    judged = Judged(case, whole, lambda evaluator, seed: whole)
    for name, metric in METRICS.items():
        if metric.needs_truth:
            assert all(values.isnan().all() for values in metric.compute(judged).values()), name


def test_an_attribution_that_is_not_finite_names_the_utterance() -> None:
    case = toy_case()
    with pytest.raises(UtteranceError, match=r"an attribution of a\.wav is not finite"):
        Judged(case, attribution_of(case, torch.full((1, 10), torch.nan)), lambda evaluator, seed: None)


def test_names_of_metrics() -> None:
    assert choose_metrics("all") == list(METRICS)
    assert choose_metrics("sparseness, default") == [
        "sparseness", *(name for name, metric in METRICS.items() if metric.tells_apart)
    ]  # fmt: skip
    for wrong in ("auk", "", "auc,,mass"):
        with pytest.raises(UserError, match=r"`metrics` is .*expected all, default, auc, pointing"):
            choose_metrics(wrong)


def test_each_metric_has_a_line_that_says_what_it_shows() -> None:
    assert all(metric.summary and "\n" not in metric.summary for metric in METRICS.values())


# From here on: a network that was trained, and clips of a tone in noise whose place is known.


@cache
def tones() -> Case:
    clips = bursts(24, seed=1000, classes=(1, 2))
    model, neutral = trained(), bursts(8, seed=2000, classes=(0,)).waveforms
    evaluator = Evaluator(model, clips.waveforms, grid=model.grid, module=model)
    targets = Targets.from_names([[Target(CLASSES[label], "neutral")] for label in clips.labels.tolist()], CLASSES)
    operators = {"silence": silence, "noise": gaussian_noise(), "dataset": as_baseline(neutral)}
    return Case(evaluator, targets, operators, clips.stretches)


def explained(name: str, change: Callable[[Tensor], Tensor] = lambda frames: frames, **settings: int) -> Judged:
    """The clips, explained with neutral references; frames ``(clips, targets, frames)`` are changed then."""
    method, references = find_method(name), as_baseline(bursts(8, seed=2000, classes=(0,)).waveforms)

    def explain(evaluator: Evaluator, seed: int) -> Attribution:
        found = method.explain(evaluator, tones().targets, references, method.settings(**{"seed": seed, **settings}))
        gaps = change(found.completeness_gap[..., None])[..., 0]
        return replace(found, frames=change(found.frames), completeness_gap=gaps)

    return Judged(tones(), explain(tones().evaluator, 0), explain)


WRONG = {"reversed in time": lambda frames: frames.flip(2), "of another clip": lambda frames: frames.roll(2, 0)}


@pytest.fixture(scope="module", params=["integrated_gradients", "occlusion"])
def right_and_wrong(request: pytest.FixtureRequest) -> dict[str, Judged]:
    settings = {"n_points": 7} if request.param == "integrated_gradients" else {}
    return {
        "right": explained(request.param, **settings),
        **{how: explained(request.param, change, **settings) for how, change in WRONG.items()},
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name, metric in METRICS.items() if metric.tells_apart and name != "time_frequency_auc"]
)
def test_a_wrong_explanation_scores_worse(right_and_wrong: dict[str, Judged], name: str) -> None:
    metric = METRICS[name]
    means = {how: {variant: float(values.nanmean()) for variant, values in metric.compute(judged).items()}
             for how, judged in right_and_wrong.items()}  # fmt: skip
    sign = -1 if metric.better == "lower" else 1
    for how in WRONG:
        for variant, right in means["right"].items():
            assert sign * right > sign * means[how][variant], f"{variant}, {how}"


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if not metric.tells_apart])
def test_a_metric_that_is_said_not_to_tell_it_cannot(right_and_wrong: dict[str, Judged], name: str) -> None:
    compute = METRICS[name].compute
    right = compute(right_and_wrong["right"])
    for how in WRONG:
        for variant, values in compute(right_and_wrong[how]).items():
            # The same values, but in another order where explanations have changed places.
            torch.testing.assert_close(
                values.sort().values, right[variant].sort().values, atol=1e-4, rtol=1e-4, equal_nan=True
            )


@pytest.mark.slow
def test_chance_and_the_perfect_explanation() -> None:
    names = [str(number) for number in range(24)]
    draws = torch.stack([METRICS["auc"].compute(explained("random", seed=seed))["signed 20 ms"] for seed in range(4)])
    chance = mean_with_interval(draws.mean(0).numpy(), names)
    assert chance.low < 0.5 < chance.high
    assert chance.high - chance.low < 0.1
    truth = attribution_of(tones(), tones().truth.float())
    perfect = METRICS["auc"].compute(Judged(tones(), truth, lambda evaluator, seed: truth))["signed 20 ms"]
    assert np.unique(perfect).tolist() == [1.0]


@pytest.mark.slow
def test_the_network_relies_on_the_tone() -> None:
    clips = bursts(60, seed=3000)
    assert float((trained()(clips.waveforms).argmax(1) == clips.labels).float().mean()) > 0.95
