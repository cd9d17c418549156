"""The statistics over many utterances (:mod:`speechshap.report.corpus`) as one tidy table."""

from typing import Any

import numpy as np
import pyarrow as pa

from speechshap.report.corpus import ClassAgreement, Profile
from speechshap.report.cue_profile import CueProfile

TABLE_SCHEMA = pa.schema(
    [
        ("quantity", pa.string()),
        ("emotion", pa.string()),
        ("other", pa.string()),
        ("position", pa.string()),
        ("value", pa.float64()),
        ("standard_error", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("n", pa.int64()),
    ]
)
"""``quantity`` is ``time``, ``band``, ``layer``, ``agreement``, ``cue`` or ``cue_effect``. ``other`` is the other class
of an agreement, else null. ``position`` is the middle of a bin as a share of the duration, the centre of a band in Hz,
the name of a layer or of a cue, and null for an agreement. ``low`` and ``high`` are the 95 % interval of a ``cue``: the
mean of the evidence less that of the rest. What is unknown is null."""


def corpus_table(
    time: Profile | None,
    bands: Profile | None,
    layers: Profile | None,
    agreement: ClassAgreement | None,
    cues: CueProfile | None = None,
) -> pa.Table:
    """Collect all means in one tidy table, one row for each value (columns: :data:`TABLE_SCHEMA`).

    Args:
        time: Result of :func:`speechshap.report.corpus.time_profile`; None, as for the others, adds no rows.
        bands: Result of :func:`speechshap.report.corpus.band_profile`.
        layers: Result of :func:`speechshap.report.corpus.layer_profile`.
        agreement: Result of :func:`speechshap.report.corpus.class_agreement`.
        cues: Result of :func:`speechshap.report.cue_profile.cue_profile`.

    Example:
        >>> from speechshap.report.corpus import time_profile
        >>> row = {"target": "sad", "against": None, "prediction": "sad", "frame_attribution": [1.0, 3.0]}
        >>> corpus_table(time_profile([row], num_bins=1), None, None, None).to_pylist()[0]
        {'quantity': 'time', 'emotion': 'sad', 'other': None, 'position': '0.5', 'value': 4.0,
         'standard_error': None, 'low': None, 'high': None, 'n': 1}
    """
    parts = [
        _profile_table(name, profile)
        for name, profile in (("time", time), ("band", bands), ("layer", layers))
        if profile is not None
    ]
    if agreement is not None:
        parts.append(_agreement_table(agreement))
    if cues is not None:
        parts += [_cue_table("cue", cues, cues.mean, cues.low, cues.high), _cue_table("cue_effect", cues, cues.effect)]
    return pa.concat_tables([TABLE_SCHEMA.empty_table(), *parts])


def _profile_table(quantity: str, profile: Profile) -> pa.Table:
    count, width = profile.mean.shape
    positions = [position if isinstance(position, str) else f"{position:g}" for position in profile.positions.tolist()]
    return _table(
        quantity=[quantity] * (count * width),
        emotion=np.repeat(profile.emotions, width).tolist(),
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
        value=agreement.correlation.ravel(),
        standard_error=agreement.standard_error.ravel(),
        n=agreement.counts.ravel(),
    )


def _cue_table(
    quantity: str, cues: CueProfile, values: np.ndarray, low: np.ndarray | None = None, high: np.ndarray | None = None
) -> pa.Table:
    count, width = values.shape
    return _table(
        quantity=[quantity] * values.size,
        emotion=np.repeat(cues.emotions, width).tolist(),
        position=list(cues.names) * count,
        value=values.ravel(),
        low=None if low is None else low.ravel(),
        high=None if high is None else high.ravel(),
        n=cues.counts.ravel(),
    )


def _table(**columns: Any) -> pa.Table:
    """A table of :data:`TABLE_SCHEMA` with null for NaN: an empty field is what all readers of CSV understand."""
    missing = [None] * len(columns["quantity"])
    given = {name: missing if values is None else values for name, values in columns.items()}
    arrays = [pa.array(given.get(field.name, missing), field.type, from_pandas=True) for field in TABLE_SCHEMA]
    return pa.Table.from_arrays(arrays, schema=TABLE_SCHEMA)
