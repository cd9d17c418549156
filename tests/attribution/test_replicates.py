import pytest
import torch

from speechshap.attribution.replicates import ReplicateMoments, ReplicatePart


@pytest.mark.parametrize("block", [1, 7, 2**21])
@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 24])
def test_moments_of_replicates_in_any_chunks_and_blocks(
    chunk: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two utterances with four replicates of three rows each, the second of them narrower."""
    monkeypatch.setattr("speechshap.attribution.replicates._BLOCK", block)
    rows = 100 + torch.randn(24, 2, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows[12:, :, 3:] = 0
    moments = ReplicateMoments(2, (2, 5), torch.float64, torch.device("cpu"))
    for start in range(0, 24, chunk):
        numbers = range(start, min(start + chunk, 24))
        keys = list(dict.fromkeys(number // 3 for number in numbers))
        parts = [
            ReplicatePart(key // 4, sum(number // 3 == key for number in numbers), key * 3 + 2 in numbers)
            for key in keys
        ]
        width = 5 if start < 12 else 3
        values = rows[start : start + chunk, :, :width]
        moments.add(values / 4, torch.full((len(values),), 4.0, dtype=torch.float64), parts)
    replicates = rows.view(2, 4, 3, 2, 5).sum(2)
    torch.testing.assert_close(moments.mean, replicates.mean(1))
    torch.testing.assert_close(moments.standard_error(), replicates.std(1) / 2, atol=1e-12, rtol=1e-9)
    assert moments.count == [4, 4]


def test_single_precision_loses_no_variance_to_a_large_mean() -> None:
    rows = 1e4 + torch.randn(1000, 1, generator=torch.Generator().manual_seed(0))
    moments = ReplicateMoments(1, (1,), torch.float32, torch.device("cpu"))
    for part in rows.split(7):
        moments.add(part, torch.ones(len(part)), [ReplicatePart(0, 1, True)] * len(part))
    assert float(moments.standard_error()) == pytest.approx(float(rows.double().std()) / 1000**0.5, rel=1e-3)
