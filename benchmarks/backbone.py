"""Forward pass and input gradient: transformers as it is loaded against this backbone, over the same weights.

    python benchmarks/backbone.py                     # WavLM base: about ten minutes on two cores
    python benchmarks/backbone.py --seconds 3 --batches 1 4 --repetitions 9
    python benchmarks/backbone.py --small             # a tiny WavLM: under a minute

Both sides take turns in one process, so that what else the machine does hits both; the medians are compared. The rate
of the machine's own matrix product is measured between them, in the same precision: the fraction tells how much of it
the nominal operations of the model (those that transformers carries out) reach. On a GPU each precision is measured
against transformers in single precision; --compile adds torch.compile, which has to pay for itself there.
"""

import argparse
import copy
import statistics
from collections.abc import Callable
from typing import NamedTuple

import torch
from harness import PeakMemory, machine, print_table
from passes import PRECISIONS, SMALL, arithmetic, difference, gradient_pass, operations, seconds_of
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from speechshap.cli.allocator import keep_freed_memory
from speechshap.models import accelerate
from speechshap.models.gated_attention import GatedAttention


def peak_gigabytes(run: Callable[[], object], device: str) -> float:
    """Peak memory of a call above what was held before."""
    if device == "cuda":
        held = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        return (torch.cuda.max_memory_allocated() - held) / 1e9
    with PeakMemory() as memory:
        run()
    return memory.gigabytes


class Measured(NamedTuple):
    """A work that was done several times.

    Attributes:
        result: What it gives.
        seconds: Median of its times.
        gigabytes: Peak of its memory.
    """

    result: Tensor
    seconds: float
    gigabytes: float


def take_turns(works: dict[str, Callable[[], Tensor]], repetitions: int, device: str) -> dict[str, Measured]:
    """Do works in turns, so that what else the machine does hits all of them."""
    results = {name: work() for name, work in works.items()}  # the first call is slower
    peaks = {name: peak_gigabytes(work, device) for name, work in works.items()}
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repetitions):
        for name, work in works.items():
            times[name].append(seconds_of(work, device))
    return {name: Measured(results[name], statistics.median(times[name]), peaks[name]) for name in works}


def matrix_product(device: str) -> tuple[Callable[[], Tensor], int]:
    """A product of two large matrices, and its operations."""
    size = 8192 if device == "cuda" else 2048
    factors = torch.randn(2, size, size, device=device)
    return lambda: factors[0] @ factors[1], 2 * size**3


def compare(model: nn.Module, fast: nn.Module, arguments: argparse.Namespace, precision: str) -> list[list[str]]:
    """A row for each length and batch size."""
    rows = []
    for seconds in arguments.seconds:
        for batch in arguments.batches:
            waveforms = 0.1 * torch.randn(batch, round(16000 * seconds), device=arguments.device)
            cells = compare_on(waveforms, model, fast, arguments.repetitions, precision)
            rows.append([precision, f"{seconds:g} s", str(batch), *cells])
            print("done:", " ".join(rows[-1]), flush=True)
    return rows


def compare_on(waveforms: Tensor, model: nn.Module, fast: nn.Module, repetitions: int, precision: str) -> list[str]:
    """Cells of a row: times, ratio, fractions of the product's rate, peaks, difference of the gradients."""
    device, batch = waveforms.device.type, len(waveforms)

    def within(precision: str, work: Callable[[], Tensor]) -> Callable[[], Tensor]:
        def run() -> Tensor:
            with arithmetic(precision, device):
                return work()

        return run

    product, operations_of_product = matrix_product(device)
    works = {
        "theirs": within("fp32", lambda: gradient_pass(model)(waveforms)),
        "ours": within(precision, lambda: gradient_pass(fast)(waveforms)),
        "product": within(precision, product),
    }
    measured = take_turns(works, repetitions, device)
    theirs, ours = measured["theirs"], measured["ours"]
    rate = operations_of_product / measured["product"].seconds
    flops = operations(model, waveforms)
    return [
        f"{1000 * theirs.seconds / batch:.0f} ms", f"{1000 * ours.seconds / batch:.0f} ms",
        f"{theirs.seconds / ours.seconds:.2f}x",
        f"{flops / ours.seconds / rate:.0%}", f"{flops / theirs.seconds / rate:.0%}",
        f"{theirs.gigabytes:.2f} GB", f"{ours.gigabytes:.2f} GB", difference(ours.result, theirs.result),
    ]  # fmt: skip


def flex_attention_forward(attention: GatedAttention) -> Callable[[Tensor], Tensor]:
    """WavLM's attention with the gated bias as a score modification: no tensor of (batch, heads, frames, frames)."""
    from torch.nn.attention.flex_attention import flex_attention

    compiled = torch.compile(flex_attention) if next(attention.parameters()).is_cuda else flex_attention

    def forward(hidden_states: Tensor) -> Tensor:
        frames = hidden_states.shape[1]
        query, key, value = attention.project(hidden_states)
        gate = attention.gate(hidden_states)[..., 0]  # (batch, heads, frames)
        bias = attention.compute_bias(frames, frames)[:, 0]  # (heads, distances), from 0 on
        backwards = attention.compute_bias(frames, frames)[:, :, 0]  # from 0 back

        def add_bias(score: Tensor, batch: Tensor, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
            distance = (k - q).abs()
            values = torch.where(k >= q, bias[head, distance], backwards[head, distance])
            return score + gate[batch, head, q] * values

        attended = compiled(query, key, value, score_mod=add_bias, scale=1.0)
        return attention.out_proj(attended.transpose(1, 2).flatten(2))

    return forward


def compare_attention(model: nn.Module, fast: nn.Module, arguments: argparse.Namespace) -> list[list[str]]:
    """Attention alone, forward and backward."""
    theirs, ours = model.encoder.layers[0].attention, fast.encoder.layers[0].attention
    candidates: dict[str, Callable[[Tensor], Tensor]] = {
        "transformers": lambda hidden: theirs(hidden)[0],
        "speechshap": lambda hidden: ours(hidden)[0],
    }
    if arguments.device == "cuda":  # elsewhere it has no backward pass
        candidates["FlexAttention"] = flex_attention_forward(ours)
    rows = []
    for seconds in arguments.seconds:
        batch = max(arguments.batches)
        hidden = torch.randn(batch, round(50 * seconds), model.config.hidden_size, device=arguments.device)

        def gradient(forward: Callable[[Tensor], Tensor], hidden: Tensor = hidden) -> Tensor:
            values = hidden.clone().requires_grad_()
            return torch.autograd.grad(forward(values).square().sum(), values)[0]

        reference = gradient(candidates["transformers"])
        for name, forward in candidates.items():
            error = difference(gradient(forward), reference)
            values = [seconds_of(lambda f=forward: gradient(f), arguments.device) for _ in range(arguments.repetitions)]
            peak = peak_gigabytes(lambda f=forward: gradient(f), arguments.device)
            rows.append(
                [f"{seconds:g} s x {batch}", name, f"{1000 * statistics.median(values):.1f} ms", f"{peak:.2f} GB",
                 error]
            )  # fmt: skip
    return rows


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    has_gpu = torch.cuda.is_available()
    parser.add_argument("--device", default="cuda" if has_gpu else "cpu", choices=["cpu", "cuda"])
    parser.add_argument("--seconds", type=float, nargs="+", default=[1, 3, 5, 10, 20], help="lengths of the clips")
    parser.add_argument("--batches", type=int, nargs="+", default=[16, 64] if has_gpu else [1, 4])
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="torch.compile for the stem and the layers")
    parser.add_argument("--small", action="store_true", help="a tiny model, clips of a second")
    parser.add_argument("--attention", action="store_true", help="compare attention alone, with FlexAttention")
    parser.add_argument("--keep_freed_memory", action="store_true", help="as train.py and explain.py do")
    arguments = parser.parse_args()
    if arguments.keep_freed_memory:
        keep_freed_memory()
    if arguments.small:
        arguments.seconds, arguments.batches = [1.0], [1, 4]
    precisions = arguments.precisions or (PRECISIONS if arguments.device == "cuda" else ["fp32"])
    torch.manual_seed(0)
    config = AutoConfig.for_model("wavlm", **(SMALL if arguments.small else {}))
    model = AutoModel.from_config(config).eval().to(arguments.device)
    fast = accelerate(copy.deepcopy(model)).requires_grad_(False)
    if arguments.compile:
        fast.feature_extractor.compile(dynamic=False)
        for layer in fast.encoder.layers:
            layer.compile(dynamic=False)
    where = torch.cuda.get_device_name() if arguments.device == "cuda" else machine()
    title = f"{'small WavLM' if arguments.small else 'WavLM base'}, {where}{', compiled' if arguments.compile else ''}"
    if arguments.attention:
        with arithmetic("fp32", arguments.device):
            print_table(
                f"Attention of one layer, forward and gradient, {title}",
                ["clips", "", "time", "peak", "difference"],
                compare_attention(model, fast, arguments),
            )
        return
    print_table(
        f"Forward and input gradient, a clip, {title}",
        ["precision", "length", "batch", "transformers fp32", "speechshap", "faster", "of the product's rate",
         "transformers'", "peak, transformers", "peak, speechshap", "difference"],
        [row for precision in precisions for row in compare(model, fast, arguments, precision)],
    )  # fmt: skip


if __name__ == "__main__":
    main()
