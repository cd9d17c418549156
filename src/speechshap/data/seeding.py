"""Random numbers that belong to something, such as an utterance in an epoch."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seed_of(*key: object) -> int:
    """Seed (64 bits) that belongs to a key, the same on every machine.

    Args:
        key: Numbers and texts.

    Example:
        >>> seed_of(0, 3, "03/happy.wav") == seed_of(0, 3, "03/happy.wav") != seed_of(0, 4, "03/happy.wav")
        True
    """
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big")


@contextmanager
def random_numbers_of(*key: object) -> Iterator[None]:
    """Seed Python, NumPy and PyTorch (on the CPU) by a key, and leave all three behind as they were.

    Args:
        key: Numbers and texts.

    Example:
        >>> with random_numbers_of(0, "a"):
        ...     one = torch.rand(2), random.random()
        >>> with random_numbers_of(0, "a"):
        ...     torch.equal(torch.rand(2), one[0]), random.random() == one[1]
        (True, True)
    """
    seed = seed_of(*key)
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - what libraries draw from
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPU's, too
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)  # noqa: NPY002
