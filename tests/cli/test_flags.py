import logging

import pytest
from jsonargparse import ArgumentError

from speechshap.cli.flags import (
    add_nearest_option,
    flags_of,
    name_flags,
    parameters_as_flags,
    rewritten_messages,
    switched_on,
    switches_of,
)
from speechshap.errors import UserError


class One:
    def __init__(self, root: str, shuffle: bool = False) -> None: ...


class Other:
    def __init__(self, root: str, quick: bool | int = False, seed: int = 0) -> None: ...


def test_a_parameter_of_two_groups_is_the_option_of_the_first() -> None:
    flags = flags_of(data=[One], model=[Other])
    assert flags["root"] == "--data.root"
    assert flags["quick"] == "--model.quick"


def test_options_that_may_be_true_are_switched_on_where_no_value_follows() -> None:
    switches = switches_of(data=[One], model=[Other])
    assert switches == {"--data.shuffle", "--model.quick"}
    for given, expected in (
        (["--data.shuffle"], ["--data.shuffle=true"]),
        (["--data.shuffle", "--model.quick", "-1"], ["--data.shuffle=true", "--model.quick", "-1"]),
        (["--data.shuffle", "-c", "a.yaml"], ["--data.shuffle=true", "-c", "a.yaml"]),
        (["--data.shuffle", "false", "--model.seed"], ["--data.shuffle", "false", "--model.seed"]),
    ):
        assert switched_on(given, switches) == expected


def test_words_in_backticks_that_are_no_parameters_lose_them() -> None:
    assert name_flags('`root` or `logits`; `root="all"`', {"root": "--data.root"}) == (
        "--data.root or logits; --data.root all"
    )


def test_an_option_far_from_all_others_is_told_alone() -> None:
    error = ArgumentError(None, "unrecognized arguments: --zzz 3")
    add_nearest_option(error, ["--data.root"])
    assert str(error) == "unrecognized arguments: --zzz 3"


def test_an_unknown_option_of_a_configuration_is_told_with_its_file() -> None:
    error = ArgumentError(None, "Subcommand 'fit' does not accept option 'data.rot'")
    add_nearest_option(error, ["--data.root"], ["--config", "{data: {rot: x}}"])
    assert str(error) == "{data: {rot: x}}: there is no option data.rot; did you mean data.root?"


def test_a_mistake_further_down_names_options() -> None:
    error = RuntimeError("while reading")
    error.__cause__ = UserError("`root` is gone")
    with pytest.raises(UserError, match=r"^--data\.root is gone$"), parameters_as_flags(lambda: flags_of(data=[One])):
        raise error


def test_messages_name_options_and_those_of_others_stay(caplog: pytest.LogCaptureFixture) -> None:
    with parameters_as_flags(lambda: flags_of(data=[One])):
        logging.getLogger("speechshap.data").warning("`%s` is far", "root")
        logging.getLogger("elsewhere").warning("`root` of theirs")
    assert caplog.messages == ["--data.root is far", "`root` of theirs"]


def test_a_wrong_value_is_told_in_plain_words() -> None:
    error = ArgumentError(None, "Parser key \"data.seed\": Expected a <class 'int'>. Got value: x")
    with pytest.raises(ArgumentError, match=r"^--data\.seed is x; expected an integer$"), parameters_as_flags(dict):
        raise error


def test_errors_that_are_no_mistakes_of_the_user_pass_through() -> None:
    with pytest.raises(RuntimeError, match="`root` broke"), parameters_as_flags(lambda: flags_of(data=[One])):
        raise RuntimeError("`root` broke")


def test_messages_are_rewritten_within_the_block_alone(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("speechshap.data")
    with rewritten_messages(str.upper):
        logger.warning("within")
    logger.warning("after")
    assert caplog.messages == ["WITHIN", "after"]
