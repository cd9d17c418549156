"""The methods: one file each, found by its name."""

from collections.abc import Callable, Iterable
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, NamedTuple

from torch import nn

from speechshap.attribution.attribution import Attribution
from speechshap.attribution.baselines import Baseline
from speechshap.attribution.evaluator import Evaluator
from speechshap.attribution.settings import Settings
from speechshap.attribution.targets import Targets
from speechshap.errors import require_choice


class Method(NamedTuple):
    """A way to explain a batch; a file of this folder has one, called ``METHOD``, and is named as the method is.

    Attributes:
        settings: Class of its settings.
        explain: Takes the evaluator (which holds the batch), what is explained, the references, and the settings.
        learn: Learns from the evaluators of some utterances, before any is explained, and returns the settings to
            explain with; None where there is nothing to learn.
        obstacle: Says why the method cannot explain a module, before anything is computed, or returns None where it
            can; None where the method explains any.
        unit: What its numbers are in, as a figure says it; None where they are amounts of the explained output, so that
            a sign says what a frame does to the target.
    """

    settings: type[Settings]
    explain: Callable[[Evaluator, Targets, Baseline, Any], Attribution]
    learn: Callable[[Iterable[Evaluator], Baseline, Any], Settings] | None = None
    obstacle: Callable[[nn.Module | None], str | None] | None = None
    unit: str | None = None


def method_names() -> list[str]:
    """Names of all methods.

    Example:
        >>> "gradient_shap" in method_names()
        True
    """
    return sorted(module.name for module in iter_modules(__path__))


def find_method(name: str) -> Method:
    """The method of this name.

    Raises:
        UserError: There is none.

    Example:
        >>> find_method("occlusion").settings(stretch_frames=10).as_dict()["stretch_frames"]
        10
    """
    require_choice("method", name, method_names())
    method: Method = import_module(f"{__name__}.{name}").METHOD
    return method
