"""Fingerprints of what a result was computed from."""

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def fingerprint(*parts: Any) -> str:
    """A short hash of tensors, mappings and plain values (by their ``repr``), equal for equal ones.

    Example:
        >>> fingerprint({"seed": 0, "scale": 1.0}) == fingerprint({"scale": 1.0, "seed": 0})
        True
    """
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        if isinstance(part, Tensor):
            values = part.detach().cpu().contiguous()
            digest.update(f"{values.dtype}{tuple(values.shape)}".encode())
            digest.update(values.view(-1).view(torch.uint8).numpy().data)
        elif isinstance(part, Mapping):
            for name, value in sorted(part.items()):
                digest.update(f"{name}={fingerprint(value)};".encode())
        else:
            digest.update(f"{part!r};".encode())
    return digest.hexdigest()
