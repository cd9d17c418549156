import re
from pathlib import Path

import pytest

from speechshap.cli.configs import config_names, config_paths, config_with, find_config
from speechshap.errors import UserError


@pytest.fixture(autouse=True)
def own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration in the working folder."""
    monkeypatch.chdir(tmp_path)
    Path("own.yaml").write_text(
        "data: {root: here}\ntrainer: {callbacks: [], logger: {init_args: {name: own}}}\nmodel: null\n"
    )


@pytest.mark.parametrize("option", ["--config", "-c"])
def test_names_become_paths_and_all_else_stays(option: str) -> None:
    assert config_paths(["fit", option, "demo", "--data.root", "demo"]) == [
        "fit", option, find_config("demo"), "--data.root", "demo",
    ]  # fmt: skip
    assert config_paths([f"{option}=demo"]) == [f"{option}={find_config('demo')}"]
    assert config_paths([option, "own.yaml"]) == [option, "own.yaml"]


@pytest.mark.parametrize("text", ["{data: {batch_size: 3}}", "data:\n  batch_size: 3"])
def test_a_yaml_text_in_place_of_a_file_stays(text: str) -> None:
    assert config_paths(["--config", text]) == ["--config", text]


def test_the_home_folder_may_be_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_config("~/own.yaml") == str(tmp_path / "own.yaml")


def test_a_configuration_in_a_folder_has_its_name() -> None:
    expected = str(Path(find_config("ravdess")).parent / "emobox" / "wavlm_base.yaml")
    assert find_config("emobox/wavlm_base") == find_config("configs/emobox/wavlm_base.yaml") == expected
    with pytest.raises(UserError, match=r"no file wavlm_base; .*did you mean emobox/wavlm_base\?"):
        find_config("wavlm_base")


def test_a_missing_configuration_is_told_with_the_nearest_one() -> None:
    with pytest.raises(UserError, match=re.escape(f"one of {', '.join(config_names())}; did you mean small_wavlm?")):
        config_paths(["fit", "--config", "smal_wavlm"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["--data.root", "there", "--config", "own.yaml"],
        ["fit", "--data.root=there", "-c=own.yaml"],
        ["--config", "own.yaml", "--data.batch_size", "3", "--config", "{data: {batch_size: 4}}"],
        ["--model.freeze", "none", "--config", "own.yaml"],
        ["--trainer.callbacks+=Timer", "--config", "own.yaml"],
        ["--trainer.logger.name", "mine", "--config", "own.yaml"],
        ["--trainer.logger.init_args.name", "mine", "--config", "own.yaml"],
    ],
)
def test_an_option_that_a_later_configuration_would_override_is_refused(arguments: list[str]) -> None:
    lost = next(argument for argument in arguments if argument.startswith("--") and "." in argument)
    name = re.escape(lost.partition("=")[0].rstrip("+"))
    with pytest.raises(UserError, match=rf"{name}\+? comes before `config=.*; *|give {name}"):
        config_paths(arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--config", "own.yaml", "--data.root", "there"],
        ["--data.batch_size", "3", "--config", "own.yaml"],
        ["--trainer.logger.save_dir", "mine", "--config", "own.yaml"],
        ["--config", "own.yaml", "--config", "{data: {root: there}}"],
        ["--seed_everything", "3", "--config", "own.yaml"],
        ["--trainer.logger", "CSVLogger", "--config", "own.yaml"],  # merged with the logger's options
        ["--data.root", "there", "--config", "own.yaml", "--data.root", "there"],
    ],
)
def test_nothing_is_lost_where_no_option_is_overridden(arguments: list[str]) -> None:
    assert config_paths(arguments) == arguments


@pytest.mark.parametrize("content", ["", "text", "a: [", "- 1"])
def test_a_file_that_is_no_configuration_is_left_to_the_parser(content: str) -> None:
    Path("own.yaml").write_text(content)
    assert config_paths(["--data.root", "x", "--config", "own.yaml"])[-1] == "own.yaml"
    assert config_with("data.root", ["--config", "own.yaml"]) is None


def test_the_configuration_that_sets_an_option_is_the_last_one_with_it() -> None:
    Path("fit.yaml").write_text("fit: {data: {batch_size: 3}}")
    arguments = ["--config", "own.yaml", "--config=fit.yaml"]
    assert config_with("data.root", arguments) == "own.yaml"
    assert config_with("data.batch_size", arguments) == "fit.yaml"
    assert config_with("data.corpus", arguments) is None
