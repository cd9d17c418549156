"""What the benchmarks of the backbone share: both sides' passes, in each arithmetic, and their times and operations."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

PRECISIONS = ("fp32", "tf32", "bf16")

SMALL = {
    "hidden_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 192, "conv_dim": [64] * 7,
    "num_conv_pos_embeddings": 32, "num_conv_pos_embedding_groups": 4,
}  # fmt: skip
"""Fields of a small WavLM."""

Pass = Callable[[Tensor], Tensor]
"""Waveforms ``(batch, time)`` to the gradient of something with respect to them."""


class TransformersClassifier(nn.Module):
    """Transformers' model with mean pooling and a linear head."""

    def __init__(self, base: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.base = base
        self.head = head

    def forward(self, waveforms: Tensor) -> Tensor:
        """Logits ``(batch, classes)`` of waveforms ``(batch, time)``."""
        return self.head(self.base(waveforms).last_hidden_state.mean(1))


@contextmanager
def arithmetic(precision: str, device: str) -> Iterator[None]:
    """``fp32``, ``tf32`` or ``bf16``."""
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    with torch.autocast(device, torch.bfloat16) if precision == "bf16" else nullcontext():
        yield


def gradient_pass(model: nn.Module) -> Pass:
    """Gradient of a sum of a few pooled features, as an explanation asks for."""

    def run(waveforms: Tensor) -> Tensor:
        waveforms = waveforms.clone().requires_grad_()
        pooled = model(waveforms).last_hidden_state.mean(1)
        return torch.autograd.grad(pooled[:, :8].float().sum(), waveforms)[0]

    return run


def seconds_of(run: Callable[[], object], device: str) -> float:
    """Seconds of a call, on a GPU by its own clock, until all that was asked of it is done."""
    if device == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end) / 1000
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def operations(model: nn.Module, waveforms: Tensor) -> float:
    """Floating-point operations of a pass through transformers' model, gradients of parameters not counted."""
    waveforms = waveforms.clone().requires_grad_()
    with FlopCounterMode(display=False) as forward:
        total = model(waveforms).last_hidden_state.sum()
    with FlopCounterMode(display=False) as backward:
        torch.autograd.grad(total, waveforms)
    return forward.get_total_flops() + backward.get_total_flops()


def difference(one: Tensor, other: Tensor) -> str:
    """Norm of the difference, relative to the other."""
    return f"{float((one - other).norm() / other.norm()):.0e}"
