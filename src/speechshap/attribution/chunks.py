"""How many points on the paths go through the model at once."""

import time
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")

_CPU_BUDGET = 2**30  # bytes of a graph: larger ones are no faster on a CPU, and others want memory too
_CUDA_SHARE = 0.5  # of the free memory; gradients and temporaries take their own
_LARGEST = 256


class ChunkSize:
    """Number of rows of a chunk, fixed or found.

    Found, on a GPU it is what fits the free memory; on a CPU it starts with one row and doubles as long as a row gets
    cheaper by it, within a gigabyte. When the device runs out of memory it is halved, fixed or not.

    Args:
        fixed: Rows; None finds them.
        device: Where the model runs.
    """

    def __init__(self, fixed: int | None, device: torch.device) -> None:
        self.rows = fixed or 1
        self._device = device
        self._limit = fixed or _LARGEST
        self._growing = fixed is None
        self._fastest = float("inf")  # seconds a sample

    def measure(self, forward: Callable[[], Result]) -> Result:
        """Run a forward pass of one row, note the memory that its graph keeps, and return its output."""
        storages: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            if tensor.grad_fn is not None:  # parameters and masks are there once, whatever the rows
                storage = tensor.untyped_storage()
                storages[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            output = forward()
        if self._growing:
            budget = _CPU_BUDGET
            if self._device.type == "cuda":
                budget = int(_CUDA_SHARE * torch.cuda.mem_get_info(self._device)[0])
            self._limit = max(1, min(_LARGEST, budget // max(1, sum(storages.values()))))
            if self._device.type != "cpu":
                self.rows, self._growing = self._limit, False
        return output

    def run(self, rows: int, width: int, evaluate: Callable[[], Result]) -> Result | None:
        """Evaluate a chunk; None when the device ran out of memory, and :attr:`rows` is smaller now.

        Args:
            rows: Of the chunk.
            width: Samples of a row.
            evaluate: Does it; it changes nothing that a second try would see.

        Raises:
            RuntimeError: There is no memory for a single row.
        """
        started = time.perf_counter()
        try:
            result = evaluate()
        except RuntimeError as error:
            if rows == 1 or not _out_of_memory(error):
                raise
            self.rows = self._limit = max(1, rows // 2)
            self._growing = False
        else:
            if self._growing and rows == self.rows:
                self._compare((time.perf_counter() - started) / (rows * width))
            return result
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _compare(self, seconds: float) -> None:
        """Double as long as a row gets cheaper by a tenth; otherwise go back to what was better."""
        if seconds > 0.9 * self._fastest:
            self.rows, self._growing = max(1, self.rows // 2), False
            return
        self._fastest = seconds
        self.rows = min(2 * self.rows, self._limit)
        self._growing = self.rows < self._limit


def _out_of_memory(error: RuntimeError) -> bool:
    # A CPU has no exception of its own for it.
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
