"""Datasets of waveforms, and the batches that models and explainers take."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypedDict

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from speechshap.data.audio import load_audio, normalize_waveforms
from speechshap.data.corpora import read_corpus
from speechshap.data.splits import draw_subset
from speechshap.data.utterance import Utterance
from speechshap.frames import SAMPLE_RATE

Transform = Callable[[Tensor], Tensor]
"""Augmentation: waveform ``(time,)`` to waveform ``(time,)``."""

UNKNOWN_LABEL = -1


class Batch(NamedTuple):
    """Utterances that go through the model together.

    Attributes:
        waveforms: ``(batch, time)`` float32 as read from the files, zero-padded at the end.
        lengths: ``(batch,)`` int64, samples of each utterance.
        labels: ``(batch,)`` int64 class indices, -1 where the label is unknown.
        ids: Utterance ids.
        paths: Sound files.
    """

    waveforms: Tensor
    lengths: Tensor
    labels: Tensor
    ids: list[str]
    paths: list[str]

    @property
    def padding_fraction(self) -> float:
        """Share of the waveforms that is padding.

        Example:
            >>> lengths, labels = torch.tensor([4, 2]), torch.tensor([0, 1])
            >>> Batch(torch.zeros(2, 4), lengths, labels, ["a", "b"], ["", ""]).padding_fraction
            0.25
        """
        return 1 - int(self.lengths.sum()) / self.waveforms.numel()


class Example(NamedTuple):
    """One utterance, decoded: waveform ``(time,)``, class index, and where it comes from."""

    waveform: Tensor
    label: int
    utterance: Utterance


class UtteranceDataset(Dataset[Batch]):
    """Decoded utterances, a batch at a time: for a DataLoader whose sampler yields the indices of batches.

    Args:
        utterances: What to read.
        classes: Labels in the order of the class indices.
        transform: Augmentation, applied at each access.
    """

    def __init__(
        self, utterances: Sequence[Utterance], classes: Sequence[str], transform: Transform | None = None
    ) -> None:
        self.utterances = list(utterances)
        self.class_index = {label: index for index, label in enumerate(classes)}
        self.transform = transform

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, indices: Sequence[int] | int) -> Batch:
        if isinstance(indices, int):  # Lightning's overfit_batches puts a sampler of single utterances in place
            indices = [indices]
        return collate([self._decode(self.utterances[index]) for index in indices])

    def _decode(self, utterance: Utterance) -> Example:
        waveform = torch.from_numpy(load_audio(utterance.path))
        if self.transform is not None:
            waveform = self.transform(waveform)
        return Example(waveform, self.class_index.get(utterance.label or "", UNKNOWN_LABEL), utterance)


def collate(examples: Sequence[Example]) -> Batch:
    """Pad utterances with zeros to the longest of them.

    Example:
        >>> one = Example(torch.ones(2), 0, Utterance("a", Path("a.wav")))
        >>> two = Example(torch.ones(3), 1, Utterance("b", Path("b.wav")))
        >>> collate([one, two]).waveforms
        tensor([[1., 1., 0.],
                [1., 1., 1.]])
    """
    return Batch(
        waveforms=pad_sequence([example.waveform for example in examples], batch_first=True),
        lengths=torch.tensor([len(example.waveform) for example in examples]),
        labels=torch.tensor([example.label for example in examples]),
        ids=[example.utterance.id for example in examples],
        paths=[str(example.utterance.path) for example in examples],
    )


class FeatureExtractor(Protocol):
    """The part of a Hugging Face feature extractor that matters here."""

    do_normalize: bool
    sampling_rate: int


class Item(TypedDict):
    """One item of :class:`AudioDataset`."""

    input_values: Tensor
    label: int
    filename: str


class AudioDataset(Dataset[Item]):
    """A corpus as a plain PyTorch dataset, for use without Lightning.

    Args:
        data_path: Folder of a corpus, or a manifest; see :func:`speechshap.data.read_corpus`.
        feature_extractor: Of the checkpoint that the items are for: it decides whether they are normalised. Left
            out, waveforms come as they were read.
        labels: Class index of each file by its name; left out, the corpus' own labels count.
        sample_rate: Of the waveforms (Hz).
        max_samples: Take at most so many utterances, drawn with a fixed seed.
        transform: Augmentation, before normalisation.

    Attributes:
        classes: Labels in the order of the class indices, as the corpus has them.
        skipped: Files that carry no usable label, with the reason.

    Raises:
        UserError: The corpus is missing or empty, or ``sample_rate`` is not the feature extractor's.
        AudioFileError: On access, a file that cannot be used.

    Example:
        >>> from speechshap.data import make_planted_corpus
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp()) / "planted"
        >>> make_planted_corpus(root, num_clips=4, num_speakers=1)
        >>> item = AudioDataset(root)[0]
        >>> item["input_values"].shape, item["label"], item["filename"]
        (torch.Size([32000]), 0, 'angry_0000.wav')
    """

    def __init__(
        self,
        data_path: str | Path,
        feature_extractor: FeatureExtractor | Any = None,
        labels: Mapping[str, int] | None = None,
        sample_rate: int = SAMPLE_RATE,
        max_samples: int | None = None,
        transform: Transform | None = None,
    ) -> None:
        if feature_extractor is not None and feature_extractor.sampling_rate != sample_rate:
            raise ValueError(
                f"sample_rate is {sample_rate} Hz, but the feature extractor takes {feature_extractor.sampling_rate} Hz"
            )
        corpus = read_corpus(Path(data_path))
        self.utterances = draw_subset(corpus.utterances, max_samples)
        self.classes = corpus.classes
        self.skipped = corpus.skipped
        self.labels = labels
        self.sample_rate = sample_rate
        self.normalize = feature_extractor is not None and bool(feature_extractor.do_normalize)
        self.transform = transform

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, index: int) -> Item:
        utterance = self.utterances[index]
        waveform = torch.from_numpy(load_audio(utterance.path, self.sample_rate))
        if self.transform is not None:
            waveform = self.transform(waveform)
        if self.normalize:
            waveform = normalize_waveforms(waveform[None], torch.tensor([len(waveform)]))[0]
        return {"input_values": waveform, "label": self._label(utterance), "filename": utterance.path.name}

    def _label(self, utterance: Utterance) -> int:
        if self.labels is not None:
            return self.labels.get(utterance.path.name, UNKNOWN_LABEL)
        return self.classes.index(utterance.label) if utterance.label is not None else UNKNOWN_LABEL
