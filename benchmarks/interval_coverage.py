"""Coverage of the 95 % intervals of frames and of segments on closed-form models.

    python benchmarks/interval_coverage.py

The sum of squares with Gaussian references has the attribution x^2 - E[b^2]; a sigmoid of the mean with silence as
reference shares its rise equally among equal samples. In the square of the sum with Gaussian references the errors of
all frames go together, so that errors of segments that took them for independent would be far too small.
"""

import argparse

import torch
from harness import print_table
from torch import Tensor

from speechshap.attribution import Evaluator, Targets, as_baseline, find_method
from speechshap.attribution.intervals import interval_reach
from speechshap.attribution.sampling import SCHEMES
from speechshap.attribution.segments import sum_segments
from speechshap.frames import FrameGrid

GRID = FrameGrid(hop=40, receptive_field=40)
SEGMENTS = [(0, 3), (3, 10), (4, 6)]


def squares(x: Tensor, lengths: Tensor) -> Tensor:
    """Sum of squares."""
    return torch.stack([x.square().sum(1), x.sum(1)], dim=1)


def step(x: Tensor, lengths: Tensor) -> Tensor:
    """A steep sigmoid of the mean."""
    return torch.stack([torch.sigmoid(20 * (x.mean(1) - 0.7)), x[:, 0]], dim=1)


def square(x: Tensor, lengths: Tensor) -> Tensor:
    """The square of the sum."""
    return torch.stack([x.sum(1).square(), x[:, 0]], dim=1)


def main() -> None:
    """Print the share of intervals that cover the truth."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=500)
    repetitions = parser.parse_args().repetitions
    noisy = torch.randn(1, 400, generator=torch.Generator().manual_seed(0))
    mean, variance, total = noisy.mean(), noisy.var(correction=0), noisy.sum()
    ramp = torch.linspace(0.5, 1.5, 400)[None]
    rise = torch.sigmoid(torch.tensor(6.0)) - torch.sigmoid(torch.tensor(-14.0))
    models = {
        "squares, noise": (squares, noisy, "noise", noisy.square() - mean.square() - variance),
        "square of the sum, noise": (
            square,
            noisy,
            "noise",
            (noisy - mean) * total + 400 * mean * (noisy - mean) - variance,
        ),
        "step, silence": (step, ramp, "silence", ramp / 400 * rise),
    }
    rows = []
    method = find_method("gradient_shap")
    for name, (forward, waveform, baselines, truth) in models.items():
        frames = truth.view(10, 40).sum(1)
        expected = frames, sum_segments(frames, SEGMENTS)
        for scheme in SCHEMES:
            cells = []
            for n_samples in (16, 48, 192):
                covered: list[list[Tensor]] = [[], []]
                for seed in range(repetitions):
                    evaluator = Evaluator(forward, waveform, grid=GRID, segments=[SEGMENTS], chunk_size=n_samples)
                    settings = method.settings(n_samples=n_samples, seed=seed, scheme=scheme)
                    result = method.explain(evaluator, Targets.from_classes(1, 0), as_baseline(baselines), settings)
                    found = result.frames[0, 0]
                    reach = interval_reach(int(result.n_replicates) - 1)
                    sums = (found, result.frames_standard_error), (
                        sum_segments(found, SEGMENTS), result.segments_standard_error
                    )  # fmt: skip
                    for own, (values, errors), true in zip(covered, sums, expected, strict=True):
                        own.append(((values - true).abs() <= reach * errors[0, 0]).float().mean())
                cells += [f"{float(torch.stack(own).mean()):.1%}" for own in covered]
            rows.append([name, scheme, *cells])
    print_table(
        f"coverage of the 95 % intervals, {repetitions} repetitions",
        [
            "model",
            "scheme",
            "frames, 16 points",
            "segments",
            "frames, 48 points",
            "segments",
            "frames, 192 points",
            "segments",
        ],
        rows,
    )


if __name__ == "__main__":
    main()
