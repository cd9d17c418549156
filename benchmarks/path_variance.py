"""Variance of a single draw under each density of alpha, on a trained model.

    python benchmarks/path_variance.py --ckpt_path runs/demo/version_0/checkpoints/best.ckpt

Where the gradients on the path grow a thousandfold within a thousandth of it, the squared error of a few dozen runs
says nothing: it hangs on whether one of them met the spike. So each bin of the path gets the same number of points
here; the second moment of the frame attributions in each bin then tells the variance under any density. Stratification
and shared references, which come on top, are left out.
"""

import argparse
import math
from pathlib import Path

import torch
from harness import Clip, load_clips, machine, print_table
from torch import Tensor
from tqdm import tqdm

from speechshap.attribution import PathDensity, gradient_shap
from speechshap.attribution.sampling import EDGES, NUM_BINS


def second_moments(clip: Clip, per_bin: int, seed: int) -> Tensor:
    """Second moment of the frame attributions in each bin, ``(bins,)``, a fresh reference for each point."""
    generator = torch.Generator().manual_seed(seed)
    edges = torch.tensor(EDGES, dtype=torch.float64)
    position = torch.rand(per_bin, NUM_BINS, generator=generator, dtype=torch.float64)
    alphas = (edges[:-1] + position * edges.diff()).flatten()
    references = torch.stack([clip.baseline(clip.waveform[0], generator) for _ in alphas])
    result = gradient_shap(
        clip.forward, clip.waveform, references, alphas=alphas, keep_samples=True, grid=clip.grid, chunk_size=8
    )
    assert result.sample_frames is not None  # noqa: S101
    return result.sample_frames[0][:, 0].double().square().sum(1).view(per_bin, NUM_BINS).mean(0)


def variance(density: PathDensity, moments: Tensor) -> float:
    """Second moment of a weighted draw."""
    widths = torch.tensor(EDGES, dtype=torch.float64).diff()
    masses = torch.tensor(density.heights, dtype=torch.float64) * widths
    return float((moments * widths.square() / (masses / masses.sum())).sum())


def main() -> None:
    """Print a table for each kind of reference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt_path", type=Path, required=True)
    parser.add_argument("--root", help="folder of the corpus; the planted-evidence corpus unless given")
    parser.add_argument("--clips", type=int, default=6)
    parser.add_argument("--points", type=int, default=12, help="in each bin of the path")
    parser.add_argument("--baselines", nargs="+", default=["noise", "dataset"], choices=["noise", "dataset"])
    arguments = parser.parse_args()
    base = PathDensity.base()
    widths = torch.tensor(EDGES, dtype=torch.float64).diff()
    for kind in arguments.baselines:
        clips = load_clips(arguments.ckpt_path, arguments.root, arguments.clips, kind)
        truth, learnt = [], {}
        for clip in tqdm(clips, desc=kind):
            truth.append(second_moments(clip, arguments.points, seed=1))
            for n_samples in (16, 48, 192):
                run = clip.explain(7, n_samples=n_samples)
                density = PathDensity.learnt(run.path_second_moments[0], n_samples)
                learnt.setdefault(f"adaptive, learnt from {n_samples}", []).append(density)
        squared = torch.tensor(base.heights, dtype=torch.float64).square()
        ratios = [moments / squared for moments in truth]
        pooled = [
            PathDensity.learnt(torch.stack([r / r.mean() for n, r in enumerate(ratios) if n != own]).mean(0))
            for own in range(len(clips))
        ]
        densities = {"base (the first round)": [base] * len(clips), **learnt, "density of the other clips": pooled}
        rows = []
        for name, own in densities.items():
            gains = [
                variance(PathDensity.uniform(), moments) / variance(density, moments)
                for density, moments in zip(own, truth, strict=True)
            ]
            rows.append([name, *_summary(gains)])
        best = [
            variance(PathDensity.uniform(), moments) / float((moments.sqrt() * widths).sum().square())
            for moments in truth
        ]
        rows.append(["the best there is", *_summary(best)])
        print_table(
            f"{arguments.ckpt_path}, {kind} references, {machine()}",
            ["density of alpha", "uniform's variance / its variance", "each clip"],
            rows,
        )


def _summary(gains: list[float]) -> list[str]:
    mean = math.exp(sum(map(math.log, gains)) / len(gains))
    return [f"{mean:.2f}", " ".join(f"{gain:.2f}" for gain in gains)]


if __name__ == "__main__":
    main()
