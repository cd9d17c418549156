"""Coverage of the 95 % intervals of frame attributions on closed-form models.

    python benchmarks/interval_coverage.py

The sum of squares with Gaussian references has the attribution x^2 - E[b^2]; a sigmoid of the mean with silence as
reference shares its rise equally among equal samples.
"""

import argparse

import torch
from harness import print_table
from torch import Tensor

from speechshap.attribution import gradient_shap
from speechshap.attribution.sampling import SCHEMES
from speechshap.frames import FrameGrid

GRID = FrameGrid(hop=40, receptive_field=40)


def squares(x: Tensor, lengths: Tensor) -> Tensor:
    """Sum of squares."""
    return torch.stack([x.square().sum(1), x.sum(1)], dim=1)


def step(x: Tensor, lengths: Tensor) -> Tensor:
    """A steep sigmoid of the mean."""
    return torch.stack([torch.sigmoid(20 * (x.mean(1) - 0.7)), x[:, 0]], dim=1)


def main() -> None:
    """Print the share of intervals that cover the truth."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=500)
    repetitions = parser.parse_args().repetitions
    noisy = torch.randn(1, 400, generator=torch.Generator().manual_seed(0))
    ramp = torch.linspace(0.5, 1.5, 400)[None]
    rise = torch.sigmoid(torch.tensor(6.0)) - torch.sigmoid(torch.tensor(-14.0))
    models = {
        "squares, noise": (squares, noisy, "noise", noisy.square() - noisy.mean().square() - noisy.var(correction=0)),
        "step, silence": (step, ramp, "silence", ramp / 400 * rise),
    }
    rows = []
    for name, (forward, waveform, baselines, truth) in models.items():
        frames = truth.view(10, 40).sum(1)
        for scheme in SCHEMES:
            cells = []
            for n_samples in (16, 48, 192):
                covered = []
                for seed in range(repetitions):
                    result = gradient_shap(
                        forward, waveform, baselines, torch.tensor([[0]]), n_samples=n_samples, chunk_size=n_samples,
                        seed=seed, scheme=scheme, grid=GRID,
                    )  # fmt: skip
                    lower, upper = result.frames_interval()
                    covered.append(((lower[0, 0] <= frames) & (frames <= upper[0, 0])).float().mean())
                cells.append(f"{float(torch.stack(covered).mean()):.1%}")
            rows.append([name, scheme, *cells])
    print_table(
        f"coverage of the 95 % interval of a frame, {repetitions} repetitions",
        ["model", "scheme", "16 points", "48 points", "192 points"],
        rows,
    )


if __name__ == "__main__":
    main()
