"""How many rows go through the model at once."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Result = TypeVar("Result")

_CPU_BUDGET = 600 * 2**20  # bytes; larger chunks were no faster on any model tried, and slower on large ones
_CUDA_SHARE = 0.5  # of the free memory; gradients and temporaries take their own
_ROW_COPIES = 12  # of a row's waveform, beside the model: point, reference, difference, gradient, attribution, …
_ALIVE_AT_ONCE = 4  # tensors of the greatest size in a forward pass: input, output, and what lies between them
_LARGEST = 256


class ChunkSize(ABC):
    """Number of rows of a chunk, fixed or found.

    Found, it is what fits half of the free memory of a GPU, or 600 MB on a CPU, judging by the memory that the first
    row takes, which is evaluated alone. Time decides nothing, so that a run that is repeated has the same chunks. When
    the device runs out of memory the number is halved, fixed or not.

    Args:
        fixed: Rows; None finds them.
        device: Where the model runs.
        waveform_bytes: Of the longest row.
    """

    def __init__(self, fixed: int | None, device: torch.device, waveform_bytes: int) -> None:
        self.rows = fixed or 1
        self._is_known = fixed is not None
        self._device = device
        self._waveform_bytes = waveform_bytes

    def run(self, rows: int, evaluate: Callable[[], Result]) -> Result | None:
        """Evaluate a chunk of so many rows; None when the device ran out of memory, and :attr:`rows` is smaller now.

        Args:
            rows: Of the chunk.
            evaluate: Does it; it changes nothing that a second try would see.

        Raises:
            RuntimeError: There is no memory for a single row.
        """
        if not self._is_known:
            with self._noted() as noted:
                result = evaluate()
            row_bytes = self._row_bytes(noted) + _ROW_COPIES * self._waveform_bytes
            self.rows = max(1, min(_LARGEST, self._budget() // max(1, row_bytes)))
            self._is_known = True
            return result
        try:
            return evaluate()
        except RuntimeError as error:
            if rows == 1 or not _out_of_memory(error):
                raise
            self.rows = max(1, rows // 2)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _budget(self) -> int:
        if self._device.type != "cuda":
            return _CPU_BUDGET
        # What the allocator holds without using it is free too.
        unused = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
        return int(_CUDA_SHARE * (torch.cuda.mem_get_info(self._device)[0] + unused))

    @abstractmethod
    def _noted(self) -> AbstractContextManager[dict[int, int]]:
        """Context that notes the bytes of tensors, by the address of their storage, while the model runs."""

    @abstractmethod
    def _row_bytes(self, noted: dict[int, int]) -> int:
        """Memory of a row in the model."""


class GradientChunkSize(ChunkSize):
    """Rows whose gradients are taken: a row takes what its graph keeps for the backward pass.

    A model that computes activations again in the backward pass keeps less than that pass needs: give such a model
    chunks of a fixed size.
    """

    @contextmanager
    def _noted(self) -> Iterator[dict[int, int]]:
        noted: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            if tensor.grad_fn is not None:  # parameters and masks are there once, whatever the rows
                storage = tensor.untyped_storage()
                noted[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            yield noted

    def _row_bytes(self, noted: dict[int, int]) -> int:
        return sum(noted.values())


class ForwardChunkSize(ChunkSize):
    """Rows that are classified only: a row takes a few times its largest intermediate result."""

    @contextmanager
    def _noted(self) -> Iterator[dict[int, int]]:
        with _NewTensors() as mode:
            yield mode.noted

    def _row_bytes(self, noted: dict[int, int]) -> int:
        return _ALIVE_AT_ONCE * max(noted.values(), default=0)


class _NewTensors(TorchDispatchMode):
    """Notes the bytes of operators' outputs, except views of their inputs."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.noted: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        known = {leaf.untyped_storage().data_ptr() for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        for leaf in tree_leaves(output):
            if isinstance(leaf, Tensor) and (storage := leaf.untyped_storage()).data_ptr() not in known:
                self.noted[storage.data_ptr()] = storage.nbytes()
        return output


def _out_of_memory(error: RuntimeError) -> bool:
    # The CPU, cuDNN and cuBLAS have no exception of their own for it.
    return isinstance(error, torch.OutOfMemoryError) or any(
        words in str(error) for words in ("can't allocate memory", "ALLOC_FAILED")
    )
