"""The option of both programs that says how single-precision products are computed on a GPU."""

from typing import Literal

import torch
from jsonargparse import ArgumentParser


def add_matmul_precision(parser: ArgumentParser) -> None:
    """Add the option to a parser."""
    parser.add_argument(
        "--float32_matmul_precision",
        type=Literal["highest", "high"],
        default="highest",
        help="Arithmetic of single-precision products and convolutions on a GPU: high rounds their factors to TF32, "
        "which is faster.",
    )


def set_matmul_precision(precision: Literal["highest", "high"]) -> None:
    """Have PyTorch compute as the option says."""
    torch.set_float32_matmul_precision(precision)
    # PyTorch runs convolutions in TF32, with three decimal digits, by default.
    torch.backends.cudnn.allow_tf32 = precision == "high"
