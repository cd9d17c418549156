"""What a run says of its corpus as a whole: one table and a figure for each aggregate, from the run's Parquet."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from matplotlib.figure import Figure

from speechshap.errors import UserError
from speechshap.files import whole_file
from speechshap.report import corpus
from speechshap.report.rendering import png_bytes
from speechshap.results.explanation import UNITS
from speechshap.results.folder import GROUPED_BY, ResultsFolder, by_utterance, nothing_to_show

_COLUMNS = (
    "prediction", "target", "frame_attribution", "layer_names", "layer_mass", "frequencies_hz",
    "time_frequency_attribution",
)  # fmt: skip


FIGURES = ("time", "frequency", "layers", "agreement")
"""Names of the figures that a run may have."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Aggregates over the utterances of a run; None where it has no such attributions.

    Attributes:
        unit: Of the explained output.
        time: Mean attribution over normalised time by emotion.
        bands: By frequency band and emotion.
        layers: Share of the layers by emotion.
        agreement: Between the attributions to different classes.
    """

    unit: str
    time: corpus.Profile | None
    bands: corpus.Profile | None
    layers: corpus.Profile | None
    agreement: corpus.ClassAgreement | None

    @classmethod
    def read(cls, results: ResultsFolder) -> "Summary":
        """From the rows that have the settings of the latest ones.

        Raises:
            UserError: There are none.
        """
        settings = results.read(("settings_fingerprint", "output", "explained_at"))
        if not settings:
            raise UserError(nothing_to_show(results.folder))
        last = max(settings, key=lambda row: row["explained_at"])
        groups = by_utterance(results.read((*GROUPED_BY, *_COLUMNS), settings=last["settings_fingerprint"]))
        rows = [row for group in groups for row in group]
        return cls(
            UNITS[last["output"]],
            corpus.time_profile(rows),
            corpus.band_profile(rows),
            corpus.layer_profile(rows),
            corpus.class_agreement(rows),
        )

    @property
    def table(self) -> pa.Table:
        """All of it, one row a value (columns: :data:`speechshap.report.corpus.TABLE_SCHEMA`)."""
        return corpus.corpus_table(self.time, self.bands, self.layers, self.agreement)

    def figures(self) -> Iterator[tuple[str, Figure]]:
        """A name and a figure for each aggregate that there is."""
        if self.time is not None:
            yield "time", corpus.time_profile_figure(self.time, self.unit)
        if self.bands is not None:
            yield "frequency", corpus.band_profile_figure(self.bands, self.unit)
        if self.layers is not None:
            yield "layers", corpus.layer_profile_figure(self.layers)
        if self.agreement is not None:
            yield "agreement", corpus.class_agreement_figure(self.agreement)

    def write(self, folder: Path) -> dict[str, bytes]:
        """Write ``table.csv`` and a PNG for each figure, and return the latter by name."""
        import pyarrow.csv

        with whole_file(folder / "table.csv") as partial:
            pyarrow.csv.write_csv(self.table, partial)
        pictures = {name: png_bytes(figure)[0] for name, figure in self.figures()}
        for name in set(FIGURES) - set(pictures):
            (folder / f"{name}.png").unlink(missing_ok=True)  # of other settings
        for name, picture in pictures.items():
            with whole_file(folder / f"{name}.png") as partial:
                partial.write_bytes(picture)
        return pictures
