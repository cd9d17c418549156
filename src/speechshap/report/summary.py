"""Statistics of a run over its corpus, read from its Parquet: one table, and a figure for each of them."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from matplotlib.figure import Figure
from tqdm.auto import tqdm

from speechshap.errors import UserError
from speechshap.files import locked, remove_partial, whole_file
from speechshap.report import comparison, comparison_figures, corpus, corpus_figures
from speechshap.report.beeswarm import Beeswarm, beeswarm_of
from speechshap.report.beeswarm_figure import beeswarm_figure
from speechshap.report.corpus_table import corpus_table
from speechshap.report.cue_figure import cue_figure
from speechshap.report.cue_profile import cue_gatherer
from speechshap.report.rendering import png_bytes
from speechshap.results.explanation import unit_of
from speechshap.results.folder import ResultsFolder, file_name
from speechshap.results.parts import Row

if TYPE_CHECKING:
    import plotly.graph_objects as go

_COLUMNS = (
    "prediction", "target", "against", "frame_attribution", "layer_names", "layer_mass", "frequencies_hz",
    "time_frequency_attribution", "speaker", "cue_names", "cue_evidence", "cue_rest",
    "cue_rule",
)  # fmt: skip

_PATIENCE_SECONDS = 60

CAPTIONS = {
    "time": "Mean attribution to each emotion over normalised time",
    "frequency": "Mean attribution to each emotion by frequency band",
    "layers": "Mean share of each layer by emotion",
    "agreement": "Correlation of the frame attributions to two classes within an utterance, averaged over utterances "
    "(small: how many; faded: few)",
    "cues": "Prosody of the evidence for each emotion, less that of the rest",
    "beeswarm": "The same, utterance by utterance: further right, the cue is higher in the evidence than in the rest; "
    "the colour says how high it is in the utterance as a whole",
    "time_compared": "Each emotion compared with all others over normalised time",
    "frequency_compared": "Each emotion compared with all others by frequency band",
    "cues_compared": "Each emotion compared with all others in what is heard where the evidence is",
}
"""Captions of the figures that a run may have, by their names."""

_COMPARED = {"time": "time_compared", "band": "frequency_compared", "cue": "cues_compared"}
"""Names of the figures in which each emotion is compared with all others, by quantity."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Statistics over the utterances of a run; None where it has no such attributions.

    Attributes:
        unit: Unit of the explained output.
        time: Mean attribution over normalised time by emotion.
        bands: By frequency band and emotion.
        layers: Shares of the layers by emotion.
        agreement: Between the attributions to different classes.
        cues: Prosody of the evidence less that of the rest, utterance by utterance and by emotion.
        comparisons: Of each emotion with all others together, and with each of them; empty where speakers are too few.
        num_utterances: Number of utterances.
    """

    unit: str
    time: corpus.Profile | None
    bands: corpus.Profile | None
    layers: corpus.Profile | None
    agreement: corpus.ClassAgreement | None
    cues: Beeswarm | None
    comparisons: list[comparison.Comparison]
    num_utterances: int

    @classmethod
    def read(cls, results: ResultsFolder) -> "Summary":
        """Statistics of the explanations that have the settings of the latest one.

        Raises:
            UserError: There are no explanations.
        """
        last = results.latest(("settings_fingerprint", "method", "output", "prediction"))
        time, bands, layers = corpus.time_gatherer(), corpus.band_gatherer(), corpus.layer_gatherer()
        agreement, cues, compared = corpus.AgreementGatherer(), cue_gatherer(), comparison.ComparisonGatherer()
        num_utterances = 0
        for rows in _utterances(results, last["settings_fingerprint"], "summing up"):
            num_utterances += 1
            for gatherer in (time, bands, layers, agreement, cues, compared):
                gatherer.add(rows)
        of_cues = cues.result()
        return cls(
            unit_of(last["method"], last["output"], last["prediction"]),
            corpus.profile(time),
            corpus.profile(bands),
            corpus.profile(layers),
            agreement.result(),
            None if of_cues is None else beeswarm_of(of_cues),
            comparison.compare_all(compared.result()),
            num_utterances,
        )

    @property
    def table(self) -> pa.Table:
        """All statistics, one row for each value (columns: :data:`speechshap.report.corpus_table.TABLE_SCHEMA`)."""
        cues = None if self.cues is None else self.cues.profile
        return corpus_table(self.time, self.bands, self.layers, self.agreement, cues)

    def figures(self) -> Iterator[tuple[str, Figure]]:
        """Name and figure of each statistic that there is."""
        if self.time is not None:
            yield "time", corpus_figures.time_profile_figure(self.time, self.unit)
        if self.bands is not None:
            yield "frequency", corpus_figures.band_profile_figure(self.bands, self.unit)
        if self.layers is not None:
            yield "layers", corpus_figures.layer_profile_figure(self.layers)
        if self.agreement is not None:
            yield "agreement", corpus_figures.class_agreement_figure(self.agreement)
        if self.cues is not None:
            yield "cues", cue_figure(self.cues.profile)
            if self.cues.num_drawn:
                yield "beeswarm", beeswarm_figure(self.cues)
        for quantity, name in _COMPARED.items():
            rest = [each for each in self.comparisons if each.quantity == quantity and each.other is None]
            if rest:
                compared = {each.emotion for each in rest}
                missing = [emotion for emotion in self._emotions(quantity) if emotion not in compared]
                yield name, comparison_figures.rest_figure(rest, missing)

    def _emotions(self, quantity: str) -> tuple[str, ...]:
        """Those that have a quantity, compared or not."""
        cues = None if self.cues is None else self.cues.profile
        found = {"time": self.time, "band": self.bands, "cue": cues}[quantity]
        return () if found is None else found.emotions

    def interactive(self) -> "dict[str, go.Figure]":
        """Figures that the page shows in place of pictures, by the same names."""
        from speechshap.report.page.corpus import beeswarm_page_figure  # loads plotly

        return {} if self.cues is None or not self.cues.num_drawn else {"beeswarm": beeswarm_page_figure(self.cues)}

    def write(self, folder: Path) -> dict[str, bytes]:
        """Write ``table.csv``, ``comparison.csv`` and a PNG file for each figure, and return the PNGs by name.

        Raises:
            UserError: Another process writes them and does not end.
        """
        pictures = {name: png_bytes(figure)[0] for name, figure in self.figures()}
        tables = {"table": self.table}
        if self.comparisons:
            tables["comparison"] = comparison.comparison_table(self.comparisons)
        _write(folder, tables, pictures)
        if not self.comparisons:
            (folder / "comparison.csv").unlink(missing_ok=True)  # left from other settings
        for name in CAPTIONS.keys() - pictures.keys():
            (folder / f"{name}.png").unlink(missing_ok=True)
        return pictures


def write_pair(results: ResultsFolder, emotion: str, other: str, folder: Path) -> Path:
    """Write the comparison of two emotions as a figure and, beside it, as a table; returns the figure's path.

    Args:
        results: Explanations; those with the settings of the latest one are compared.
        emotion: Name of one.
        other: Name of the other, which is subtracted.
        folder: Where they go.

    Raises:
        UserError: There are no explanations, or none of these emotions by speakers enough; or another process writes
            into the folder and does not end.
    """
    compared = comparison.ComparisonGatherer()
    for rows in _utterances(results, results.latest(("settings_fingerprint",))["settings_fingerprint"], "comparing"):
        compared.add(rows)
    found = comparison.compare_pair(compared.result(), emotion, other)
    name = f"{file_name(emotion)}_against_{file_name(other)}"
    picture = png_bytes(comparison_figures.pair_figure(found))[0]
    _write(folder, {name: comparison.comparison_table(found)}, {name: picture})
    return folder / f"{name}.png"


def _utterances(results: ResultsFolder, settings: str, doing: str) -> Iterator[list[Row]]:
    """Rows of all utterances with these settings, with a progress bar."""
    return iter(tqdm(results.utterances(_COLUMNS, settings), desc=doing, unit=" utterances", delay=2))


def _write(folder: Path, tables: dict[str, pa.Table], pictures: dict[str, bytes]) -> None:
    """Write CSV and PNG files that show the same and appear together."""
    import pyarrow.csv

    with ExitStack() as whole:
        if whole.enter_context(locked(folder / ".corpus.lock", _PATIENCE_SECONDS, or_raise=UserError)):
            remove_partial(folder, ".*")
        for name, table in tables.items():
            pyarrow.csv.write_csv(table, whole.enter_context(whole_file(folder / f"{name}.csv")))
        for name, picture in pictures.items():
            whole.enter_context(whole_file(folder / f"{name}.png")).write_bytes(picture)
