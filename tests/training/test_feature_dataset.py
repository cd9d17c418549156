from pathlib import Path

import pytest
import torch
from helpers import write_sound
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from speechshap.data.dataset import UtteranceDataset
from speechshap.data.utterance import Utterance
from speechshap.training import feature_dataset
from speechshap.training.feature_cache import FeatureCache
from speechshap.training.feature_dataset import FeatureDataset, StoredFeatures, join_features
from speechshap.training.feature_entry import FeatureEntry


def features(frames: int, seed: int = 0) -> Tensor:
    return torch.randn(3, frames, 5, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    """Entries of two recordings."""
    cache = FeatureCache(tmp_path / "features", {})
    cache.write("aa", features(4, 1))
    cache.write("bb", features(2, 2))
    return cache


def stored(cache: FeatureCache) -> StoredFeatures:
    return StoredFeatures(cache, cache.intact(["aa", "bb"]), {"x": "aa", "y": "bb", "z": "aa"})


def test_features_are_padded_to_the_longest_and_given_in_single_precision() -> None:
    rows = [features(4, 1), features(2, 2), features(3, 3)]
    joined = join_features([FeatureEntry.of(row, are_frames=True) for row in rows])
    padded = pad_sequence([row.transpose(0, 1) for row in rows], batch_first=True)
    torch.testing.assert_close(joined.values, padded.permute(2, 0, 1, 3), rtol=0, atol=2e-3)
    assert not joined.values[:, 1, 2:].any()
    assert joined.values.dtype == torch.float32
    assert joined.frame_lengths.tolist() == [4, 2, 3]


def test_double_precision_is_kept() -> None:
    exact = features(1).double() / 3
    assert torch.equal(join_features([FeatureEntry(exact)]).values[:, 0], exact)


@pytest.mark.parametrize("most_bytes", [0, 10**9])
def test_features_are_the_same_held_in_memory_or_mapped(
    cache: FeatureCache, monkeypatch: pytest.MonkeyPatch, most_bytes: int
) -> None:
    monkeypatch.setattr(feature_dataset, "MOST_HELD_BYTES", most_bytes)
    found = stored(cache)
    cache.path("bb").unlink()
    is_held = most_bytes > 0
    assert torch.equal(found.of(Utterance("z", Path("z.wav"))).restored(), features(4, 1))
    if is_held:
        assert torch.equal(found.of(Utterance("y", Path("y.wav"))).restored(), features(2, 2))
    else:
        with pytest.raises(FileNotFoundError):
            found.of(Utterance("y", Path("y.wav")))
    assert found.num_bytes == 3 * 6 * 5 * 4


def test_a_batch_of_features_says_of_its_utterances_what_one_of_waveforms_does(
    cache: FeatureCache, tmp_path: Path
) -> None:
    utterances = [
        Utterance(name, write_sound(tmp_path / f"{name}.wav"), label, speaker)
        for name, label, speaker in [("x", "sad", "Anna"), ("y", None, None), ("z", "calm", "Ben")]
    ]
    source = UtteranceDataset(utterances, ["calm", "sad"])
    dataset = FeatureDataset(source, stored(cache))
    assert len(dataset) == 3
    batch, expected = dataset[[2, 1, 0]], source[[2, 1, 0]]
    assert batch.labels.tolist() == expected.labels.tolist() == [0, -1, 1]
    assert (batch.ids, batch.paths, batch.speakers) == (expected.ids, expected.paths, expected.speakers)
    assert batch.features.frame_lengths.tolist() == [4, 2, 4]
