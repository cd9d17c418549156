"""The console command, and what all commands have in common."""

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from speechshap.cli import main
from speechshap.cli.configs import config_names, find_config
from speechshap.errors import UserError

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., str | int | None]:
    """Call ``speechshap`` (or a script) in this process; returns what it exits with."""
    monkeypatch.chdir(tmp_path)

    def call_it(*arguments: str, script: str | None = None) -> str | int | None:
        monkeypatch.setattr(sys, "argv", [script or "speechshap", *arguments])
        try:
            main(script)
        except SystemExit as exit_:
            return exit_.code
        return 0

    return call_it


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",), ("--debug", "--help")])
def test_help_names_the_commands_and_the_configurations(
    call: Callable[..., object], capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    assert call(*arguments) == 0
    told = capsys.readouterr().out
    assert told.startswith("usage: speechshap <command> [options]\n")
    for words in (
        "train",
        "cross-validate",
        "explain",
        "report",
        "export",
        "speechshap train fit --config demo",
        *config_names(),
    ):
        assert words in told


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from speechshap.cli import main; main();"
        "print({'torch', 'numpy', 'jsonargparse', 'pytorch_lightning'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout.splitlines()[-1] == "set()"


def test_reporting_does_not_import_lightning() -> None:
    code = "import sys, speechshap.cli.program, speechshap.cli.report; print('pytorch_lightning' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout.strip() == "False"


def test_the_version_is_that_of_the_package(call: Callable[..., object], capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--version") == 0
    assert capsys.readouterr().out == f"speechshap {version('speechshap')}\n"


def test_a_mistyped_command_is_one_line(call: Callable[..., object]) -> None:
    assert call("trian", "fit") == (
        "error: there is no command 'trian', but train, cross-validate, sweep, explain, benchmark, report, export; "
        "did you mean train? (--help tells more)"
    )


@pytest.mark.parametrize("command", ["train", "explain", "report", "export"])
def test_usage_names_what_was_called(
    call: Callable[..., object], capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert call(command, "--help") == 0
    assert capsys.readouterr().out.startswith(f"usage: speechshap {command} ")
    assert call("--help", script=command) == 0
    assert capsys.readouterr().out.startswith(f"usage: {command}.py ")


def test_help_is_text_without_markup(call: Callable[..., object], capsys: pytest.CaptureFixture[str]) -> None:
    assert call("explain", "--help") == 0
    told = capsys.readouterr().out
    assert "``" not in told
    assert "of training via flags" not in told


@pytest.mark.parametrize("arguments", [("--debug", "report", "nowhere"), ("report", "nowhere", "--debug")])
def test_debug_raises_what_went_wrong(call: Callable[..., object], arguments: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="no folder nowhere"):
        call(*arguments)
    assert call("report", "nowhere") == (
        "error: folder: no folder nowhere; give the folder of a run (runs/<experiment>/version_N)"
    )


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (["explain", "--explain.preset", "textbook", "--explain.leyers", "3"], "--explain.layers"),
        (["explain", "--n_samples", "3"], "--explain.n_samples"),
        (["explain", "--explain.n_sam", "3"], "--explain.n_samples"),
        (["explain", "--trainer.device", "3"], "--trainer.devices"),
        (["train", "fit", "--data.rot", "x"], "--data.root"),
    ],
)
def test_the_nearest_option_is_suggested(call: Callable[..., object], arguments: list[str], near: str) -> None:
    told = str(call(*arguments))
    assert "unrecognized arguments: " in told
    assert told.endswith(f"; did you mean {near}? (--help lists the options)")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["train", "fit", "--data.batch_size", "x"], "--data.batch_size is x; expected an integer"),
        (
            ["explain", "--explain.method", "gradient_shap", "--explain.n_samples", "many"],
            "--explain.n_samples is many; expected an integer or auto",
        ),
    ],
)
def test_a_wrong_value_is_one_line(call: Callable[..., object], arguments: list[str], told: str) -> None:
    assert call(*arguments) == f"error: {told} (--help lists the options)"


@pytest.mark.parametrize("command", [("train", "fit"), ("explain",)])
def test_an_option_that_a_configuration_would_override_is_refused(
    call: Callable[..., object], command: tuple[str, ...]
) -> None:
    told = str(call(*command, "--data.batch_size", "3", "--config", "demo"))
    assert told.startswith("error: --data.batch_size comes before --config ")
    assert told.endswith("give --data.batch_size after it")


def test_a_configuration_of_the_package_is_found_by_name_from_any_folder(
    call: Callable[..., object], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("train", "fit", "--config", "crema_d", "--print_config") == 0
    assert "corpus: crema_d" in capsys.readouterr().out


@pytest.mark.parametrize("link", [None, "src/speechshap/configs"], ids=["no folder", "a link that became a text"])
def test_a_configuration_of_the_package_is_found_where_there_is_no_link_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    if link is not None:
        Path("configs").write_text(link)
    assert find_config("configs/crema_d.yaml") == find_config("crema_d")
    with pytest.raises(UserError, match="no file elsewhere"):
        find_config("elsewhere/crema_d.yaml")


def test_a_file_wins_over_a_configuration_of_the_same_name(
    call: Callable[..., object], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("crema_d").write_text("data: {corpus: tess}")
    assert call("train", "fit", "--config=crema_d", "--print_config") == 0
    assert "corpus: tess" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [("train", "fit", "--config", "ravdes"), ("explain", "-c", "ravdes")])
def test_an_unknown_configuration_lists_what_there_is(call: Callable[..., object], arguments: tuple[str, ...]) -> None:
    assert call(*arguments) == (
        f"error: --config: no file ravdes; expected a YAML file, or one of {', '.join(config_names())}; "
        "did you mean ravdess?"
    )


def test_configs_at_the_top_are_those_of_the_package() -> None:
    there = (path.relative_to(PROJECT / "configs") for path in (PROJECT / "configs").rglob("*.yaml"))
    assert sorted(path.with_suffix("").as_posix() for path in there) == config_names()
