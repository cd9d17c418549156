import random

import pytest

from speechshap.data.batching import EpochLoader, LengthBatchSampler


def mixed_lengths(count: int = 500) -> list[float]:
    generator = random.Random(0)  # noqa: S311 - not for secrets
    return [generator.uniform(0.5, 12) for _ in range(count)]


def padding_fraction(batches: list[list[int]], lengths: list[float]) -> float:
    padded = sum(len(batch) * max(lengths[index] for index in batch) for batch in batches)
    return 1 - sum(lengths[index] for batch in batches for index in batch) / padded


def shares(monkeypatch: pytest.MonkeyPatch, count: int, sampler: LengthBatchSampler) -> list[list[list[int]]]:
    """Batches of each of so many processes."""
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: count)
    found = []
    for rank in range(count):
        monkeypatch.setattr("torch.distributed.get_rank", lambda rank=rank: rank)
        found.append(list(sampler))
        assert len(sampler) == len(found[-1])
    return found


@pytest.mark.parametrize("shuffle", [True, False])
def test_every_utterance_comes_once(shuffle: bool) -> None:
    lengths = mixed_lengths()
    batches = list(LengthBatchSampler(lengths, 16, 60, shuffle=shuffle))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))


@pytest.mark.parametrize("shuffle", [True, False])
def test_no_batch_is_larger_than_asked_for(shuffle: bool) -> None:
    lengths = [*mixed_lengths(), 200.0, 61.0]
    batches = list(LengthBatchSampler(lengths, 16, 60, shuffle=shuffle))
    assert max(len(batch) for batch in batches) == 16
    for batch in batches:
        assert len(batch) * max(lengths[index] for index in batch) <= 60 or len(batch) == 1
    assert [500] in batches  # longer than the budget: by itself
    assert [501] in batches


def test_padding_is_a_small_part_of_what_it_is_in_random_batches() -> None:
    lengths = mixed_lengths()
    order = list(range(len(lengths)))
    random.Random(1).shuffle(order)  # noqa: S311 - not for secrets
    at_random = [order[start : start + 16] for start in range(0, len(order), 16)]
    assert padding_fraction(at_random, lengths) > 0.4
    assert padding_fraction(list(LengthBatchSampler(lengths, 16, shuffle=True)), lengths) < 0.06
    assert padding_fraction(list(LengthBatchSampler(lengths, 16)), lengths) < 0.04


def test_epochs_and_seeds_differ_and_nothing_else() -> None:
    lengths = mixed_lengths()

    def batches(seed: int, epoch: int, shuffle: bool = True) -> list[list[int]]:
        sampler = LengthBatchSampler(lengths, 16, 60, shuffle=shuffle, seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert batches(0, 0) == batches(0, 0)
    assert batches(0, 0) != batches(0, 1)
    assert batches(0, 0) != batches(1, 0)
    assert batches(0, 0, shuffle=False) == batches(1, 1, shuffle=False)


def test_every_epoch_has_equally_many_batches() -> None:
    sampler = LengthBatchSampler(mixed_lengths(), 16, 30, shuffle=True)
    counts = set()
    for epoch in range(20):
        sampler.set_epoch(epoch)
        counts.add(len(list(sampler)))
    assert len(counts) == 1


def test_utterances_of_one_length_are_shuffled() -> None:
    sampler = LengthBatchSampler([2.0] * 64, 8, shuffle=True)
    assert sorted(map(sorted, sampler)) != sorted(map(sorted, LengthBatchSampler([2.0] * 64, 8)))


def test_the_longest_is_explained_first() -> None:
    lengths = mixed_lengths()
    assert next(iter(LengthBatchSampler(lengths, 4)))[0] == lengths.index(max(lengths))


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_processes_that_train_have_equally_many_batches(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    lengths = mixed_lengths(53)
    parts = shares(monkeypatch, count, LengthBatchSampler(lengths, 4, shuffle=True, repeat=True))
    assert len({len(part) for part in parts}) == 1
    assert {index for part in parts for batch in part for index in batch} == set(range(53))


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_processes_that_explain_share_the_utterances_exactly(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    lengths = mixed_lengths(21)
    parts = shares(monkeypatch, count, LengthBatchSampler(lengths, 16))
    assert sorted(index for part in parts for batch in part for index in batch) == list(range(21))
    assert all(parts)  # each has something to do, though there are only two batches of sixteen


def test_the_batches_do_not_depend_on_the_number_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = LengthBatchSampler(mixed_lengths(), 16, 60, shuffle=True)
    alone = list(sampler)
    assert len(alone) % 2 == 0
    first, second = shares(monkeypatch, 2, sampler)
    assert sorted([*first, *second]) == sorted(alone)


def test_batches_of_one_step_are_of_like_length(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = mixed_lengths()
    parts = shares(monkeypatch, 4, LengthBatchSampler(lengths, 16, 60, shuffle=True, repeat=True))
    for step in zip(*parts, strict=True):
        longest = [max(lengths[index] for index in batch) for batch in step]
        assert max(longest) - min(longest) < 3


@pytest.mark.parametrize("count", [2, 3, 7, 8])
def test_processes_that_evaluate_count_no_utterance_twice(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    parts = shares(monkeypatch, count, LengthBatchSampler(mixed_lengths(130), 16, repeat=True))
    assert len({len(part) for part in parts}) == 1
    assert sorted(index for part in parts for batch in part for index in batch) == list(range(130))


def test_a_lone_long_utterance_draws_no_short_ones_into_its_batch() -> None:
    assert list(LengthBatchSampler([3.0, 30.0, 3.0, 3.0], 4, 120)) == [[1], [0, 2, 3]]


def test_nothing_gives_no_batches() -> None:
    assert list(LengthBatchSampler([], 4, repeat=True)) == []


class Echo:
    """A dataset whose batch is its indices."""

    def __getitem__(self, indices: list[int]) -> list[int]:
        return indices


@pytest.mark.parametrize("workers", [0, 1])
def test_the_epoch_may_be_set_after_the_iterator_was_made(workers: int) -> None:
    sampler = LengthBatchSampler([1.0] * 64, 8, shuffle=True)
    loader = EpochLoader(Echo(), batch_size=None, sampler=sampler, num_workers=workers)
    batches = iter(loader)
    sampler.set_epoch(3)
    expected = LengthBatchSampler([1.0] * 64, 8, shuffle=True)
    expected.set_epoch(3)
    assert list(batches) == list(expected)
