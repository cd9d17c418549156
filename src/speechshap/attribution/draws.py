"""Random numbers that belong to an utterance and one of its references, whatever the batch, order or device."""

import hashlib

import torch


def draw_generator(seed: int, utterance_id: str, number: int) -> torch.Generator:
    """Generator of the reference of this number for an utterance, and of what is drawn with it.

    Its numbers depend on the three arguments alone; they are drawn on the CPU, so that every device sees the same.

    Example:
        >>> one = torch.rand(1, generator=draw_generator(0, "a.wav", 3))
        >>> bool(one == torch.rand(1, generator=draw_generator(0, "a.wav", 3)))
        True
        >>> bool(one == torch.rand(1, generator=draw_generator(0, "a.wav", 4)))
        False
    """
    digest = hashlib.blake2b(f"{seed}|{number}|{utterance_id}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
