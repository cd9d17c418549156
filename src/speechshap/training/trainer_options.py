"""Options of a Trainer that cannot be met, told before anything is computed."""

import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pytorch_lightning.accelerators import AcceleratorRegistry
from pytorch_lightning.strategies import StrategyRegistry
from pytorch_lightning.utilities.exceptions import MisconfigurationException  # type: ignore[attr-defined]

from speechshap.errors import UserError, require_at_least, require_choice

logger = logging.getLogger(__name__)


@contextmanager
def trainer_mistakes(options: Mapping[str, Any]) -> Iterator[None]:
    """Make a Trainer within this block, so that an option that cannot be met is told as a mistake.

    Args:
        options: Of the Trainer.

    Raises:
        UserError: An option is none of the legal values, asks for a device that is not there, or is refused by
            Lightning for another reason.

    Example:
        >>> import pytorch_lightning as pl
        >>> options = {"accelerator": "cpu", "devices": 0}
        >>> with trainer_mistakes(options):
        ...     trainer = pl.Trainer(**options)
        Traceback (most recent call last):
        speechshap.errors.UserError: `devices` is 0; expected a number of processes, 1 at least, or auto
    """
    on_cpu = _refuse_devices(options.get("accelerator", "auto"), options.get("devices", "auto"))
    strategy = options.get("strategy", "auto")
    if isinstance(strategy, str):
        require_choice("strategy", strategy.lower(), ["auto", *StrategyRegistry.available_strategies()])
    counts = ("num_nodes", "accumulate_grad_batches", "check_val_every_n_epoch")
    require_at_least(1, **{name: options.get(name) for name in counts})
    if on_cpu and str(options.get("precision")) in ("16", "16-mixed"):
        logger.warning("`precision` is %s, which a CPU does not have; bf16-mixed is taken", options["precision"])
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*AMP with fp16 is not supported on CPU.*")  # told above
            yield
    except UserError:
        raise
    except (MisconfigurationException, ModuleNotFoundError, ValueError, TypeError) as error:
        said = str(error)
        # Lightning names an option, but not how it was given.
        named = [f"`{name}` is {value}" for name, value in options.items() if re.search(rf"\b{name}\b", said)]
        raise UserError(f"{', '.join(named) or 'the trainer cannot be made'}: {said}") from error


def _refuse_devices(accelerator: Any, devices: Any) -> bool:
    """Refuse devices that are not there; returns whether the CPU computes."""
    there = {
        name: AcceleratorRegistry[name]["accelerator"].is_available()
        for name in sorted(AcceleratorRegistry.available_accelerators())
    }
    there["gpu"] = there["cuda"] or there["mps"]
    if isinstance(accelerator, str):
        require_choice("accelerator", accelerator, ["auto", *there])
        if not there.get(accelerator, True):
            found = ", ".join(name for name in there if there[name])
            raise UserError(f"`accelerator` is {accelerator}, which PyTorch does not find here; take auto or {found}")
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and not any(there[name] for name in there if name != "cpu"))
    number = _number(devices)
    if number == 0 or (on_cpu and devices != "auto" and (number is None or number < 0)):
        kind = "processes" if on_cpu else "devices"
        raise UserError(f"`devices` is {devices}; expected a number of {kind}, 1 at least, or auto")
    return on_cpu


def _number(devices: Any) -> int | None:
    """A number of devices, which may be a text; None for a list of them, or ``auto``."""
    try:
        return int(devices)
    except (TypeError, ValueError):
        return None
