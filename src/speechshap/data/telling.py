"""What is said of a corpus while it is split and checked."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from speechshap.data.checking import add_to_list
from speechshap.data.choosing import describe
from speechshap.data.overlap import SpeakerOverlap
from speechshap.data.utterance import Skipped, Utterance
from speechshap.data.wording import counted, name_some

logger = logging.getLogger(__name__)


class Teller:
    """Logs what is to be known of a corpus, and lists the files that are left out of it.

    Attributes:
        folder: Of ``skipped.csv``, first the working folder; None writes none.
        quiet: Say and write nothing, as in all processes but the first.

    Example:
        >>> Teller().warn(["the train split has none of the class sad"])
    """

    def __init__(self) -> None:
        self.folder: Path | None = Path()
        self.quiet = False
        self._told: set[Skipped | Path] = set()

    def say(self, text: str) -> None:
        """Say something."""
        if not self.quiet:
            logger.info("%s", text)

    def warn(self, remarks: Sequence[str]) -> None:
        """Warn."""
        for remark in remarks if not self.quiet else ():
            logger.warning("%s", remark)

    def split(self, text: str, parts: Mapping[str, Sequence[Utterance]]) -> None:
        """Say who is in which part."""
        for line in (text, *(f"  {describe(name, part)}" for name, part in parts.items())):
            self.say(line)

    def overlap(self, overlap: SpeakerOverlap, is_given: bool) -> None:
        """Say whether voices are heard on both sides; a warning where a manifest has them so, maybe unnoticed."""
        if not self.quiet:
            logger.log(logging.WARNING if is_given and not overlap.is_independent else logging.INFO, "  %s", overlap)

    def silent(self, paths: Sequence[Path]) -> None:
        """Warn of files that are used and in which nothing is heard, where it was not said of them."""
        untold = [path for path in paths if path not in self._told]
        self._told.update(untold)
        if untold:
            number, some = counted(len(untold), "file"), name_some([path.name for path in untold])
            self.warn([f"{number} with nothing but silence (every sample has the same value): {some}"])

    def skipped(self, items: Sequence[Skipped], explained: Mapping[str, str], by_all: bool = False) -> None:
        """List files that were left out, and say so of those of which it was not said.

        Args:
            items: The files.
            explained: By the beginning of a reason, what is said of it in addition.
            by_all: Whether this process lists those that it has met, even if it is not the first.
        """
        if self.quiet and not by_all:
            return
        untold = [item for item in items if item not in self._told]
        self._told.update(untold)
        if not untold:
            return
        some, where = name_some([item.path.name for item in untold]), ""
        if self.folder is not None:
            path = self.folder / "skipped.csv"
            add_to_list(path, untold)
            where = f", listed with the reason in {path}"
        logger.warning("%s left out (%s)%s", counted(len(untold), "file"), some, where)
        for reason, more in explained.items():
            if number := sum(item.reason.startswith(reason) for item in untold):
                logger.warning("%d of them: %s%s", number, reason, more)
