"""The statistics over many utterances (:mod:`speechshap.report.corpus`) as one tidy table."""

from typing import Any

import numpy as np
import pyarrow as pa

from speechshap.report.corpus import ClassAgreement, Profile

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
"""``quantity`` is ``time``, ``band``, ``layer`` or ``agreement``. ``other`` is the other class of an agreement, else
null. ``position`` is the middle of a bin as a share of the duration, the centre of a band in Hz or the name of a layer,
and null for an agreement. ``value`` and ``standard_error`` are null where unknown."""


def corpus_table(
    time: Profile | None, bands: Profile | None, layers: Profile | None, agreement: ClassAgreement | None
) -> pa.Table:
    """Collect all means in one tidy table, one row for each value (columns: :data:`TABLE_SCHEMA`).

    Args:
        time: Result of :func:`speechshap.report.corpus.time_profile`; None, as for the others, adds no rows.
        bands: Result of :func:`speechshap.report.corpus.band_profile`.
        layers: Result of :func:`speechshap.report.corpus.layer_profile`.
        agreement: Result of :func:`speechshap.report.corpus.class_agreement`.

    Example:
        >>> from speechshap.report.corpus import time_profile
        >>> row = {"target": "sad", "against": None, "prediction": "sad", "frame_attribution": [1.0, 3.0]}
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
    """A table of :data:`TABLE_SCHEMA` with null for NaN: an empty field is what all readers of CSV understand."""
    arrays = [pa.array(columns[field.name], field.type, from_pandas=True) for field in TABLE_SCHEMA]
    return pa.Table.from_arrays(arrays, schema=TABLE_SCHEMA)
