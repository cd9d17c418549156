"""Which parts of a corpus are explained in a folder, where many processes share it (job arrays)."""

import json
import logging
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from speechshap.data.shards import Portion
from speechshap.data.wording import counted, name_some
from speechshap.errors import UserError
from speechshap.files import locked, whole_file
from speechshap.fingerprint import fingerprint
from speechshap.results.folder import ResultsFolder
from speechshap.results.parts import PartsWriter

logger = logging.getLogger(__name__)

# Whoever reads the folder as one Parquet dataset passes over names with an underscore.
SHARDS = "_shards"
"""Folder within the results with the plan, and a file for each part that is done."""

_MOST_NAMED = 20


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the parts of a corpus have in common.

    Attributes:
        count: How many parts there are.
        num_utterances: Utterances of all parts together, files that cannot be used included.
        utterances: Fingerprint of their ids.
        settings: Of each method, by name.
        settings_fingerprints: Of each method, with model, precision and references.
    """

    count: int
    num_utterances: int
    utterances: str
    settings: list[dict[str, Any]]
    settings_fingerprints: list[str]

    @classmethod
    def of(cls, portion: Portion, settings: Mapping[str, Mapping[str, Any]]) -> "Plan":
        """The plan that a process has in mind.

        Args:
            portion: Its part.
            settings: Of each method, by their fingerprint.
        """
        # As JSON gives them back, which has lists alone.
        plain = json.loads(json.dumps(list(settings.values())))
        return cls(
            count=portion.shard.count, num_utterances=portion.num_utterances, utterances=portion.utterances,
            settings=plain, settings_fingerprints=list(settings),
        )  # fmt: skip

    @property
    def id(self) -> str:
        """Different for every plan."""
        return fingerprint(asdict(self))

    def difference(self, other: "Plan") -> str:
        """What is different in the other one, in words."""
        if self.count != other.count:
            return f"are of {self.count}, and `shard` is of {other.count}"
        if self.utterances != other.utterances:
            return f"share {self.num_utterances} utterances, and here there are others ({other.num_utterances})"
        for own, there in zip(self.settings, other.settings, strict=False):
            for name, value in own.items():
                if name not in there or there[name] != value:
                    return f"have `{name}` {value}, and here it is {there.get(name)}"
        if len(self.settings) != len(other.settings):
            return f"have {counted(len(self.settings), 'method')}, and here there are {len(other.settings)}"
        return "have another model, or other references"


@dataclass(frozen=True)
class Coverage:
    """How much of a plan is done.

    Attributes:
        plan: The plan.
        missing: Parts that are not done, from 1 on.
    """

    plan: Plan
    missing: list[int]

    @classmethod
    def read(cls, folder: Path) -> "Coverage | None":
        """Of a results folder; None where nothing is shared."""
        try:
            plan = Plan(**json.loads((folder / SHARDS / "plan.json").read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, OSError) as error:
            logger.warning("%s is not read: %s", folder / SHARDS / "plan.json", error)
            return None
        done = set()
        for path in (folder / SHARDS).glob("*-of-*.done"):
            with suppress(FileNotFoundError):  # of a former plan, removed meanwhile
                done |= {path.name} if path.read_text().strip() == plan.id else set()
        # Where there are more parts than utterances, the last ones have none.
        filled = range(1, min(plan.count, plan.num_utterances) + 1)
        return cls(plan, [number for number in filled if _done(number, plan.count) not in done])

    def tell(self, num_explained: int) -> str:
        """In a sentence.

        Args:
            num_explained: Utterances that are explained.

        Example:
            >>> plan = Plan(count=8, num_utterances=5000, utterances="", settings=[], settings_fingerprints=[])
            >>> Coverage(plan, [3, 7]).tell(1234)
            '1,234 of 5,000 utterances are explained; shards 3, 7 of 8 are missing'
            >>> Coverage(plan, []).tell(4998)
            '4,998 of 5,000 utterances are explained, and all 8 shards are done'
        """
        share = f"{num_explained:,} of {self.plan.num_utterances:,} utterances are explained"
        if not self.missing:
            return f"{share}, and all {self.plan.count} shards are done"
        names = name_some([str(number) for number in self.missing], _MOST_NAMED)
        is_one = len(self.missing) == 1
        return f"{share}; shard{'' if is_one else 's'} {names} of {self.plan.count} {'is' if is_one else 'are'} missing"


def told_of_shards(results: ResultsFolder) -> str | None:
    """How much of a corpus that was shared is explained, in a sentence; None where nothing is shared, or all is done.

    Args:
        results: The folder, whose latest explanation is of the shards.
    """
    coverage = Coverage.read(results.folder)
    if coverage is None or not coverage.missing or not results.parts:
        return None
    latest = results.latest(("settings_fingerprint",))["settings_fingerprint"]
    if latest not in coverage.plan.settings_fingerprints:
        return None
    return coverage.tell(results.num_explained(latest))


class ShardRun:
    """A process that explains a part: no other one explains the same, and the other parts have the same settings.

    Args:
        writer: Of the results.
        portion: The part.
        settings: Of each method, by the fingerprint of all that its explanations have in common.

    Raises:
        UserError: Another process explains this part, or parts with other settings are not done.
    """

    def __init__(self, writer: PartsWriter, portion: Portion, settings: Mapping[str, Mapping[str, Any]]) -> None:
        self.writer = writer
        self.folder = writer.results.folder
        self.shard = portion.shard
        self.plan = Plan.of(portion, settings)
        self._own = ExitStack()
        with writer.exclusive():
            self._take_shard()
            try:
                self._follow_plan()
            except BaseException:
                self.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _take_shard(self) -> None:
        path = self.writer.locks / f".shard-{self.shard.number}-of-{self.shard.count}.lock"
        try:
            self._own.enter_context(locked(path, 0, or_raise=BlockingIOError))
        except BlockingIOError:
            raise UserError(
                f"`shard` {self.shard} of {self.folder} is being explained by another process; wait for its end, or "
                "end it"
            ) from None

    def _follow_plan(self) -> None:
        former = Coverage.read(self.folder)
        if former is not None and former.plan == self.plan:
            return
        if former is not None and former.missing:
            raise UserError(
                f"the shards in {self.folder} {former.plan.difference(self.plan)}; give what they were given, another "
                f"`output_dir`, or remove {self.folder / SHARDS} to begin anew"
            )
        with whole_file(self.folder / SHARDS / "plan.json") as partial:
            partial.write_text(json.dumps(asdict(self.plan), indent=2) + "\n", encoding="utf-8")
        for path in (self.folder / SHARDS).glob("*.done"):
            path.unlink()

    def finish(self) -> Coverage:
        """Say that this part is done; returns what is missing yet. Of processes that end at once, one sees nothing."""
        with self.writer.exclusive():
            with whole_file(self.folder / SHARDS / _done(self.shard.number, self.shard.count)) as partial:
                partial.write_text(f"{self.plan.id}\n")
            return Coverage.read(self.folder) or Coverage(self.plan, [])

    def close(self) -> None:
        """Let another process explain this part; a second time does nothing."""
        self._own.close()


def _done(number: int, count: int) -> str:
    return f"{number}-of-{count}.done"
