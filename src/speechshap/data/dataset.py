"""Datasets of waveforms, and the batches that models and explainers take."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial, reduce
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypedDict

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from speechshap.data.audio import load_audio, normalize_waveforms
from speechshap.data.corpora import read_corpus
from speechshap.data.seeding import random_numbers_of
from speechshap.data.splits import draw_subset
from speechshap.data.utterance import Stretch, Utterance
from speechshap.errors import UserError, require_at_least
from speechshap.frames import SAMPLE_RATE

Transform = Callable[[Tensor], Tensor]
"""Augmentation: waveform ``(time,)`` to waveform ``(time,)``."""


def one_after_another(*transforms: Transform | None) -> Transform | None:
    """The transforms that there are, as one; None where there are none.

    Example:
        >>> one_after_another(lambda waveform: waveform + 1, None, lambda waveform: waveform * 2)(torch.ones(2))
        tensor([4., 4.])
    """
    there = [transform for transform in transforms if transform is not None]
    return partial(_in_turn, there) if there else None


def _in_turn(transforms: Sequence[Transform], waveform: Tensor) -> Tensor:
    return reduce(lambda changed, transform: transform(changed), transforms, waveform)


UNKNOWN_LABEL = -1


class Batch(NamedTuple):
    """Utterances that go through the model together.

    Attributes:
        waveforms: ``(batch, time)`` float32 as read from the files, zero-padded at the end.
        lengths: ``(batch,)`` int64, samples of each utterance.
        labels: ``(batch,)`` int64 class indices, -1 where the label is unknown.
        ids: Utterance ids.
        paths: Sound files.
        speakers: Their speakers, empty where unknown.
        stretches: Where the evidence of each one's label is known to be; empty where it is known of none.
    """

    waveforms: Tensor
    lengths: Tensor
    labels: Tensor
    ids: list[str]
    paths: list[str]
    speakers: list[str]
    stretches: Sequence[tuple[Stretch, ...]] = ()

    @property
    def padding_fraction(self) -> float:
        """Share of the waveforms that is padding.

        Example:
            >>> lengths, labels = torch.tensor([4, 2]), torch.tensor([0, 1])
            >>> Batch(torch.zeros(2, 4), lengths, labels, ["a", "b"], ["", ""], ["", ""]).padding_fraction
            0.25
        """
        return 1 - int(self.lengths.sum()) / self.waveforms.numel()


class Example(NamedTuple):
    """One utterance, decoded: waveform ``(time,)``, class index, and where it comes from."""

    waveform: Tensor
    label: int
    utterance: Utterance


class UtteranceDataset(Dataset[Batch]):
    """Batches of decoded utterances, for a DataLoader whose sampler yields the indices of each batch.

    Args:
        utterances: Utterances to decode.
        classes: Labels in the order of the class indices.
        transform: Augmentation, applied at each access.
        sample_rate: Of the waveforms (Hz).
        seed: Of the random numbers that ``transform`` draws (Python's, NumPy's and PyTorch's): they belong to the
            utterance and the epoch, whoever decodes it, and in which order. None: they go on from where they are.

    Attributes:
        epoch: For which random numbers are drawn.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        classes: Sequence[str],
        transform: Transform | None = None,
        sample_rate: int = SAMPLE_RATE,
        seed: int | None = None,
    ) -> None:
        self.utterances = list(utterances)
        self.class_index = {label: index for index, label in enumerate(classes)}
        self.transform = transform
        self.sample_rate = sample_rate
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, indices: Sequence[int] | int) -> Batch:
        if isinstance(indices, int):  # from the sampler of Lightning's overfit_batches
            indices = [indices]
        return collate([self.example(index) for index in indices])

    def example(self, index: int) -> Example:
        """Decode one utterance."""
        utterance = self.utterances[index]
        waveform = self.waveform(utterance)
        if self.transform is not None:
            is_own = self.seed is not None
            with random_numbers_of(self.seed, self.epoch, utterance.id) if is_own else nullcontext():
                waveform = self.transform(waveform)
        return Example(waveform, self.label(utterance), utterance)

    def waveform(self, utterance: Utterance) -> Tensor:
        """Decode an utterance, ``(time,)``."""
        return torch.from_numpy(load_audio(utterance.path, self.sample_rate))

    def label(self, utterance: Utterance) -> int:
        """Class index of an utterance, -1 where its label is unknown."""
        return UNKNOWN_LABEL if utterance.label is None else self.class_index.get(utterance.label, UNKNOWN_LABEL)


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
        speakers=[example.utterance.speaker or "" for example in examples],
        stretches=[example.utterance.stretches for example in examples],
    )


def load_waveforms(utterances: Sequence[Utterance]) -> list[Tensor]:
    """Waveforms ``(time,)`` of utterances."""
    return [torch.from_numpy(load_audio(utterance.path)) for utterance in utterances]


def repeated_to_longest(waveforms: Sequence[Tensor]) -> Tensor:
    """Stack waveforms ``(time,)``; shorter ones are repeated.

    Returns:
        ``(waveforms, time)``.

    Example:
        >>> repeated_to_longest([torch.tensor([1, 2, 3]), torch.tensor([4, 5])])
        tensor([[1, 2, 3],
                [4, 5, 4]])
    """
    longest = max(len(waveform) for waveform in waveforms)
    return torch.stack([waveform[torch.arange(longest) % len(waveform)] for waveform in waveforms])


class FeatureExtractor(Protocol):
    """The attributes of a Hugging Face feature extractor that are used here."""

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
        feature_extractor: Feature extractor of the model, which says whether waveforms are normalised; by default they
            are not.
        labels: Class index by file name; by default those of the corpus' own labels.
        sample_rate: Sample rate of the waveforms (Hz).
        max_samples: Largest number of utterances, drawn with a fixed seed.
        transform: Augmentation, before normalisation.

    Attributes:
        classes: Labels in the order of the class indices, as the corpus has them.
        skipped: Files that carry no usable label, with the reason.

    Raises:
        UserError: The corpus is missing or empty, ``sample_rate`` is not the feature extractor's, or ``max_samples`` is
            below 1.
        AudioFileError: On access, a file that cannot be used.

    Example:
        >>> from speechshap.data import make_planted_corpus
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp()) / "planted"
        >>> make_planted_corpus(root, num_clips=4, num_speakers=1)
        >>> item = AudioDataset(root)[0]
        >>> item["input_values"].shape, item["label"], item["filename"]
        (torch.Size([32000]), 0, 'angry_0001.wav')
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
            raise UserError(
                f"`sample_rate` is {sample_rate} Hz, but the feature extractor takes "
                f"{feature_extractor.sampling_rate} Hz"
            )
        require_at_least(1, max_samples=max_samples)
        corpus = read_corpus(Path(data_path))
        self.source = UtteranceDataset(
            draw_subset(corpus.utterances, max_samples), corpus.classes, transform, sample_rate
        )
        self.classes = corpus.classes
        self.skipped = corpus.skipped
        self.labels = labels
        self.normalize = feature_extractor is not None and bool(feature_extractor.do_normalize)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Item:
        waveform, label, utterance = self.source.example(index)
        if self.normalize:
            waveform = normalize_waveforms(waveform[None], torch.tensor([len(waveform)]))[0]
        name = utterance.path.name
        label = label if self.labels is None else self.labels.get(name, UNKNOWN_LABEL)
        return {"input_values": waveform, "label": label, "filename": name}


LibrosaAudioDataset = AudioDataset
"""Another name of :class:`AudioDataset`."""
