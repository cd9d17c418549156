"""Error at equal cost of the sampling schemes and of Captum.

    python benchmarks/sampling_schemes.py             # small models with random weights: a few minutes
    python benchmarks/sampling_schemes.py --ckpt_path runs/demo/version_0/checkpoints/best.ckpt

Every scheme explains each clip several times with the same number of points. The table has the root-mean-square error
of ``stratified`` relative to the scheme's: 2 is half the error. The error is that of the frame attributions against
what many points in every bin of the path come to. It is scaled to equal cost by the square root: a gradient costs 1, a
forward pass 0.5, and everything that a scheme evaluates is counted.

Where gradients grow a thousandfold within a thousandth of the path (a small WavLM on real speech) the error of a few
dozen runs hangs on whether one of them met the spike; ``path_variance.py`` is for such models.
"""

import argparse
import math
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import torch
from harness import Clip, load_clips, machine, print_table
from small_models import small_clips
from torch import Tensor
from tqdm import tqdm

from speechshap.attribution import PathDensity, gradient_shap
from speechshap.attribution.sampling import EDGES, NUM_BINS, SCHEMES

CALIBRATED = "adaptive, density of the other clips"
COLUMNS = ["Captum", *SCHEMES, CALIBRATED]
_EXACT = 1e-5  # relative errors below are those of rounding


def truth(clip: Clip, per_bin: int) -> Tensor:
    """Frame attributions from as many points in each bin of the path, a fresh reference for each."""
    generator = torch.Generator().manual_seed(1)
    edges = torch.tensor(EDGES, dtype=torch.float64)
    alphas = (edges[:-1] + torch.rand(per_bin, NUM_BINS, generator=generator).double() * edges.diff()).flatten()
    references = torch.stack([clip.baseline(clip.waveform[0], generator) for _ in alphas])
    result = gradient_shap(
        clip.forward, clip.waveform, references, alphas=alphas, keep_samples=True, grid=clip.grid, chunk_size=16
    )
    assert result.sample_frames is not None  # noqa: S101
    frames = result.sample_frames[0][:, 0].double().view(per_bin, NUM_BINS, -1).mean(0)
    return (edges.diff()[:, None] * frames).sum(0)


def error(clip: Clip, expected: Tensor, run: Callable[[int], Tensor], repetitions: int) -> float:
    """Relative error of one evaluation's worth, as if the error fell with the square root of the cost."""
    clip.forward.reset()
    squares = [float((run(seed).double() - expected).square().sum()) for seed in range(repetitions)]
    relative = math.sqrt(sum(squares) / repetitions / float(expected.square().sum()))
    return relative * math.sqrt(clip.forward.cost / repetitions)


def errors_of(clips: list[Clip], arguments: argparse.Namespace) -> list[dict[str, float]]:
    """Errors of every scheme for each clip."""
    n = arguments.n_samples
    moments = [clip.explain(10_000, n_samples=arguments.calibration).path_second_moments for clip in clips]
    found = []
    for index, clip in enumerate(clips):
        others = [own[0] / own[0].mean() for number, own in enumerate(moments) if number != index and own is not None]
        density = PathDensity.learnt(torch.stack(others).mean(0))
        runs: dict[str, Callable[[int], Tensor]] = {"Captum": partial(clip.captum, n)}
        runs |= {scheme: partial(clip.frames, n_samples=n, scheme=scheme) for scheme in SCHEMES}
        runs[CALIBRATED] = partial(clip.frames, n_samples=n, density=density)
        expected = truth(clip, arguments.truth)
        found.append({name: error(clip, expected, run, arguments.repetitions) for name, run in runs.items()})
    return found


def compare(errors: list[dict[str, float]], scheme: str) -> str:
    """Geometric mean over the clips of the error of ``stratified`` relative to the scheme's."""
    if all(own[scheme] < _EXACT for own in errors):
        return "exact"
    ratios = [max(own["stratified"], 1e-12) / own[scheme] for own in errors]
    return f"{math.exp(sum(map(math.log, ratios)) / len(ratios)):.2f}"


def main() -> None:
    """Print a line for each model and kind of reference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt_path", type=Path, help="a trained model; small ones with random weights unless given")
    parser.add_argument("--root", help="folder of the corpus; the planted-evidence corpus unless given")
    parser.add_argument("--clips", type=int, default=2, help="two at least")
    parser.add_argument("--n_samples", type=int, default=48)
    parser.add_argument("--repetitions", type=int, default=30)
    parser.add_argument("--calibration", type=int, default=64, help="points of a clip for the density of the others")
    parser.add_argument(
        "--truth", type=int, default=64, help="points in each bin of the path that the truth comes from"
    )
    parser.add_argument("--baselines", nargs="+", default=["noise", "dataset"], choices=["noise", "dataset"])
    arguments = parser.parse_args()
    sets: Iterable[tuple[str, list[Clip]]] = small_clips(arguments.clips)
    if path := arguments.ckpt_path:
        sets = ((f"{kind}", load_clips(path, arguments.root, arguments.clips, kind)) for kind in arguments.baselines)
    rows = []
    for name, clips in tqdm(sets):
        errors = errors_of(clips, arguments)
        size = sum(own["stratified"] for own in errors) / len(errors) / math.sqrt(arguments.n_samples)
        rows.append([name, *(compare(errors, column) for column in COLUMNS), f"{size:.3f}"])
        tqdm.write(" | ".join(rows[-1]))
    print_table(
        f"{path or 'small models'}, {arguments.n_samples} points, {arguments.repetitions} runs of {arguments.clips} "
        f"clips, {machine()}",
        ["model and references", *COLUMNS, "relative error of stratified"],
        rows,
    )


if __name__ == "__main__":
    main()
