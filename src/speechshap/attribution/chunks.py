"""How many points on the paths go through the model at once."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")

_CPU_BUDGET = 600 * 2**20  # bytes; larger chunks were no faster on any model tried, and slower on large ones
_CUDA_SHARE = 0.5  # of the free memory; gradients and temporaries take their own
_ROW_COPIES = 12  # of a row's waveform, beside the graph: point, reference, difference, gradient, attribution, …
_LARGEST = 256


class ChunkSize:
    """Number of rows of a chunk, fixed or found.

    Found, it is what fits half of the free memory of a GPU, or 600 MB on a CPU; time decides nothing, so that a run
    that is repeated has the same chunks. When the device runs out of memory it is halved, fixed or not.

    Args:
        fixed: Rows; None finds them.
        device: Where the model runs.
    """

    def __init__(self, fixed: int | None, device: torch.device) -> None:
        self.rows = fixed or 1
        self._device = device
        self._fixed = fixed is not None

    def measure(self, forward: Callable[[], Result], waveform_bytes: int) -> Result:
        """Run a forward pass of one row, note the memory that its graph keeps, and return its output.

        A model that computes activations again in the backward pass keeps less than that pass needs: give such a model
        chunks of a fixed size.
        """
        storages: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            if tensor.grad_fn is not None:  # parameters and masks are there once, whatever the rows
                storage = tensor.untyped_storage()
                storages[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            output = forward()
        if not self._fixed:
            budget = _CPU_BUDGET
            if self._device.type == "cuda":
                # What the allocator holds without using it is free too.
                unused = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
                budget = int(_CUDA_SHARE * (torch.cuda.mem_get_info(self._device)[0] + unused))
            row = sum(storages.values()) + _ROW_COPIES * waveform_bytes
            self.rows = max(1, min(_LARGEST, budget // max(1, row)))
        return output

    def run(self, rows: int, evaluate: Callable[[], Result]) -> Result | None:
        """Evaluate a chunk of so many rows; None when the device ran out of memory, and :attr:`rows` is smaller now.

        Args:
            rows: Of the chunk.
            evaluate: Does it; it changes nothing that a second try would see.

        Raises:
            RuntimeError: There is no memory for a single row.
        """
        try:
            return evaluate()
        except RuntimeError as error:
            if rows == 1 or not _out_of_memory(error):
                raise
            self.rows = max(1, rows // 2)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        return None


def _out_of_memory(error: RuntimeError) -> bool:
    # The CPU, cuDNN and cuBLAS have no exception of their own for it.
    return isinstance(error, torch.OutOfMemoryError) or any(
        words in str(error) for words in ("can't allocate memory", "ALLOC_FAILED")
    )
