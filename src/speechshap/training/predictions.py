"""What a network predicted of the utterances of a test, as a table in a Parquet file."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from speechshap.errors import UserError
from speechshap.files import whole_file
from speechshap.training.classification_scores import SpeakerCounts, count_by_speaker

_ABOUT = b"speechshap"
_TEXTS = ("utterance", "path", "speaker", "label", "prediction")


class AboutTest(NamedTuple):
    """What was tested.

    Attributes:
        corpus: Its name and place.
        split: How the test split was made, in words that follow "split".
        fold: Number of the fold that was tested, from 1; None without folds.
        overlap: Whether speakers of the test are heard in training, in one line; empty where that was not looked at.
        is_independent: Whether none of them is; None where that is not known.
        num_skipped: Files that were left out.
        checkpoint: The network.
        step: Optimiser steps that it was trained for; None where that is not known.
    """

    corpus: str = ""
    split: str = ""
    fold: int | None = None
    overlap: str = ""
    is_independent: bool | None = None
    num_skipped: int = 0
    checkpoint: str = ""
    step: int | None = None

    @property
    def warning(self) -> str:
        """What has to be said of each number: ``speaker-dependent``, or nothing."""
        return "speaker-dependent" if self.is_independent is False else ""


class Predictions(NamedTuple):
    """Predictions of a test.

    Attributes:
        classes: Of the network.
        utterances: Ids.
        paths: Sound files.
        speakers: Who speaks; an empty string where that is unknown.
        true: Class of each utterance, ``(utterances,)``.
        probabilities: Of the classes, ``(utterances, classes)``; the largest is that of the prediction.
        about: What was tested.
    """

    classes: tuple[str, ...]
    utterances: tuple[str, ...]
    paths: tuple[str, ...]
    speakers: tuple[str, ...]
    true: np.ndarray
    probabilities: np.ndarray
    about: AboutTest

    @property
    def predicted(self) -> np.ndarray:
        """Predicted class of each utterance, ``(utterances,)``."""
        return self.probabilities.argmax(1)

    @property
    def counts(self) -> SpeakerCounts:
        """Confusion counts of each speaker."""
        return count_by_speaker(self.true.tolist(), self.predicted.tolist(), self.speakers, len(self.classes))


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write predictions as a table, which appears when it is whole.

    Its columns are ``utterance``, ``path``, ``speaker`` (null where unknown), ``label``, ``prediction``, and
    ``probability of`` each class.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "predictions.parquet"
        >>> write_predictions(path, Predictions(("calm", "angry"), ("a",), ("a.wav",), ("Anna",), np.array([1]),
        ...     np.array([[0.75, 0.25]], dtype=np.float32), AboutTest("my corpus")))
        >>> pq.read_table(path).drop_columns(["path"]).to_pylist()[0]
        {'utterance': 'a', 'speaker': 'Anna', 'label': 'angry', 'prediction': 'calm', 'probability of calm': 0.75, ...
        >>> read_predictions(path).about.corpus
        'my corpus'
    """
    names = np.array(predictions.classes, dtype=object)
    texts = (
        predictions.utterances, predictions.paths, [name or None for name in predictions.speakers],
        names[predictions.true], names[predictions.predicted],
    )  # fmt: skip
    columns: dict[str, Any] = {
        name: pa.array(list(values), pa.string()) for name, values in zip(_TEXTS, texts, strict=True)
    }
    for place, name in enumerate(predictions.classes):
        columns[f"probability of {name}"] = pa.array(predictions.probabilities[:, place], pa.float32())
    about = {"classes": predictions.classes, **predictions.about._asdict()}
    table = pa.table(columns).replace_schema_metadata({_ABOUT: json.dumps(about)})
    with whole_file(path) as partial:
        pq.write_table(table, partial, write_page_checksum=True)


def read_predictions(path: Path) -> Predictions:
    """Read what :func:`write_predictions` wrote.

    Raises:
        UserError: It cannot be read.
    """
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        about = json.loads((table.schema.metadata or {})[_ABOUT])
        classes = tuple(about.pop("classes"))
        columns = {name: tuple(text or "" for text in table[name].to_pylist()) for name in _TEXTS}
        probabilities = np.stack([table[f"probability of {name}"].to_numpy() for name in classes], 1)
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise UserError(f"{path} cannot be read as predictions; remove it, and test once more") from error
    return Predictions(
        classes,
        columns["utterance"],
        columns["path"],
        columns["speaker"],
        np.array([classes.index(label) for label in columns["label"]], dtype=int),
        probabilities,
        AboutTest(**about),
    )
