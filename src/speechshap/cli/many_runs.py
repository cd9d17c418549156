"""Options of a command that trains many times, each time in a folder of its own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI

from speechshap.cli.train import TrainCLI, check_options
from speechshap.errors import UserError


class ManyRunsCLI(TrainCLI):
    """Options of ``speechshap train fit``, and of a command that trains with them many times; makes nothing.

    Args:
        arguments: Of the command line.
        program: What was called.

    Attributes:
        at_once: How several are trained at once, in words.
    """

    at_once = "the same command, given several times, shares them among processes"

    def __init__(self, arguments: list[str], program: str) -> None:
        super().__init__(arguments, program, run=False)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the callbacks; what is shown of one run would be too much of many."""
        super().add_arguments_to_parser(parser)
        parser.set_defaults({"trainer.enable_progress_bar": False, "trainer.enable_model_summary": False})

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, and refuse what would have the runs disturb each other."""
        LightningCLI.parse_arguments(self, parser, args)
        check_options(self.config)
        if self.config.seed_everything is True:
            raise UserError("--seed_everything is true, a seed that nobody knows; give a number, so that runs go on")
        _refuse_shared_files(self.config, self.at_once)

    def _parse_ckpt_path(self) -> None:
        """There is none."""

    def _set_seed(self) -> None:
        """Each run does."""

    def instantiate_classes(self) -> None:
        """Make nothing; each run does."""

    @property
    def experiment(self) -> Path:
        """Folder of the experiment."""
        place = self.config.trainer.logger.init_args
        return Path(place.save_dir, place.name)

    def text(self, hidden: Mapping[str, Any]) -> str:
        """All options that decide the results.

        Args:
            hidden: Options that decide nothing of them, with the values that are written instead.
        """
        options = self.config.clone()
        for name, value in hidden.items():
            options[name] = value
        self.parser.dump_header = None  # which names the version of Lightning
        text: str = self.parser.dump(options, skip_none=False)
        return text

    def fit_options(self, own: Sequence[str]) -> Namespace:
        """Options of each training.

        Args:
            own: Options of the command.
        """
        options = self.config.clone()
        for name in (*own, "config"):
            options.pop(name, None)
        options.trainer.devices = 1 if options.trainer.devices == "auto" else options.trainer.devices
        return options


def options_of_run(options: Namespace, folder: Path, seed: int) -> dict[str, Any]:
    """Options of a training whose files go to a folder."""
    own: dict[str, Any] = options.clone().as_dict()
    own["seed_everything"] = seed
    place = {"save_dir": str(folder.parent.parent), "name": folder.parent.name, "version": folder.name}
    own["trainer"]["logger"]["init_args"].update(place)
    return own


def without_hidden(arguments: Sequence[str], hidden: Mapping[str, Any]) -> list[str]:
    """Arguments without the options that decide nothing of the results.

    Example:
        >>> without_hidden(["--folds", "5", "--jobs", "2", "--only=1"], {"jobs": 1, "only": None})
        ['--folds', '5']
    """
    kept, skips = [], False
    for argument in arguments:
        name, is_joined, _ = argument.partition("=")
        is_hidden = name.removeprefix("--") in hidden and name.startswith("--")
        if not is_hidden and not skips:
            kept.append(argument)
        skips = is_hidden and not is_joined
    return kept


def _refuse_shared_files(options: Namespace, at_once: str) -> None:
    trainer = options.trainer
    kind = trainer.logger.class_path.rpartition(".")[2] if isinstance(trainer.logger, Namespace) else trainer.logger
    if kind != "TensorBoardLogger":
        raise UserError(f"`logger` is {kind}; runs are kept in folders of TensorBoardLogger")
    if trainer.logger.init_args.get("version") is not None:
        raise UserError("`logger` has a version, but each run has a folder of its own; leave it out")
    for name in ("checkpoint", "last_checkpoint"):
        if options[name].dirpath is not None:
            raise UserError(f"--{name}.dirpath is given, but each run has a folder of its own; leave it out")
    if trainer.fast_dev_run or trainer.enable_checkpointing is False:
        name = "fast_dev_run" if trainer.fast_dev_run else "enable_checkpointing"
        raise UserError(f"`{name}` is {trainer[name]}, but the best checkpoint of each run counts; leave it out")
    if trainer.max_epochs == 0:
        raise UserError("`max_epochs` is 0, so that nothing would be trained; expected 1 at least, or -1")
    count = len(trainer.devices) if isinstance(trainer.devices, list) else trainer.devices
    if str(count) not in ("auto", "1") or trainer.num_nodes != 1:
        raise UserError(
            f"`devices` is {trainer.devices} of {trainer.num_nodes} nodes; each run is trained on one: {at_once}"
        )
