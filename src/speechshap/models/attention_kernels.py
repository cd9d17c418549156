"""Which of PyTorch's fused attention kernels may run."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def without_cudnn_attention() -> Iterator[None]:
    """Leave out cuDNN's attention within the block; what is said of the other kernels holds.

    PyTorch 2.13 prefers it in half precision on recent GPUs. Where there is a mask its gradients are NaN at some
    lengths, and it misreads a mask in single precision.

    Example:
        >>> with without_cudnn_attention():
        ...     torch.backends.cuda.cudnn_sdp_enabled()
        False
        >>> torch.backends.cuda.cudnn_sdp_enabled()
        True
    """
    kept = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(kept)
