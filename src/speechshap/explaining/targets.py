"""Targets, layers and spaces, read from the words of a configuration."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Literal

from torch import Tensor, nn

from speechshap.attribution import WAVEFORM, Target
from speechshap.errors import UserError
from speechshap.spaces import Space

PREDICTED, RUNNER_UP, ALL = "predicted", "runner-up", "all"

Rank = Literal[0, 1]
"""Place of a class among the logits of an utterance, the greatest first."""

_RANKS: dict[str, Rank] = {PREDICTED: 0, RUNNER_UP: 1}

_Request = tuple[str | Rank, str | Rank | None]
"""A class (by name, or by its rank in each utterance), and the one that is subtracted."""


class TargetChoice:
    """What is explained of each utterance.

    Args:
        text: ``predicted``, ``runner-up``, ``all``, class names, or contrasts of two, with commas between them. The
            name of a class may itself have commas and hyphens: the longest name that fits is taken. Where a
            contrast would subtract a class from itself, as ``predicted - calm`` where calm is predicted, the strongest
            of the others is subtracted.
        classes: Names of the classes, or of the outputs of a regression.
        is_regression: Whether the outputs are no classes; ``predicted`` then stands for all of them.

    Raises:
        UserError: A class does not exist, or a text can be read as two different contrasts.

    Example:
        >>> import torch
        >>> TargetChoice("sad, happy - sad", ["happy", "sad"]).of(torch.tensor([2.0, 1.0]))
        [Target(label='sad', against=None), Target(label='happy', against='sad')]
        >>> TargetChoice("predicted, predicted - runner-up", ["happy", "sad"]).of(torch.tensor([2.0, 1.0]))
        [Target(label='happy', against=None), Target(label='happy', against='sad')]
        >>> TargetChoice("predicted - sad", ["happy", "sad", "calm"]).of(torch.tensor([1.0, 2.0, 0.0]))
        [Target(label='sad', against='happy')]
        >>> TargetChoice("wow, great - meh", ["wow, great", "meh"]).of(torch.tensor([2.0, 1.0]))
        [Target(label='wow, great', against='meh')]
    """

    def __init__(self, text: str, classes: Sequence[str], is_regression: bool = False) -> None:
        self.classes = list(classes)
        # Settings have no spaces beside commas.
        self._by_name = {_without_spaces(label): label for label in self.classes}
        self._ranks = {} if is_regression else _RANKS
        requests = self._read_list((ALL if is_regression and text == PREDICTED else text).split(","))
        if requests is None:
            raise UserError(self._no_target(text))
        self._requests: list[_Request] = list(dict.fromkeys(requests))
        if len(classes) < 2 and any(label == 1 or other is not None for label, other in self._requests):
            raise UserError(f"`targets` is {text!r}, but the model has one class, {classes[0]!r}, and no runner-up")

    def of(self, logits: Tensor) -> list[Target]:
        """Targets of an utterance with these logits ``(classes,)``, as many for every utterance.

        Two are the same where the predicted class was asked for by name as well.
        """
        order = [self.classes[index] for index in logits.argsort(descending=True, stable=True).tolist()]

        def label(name: str | Rank) -> str:
            return name if isinstance(name, str) else order[name]

        def target(name: str | Rank, other: str | Rank | None) -> Target:
            if other is None:
                return Target(label(name))
            subtracted = label(other)
            if subtracted == label(name):
                subtracted = next(strongest for strongest in order if strongest != subtracted)
            return Target(label(name), subtracted)

        return [target(*request) for request in self._requests]

    def _read_list(self, pieces: Sequence[str]) -> list[_Request] | None:
        """Read what commas separate; as many pieces as possible belong to the first target."""
        if not pieces:
            return []
        for count in range(len(pieces), 0, -1):
            first = self._read(",".join(pieces[:count]).strip())
            rest = None if first is None else self._read_list(pieces[count:])
            if first is not None and rest is not None:
                return [*first, *rest]
        return None

    def _read(self, text: str) -> list[_Request] | None:
        if (one := self._one(text)) is not None:
            return [(one, None)]
        if text == ALL:
            return [(label, None) for label in self.classes]
        contrasts = list(dict.fromkeys(self._contrasts(text)))
        if len(contrasts) > 1:
            raise UserError(f"`targets`: {text!r} can be read as {len(contrasts)} different contrasts of these classes")
        return contrasts or None

    def _one(self, text: str) -> str | Rank | None:
        """The class of this name, or else the rank."""
        label = self._by_name.get(_without_spaces(text))
        return self._ranks.get(text) if label is None else label

    def _contrasts(self, text: str) -> Iterator[_Request]:
        """Contrasts of two classes or ranks that a text may stand for: a name may have hyphens."""
        for position in (index for index, character in enumerate(text) if character == "-"):
            left, right = self._one(text[:position].strip()), self._one(text[position + 1 :].strip())
            if left is not None and right is not None and left != right:
                yield left, right

    def _no_target(self, text: str) -> str:
        unknown = next((piece.strip() for piece in text.split(",") if self._read(piece.strip()) is None), text)
        # Of a contrast, the side that does not exist.
        unknown = next((side for side in unknown.split(" - ") if self._one(side.strip()) is None), unknown).strip()
        near = get_close_matches(unknown, [*self.classes, *self._ranks, ALL], 1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        words, classes = ", ".join([*self._ranks, ALL]), ", ".join(map(repr, self.classes))
        example = " - ".join(self.classes[:2])
        return (
            f"`targets`: no class {unknown!r}{hint or ';'} expected {words}, some of {classes}, or the contrast of two "
            f"({example})"
        )


def _without_spaces(name: str) -> str:
    """A name without spaces beside its commas."""
    return ",".join(piece.strip() for piece in name.split(","))


def choose_layers(
    text: str, available: Mapping[str, nn.Module], module: nn.Module, spaces: Mapping[str, Space] | None = None
) -> dict[str, nn.Module]:
    """Pick the layers whose neurons are explained.

    Args:
        text: ``none``, ``all``, or numbers (of ``layer_<number>``) and names with commas between them.
        available: Layers of the model by name.
        module: The model; its submodules may be named too (``encoder.2``).
        spaces: That in which paths run, whose neurons may be explained as those of a layer; the layers before it are
            not among all.

    Raises:
        UserError: A layer does not exist.

    Example:
        >>> list(choose_layers("0", {}, nn.Sequential(nn.Linear(1, 1))))
        ['0']
    """
    if text == "none":
        return {}
    if text == "all":
        if not available:
            raise UserError('`layers="all"`: the layers of this model are not known; name modules of it (`layers`)')
        places = [space.module for space in (spaces or {}).values()]
        first = next((number for number, layer in enumerate(available.values()) if layer in places), 0)
        return dict(list(available.items())[first:])
    submodules = {**dict(module.named_modules()), **{name: space.module for name, space in (spaces or {}).items()}}
    chosen = {}
    for name in (part.strip() for part in text.split(",")):
        known = f"layer_{name}" if f"layer_{name}" in available else name
        if known not in available and (not name or name not in submodules):
            layers = f"1 to {len(available)}" if available else "the names of its modules"
            near = get_close_matches(name, [*available, *filter(None, submodules)], 1)
            hint = f", did you mean {near[0]!r}?" if near else ";"
            raise UserError(f"`layers`: no layer {name!r}{hint} expected none, all, or some of {layers}")
        chosen[known] = available[known] if known in available else submodules[name]
    return chosen


def choose_space(
    name: str, available: Mapping[str, Space], layers: Mapping[str, nn.Module], module: nn.Module
) -> dict[str, Space]:
    """The space that paths run in, by its name; none where that is the waveforms.

    Args:
        name: ``waveform``, a space of the model, a layer of it (``layer_3``), or a submodule (``encoder.2``).
        available: Spaces of the model by name.
        layers: Layers of the model by name.
        module: The model.

    Raises:
        UserError: There is no such space.

    Example:
        >>> model = nn.Sequential(nn.Linear(1, 1))
        >>> choose_space("0", {}, {}, model)["0"].module is model[0]
        True
    """
    if name == WAVEFORM:
        return {}
    if name in available:
        return {name: available[name]}
    modules = {own: part for own, part in [*module.named_modules(), *layers.items()] if own}
    if name not in modules:
        near = get_close_matches(name, [WAVEFORM, *available, *modules], 1)
        hint = f", did you mean {near[0]!r}?" if near else ";"
        raise UserError(
            f"`space`: no {name!r} in this model{hint} expected {', '.join([WAVEFORM, *available])}, or the name of a "
            "module whose output has frames"
        )
    return {name: Space(module=modules[name])}
