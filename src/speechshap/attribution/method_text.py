"""Methods with their settings as text, for command lines and tables."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from speechshap.attribution.methods import find_method, method_names
from speechshap.attribution.settings import Settings
from speechshap.errors import UserError


@dataclass(frozen=True)
class MethodChoice:
    """A method, and the settings to explain with.

    Its text is the name, with the settings that are not ``defaults``; those that no text can give are left out.

    Attributes:
        name: Of the method.
        settings: Of the method.
        defaults: Settings that go without saying.

    Example:
        >>> occlusion = find_method("occlusion").settings
        >>> str(MethodChoice("occlusion", occlusion(baselines="dataset:calm, low", n_draws=4), occlusion()))
        'occlusion(baselines="dataset:calm, low", n_draws=4)'
    """

    name: str
    settings: Settings
    defaults: Settings

    def __str__(self) -> str:
        values = {name: getattr(self.settings, name) for name in _types(type(self.settings))}
        told = [f"{name}={_text(value)}" for name, value in values.items() if value != getattr(self.defaults, name)]
        return f"{self.name}({', '.join(told)})" if told else self.name


def parse_methods(text: str, **common: Any) -> list[MethodChoice]:
    """Read methods with commas between them, each with its settings in parentheses or as they are by default.

    Values that have commas, quotation marks or a parenthesis alone are put into quotation marks, as JSON has them.

    Args:
        text: As in the example.
        common: Settings of those methods that have them, unless the text says otherwise; they go without saying.

    Raises:
        UserError: A method, a setting or its value does not exist, the text cannot be read, or has a method twice with
            the same settings.

    Example:
        >>> first, second = parse_methods('gradient_shap(baselines="dataset:a, b", n_samples=64), occlusion', seed=3)
        >>> first.settings.n_samples, first.settings.baselines, first.settings.seed
        (64, 'dataset:a, b', 3)
        >>> print(first, second, sep="; ")
        gradient_shap(baselines="dataset:a, b", n_samples=64); occlusion
        >>> parse_methods("oclusion")
        Traceback (most recent call last):
        speechshap.errors.UserError: `methods`: there is no method 'oclusion'; did you mean occlusion? ...
    """
    choices = [_choice(part, common) for part in _parts(text)]
    twice = [label for label, count in Counter(map(str, choices)).items() if count > 1]
    if twice:
        raise _mistake(f"{twice[0]} is there twice; leave one out, or give it other settings")
    return choices


def _choice(text: str, common: dict[str, Any]) -> MethodChoice:
    entry = re.fullmatch(r"([^\s()=]+)\s*(?:\((.*)\))?", text, re.DOTALL)
    if entry is None:
        raise _mistake(f"{text!r} cannot be read; expected a method, as in occlusion or occlusion(n_draws=4)")
    name = entry[1]
    if name not in method_names():
        raise _mistake(f"there is no method {name!r}; {_expected(name, method_names())}")
    kind = find_method(name).settings
    given: dict[str, Any] = {}
    for part in _parts(entry[2]) if entry[2] else ():
        setting, sign, value = (piece.strip() for piece in part.partition("="))
        types = _types(kind)
        if not sign:
            raise _mistake(f"{part!r} of {name} has no value; expected setting=value")
        if setting not in types:
            raise _mistake(f"{name} has no setting {setting!r} that a text can give; {_expected(setting, types)}")
        if setting in given:
            raise _mistake(f"{name} has {setting} twice; leave one out")
        given[setting] = _value(f"{setting} of {name}", value, types[setting])
    defaults = kind(**{field.name: common[field.name] for field in fields(kind) if field.name in common})
    try:
        return MethodChoice(name, replace(defaults, **given), defaults)
    except UserError as error:  # whose parameters are none of the caller's
        raise _mistake(f"{name}: {str(error).replace('`', '')}") from error


def _parts(text: str) -> list[str]:
    """What is between the commas of a text, but for those within quotation marks or parentheses."""
    parts, depth = [""], 0
    for piece in re.findall(r'"(?:\\.|[^"\\])*"|.', text, re.DOTALL):
        if piece == '"':
            raise _mistake(f"a quotation mark is not closed in {text!r}")
        depth += (piece == "(") - (piece == ")")
        if depth < 0:
            raise _mistake(f"a parenthesis is closed and not opened in {text!r}")
        if piece == "," and not depth:
            parts.append("")
        else:
            parts[-1] += piece
    if depth:
        raise _mistake(f"a parenthesis is not closed in {text!r}")
    parts = [part.strip() for part in parts]
    if not all(parts):
        raise _mistake(f"a name is missing in {text!r}; expected one, or several with commas between them")
    return parts


def _types(kind: type[Settings]) -> dict[str, tuple[Any, ...]]:
    """What each setting may be that a text can give: types, and words."""
    hints = get_type_hints(kind)
    types = {field.name: _alternatives(hints[field.name]) for field in fields(kind)}
    return {name: own for name, own in types.items() if all(part in _TYPES or isinstance(part, str) for part in own)}


def _alternatives(hint: Any) -> tuple[Any, ...]:
    if get_origin(hint) is Literal:
        return get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        return tuple(part for own in get_args(hint) for part in _alternatives(own))
    return (hint,)


def _value(place: str, text: str, types: Iterable[Any]) -> Any:
    """The value that a text stands for, of the first type that has it."""
    if text.startswith('"'):
        try:
            text = json.loads(text)
        except json.JSONDecodeError:
            raise _mistake(f"{place} is {text}; expected one text in quotation marks, as JSON has it") from None
    for kind in types:
        if text == kind:
            return kind
        with suppress(KeyError, ValueError):  # a word is no type, or the text is no such value
            return _TYPES[kind].read(text)
    names = [kind if isinstance(kind, str) else _TYPES[kind].name for kind in types]
    raise _mistake(f"{place} is {text!r}; expected {', '.join(names)}")


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    needs_quotes = isinstance(value, str) and (value != value.strip() or re.search(r'[,()"]', value))
    return json.dumps(value, ensure_ascii=False) if needs_quotes else str(value)


def _expected(name: str, legal: Iterable[str]) -> str:
    near = get_close_matches(name, list(legal), 1)
    return f"{f'did you mean {near[0]}? ' if near else ''}expected some of {', '.join(legal)}"


def _mistake(problem: str) -> UserError:
    return UserError(f"`methods`: {problem}")


class _Type(NamedTuple):
    name: str
    read: Callable[[str], Any]


_TYPES: dict[Any, _Type] = {
    int: _Type("an integer", int),
    float: _Type("a number", float),
    str: _Type("a text", str),
    bool: _Type("true, false", {"true": True, "false": False}.__getitem__),
    NoneType: _Type("none", {"none": None}.__getitem__),
}
