"""What a converged explanation costs, by space and reference, on a trained model.

    python benchmarks/converged.py --ckpt_path runs/demo/version_0/checkpoints/best.ckpt

Converged means a relative error of 0.1. The first table asks for an expectation over references: each clip is
explained by some draws; errors fall with the square root of the cost, which tells the cost of 0.1, of frames and of
stretches of 100 ms. The cost of Captum's GradientShap comes from how its runs differ. The second table asks for one
fixed reference: the nodes and the seconds after which an explanation is within 0.1 of that with many more nodes, and
what the explanation itself says of its error; beside it Captum's LayerIntegratedGradients with as many steps.
Everything runs in one process, on the same clips.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from captum.attr import LayerIntegratedGradients
from harness import Clip, load_clips, machine, print_table
from torch import Tensor
from tqdm import tqdm

from speechshap.attribution import Attribution, Evaluator, Targets, as_baseline, find_method
from speechshap.attribution.baselines import MeanReference
from speechshap.attribution.segments import equal_stretches, sum_segments

CONVERGED = 0.1
NODES = (3, 7, 15, 31, 63)
_TRUTH = 255  # nodes


class Cost(NamedTuple):
    """Of a converged explanation."""

    gradients: float
    seconds: float


def relative_errors(result: Attribution, segments: list[tuple[int, int]]) -> tuple[float, float]:
    """Of the frames, and of the segments."""
    assert result.relative_error is not None  # noqa: S101
    assert result.segments_standard_error is not None  # noqa: S101
    sums = sum_segments(result.frames[0, 0], segments)
    return float(result.relative_error[0, 0]), float(result.segments_standard_error[0, 0].norm() / sums.norm())


def relative_spread(runs: Tensor) -> float:
    """Deviation of runs ``(runs, …)`` relative to the size of what they estimate: their mean's, less its noise."""
    size = runs.mean(0).square().sum() - runs.var(0).sum() / len(runs)
    return float((runs.var(0).sum() / size.clamp_min(1e-12)).sqrt())


def timed(run: Callable[[], Attribution]) -> tuple[Attribution, float]:
    """What it gives, and the seconds that it takes."""
    started = time.perf_counter()
    return run(), time.perf_counter() - started


def evaluator_of(clip: Clip) -> tuple[Evaluator, Targets, list[tuple[int, int]]]:
    """Evaluator of a clip, its predicted class, and stretches of 100 ms."""
    module = clip.forward.forward
    segments = equal_stretches(clip.grid.num_frames(clip.waveform.shape[1]), 0.1 / clip.grid.hop_seconds)
    evaluator = Evaluator(
        module, clip.waveform, ids=[clip.name], grid=clip.grid, spaces=module.spaces, segments=[segments]
    )
    return evaluator, Targets.from_classes(1, evaluator.logits.argmax(1)), segments


def drawn(clips: list[Clip], kind: str, n_samples: int, runs: int, spaces: list[str]) -> list[list[str]]:
    """Rows of the first table for references of one kind."""
    method = find_method("gradient_shap")
    costs: dict[str, list[tuple[float, float, Cost]]] = {}
    for clip in tqdm(clips, desc=kind):
        evaluator, targets, segments = evaluator_of(clip)
        for space in ["waveform", *spaces]:
            settings = method.settings(n_samples=n_samples, space=space)
            result, seconds = timed(lambda: method.explain(evaluator, targets, clip.baseline, settings))  # noqa: B023
            frames, stretches = relative_errors(result, segments)
            factor = (frames / CONVERGED) ** 2
            costs.setdefault(space, []).append((frames, stretches, Cost(n_samples * factor, seconds * factor)))
        captum, seconds = [], 0.0
        for seed in range(runs):
            started = time.perf_counter()
            captum.append(clip.captum(n_samples, seed))
            seconds += (time.perf_counter() - started) / runs
        stacked = torch.stack(captum)
        frames, stretches = relative_spread(stacked), relative_spread(sum_segments(stacked, segments))
        factor = (frames / CONVERGED) ** 2
        costs.setdefault("waveform, Captum's GradientShap", []).append(
            (frames, stretches, Cost(n_samples * factor, seconds * factor))
        )
    return [
        [
            kind, space,
            *(f"{median([cost[column] for cost in own]):.2f}" for column in (0, 1)),
            f"{median([cost.gradients for *_, cost in own]):.0f}",
            f"{median([cost.seconds for *_, cost in own]):.1f}",
        ]
        for space, own in costs.items()
    ]  # fmt: skip


class ByNodes:
    """Errors and seconds of explanations of some clips from one reference, by number of nodes."""

    def __init__(self, nodes: tuple[int, ...]) -> None:
        self.errors: dict[int, list[float]] = {own: [] for own in nodes}
        self.told: dict[int, list[float]] = {own: [] for own in nodes}
        self.seconds: dict[int, list[float]] = {own: [] for own in nodes}

    def row(self) -> list[str]:
        """Nodes after which each clip is converged, the seconds of that, and the errors; medians of the clips."""
        by_clip = zip(*self.errors.values(), strict=True)
        enough = [
            next((n for n, error in zip(self.errors, own, strict=True) if error <= CONVERGED), 0) for own in by_clip
        ]
        largest = max(self.errors)
        seconds = [self.seconds[own or largest][clip] for clip, own in enumerate(enough)]
        is_open = sum(not own for own in enough) * 2 >= len(enough)  # then the median is of clips that need more
        told = {own: f" ({median(values):.2f})" if values else "" for own, values in self.told.items()}
        return [
            " ".join(str(own) if own else f">{largest}" for own in enough),
            f"{'>' * is_open}{median(seconds):.2f}",
            *(f"{median(self.errors[own]):.3f}{told[own]}" for own in NODES[1:]),
        ]


def rules_up_to(most: int) -> tuple[int, ...]:
    """Nodes of the nested rules."""
    return tuple(2**power - 1 for power in range(2, most.bit_length() + 1))


def fixed(clips: list[Clip], references: dict[str, object], spaces: list[str], most: int) -> list[list[str]]:
    """Rows of the second table; rules between waveforms have so many nodes at most."""
    method = find_method("integrated_gradients")
    rows = []
    for space in ["waveform", *spaces]:
        nodes, many = (rules_up_to(most), 2 * most + 1) if space == "waveform" else (NODES, _TRUTH)
        for name, baseline in references.items():
            if space == "waveform" and isinstance(baseline, MeanReference):
                continue
            found = ByNodes(nodes)
            for clip in tqdm(clips, desc=f"{space}, {name}"):
                evaluator, targets, _ = evaluator_of(clip)

                def explain(count: int) -> Attribution:
                    settings = method.settings(n_points=count, space=space)  # noqa: B023
                    return method.explain(evaluator, targets, baseline, settings)  # noqa: B023

                truth = explain(many).frames
                for count in nodes:
                    result, taken = timed(lambda: explain(count))  # noqa: B023
                    found.errors[count].append(float((result.frames - truth).norm() / truth.norm()))
                    found.told[count].append(float(result.relative_error))
                    found.seconds[count].append(taken)
            rows.append([space, name, *found.row()])
    return rows


def captum_layer(clips: list[Clip], space: str) -> list[str]:
    """The same for Captum's LayerIntegratedGradients from one noise reference, which is of a waveform."""
    method = find_method("integrated_gradients")
    found = ByNodes(NODES)
    for clip in tqdm(clips, desc="Captum"):
        evaluator, targets, _ = evaluator_of(clip)
        module = clip.forward.forward
        noise, place = as_baseline("noise"), module.spaces[space]
        settings = method.settings(n_points=_TRUTH, space=space)
        truth = method.explain(evaluator, targets, noise, settings).frames[0, 0]
        reference = evaluator.reference(noise, 0, settings.seed)[None]
        length = torch.tensor([clip.waveform.shape[1]])
        layer = LayerIntegratedGradients(lambda rows: module(rows, length.expand(len(rows))), place.module)  # noqa: B023
        for count in NODES:
            started = time.perf_counter()
            values: Tensor = layer.attribute(
                clip.waveform, reference, target=int(targets.classes), n_steps=count, internal_batch_size=4
            )
            found.seconds[count].append(time.perf_counter() - started)
            frames = values.movedim(place.time_dim, 1)[0].sum(1)
            found.errors[count].append(float((frames - truth).norm() / truth.norm()))
    return [f"{space}, Captum's LayerIntegratedGradients", "noise, one", *found.row()]


def main() -> None:
    """Print the two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt_path", type=Path, required=True)
    parser.add_argument("--root", help="folder of the corpus; the planted-evidence corpus unless given")
    parser.add_argument("--clips", type=int, default=6)
    parser.add_argument("--n_samples", type=int, default=64)
    parser.add_argument("--runs", type=int, default=6, help="of Captum, from whose differences its error comes")
    parser.add_argument("--spaces", nargs="+", default=["stem"])
    parser.add_argument("--most", type=int, default=511, help="nodes of the largest rule between waveforms")
    arguments = parser.parse_args()
    title = f"{arguments.ckpt_path}, medians of {arguments.clips} clips, {machine()}"
    rows = []
    for kind in ("noise", "dataset"):
        clips = load_clips(arguments.ckpt_path, arguments.root, arguments.clips, kind)
        rows += drawn(clips, kind, arguments.n_samples, arguments.runs, arguments.spaces)
    print_table(
        f"{title}; expectation over references, {arguments.n_samples} draws",
        [
            "references", "paths between", "relative error of frames", "of 100 ms", "gradients for 0.1",
            "seconds for 0.1",
        ],
        rows,
    )  # fmt: skip
    references = {
        "mean of noise": MeanReference(as_baseline("noise")),
        "own mean": MeanReference(None),
        "silence": as_baseline("silence"),
        "noise, one": as_baseline("noise"),
    }
    rows = fixed(clips, references, arguments.spaces, arguments.most)
    rows += [captum_layer(clips, space) for space in arguments.spaces]
    print_table(
        f"{title}; one reference: error against {_TRUTH} nodes, {2 * arguments.most + 1} between waveforms "
        "(and what is reported)",
        ["paths between", "reference", "nodes for 0.1, each clip", "seconds", "7 nodes", "15", "31", "63"],
        rows,
    )  # fmt: skip


if __name__ == "__main__":
    main()
