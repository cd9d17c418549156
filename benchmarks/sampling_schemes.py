"""Error against cost of the sampling schemes and of Captum, on a trained model.

    python benchmarks/sampling_schemes.py --ckpt_path runs/demo/version_0/checkpoints/best.ckpt

Every scheme explains each clip several times with the same number of points. All keep the expectation (the tests show
it), so that their mean squared error is the variance of the frame attributions between these runs. That times the cost
is what a scheme is worth: both sides of a ratio then have the same error. A gradient costs 1, a forward pass 0.5;
everything that a scheme evaluates is counted.
"""

import argparse
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from harness import Clip, load_clips, machine, print_table
from torch import Tensor
from tqdm import tqdm

from speechshap.attribution import PathDensity
from speechshap.attribution.sampling import SCHEMES

CALIBRATED = "adaptive, density of the other clips"


def variance_times_cost(clip: Clip, run: Callable[[int], Tensor], repetitions: int) -> tuple[float, Tensor]:
    """Variance of one way to explain a clip, summed over the frames, times its cost; and the mean of the runs."""
    clip.forward.reset()
    runs = torch.stack([run(seed).double() for seed in range(repetitions)])
    return float(runs.var(0).sum()) * clip.forward.cost / repetitions, runs.mean(0)


def main() -> None:
    """Print a table for each kind of reference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt_path", type=Path, required=True)
    parser.add_argument("--root", help="folder of the corpus; the planted-evidence corpus unless given")
    parser.add_argument("--clips", type=int, default=6)
    parser.add_argument("--n_samples", type=int, default=48)
    parser.add_argument("--repetitions", type=int, default=10)
    parser.add_argument("--calibration", type=int, default=64, help="points of a clip for the density of the others")
    parser.add_argument("--baselines", nargs="+", default=["noise", "dataset"], choices=["noise", "dataset"])
    arguments = parser.parse_args()
    for kind in arguments.baselines:
        clips = load_clips(arguments.ckpt_path, arguments.root, arguments.clips, kind)
        n = arguments.n_samples
        calibrations = [clip.explain(10_000, n_samples=arguments.calibration) for clip in tqdm(clips, desc="density")]
        moments = [result.path_second_moments[0] for result in calibrations]
        worth: dict[str, list[float]] = {}
        converged: dict[str, list[float]] = {}
        for index, clip in enumerate(tqdm(clips, desc="schemes")):
            others = [own / own.mean() for number, own in enumerate(moments) if number != index]
            density = PathDensity.learnt(torch.stack(others).mean(0))
            runs: dict[str, Callable[[int], Tensor]] = {"Captum": partial(clip.captum, n)}
            for scheme in SCHEMES:
                runs[scheme] = partial(clip.frames, n_samples=n, scheme=scheme)
            runs[CALIBRATED] = partial(clip.frames, n_samples=n, density=density)
            results = {name: variance_times_cost(clip, run, arguments.repetitions) for name, run in runs.items()}
            # What all runs agree on, less what their mean still varies by.
            everything = torch.stack([mean for _, mean in results.values()])
            size = float(everything.mean(0).square().sum() - everything.var(0).sum() / len(everything))
            for name, (value, _) in results.items():
                worth.setdefault(name, []).append(value)
                converged.setdefault(name, []).append(value / (0.01 * size) if size > 0 else math.inf)
        rows = []
        for name, values in worth.items():
            ratios = [captum / ours for captum, ours in zip(worth["Captum"], values, strict=True)]
            mean = math.exp(float(np.mean(np.log(ratios))))
            costs = " ".join(f"{cost:.0f}" for cost in converged[name])
            rows.append([name, f"{mean:.2f}", " ".join(f"{ratio:.2f}" for ratio in ratios), costs])
        print_table(
            f"{arguments.ckpt_path}, {kind} references, {n} points, {arguments.repetitions} runs, {machine()}",
            [
                "scheme", "Captum's cost / its cost at equal error", "each clip",
                "cost of a relative error of 0.1, each clip",
            ],
            rows,
        )  # fmt: skip


if __name__ == "__main__":
    main()
