"""Messages of the parser and of Lightning themselves, not copies of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import pytest
import pytorch_lightning as pl
from jsonargparse import ArgumentError, ArgumentParser, Namespace
from pytorch_lightning.loggers import Logger

from speechshap.cli.mistakes import in_plain_words, unknown_option


@dataclass
class Grid:
    hop: int = 160


class Masks(TypedDict, total=False):
    time: float


class Options:
    def __init__(
        self,
        seed: int = 0,
        most: int | None = None,
        count: int | Literal["auto"] = 1,
        corpus: Literal["auto", "tess"] = "auto",
        share: float = 0.5,
        fields: dict[str, Any] | None = None,
        grid: Grid | None = None,
        span: tuple[float, float] | None = None,
        masks: Masks | None = None,
        logger: Logger | Iterable[Logger] | bool | None = None,
    ) -> None: ...


def refused(*arguments: str) -> ArgumentError:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_argument("--report", type=bool)
    parser.add_class_arguments(Options, "data")
    with pytest.raises(ArgumentError) as caught:
        parser.parse_args(arguments)
    return caught.value


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data.seed", "x"], "--data.seed is x; expected an integer"),
        (["--data.most", "1.5"], "--data.most is 1.5; expected an integer"),
        (["--data.count", "many"], "--data.count is many; expected an integer or auto"),
        (["--data.corpus", "emodb"], "--data.corpus is emodb; expected auto or tess"),
        (["--data.share", "x y"], "--data.share is x y; expected a number"),
        (["--data.fields", "[1]"], "--data.fields is [1]; expected options by name"),
        (["--report", "maybe"], "--report is maybe; expected true or false"),
        (["--config", "{data: {count: many}}"], "--data.count is many; expected an integer or auto"),
        (["--data.grid.hop", "x"], "--data.grid.hop is x; expected an integer"),
        (["--data.grid.hip", "3"], "--data.grid: Grid has no option hip"),
        (["--data.span", "3"], "--data.span is 3; expected a list such as [1, 2]"),
        (["--data.span", "[1, 2, 3]"], "--data.span is [1, 2, 3]; expected a list such as [1, 2]"),
        (["--data.masks.tame", "0.1"], "there is no option --data.masks.tame"),
        (["--data.most.x", "3"], "there is no option --data.most.x"),
        (["--data.logger", "Nope"], "--data.logger is Nope; expected the name of a class, a list or true or false"),
        (["--data.logger", "CSVLogger"], "--data.logger is CSVLogger, which needs --data.logger.save_dir"),
        (
            ["--data.logger.version", "3"],
            "--data.logger.version is an option of a class; name the class first, with --data.logger",
        ),
        (
            ["--data.logger=TensorBoardLogger", "--data.logger.save_dir=x", "--data.logger.version=[1]"],
            "--data.logger.version is [1]; expected an integer or a text",
        ),
    ],
)
def test_a_wrong_value_is_told_with_the_option_and_what_was_expected(arguments: list[str], words: str) -> None:
    assert in_plain_words(refused(*arguments).message) == words


class Missing(pl.Callback):
    """Needs a package that is not there."""

    def __init__(self) -> None:
        raise ModuleNotFoundError("Requirement 'wandb' not met.\nHINT: install it")


def test_a_class_that_cannot_be_made_is_told_with_the_reason() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--callback", type=pl.Callback | bool | None)
    with pytest.raises(ValueError, match="Union") as caught:
        parser.instantiate(Namespace(callback=Namespace(class_path=f"{__name__}.Missing")))
    assert in_plain_words(str(caught.value)) == "Missing: Requirement 'wandb' not met.\nHINT: install it"


def test_other_messages_stay() -> None:
    for message in ("unrecognized arguments: --x", 'Parser key "a": something new', ""):
        assert in_plain_words(message) == message


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["--data.sed", "3"], "data.sed"),
        (["--config", "{data: {sed: 3}}"], "data.sed"),
        (["--config", "{dta: {seed: 3}}"], "dta.seed"),
        (["--data.seed", "x"], None),
    ],
)
def test_an_unknown_option_is_found_in_the_error(arguments: list[str], option: str | None) -> None:
    assert unknown_option(refused(*arguments)) == option
