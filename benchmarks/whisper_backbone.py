"""Forward pass and input gradient of Whisper's encoder: transformers against this backbone, over the same weights.

    python benchmarks/whisper_backbone.py             # Whisper base, random weights: some minutes on two cores
    python benchmarks/whisper_backbone.py --small     # a tiny encoder: seconds

Transformers hears 30 s, whatever the clip; the backbone hears the clip alone. What of the difference is the padding
shows a third side, transformers' encoder with a window as short as the clip, which computes the same function as the
backbone. All sides begin at the waveform, through the same front end, and take turns in one process.
"""

import argparse
import copy
from collections.abc import Callable
from types import SimpleNamespace

import torch
from backbone import difference, gradient_pass, matrix_product, operations, take_turns
from harness import machine, print_table
from torch import Tensor, nn
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from speechshap.models import WhisperBackbone
from speechshap.models.log_mel import log_mel

BASE = {"d_model": 512, "encoder_layers": 6, "encoder_attention_heads": 8, "encoder_ffn_dim": 2048}
SMALL = {"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 64}


class Transformers(nn.Module):
    """Transformers' encoder behind the front end; what it hears is as long as its table of positions."""

    def __init__(self, encoder: WhisperEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, waveforms: Tensor) -> SimpleNamespace:
        """Clips ``(batch, time)``, with silence after them."""
        num_samples = 320 * self.encoder.config.max_source_positions
        heard = nn.functional.pad(waveforms, (0, num_samples - waveforms.shape[1]))
        return self.encoder(log_mel(heard, None, self.encoder.num_mel_bins))


class Speechshap(nn.Module):
    """The backbone, each clip alone."""

    def __init__(self, encoder: WhisperEncoder) -> None:
        super().__init__()
        self.backbone = WhisperBackbone(encoder, normalize=False)

    def forward(self, waveforms: Tensor) -> SimpleNamespace:
        """Clips ``(batch, time)``."""
        lengths = torch.full((len(waveforms),), waveforms.shape[1], device=waveforms.device)
        (state,), _ = self.backbone(waveforms, lengths, [self.backbone.num_layers])
        return SimpleNamespace(last_hidden_state=state)


def cropped(encoder: WhisperEncoder, frames: int) -> WhisperEncoder:
    """The same encoder with a shorter window."""
    short = copy.deepcopy(encoder)
    short.config.max_source_positions = frames
    short.embed_positions = nn.Embedding.from_pretrained(encoder.embed_positions.weight[:frames])
    return short


def compare(encoder: WhisperEncoder, seconds: float, batch: int, repetitions: int, device: str) -> list[str]:
    """Cells of a row."""
    frames = round(50 * seconds)
    waveforms = 0.1 * torch.randn(batch, 320 * frames, device=device)
    as_published, as_short = Transformers(encoder), Transformers(cropped(encoder, frames))
    backbone = Speechshap(copy.deepcopy(encoder))
    product, operations_of_product = matrix_product(device)

    def front_end() -> Tensor:
        values = waveforms.clone().requires_grad_()
        return torch.autograd.grad(log_mel(values, None, encoder.num_mel_bins).sum(), values)[0]

    works: dict[str, Callable[[], Tensor]] = {
        "30 s": lambda: gradient_pass(as_published)(waveforms),
        "clip": lambda: gradient_pass(as_short)(waveforms),
        "ours": lambda: gradient_pass(backbone)(waveforms),
        "front end": front_end,
        "product": product,
    }
    measured = take_turns(works, repetitions, device)
    whole, clip, ours = measured["30 s"], measured["clip"], measured["ours"]
    rate = operations_of_product / measured["product"].seconds
    return [
        f"{seconds:g} s", str(batch), *(f"{1000 * side.seconds / batch:.0f} ms" for side in (whole, clip, ours)),
        f"{whole.seconds / ours.seconds:.1f}x", f"{clip.seconds / ours.seconds:.2f}x",
        f"{operations(as_short, waveforms) / ours.seconds / rate:.0%}",
        f"{measured['front end'].seconds / ours.seconds:.0%}",
        f"{whole.gigabytes:.2f} GB", f"{ours.gigabytes:.2f} GB", difference(ours.result, clip.result),
    ]  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=["cpu", "cuda"])
    parser.add_argument("--seconds", type=float, nargs="+", default=[2, 4, 10], help="lengths of the clips")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="a tiny encoder")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    encoder = WhisperEncoder(WhisperConfig(**(SMALL if arguments.small else BASE))).eval().requires_grad_(False)
    rows = [
        compare(encoder.to(arguments.device), seconds, batch, arguments.repetitions, arguments.device)
        for seconds in arguments.seconds
        for batch in arguments.batches
    ]
    where = torch.cuda.get_device_name() if arguments.device == "cuda" else machine()
    print_table(
        f"Forward and input gradient, a clip, {'tiny encoder' if arguments.small else 'Whisper base'}, {where}",
        ["length", "batch", "transformers, 30 s", "transformers, clip", "speechshap", "faster", "than clip",
         "of the product's rate", "front end", "peak, 30 s", "peak, speechshap", "difference"],
        rows,
    )  # fmt: skip


if __name__ == "__main__":
    main()
