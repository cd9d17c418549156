"""Writes explanations into a results folder that other processes may be writing into, too."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from speechshap.results.explanation import Explanation
from speechshap.results.folder import Key, ResultsFolder
from speechshap.results.neurons import LAYERS, has_neurons, neuron_file, write_neurons
from speechshap.results.parts import PartsWriter
from speechshap.results.rows import to_rows
from speechshap.results.shards import SHARDS


class ResultsWriter(PartsWriter):
    """Writes the explanations of a run.

    Args:
        folder: Where the parts go; made if it is not there.
        run: Id of the run, common to its ranks (:func:`speechshap.run_lock.new_run_id`); None makes one.
        rank: Rank of this process in the run.
        group: Of runs that never explain the same utterance (:class:`speechshap.results.parts.PartsWriter`).

    Raises:
        UserError: Another process keeps the folder locked.
    """

    results: ResultsFolder
    known: dict[Key, Path]

    def __init__(self, folder: Path, run: str | None = None, rank: int = 0, group: str | None = None) -> None:
        # Not the files of the report, which has a lock of its own.
        leftovers = ("._learnt-*", f"{LAYERS}/**/.*", f"{SHARDS}/.*")
        super().__init__(ResultsFolder(folder), run, rank, leftovers, group)

    def write(self, explanations: Sequence[Explanation]) -> list[Explanation]:
        """Write explanations as the next part, a row for each target, but for rows that are there already.

        Returns:
            Those of which a row was written.

        Raises:
            OSError: There is no room; the error names the part.
            UserError: Another process keeps the folder locked.
        """
        new = self.write_rows([row for explanation in explanations for row in to_rows(explanation)])
        own = {(utterance, fingerprint) for utterance, _, fingerprint in new}
        return [e for e in explanations if (e.utterance, e.provenance.fingerprint) in own]

    def write_neurons(self, explanation: Explanation, neurons: dict[str, Tensor]) -> Path:
        """Write the neuron attributions of an explanation to ``layers/<settings fingerprint>/``; before its rows."""
        return write_neurons(self.results.folder, explanation, neurons)

    def has_neurons(self, settings_fingerprint: str, utterance: str, fingerprint: str) -> bool:
        """Whether the whole neuron attributions of the explanation with this fingerprint are there."""
        return has_neurons(neuron_file(self.results.folder, settings_fingerprint, utterance), fingerprint)
