"""Random numbers that belong to an utterance and a draw, whatever the batch, the order or the device."""

import hashlib

import torch


def draw_generator(seed: int, utterance_id: str, draw: int) -> torch.Generator:
    """Generator of one draw for one utterance.

    Its numbers depend on the three arguments alone; they are drawn on the CPU, so that every device sees the same.

    Example:
        >>> one = torch.rand(1, generator=draw_generator(0, "a.wav", 3))
        >>> bool(one == torch.rand(1, generator=draw_generator(0, "a.wav", 3)))
        True
        >>> bool(one == torch.rand(1, generator=draw_generator(0, "a.wav", 4)))
        False
    """
    digest = hashlib.blake2b(f"{seed}|{draw}|{utterance_id}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
