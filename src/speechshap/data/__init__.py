"""Corpora and their labels, splits, decoding, batches, and sound in which the evidence is known."""

from speechshap.data.audio import AudioFileError, load_audio, normalize_waveforms
from speechshap.data.augmentation import Augmentation
from speechshap.data.corpora import Corpus, read_corpus
from speechshap.data.dataset import AudioDataset, Batch, LibrosaAudioDataset
from speechshap.data.planted import make_planted_corpus
from speechshap.data.splicing import SplicedClip, spliced_speech
from speechshap.data.utterance import Stretch, Utterance

__all__ = [
    "AudioDataset",
    "AudioFileError",
    "Augmentation",
    "Batch",
    "Corpus",
    "LibrosaAudioDataset",
    "SplicedClip",
    "Stretch",
    "Utterance",
    "load_audio",
    "make_planted_corpus",
    "normalize_waveforms",
    "read_corpus",
    "spliced_speech",
]
