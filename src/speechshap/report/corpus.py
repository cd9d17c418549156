"""What the explanations of many utterances have in common: means by emotion, as arrays, one table, and figures.

Rows are those of a run's Parquet (:data:`speechshap.results.folder.SCHEMA`), all of one setting. They are read once,
so that a generator will do. An emotion is a class as predicted: profiles are made from the rows that explain it.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from speechshap.mel import mel
from speechshap.report.colours import CLASSES
from speechshap.report.panels import ATTRIBUTION_MAP, plain
from speechshap.report.spectrogram import MEL_TICKS_HZ, is_mel
from speechshap.results.explanation import CONTRAST

TABLE_SCHEMA = pa.schema(
    [
        ("quantity", pa.string()),
        ("emotion", pa.string()),
        ("other", pa.string()),
        ("position", pa.string()),
        ("value", pa.float64()),
        ("standard_error", pa.float64()),
        ("n", pa.int64()),
    ]
)
"""``quantity`` is ``time``, ``band``, ``layer`` or ``agreement``; ``other`` is the other class of an agreement and null
elsewhere; ``position`` is the middle of a bin as a share of the duration, the centre of a band in Hz or a layer's name,
and null for an agreement; ``value`` and ``standard_error`` are null where they are unknown."""

_WIDTH, _DPI = 8.0, 100  # inches
_NAMED_AT_MOST = 13
"""Layers named on an axis; of more, only every second, third, ... is."""
_OUTLINE = withStroke(linewidth=1.9, foreground="0.25")  # the yellow among the colours is faint on white


@dataclass(frozen=True, slots=True)
class Profile:
    """Means over the utterances of each emotion, along time, frequency or layers.

    Attributes:
        emotions: Predicted classes, by name.
        positions: What the means are of: middles of bins as shares of the duration, centres of bands in Hz, or names
            of layers, ``(positions,)``.
        mean: Over utterances, ``(emotions, positions)``.
        standard_error: Of the mean, from the spread between utterances, ``(emotions, positions)``; NaN of one
            utterance.
        counts: Utterances of each emotion, ``(emotions,)``.
        left_out: How many utterances could not be used.
    """

    emotions: tuple[str, ...]
    positions: np.ndarray
    mean: np.ndarray
    standard_error: np.ndarray
    counts: np.ndarray
    left_out: int


@dataclass(frozen=True, slots=True)
class ClassAgreement:
    """How alike the frame attributions to two classes are within an utterance.

    Attributes:
        classes: Explained classes, by name.
        correlation: Pearson correlation over frames, averaged over utterances, ``(classes, classes)``; 1 on the
            diagonal, NaN where no utterance has both.
        standard_error: Of the mean, from the spread between utterances, ``(classes, classes)``.
        counts: Utterances that have both, ``(classes, classes)``.
        left_out: How many attributions (of an utterance to a class) could not be used.
    """

    classes: tuple[str, ...]
    correlation: np.ndarray
    standard_error: np.ndarray
    counts: np.ndarray
    left_out: int


def time_profile(rows: Iterable[Mapping[str, Any]], num_bins: int = 50) -> Profile | None:
    """Average the frame attributions to each emotion over time, from start to end of an utterance.

    Utterances are of different lengths, so each one's frames are spread over ``num_bins`` equal bins, an attribution
    in parts where a frame lies in several; its sum stays what it was.

    Args:
        rows: Of one setting. Those with values that are not finite are left out, and counted.
        num_bins: How many bins the duration has, 1 at least.

    Returns:
        Means in the unit of the explained output (logits) a bin; None if there is no row to use.

    Example:
        >>> row = {"target": "sad", "prediction": "sad", "frame_attribution": [1.0, 3.0, 2.0]}
        >>> profile = time_profile([row], num_bins=2)
        >>> profile.positions, profile.mean
        (array([0.25, 0.75]), array([[2.5, 3.5]]))
    """
    middles = tuple(((np.arange(num_bins) + 0.5) / num_bins).tolist())
    return _profile(rows, "frame_attribution", lambda row: middles, lambda frames: _spread(frames, num_bins))


def band_profile(rows: Iterable[Mapping[str, Any]]) -> Profile | None:
    """Average the attributions to each emotion by frequency band, each summed over the utterance.

    Args:
        rows: Of one setting. Those with values that are not finite, or with other bands than most have, are left out,
            and counted.

    Returns:
        Means in the unit of the explained output (logits) a band; None if there is no row to use.

    Example:
        >>> row = {"target": "sad", "prediction": "sad", "frequencies_hz": [100.0, 200.0]}
        >>> profile = band_profile([row | {"time_frequency_attribution": [[1.0, 2.0], [0.0, -1.0]]}])
        >>> profile.positions, profile.mean
        (array([100., 200.]), array([[ 3., -1.]]))
    """
    return _profile(
        rows, "time_frequency_attribution", lambda row: tuple(row["frequencies_hz"]), lambda bands: bands.sum(-1)
    )


def layer_profile(rows: Iterable[Mapping[str, Any]]) -> Profile | None:
    """Average the share that each layer has of the absolute neuron attributions to each emotion.

    Args:
        rows: Of one setting. Those with values that are not finite or all 0, or with other layers than most have, are
            left out, and counted.

    Returns:
        Means from 0 to 1, which add up to 1 for each emotion; None if there is no row to use.

    Example:
        >>> row = {"target": "sad", "prediction": "sad", "layer_names": ["first", "last"], "layer_mass": [1.0, 3.0]}
        >>> layer_profile([row]).mean
        array([[0.25, 0.75]])
    """
    return _profile(
        rows,
        "layer_mass",
        lambda row: tuple(row["layer_names"]),
        lambda mass: mass / mass.sum() if mass.any() else None,
    )


def class_agreement(rows: Iterable[Mapping[str, Any]]) -> ClassAgreement | None:
    """Correlate the frame attributions to any two classes within an utterance, and average over utterances.

    Args:
        rows: Of one setting. Contrasts of two classes and utterances explained for one class only are passed over;
            attributions that are not finite or the same in all frames are left out, and counted.

    Returns:
        The agreement of all classes; None if no utterance was explained for two.

    Example:
        >>> rows = [
        ...     {"utterance": "a.wav", "target": "sad", "frame_attribution": [0.0, 1.0, 2.0]},
        ...     {"utterance": "a.wav", "target": "happy", "frame_attribution": [3.0, 2.0, 1.0]},
        ... ]
        >>> class_agreement(rows).correlation
        array([[ 1., -1.],
               [-1.,  1.]])
    """
    # By length too: a file that was changed between two runs into one folder has rows of both.
    explained: dict[tuple[str, int], dict[str, np.ndarray | None]] = defaultdict(dict)
    for row in rows:
        if row.get("frame_attribution") is not None and CONTRAST not in row["target"]:
            key = row["utterance"], len(row["frame_attribution"])
            explained[key][row["target"]] = _varying(row["frame_attribution"])
    several = [targets for targets in explained.values() if len(targets) > 1]
    if not several:
        return None
    classes = tuple(sorted({name for targets in several for name in targets}))
    matrices = np.stack([_correlations(targets, classes) for targets in several])
    mean, standard_error, counts = _statistics(matrices)
    np.fill_diagonal(mean, 1.0)
    left_out = sum(values is None for targets in several for values in targets.values())
    return ClassAgreement(classes, mean, standard_error, counts, left_out)


def corpus_table(
    time: Profile | None, bands: Profile | None, layers: Profile | None, agreement: ClassAgreement | None
) -> pa.Table:
    """Bring together all means as one tidy table, a row a value (columns: :data:`TABLE_SCHEMA`).

    Args:
        time: Of :func:`time_profile`; None, as any of these, adds no rows.
        bands: Of :func:`band_profile`.
        layers: Of :func:`layer_profile`.
        agreement: Of :func:`class_agreement`.

    Example:
        >>> row = {"target": "sad", "prediction": "sad", "frame_attribution": [1.0, 3.0]}
        >>> corpus_table(time_profile([row], num_bins=1), None, None, None).to_pylist()[0]
        {'quantity': 'time', 'emotion': 'sad', 'other': None, 'position': '0.5', 'value': 4.0,
         'standard_error': None, 'n': 1}
    """
    parts = [
        _profile_table(name, profile)
        for name, profile in (("time", time), ("band", bands), ("layer", layers))
        if profile is not None
    ]
    if agreement is not None:
        parts.append(_agreement_table(agreement))
    return pa.concat_tables([TABLE_SCHEMA.empty_table(), *parts])


def time_profile_figure(profile: Profile, unit: str = "logits") -> Figure:
    """Draw the mean attribution to each emotion over normalised time, one panel an emotion.

    Args:
        profile: Of :func:`time_profile`.
        unit: Of the explained output.
    """
    count = len(profile.positions)
    figure, panels = _panels_of_emotions(profile, np.linspace(0, 1, count + 1), 1.0)
    for axes in panels:
        axes.axhline(0, color="0.5", linewidth=0.8, zorder=1.5)
        axes.set_xlim(0, 1)
    figure.supxlabel("time (share of the duration)", fontsize="medium")
    figure.supylabel(f"mean attribution\n({unit} per {100 / count:.3g} % of the duration)", fontsize="medium")
    _headline(figure, "Attribution over time", profile)
    return figure


def band_profile_figure(profile: Profile, unit: str = "logits") -> Figure:
    """Draw the mean attribution to each emotion by frequency band, one panel an emotion.

    Args:
        profile: Of :func:`band_profile`; bands that are not equally spaced are drawn over the mel scale.
        unit: Of the explained output.
    """
    in_mel = len(profile.positions) > 1 and is_mel(profile.positions)
    edges = _edges_between(mel(profile.positions) if in_mel else profile.positions / 1000)
    figure, panels = _panels_of_emotions(profile, edges, 1.0)
    for axes in panels:
        axes.axhline(0, color="0.5", linewidth=0.8, zorder=1.5)
        axes.set_xlim(max(0.0, edges[0]), edges[-1])
    if in_mel:
        ticks = [hz for hz in (0, *MEL_TICKS_HZ) if edges[0] <= mel(hz) <= edges[-1]]
        # A few bands may have none of these among them: then each is named.
        ticks = ticks if len(ticks) > 1 else profile.positions.tolist()
        panels[0].set_xticks([float(mel(hz)) for hz in ticks], [f"{hz / 1000:.3g}" for hz in ticks])
    figure.supxlabel(f"frequency (kHz{', mel scale' if in_mel else ''})", fontsize="medium")
    figure.supylabel(f"mean attribution\n({unit} a band)", fontsize="medium")
    _headline(figure, "Attribution by frequency band", profile)
    return figure


def layer_profile_figure(profile: Profile) -> Figure:
    """Draw the mean share of each layer, one panel an emotion.

    Args:
        profile: Of :func:`layer_profile`.
    """
    count = len(profile.positions)
    figure, panels = _panels_of_emotions(profile, np.arange(count + 1.0), 100.0)
    every = -(-count // _NAMED_AT_MOST)
    names = [plain(name.removeprefix("layer_")) for name in profile.positions[::every].tolist()]
    panels[0].set_xticks(np.arange(count)[::every] + 0.5, names)
    panels[0].set_xlim(0, count)
    panels[0].set_ylim(bottom=0)
    if max(map(len, names)) * len(names) > 45:
        for axes in panels:
            axes.tick_params(axis="x", rotation=90)
    figure.supxlabel("layer", fontsize="medium")
    figure.supylabel("share of the absolute\nneuron attributions (%)", fontsize="medium")
    _headline(figure, "Share of the layers", profile)
    return figure


def class_agreement_figure(agreement: ClassAgreement) -> Figure:
    """Draw how alike the attributions to any two classes are; grey where no utterance has both.

    Args:
        agreement: Of :func:`class_agreement`.
    """
    count = len(agreement.classes)
    names = [plain(name) for name in agreement.classes]
    size = 2.5 + 0.55 * max(count, 3)
    figure = Figure(figsize=(size + 0.8, size), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(
        np.ma.masked_invalid(agreement.correlation),
        norm=Normalize(-1, 1),
        cmap=ATTRIBUTION_MAP.with_extremes(bad="0.8"),
    )
    axes.set_xticks(range(count), names, rotation=45, ha="right")
    axes.set_yticks(range(count), names)
    axes.set_xlabel("explained class")
    axes.set_ylabel("explained class")
    for row, column in np.ndindex(count, count):
        value = agreement.correlation[row, column]
        text = f"{value:.2f}".replace("-", "−") if np.isfinite(value) else "none"
        colour = "white" if abs(value) > 0.7 else "black"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize="small")
    figure.colorbar(image, ax=axes, label="mean correlation of the frame attributions", shrink=0.9)
    pairs = agreement.counts[~np.eye(count, dtype=bool)]
    least, most = int(pairs.min()), int(pairs.max())
    utterances = _number(most) if least == most else f"{least} to {_number(most)}"
    left_out = f"; {_number(agreement.left_out, 'attribution')} left out" if agreement.left_out else ""
    axes.set_title(f"Agreement between classes\n{utterances} a pair{left_out}", fontsize="medium")
    return figure


def _finite(values: Sequence[Any]) -> np.ndarray | None:
    """Values as an array, None where there are none or some are not finite."""
    array = np.array(values, dtype=np.float64)
    return array if array.size and np.isfinite(array).all() else None


def _varying(values: Sequence[float]) -> np.ndarray | None:
    array = _finite(values)
    return array if array is not None and np.ptp(array) > 0 else None


def _spread(frames: np.ndarray, num_bins: int) -> np.ndarray:
    """Frames ``(frames,)`` over bins ``(bins,)`` of the same sum: differences of the sum up to each bound."""
    reached = np.concatenate([[0.0], np.cumsum(frames)])
    shares = np.linspace(0, 1, len(reached))
    return np.diff(np.interp(np.linspace(0, 1, num_bins + 1), shares, reached))


def _profile(
    rows: Iterable[Mapping[str, Any]],
    column: str,
    positions_of: Callable[[Mapping[str, Any]], tuple[Any, ...]],
    summary: Callable[[np.ndarray], np.ndarray | None],
) -> Profile | None:
    """Means by emotion of what ``summary`` makes of a column, None where it cannot be used."""
    usable: list[tuple[str, tuple[Any, ...], np.ndarray]] = []
    seen = 0
    for row in rows:
        if row["target"] == row["prediction"] and row.get(column) is not None:
            seen += 1
            array = _finite(row[column])
            values = None if array is None else summary(array)
            if values is not None:
                usable.append((row["target"], positions_of(row), values))
    if not usable:
        return None
    commonest = Counter(positions for _, positions, _ in usable).most_common(1)[0][0]
    by_emotion: dict[str, list[np.ndarray]] = defaultdict(list)
    for emotion, positions, values in usable:
        if positions == commonest:
            by_emotion[emotion].append(values)
    emotions = tuple(sorted(by_emotion))
    statistics = [_statistics(np.stack(by_emotion[emotion])) for emotion in emotions]
    counts = np.array([len(by_emotion[emotion]) for emotion in emotions])
    return Profile(
        emotions=emotions,
        positions=np.array(commonest),
        mean=np.stack([mean for mean, _, _ in statistics]),
        standard_error=np.stack([error for _, error, _ in statistics]),
        counts=counts,
        left_out=seen - int(counts.sum()),
    )


def _statistics(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over the first axis, its standard error, and the count, of what is not NaN."""
    known = ~np.isnan(values)
    count = known.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(known, values, 0).sum(0) / count
        squares = (np.where(known, values - mean, 0) ** 2).sum(0)
        error = np.sqrt(squares / (count - 1) / count)
    return mean, error, count


def _correlations(targets: Mapping[str, np.ndarray | None], classes: Sequence[str]) -> np.ndarray:
    """Correlation of any two classes in one utterance, ``(classes, classes)``; NaN where one is missing."""
    matrix = np.full((len(classes), len(classes)), np.nan)
    usable = {name: values for name, values in targets.items() if values is not None}
    if usable:
        places = [classes.index(name) for name in usable]
        matrix[np.ix_(places, places)] = np.corrcoef(np.stack(list(usable.values())))
    return matrix


def _profile_table(quantity: str, profile: Profile) -> pa.Table:
    count, width = profile.mean.shape
    positions = [position if isinstance(position, str) else f"{position:g}" for position in profile.positions.tolist()]
    return _table(
        quantity=[quantity] * (count * width),
        emotion=np.repeat(profile.emotions, width).tolist(),
        other=[None] * (count * width),
        position=positions * count,
        value=profile.mean.ravel(),
        standard_error=profile.standard_error.ravel(),
        n=np.repeat(profile.counts, width),
    )


def _agreement_table(agreement: ClassAgreement) -> pa.Table:
    count = len(agreement.classes)
    return _table(
        quantity=["agreement"] * count**2,
        emotion=np.repeat(agreement.classes, count).tolist(),
        other=list(agreement.classes) * count,
        position=[None] * count**2,
        value=agreement.correlation.ravel(),
        standard_error=agreement.standard_error.ravel(),
        n=agreement.counts.ravel(),
    )


def _table(**columns: Any) -> pa.Table:
    """A table of :data:`TABLE_SCHEMA`, NaN as null: programs that read CSV agree on what an empty field is."""
    arrays = [pa.array(columns[field.name], field.type, from_pandas=True) for field in TABLE_SCHEMA]
    return pa.Table.from_arrays(arrays, schema=TABLE_SCHEMA)


def _panels_of_emotions(profile: Profile, edges: np.ndarray, factor: float) -> tuple[Figure, list[Axes]]:
    """Panels with the same axes, one an emotion: its mean in colour, with its error, those of the others in grey."""
    count = len(profile.emotions)
    columns = 1 if count == 1 else 2 if count <= 8 else 3
    rows = -(-count // columns)
    height = 1.3 + (2.2 if rows == 1 else 1.35 * rows)
    figure = Figure(figsize=(_WIDTH, height), dpi=_DPI, layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel().tolist()
    mean, error = factor * profile.mean, factor * profile.standard_error
    middles = (edges[:-1] + edges[1:]) / 2
    for number, axes in enumerate(grid[:count]):
        colour = CLASSES[number % len(CLASSES)]
        for other in range(count):
            if other != number:
                axes.plot(middles, mean[other], color="0.8", linewidth=0.7, zorder=1)
        low, high = mean[number] - error[number], mean[number] + error[number]
        if np.isfinite(error[number]).all():
            axes.fill_between(
                edges, np.append(low, low[-1]), np.append(high, high[-1]), step="post", color=colour, alpha=0.3,
                linewidth=0, zorder=2,
            )  # fmt: skip
        axes.stairs(
            mean[number], edges, baseline=None, color=colour, linewidth=1.2, zorder=3, path_effects=[_OUTLINE]
        )  # fmt: skip
        axes.set_title(
            f"{plain(profile.emotions[number])} ({_number(int(profile.counts[number]))})",
            fontsize="small", loc="left", pad=3,
        )  # fmt: skip
        axes.tick_params(labelsize="small", labelbottom=number + columns >= count)
    for empty in grid[count:]:
        empty.remove()
    return figure, grid[:count]


def _edges_between(positions: np.ndarray) -> np.ndarray:
    """Bounds of bands around their centres ``(bands,)``, halfway to the next, ``(bands + 1,)``."""
    if len(positions) == 1:
        width = positions[0] or 1.0
        return np.array([positions[0] - width / 2, positions[0] + width / 2])
    half = np.diff(positions) / 2
    return np.concatenate([[positions[0] - half[0]], positions[:-1] + half, [positions[-1] + half[-1]]])


def _headline(figure: Figure, text: str, profile: Profile) -> None:
    legend = []
    if np.isfinite(profile.standard_error).any():
        legend.append("shaded: ± standard error between utterances")
    if len(profile.emotions) > 1:
        legend.append("grey: the other emotions")
    if profile.left_out:
        legend.append(f"{_number(profile.left_out)} left out")
    figure.suptitle("\n".join([text, "; ".join(legend)]) if legend else text, fontsize="medium")


def _number(count: int, noun: str = "utterance") -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
