"""Error against cost of the sampling schemes and of Captum, on a trained model.

    python benchmarks/sampling_schemes.py --ckpt_path runs/demo/version_0/checkpoints/best.ckpt

For each clip a long run with other draws is taken as the truth, and every scheme explains the clip several times with
the same budget. The squared error of the frame attributions times the cost is what a scheme is worth: both sides of a
ratio then have the same error. A gradient costs 1, a forward pass 0.5; everything that a scheme evaluates is counted.
"""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from captum.attr import GradientShap
from harness import CountingForward, print_table
from torch import Tensor
from tqdm import tqdm

from speechshap import AudioDataModule, EmotionModule
from speechshap.attribution import Attribution, PathDensity, gradient_shap
from speechshap.attribution.baselines import NAMED_BASELINES, Baseline, from_references
from speechshap.attribution.sampling import SCHEMES
from speechshap.cli import read_checkpoint
from speechshap.data.audio import load_audio


class Clip:
    """A clip, its truth, and what its explanations cost."""

    def __init__(self, module: EmotionModule, waveform: Tensor, baseline: Baseline, name: str) -> None:
        self.forward = CountingForward(module)
        self.waveform = waveform[None]
        self.baseline = baseline
        self.name = name
        self.grid = module.backbone.grid

    def explain(self, seed: int, **options: object) -> Attribution:
        """Explain the predicted class with the draws of a seed."""
        return gradient_shap(
            self.forward, self.waveform, self.baseline, ids=[f"{self.name}-{seed}"], seed=seed, grid=self.grid,
            **options,
        )  # fmt: skip

    def captum(self, n_samples: int, seed: int) -> Tensor:
        """Frame attributions of Captum, with references drawn as ours are."""
        generator = torch.Generator().manual_seed(seed)
        references = torch.stack([self.baseline(self.waveform[0], generator) for _ in range(n_samples)])
        np.random.seed(seed)  # noqa: NPY002 - Captum draws from the global generator
        length = torch.tensor([self.waveform.shape[1]])
        target = int(self.forward(self.waveform, length).argmax())
        self.forward.reset()
        values = GradientShap(lambda rows: self.forward(rows, length.expand(len(rows)))).attribute(
            self.waveform, references, n_samples=n_samples, stdevs=0.0, target=target
        )
        owner = self.grid.owner(values.shape[1])
        return torch.zeros(int(owner.max()) + 1, dtype=torch.float64).index_add_(0, owner, values[0].double())

    def set_truth(self, n_samples: int) -> None:
        """A long run; its own squared error is taken off the errors against it."""
        result = self.explain(10_000, n_samples=n_samples)
        self.truth = result.frames[0, 0].double()
        self.truth_error = float(result.frames_standard_error.square().sum())
        self.moments = result.density_second_moments[0]

    def squared_error(self, frames: Tensor) -> float:
        """Of frames against the truth."""
        return float((frames.double() - self.truth).square().sum()) - self.truth_error


def efficiency(clip: Clip, run: Callable[[int], Tensor], repetitions: int) -> float:
    """Mean squared error times cost of one way to explain a clip."""
    errors, costs = [], []
    for seed in range(repetitions):
        clip.forward.reset()
        errors.append(clip.squared_error(run(seed)))
        costs.append(clip.forward.cost)
    return float(np.mean(errors)) * float(np.mean(costs))


def main() -> None:
    """Print a table for each kind of reference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt_path", type=Path, required=True)
    parser.add_argument("--root", help="folder of the corpus; the planted-evidence corpus unless given")
    parser.add_argument("--clips", type=int, default=6)
    parser.add_argument("--n_samples", type=int, default=48)
    parser.add_argument("--repetitions", type=int, default=10)
    parser.add_argument("--truth", type=int, default=1500, help="samples of the run that is taken as the truth")
    parser.add_argument("--baselines", nargs="+", default=["noise", "dataset"], choices=["noise", "dataset"])
    arguments = parser.parse_args()
    module = EmotionModule.load_from_checkpoint(arguments.ckpt_path, map_location="cpu", weights_only=True)
    module.eval().requires_grad_(False)
    checkpoint = read_checkpoint(arguments.ckpt_path)
    options = {**checkpoint["datamodule_hyper_parameters"], "root": arguments.root, "max_samples": arguments.clips}
    data = AudioDataModule(**options)
    data.load_state_dict(checkpoint[AudioDataModule.__qualname__])
    data.setup("predict")
    for kind in arguments.baselines:
        baseline = NAMED_BASELINES["noise"] if kind == "noise" else from_references(data.reference_set(64))
        clips = [
            Clip(module, torch.from_numpy(load_audio(utterance.path)), baseline, utterance.id)
            for utterance in data.predict_utterances
        ]
        for clip in tqdm(clips, desc="truth"):
            clip.set_truth(arguments.truth)
        n = arguments.n_samples
        worth: dict[str, list[float]] = {}
        for clip in tqdm(clips, desc="schemes"):
            others = torch.stack([other.moments / other.moments.mean() for other in clips if other is not clip])
            density = PathDensity.from_second_moments(others.mean(0))
            runs: dict[str, Callable[[int], Tensor]] = {"Captum": lambda seed, clip=clip: clip.captum(n, seed)}
            for scheme in SCHEMES:
                runs[scheme] = lambda seed, clip=clip, scheme=scheme: clip.explain(
                    seed, n_samples=n, scheme=scheme
                ).frames[0, 0]
            runs["adaptive, density of the other clips"] = lambda seed, clip=clip, density=density: clip.explain(
                seed, n_samples=n, density=density
            ).frames[0, 0]
            for name, run in runs.items():
                worth.setdefault(name, []).append(efficiency(clip, run, arguments.repetitions))
        rows = []
        for name, values in worth.items():
            ratios = [ours and captum / ours for captum, ours in zip(worth["Captum"], values, strict=True)]
            mean = math.exp(float(np.mean(np.log(np.maximum(ratios, 1e-3)))))
            rows.append([name, f"{mean:.2f}", " ".join(f"{ratio:.2f}" for ratio in ratios)])
        print_table(
            f"{arguments.ckpt_path}, {kind} references, {n} samples: cost of Captum for the same squared error, "
            "relative to the scheme's (more is better)",
            ["scheme", "geometric mean", "each clip"],
            rows,
        )
        converged = []
        for clip in clips:
            size = float(clip.truth.norm())
            error = math.sqrt(max(clip.truth_error, 0)) / size
            converged.append(arguments.truth * (error / 0.1) ** 2)
        print(
            f"samples to a relative error of 0.1 (square-root law from {arguments.truth}): "
            + " ".join(f"{samples:.0f}" for samples in converged)
        )


if __name__ == "__main__":
    main()
