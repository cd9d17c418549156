"""How single-precision products are computed, whichever of PyTorch's two ways of choosing it was used.

PyTorch 2.9 has the settings ``fp32_precision`` beside the former functions, which raise an error once the two differ.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_backends: Any = torch.backends
_HAS_SETTINGS = hasattr(_backends.cuda.matmul, "fp32_precision")
_MATMULS = (_backends.cuda.matmul, _backends.mkldnn.matmul) if _HAS_SETTINGS else ()
_ROUNDED = ("tf32", "bf16")


@contextmanager
def full_precision() -> Iterator[None]:
    """Matrix products without TF32 or bfloat16 within the block.

    Example:
        >>> torch.set_float32_matmul_precision("high")
        >>> with full_precision():
        ...     rounded_matmul()
        >>> rounded_matmul()
        'high'
        >>> torch.set_float32_matmul_precision("highest")
    """
    if not _HAS_SETTINGS:
        kept = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(kept)
        return
    settings = [backend.fp32_precision for backend in _MATMULS]
    for backend in _MATMULS:
        backend.fp32_precision = "ieee"
    try:
        yield
    finally:
        for backend, setting in zip(_MATMULS, settings, strict=True):
            backend.fp32_precision = setting


def rounded_matmul() -> str | None:
    """``high`` or ``medium`` where the factors of matrix products may be rounded, as PyTorch calls it; else None."""
    if not _HAS_SETTINGS:
        precision = torch.get_float32_matmul_precision()
        return None if precision == "highest" else precision
    settings = [backend.fp32_precision for backend in _MATMULS]
    return "medium" if "bf16" in settings else "high" if "tf32" in settings else None


def has_rounded_convolutions() -> bool:
    """Whether the convolutions of cuDNN may round their factors to TF32."""
    if not _HAS_SETTINGS:
        return bool(_backends.cudnn.allow_tf32)
    return _backends.cudnn.conv.fp32_precision in _ROUNDED
