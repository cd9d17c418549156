"""The console command ``speechshap``; a command is imported when it is called, so that help comes at once."""

import sys
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import version
from typing import NamedTuple

from speechshap.cli.configs import config_names


class Command(NamedTuple):
    """A command: the function of the same name (with an underscore for a hyphen) in a module of this package.

    Attributes:
        summary: For the list of all commands.
        interrupted: What to say after Ctrl-C or SIGTERM.
    """

    summary: str
    interrupted: str = "interrupted"


COMMANDS = {
    "train": Command("fit, validate or test a classifier of emotions"),
    "cross-validate": Command(
        "train and test every fold of a corpus",
        "interrupted; what is finished or saved stays, and the same command goes on from there",
    ),
    "sweep": Command(
        "look for the options of a training that validate best",
        "interrupted; what is finished or saved stays, and the same command goes on from there",
    ),
    "explain": Command(
        "explain its predictions, or those of another model",
        "interrupted; what is written stays, and the same command goes on from there",
    ),
    "benchmark": Command(
        "judge explanation methods on a model",
        "interrupted; what is judged stays, and the same command goes on from there",
    ),
    "report": Command("write the report of a run that was stopped or moved"),
    "export": Command("write a classifier as a folder for others, or for the Hugging Face hub"),
}

_HELP = """\
usage: speechshap <command> [options]

Train a speech emotion classifier, and explain its predictions with error bars.

commands:
{commands}

A first run, on a corpus that it makes itself:
  speechshap train fit --config demo
  speechshap explain --ckpt_path runs/demo/version_0 --data.max_utterances 12

On a corpus that you have, and with a model of the Hugging Face hub on any recordings:
  speechshap train fit --config ravdess --data.root ~/RAVDESS
  speechshap explain --model superb/hubert-large-superb-er --data.files recordings/

speechshap <command> --help lists the options of a command; --debug shows where an error arose; --version.
--config takes a YAML file, or a name: {configs}.
"""


def main(command: str | None = None) -> None:
    """Run a command.

    Args:
        command: Its name, where a script of its own was called (``explain.py``); else the first argument.
    """
    arguments = sys.argv[1:]
    if command is not None:
        _run(command, arguments, program=f"{command}.py")
        return
    first = next((argument for argument in arguments if argument != "--debug"), "--help")
    if first in COMMANDS:
        arguments.remove(first)
        _run(first, arguments, program=f"speechshap {first}")
    elif first in ("-h", "--help"):
        commands = "\n".join(f"  {name:16}{about.summary}" for name, about in COMMANDS.items())
        print(_HELP.format(commands=commands, configs=", ".join(config_names())), end="")
    elif first == "--version":
        print(f"speechshap {version('speechshap')}")
    else:
        near = get_close_matches(first, COMMANDS, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        sys.exit(f"error: there is no command {first!r}, but {', '.join(COMMANDS)}{hint} (--help tells more)")


def _run(name: str, arguments: list[str], program: str) -> None:
    from speechshap.cli.program import run

    function_name = name.replace("-", "_")
    function = getattr(import_module(f"speechshap.cli.{function_name}"), function_name)
    run(lambda given: function(given, program), COMMANDS[name].interrupted, arguments)
