"""The tables of ``gpu.py``: a gradient, fifty draws and a converged explanation, on a GPU or, to try them, on a CPU.

Everything is random weights of a configuration, and noise: times do not depend on what a model has learnt.
"""

import copy
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from importlib.util import find_spec
from typing import Any

import torch
from passes import PRECISIONS, SMALL, TransformersClassifier, arithmetic, difference, gradient_pass, operations
from passes import seconds_of as seconds_of_call
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from speechshap.attribution import Evaluator, Targets, as_baseline, find_method, gradient_shap
from speechshap.models import EmotionClassifier, wrap_backbone

TARGETS = {"fp32": 1.5, "tf32": 3.0, "bf16": 6.0}
"""How much faster than transformers in single precision a gradient is to be."""

PEAKS = {"H100 80GB HBM3": 989e12, "H200": 989e12}
"""Dense bf16 operations a second, by what the name of a card has in it (NVIDIA's data sheets of the SXM modules)."""

CONVERGED: list[tuple[str, dict[str, Any]]] = [
    ("gradient_shap", {}),
    # Paths from the convolutional stem on.
    ("gradient_shap", {"space": "stem"}),
    ("integrated_gradients", {"space": "stem"}),
]
"""Method and settings of the explanations that are timed as a whole; the size tells GradientSHAP's draws."""

Table = list[list[str]]
"""Rows of cells, the first one being the header."""


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        config: Fields of the WavLM, beside those of the base model.
        seconds: Length of a clip.
        batches: Clips of a gradient pass.
        draws: Of the comparison with Captum.
        converged: Draws of a converged explanation.
        repetitions: Of each time; the median counts.
    """

    config: dict[str, Any]
    seconds: float
    batches: tuple[int, ...]
    draws: int
    converged: int
    repetitions: int


FULL = Size({}, seconds=5.0, batches=(1, 8, 32), draws=50, converged=2000, repetitions=11)
TINY = Size({**SMALL, "num_hidden_layers": 2}, seconds=0.5, batches=(2,), draws=4, converged=8, repetitions=1)


class Bench:
    """Both sides with the same weights on a device.

    Args:
        device: ``cpu`` or ``cuda``.
        size: How much is measured.
    """

    def __init__(self, device: str, size: Size) -> None:
        torch.manual_seed(0)
        self.device = device
        self.size = size
        config = AutoConfig.for_model("wavlm", **size.config)
        base = AutoModel.from_config(config)
        head = nn.Linear(config.hidden_size, 8)
        self.theirs = TransformersClassifier(base, head).eval().to(device)  # to be trained, as it is loaded
        backbone = wrap_backbone(copy.deepcopy(base), normalize=False)
        self.ours = EmotionClassifier(backbone, copy.deepcopy(head), backbone.num_layers).eval().to(device)
        self.ours.requires_grad_(False)
        with torch.device("meta"):
            self._plan = AutoModel.from_config(config).eval()

    def noise(self, count: int) -> Tensor:
        """Clips ``(count, time)``."""
        generator = torch.Generator().manual_seed(count)
        return 0.1 * torch.randn(count, round(16000 * self.size.seconds), generator=generator).to(self.device)

    def seconds_of(self, works: dict[str, Callable[[], object]], repetitions: int) -> dict[str, float]:
        """Median times of works that take turns, after each has run once."""
        for work in works.values():
            work()
        times: dict[str, list[float]] = {name: [] for name in works}
        for _ in range(repetitions):
            for name, work in works.items():
                times[name].append(seconds_of_call(work, self.device))
        return {name: statistics.median(times[name]) for name in works}

    def within(self, precision: str, work: Callable[[], Any]) -> Callable[[], Any]:
        """The work in an arithmetic."""

        def run() -> Any:
            with arithmetic(precision, self.device):
                return work()

        return run

    def gradients(self) -> Table:
        """A forward pass and the gradient of its input, each arithmetic against transformers."""
        rows = [
            ["clips", "arithmetic", "transformers", "speechshap", "faster", "than transformers fp32", "target",
             "TFLOP/s", "of the card's bf16 peak", "difference"],
        ]  # fmt: skip
        peak = peak_of(torch.cuda.get_device_name()) if self.device == "cuda" else None
        for batch in self.size.batches:
            clips = self.noise(batch)
            work = operations(self._plan, torch.zeros(clips.shape, device="meta"))
            theirs, ours = gradient_pass(self.theirs.base), gradient_pass(self.ours.backbone.model)
            works = {
                (side, precision): self.within(precision, lambda run=run, clips=clips: run(clips))
                for precision in PRECISIONS
                for side, run in (("theirs", theirs), ("ours", ours))
            }
            reference = works["theirs", "fp32"]()
            seconds = self.seconds_of(works, self.size.repetitions)
            for precision in PRECISIONS:
                their_time, our_time = seconds["theirs", precision], seconds["ours", precision]
                share = "unknown" if peak is None else f"{work / our_time / peak:.1%}"
                rows.append(
                    [str(batch), precision, f"{1000 * their_time / batch:.2f} ms", f"{1000 * our_time / batch:.2f} ms",
                     f"{their_time / our_time:.2f}x", f"{seconds['theirs', 'fp32'] / our_time:.2f}x",
                     f"{TARGETS[precision]:g}x", f"{work / our_time / 1e12:.3g}", share,
                     difference(works["ours", precision](), reference)]
                )  # fmt: skip
        return rows

    def draws(self) -> Table:
        """An attribution with some draws, against Captum on transformers' model."""
        clip, references = self.noise(1), self.noise(self.size.draws)
        target = torch.tensor([[0]], device=self.device)

        def own() -> Tensor:
            result = gradient_shap(self.ours, clip, references, target, n_samples=self.size.draws)
            return result.frames

        works = {precision: self.within(precision, own) for precision in PRECISIONS}
        if find_spec("captum") is not None:
            works = {"captum": self.within("fp32", lambda: self._captum(clip, references)), **works}
        seconds = self.seconds_of(works, min(3, self.size.repetitions))
        captum = seconds.pop("captum", None)
        rows = [["arithmetic", "Captum and transformers, fp32", "speechshap", "faster"]]
        for precision, time in seconds.items():
            known = captum is not None
            rows.append(
                [precision, f"{captum:.3f} s" if known else "Captum is missing", f"{time:.3f} s",
                 f"{captum / time:.2f}x" if known else "unknown"]
            )  # fmt: skip
        return rows

    def _captum(self, clip: Tensor, references: Tensor) -> Tensor:
        from captum.attr import GradientShap

        method = GradientShap(self.theirs)
        return method.attribute(clip, references, n_samples=self.size.draws, stdevs=0.0, target=0)

    def converged(self) -> Table:
        """Whole explanations, with what they leave open."""
        rows = [["method", "arithmetic", "seconds", "draws", "gradients a second", "relative error"]]
        for name, values in CONVERGED:
            told = " ".join([name, *(f"{key}={value}" for key, value in values.items())])
            for precision in PRECISIONS:
                cells = self._explain(name, values, precision)
                if cells is None:
                    rows.append([told, "skipped: the settings have no `space`", *[""] * 4])
                    break
                rows.append([told, precision, *cells])
        return rows

    def _explain(self, name: str, values: dict[str, Any], precision: str) -> list[str] | None:
        """Cells of a row; None where the method has no such setting."""
        method = find_method(name)
        if not set(values) <= {field.name for field in fields(method.settings)}:
            return None
        settings = method.settings(**values, **({"n_samples": self.size.converged} if name == "gradient_shap" else {}))
        spaces = {"spaces": self.ours.spaces} if hasattr(self.ours, "spaces") else {}
        clip = self.noise(1)

        def run() -> Any:
            evaluator = Evaluator(self.ours, clip, grid=self.ours.grid, module=self.ours, **spaces)
            return method.explain(evaluator, Targets.from_classes(1, 0), as_baseline("noise"), settings)

        found: list[Any] = []
        work = self.within(precision, run)
        seconds = seconds_of_call(lambda: found.append(work()), self.device)
        result = found[0]
        error = result.relative_error
        draws = int(result.n_samples[0])
        return [
            f"{seconds:.2f}", str(draws), f"{draws / seconds:.0f}",
            "none" if error is None else f"{float(error[0, 0]):.3f}",
        ]  # fmt: skip

    def repeats(self) -> Table:
        """Whether a run that is repeated gives the same to the last bit, as PyTorch is set by default."""
        clip, references = self.noise(1), self.noise(self.size.draws)
        rows = [["arithmetic", "two runs are equal", "largest difference of a frame, relative to the largest frame"]]
        for precision in PRECISIONS:
            run = self.within(
                precision, lambda: gradient_shap(self.ours, clip, references, 0, n_samples=self.size.draws).frames
            )
            one, other = run(), run()
            gap = float((one - other).abs().max() / one.abs().max())
            rows.append([precision, "yes" if torch.equal(one, other) else "no", f"{gap:.0e}"])
        return rows

    def tables(self) -> Iterator[tuple[str, Callable[[], Table]]]:
        """Title of each table, and what makes it."""
        size = self.size
        yield f"Forward pass and input gradient of clips of {size.seconds:g} s, time a clip", self.gradients
        yield f"Input attribution of a clip of {size.seconds:g} s, {size.draws} draws", self.draws
        yield f"Explanation of a clip of {size.seconds:g} s with all it takes", self.converged
        yield f"The same run twice, {size.draws} draws", self.repeats


def peak_of(name: str) -> float | None:
    """Dense bf16 operations a second of a card; None where they are not known."""
    return next((peak for part, peak in PEAKS.items() if part in name), None)
