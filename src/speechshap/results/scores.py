"""The scores of a benchmark: a row for each method, metric, variant of it, and utterance."""

import pyarrow as pa

from speechshap.results.parts import PartsFolder

SCHEMA = pa.schema(
    [
        ("utterance", pa.string()),
        ("label", pa.string()),
        ("speaker", pa.string()),
        ("target", pa.string()),
        ("against", pa.string()),
        ("material", pa.string()),
        ("checkpoint", pa.string()),
        ("model", pa.string()),
        ("method", pa.string()),
        ("metric", pa.string()),
        ("variant", pa.string()),
        ("value", pa.float64()),
        ("frames", pa.list_(pa.float32())),
        ("fingerprint", pa.string()),
    ]
)
"""Columns of a row. ``target`` is the explained class and ``against`` the one subtracted from it. ``material``
tells what the utterance is a part of: corpus, split, kind of speech, and the class that is subtracted. ``model`` is a
fingerprint of the weights of ``checkpoint``. ``method`` is the method with its settings as they are typed, and empty
for what is said of the model alone. ``value`` is null where a metric says nothing of an utterance. ``frames`` are the
attributions themselves, in the rows of the metric ``attribution``. Rows with the same ``fingerprint`` were computed
from the same sound, model, target and settings."""


class ScoresFolder(PartsFolder):
    """Scores of any number of runs, read as a whole."""

    schema = SCHEMA
    key_columns = ("utterance", "fingerprint", "metric", "variant")
    required = "metric"
    written_by = "speechshap benchmark"
    content = "scores"
