"""What is wrong with the arguments, in plain words: jsonargparse speaks of types."""

import re
from textwrap import dedent

from jsonargparse import ArgumentError

_WRONG_VALUE = re.compile(r'Parser key "([\w.]+)":\s*(.*)', re.DOTALL)
_GIVEN = re.compile(r"(?:\. Got value|\n *Given value): (.*)", re.DOTALL)
_WITHIN = re.compile(r"NestedArg\(key='([\w.]+)', val=(.*)\)", re.DOTALL)
_OF_CLASS = re.compile(
    r"^( *)(?:- )?Problem with given class_path '[\w.]*?(\w+)':\n((?:\1 +\S.*(?:\n|\Z))+)", re.MULTILINE
)
_LACKING = re.compile(r"the following arguments are required: ([\w, ]+)")
_EXPECTED = re.compile(r"Expected an? (<class '[\w.]+'>|typing\.Literal\[[^\]]*\]|dot import path|tuple)")
_UNEXPECTED = re.compile(r"Unexpected keys: \{'(\w+)'")  # of options by name
_UNKNOWN = re.compile(
    r"unrecognized arguments: --([\w.]+)|Group '(?P<group>[\w.]+)' does not accept option '([\w.]+)'"
    r"|Subcommand '\w+' does not accept option '([\w.]+)'|Option '([\w.]+)' is not accepted"
)

_TYPES = {
    "bool": "true or false",
    "dict": "options by name",
    "float": "a number",
    "int": "an integer",
    "Iterable": "a list",
    "list": "a list",
    "NoneType": "",  # what is left out
    "str": "a text",
    "tuple": "a list such as [1, 2]",
}


def in_plain_words(message: str) -> str:
    r"""What jsonargparse says of a wrong value, as option, value, and what was expected; anything else as it is.

    Example:
        >>> in_plain_words('Parser key "explain.seed": Expected a <class \'int\'>. Got value: x')
        '--explain.seed is x; expected an integer'
    """
    wrong = _WRONG_VALUE.match(message)
    if wrong is None:
        of_class = _OF_CLASS.search(message)  # which could not be made
        return message if of_class is None else f"{of_class[2]}: {dedent(of_class[3]).strip()}"
    option, problem = wrong.groups()
    if of_class := _OF_CLASS.search(problem):
        return _of_a_class(option, of_class[2], dedent(of_class[3]).strip())
    if unexpected := _UNEXPECTED.search(problem):
        return f"there is no option --{option}.{unexpected[1]}"
    given, expected = _GIVEN.findall(problem), _expected(problem)
    if not given or not expected:
        return message
    within = _WITHIN.fullmatch(given[-1])
    if within and " is abstract" in problem:
        return f"--{option}.{within[1]} is an option of a class; name the class first, with --{option}"
    if within:
        return f"there is no option --{option}.{within[1]}"
    return f"--{option} is {given[-1]}; expected {expected}"


def _of_a_class(option: str, name: str, problem: str) -> str:
    """What is wrong with the options of a class that is itself the value of an option."""
    if wrong := _WRONG_VALUE.match(problem):
        return in_plain_words(f'Parser key "{option}.{wrong[1]}": {wrong[2]}')
    if lacking := _LACKING.match(problem):
        needed = ", ".join(f"--{option}.{each}" for each in lacking[1].split(", "))
        return f"--{option} is {name}, which needs {needed}"
    if unknown := _UNKNOWN.match(problem):
        return f"--{option}: {name} has no option {_last(unknown)}"
    return f"--{option}: {name}: {problem}"


def _expected(problem: str) -> str:
    """The types that jsonargparse lists, as words."""
    words: list[str] = []
    for kind in _EXPECTED.findall(problem):
        if kind.startswith("typing.Literal"):
            words += [text or number for text, number in re.findall(r"'([^']*)'|(\d+)", kind)]
        elif kind == "dot import path":
            words.append("the name of a class")
        else:
            name = re.findall(r"\w+", kind)[-1]
            words.append(_TYPES.get(name, f"a {name}"))
    kinds = [word for word in dict.fromkeys(words) if word]
    return " or ".join([", ".join(kinds[:-1]), kinds[-1]]) if len(kinds) > 1 else "".join(kinds)


def unknown_option(error: ArgumentError) -> str | None:
    """The option of an error that says that there is no such option, without its hyphens.

    Example:
        >>> unknown_option(ArgumentError(None, "Group 'trainer' does not accept option 'max_epochs'"))
        'trainer.max_epochs'
    """
    unknown = _UNKNOWN.search(str(error))
    if unknown is None:
        return None
    return _last(unknown) if unknown["group"] is None else f"{unknown['group']}.{_last(unknown)}"


def _last(match: re.Match[str]) -> str:
    return [group for group in match.groups() if group is not None][-1]
