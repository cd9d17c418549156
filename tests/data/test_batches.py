import pytest
import torch

from speechshap.data import Batch
from speechshap.data.batches import read_batch, select_utterances
from speechshap.errors import UserError

WAVEFORMS = torch.arange(8.0).view(2, 4)
LENGTHS, LABELS = torch.tensor([4, 3]), torch.tensor([1, 0])


@pytest.mark.parametrize(
    ("batch", "takes_lengths", "lengths", "labels"),
    [
        (WAVEFORMS, False, [4, 4], [-1, -1]),
        ([WAVEFORMS], True, [4, 4], [-1, -1]),
        ((WAVEFORMS, LABELS), False, [4, 4], [1, 0]),
        ((WAVEFORMS, LENGTHS), True, [4, 3], [-1, -1]),
        ((WAVEFORMS, LENGTHS, LABELS), True, [4, 3], [1, 0]),
        ({"input_values": WAVEFORMS, "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])}, True, [4, 3], None),
        ({"waveforms": WAVEFORMS, "lengths": LENGTHS, "labels": LABELS}, False, [4, 3], [1, 0]),
        ({"waveforms": WAVEFORMS, "labels": torch.rand(2, 3)}, False, [4, 4], None),
    ],
)
def test_batches_of_many_forms_are_read(batch: object, takes_lengths: bool, lengths: list, labels: list | None) -> None:
    found = read_batch(batch, takes_lengths, "7-")
    assert torch.equal(found.waveforms, WAVEFORMS)
    assert found.lengths.tolist() == lengths
    assert found.labels.tolist() == (labels or [-1, -1])
    assert found.ids == ["7-0", "7-1"]
    assert found.paths == ["", ""]


def test_ids_and_paths_are_taken_where_a_batch_has_them() -> None:
    found = read_batch({"waveforms": WAVEFORMS, "ids": ["a", "b"], "paths": ["a.wav", "b.wav"]}, False, "")
    assert (found.ids, found.paths) == (["a", "b"], ["a.wav", "b.wav"])
    assert read_batch(found, False, "") is found


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ("sound", "a batch is a str; expected a tensor, a tuple or a dict; give `inputs`"),
        ({"sound": WAVEFORMS}, r"are NoneType; expected floats \(batch, time\)"),
        (WAVEFORMS.long(), r"are \(2, 4\); expected floats"),
        (WAVEFORMS[:0], r"are \(0, 4\); expected floats"),
        (WAVEFORMS[:, None], r"are \(2, 1, 4\); expected floats"),
        ({"waveforms": WAVEFORMS, "lengths": torch.tensor([5, 1])}, "expected 2 numbers of samples, from 1 to 4"),
        ({"waveforms": WAVEFORMS, "lengths": torch.tensor([True, True])}, "expected 2 numbers of samples"),
    ],
)
def test_a_batch_that_cannot_be_read_is_told_with_the_way_out(batch: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_batch(batch, False, "")


def test_selected_utterances_have_no_needless_padding() -> None:
    batch = Batch(WAVEFORMS, LENGTHS, LABELS, ["a", "b"], ["x", "y"], ["", ""])
    chosen = select_utterances(batch, [1])
    assert chosen.waveforms.tolist() == [[4.0, 5.0, 6.0]]
    assert (chosen.ids, chosen.paths, chosen.labels.tolist()) == (["b"], ["y"], [0])


@pytest.mark.parametrize(
    ("second", "lengths", "labels"),
    [
        (torch.tensor([1, 3]), [4, 4], [1, 3]),  # none is as long as the waveforms
        ([4, 2], [4, 2], [-1, -1]),
        (torch.tensor([4.0, 2.0]), [4, 4], [-1, -1]),
        (torch.tensor([4]), [4, 4], [-1, -1]),
        (("a", "b"), [4, 4], [-1, -1]),
    ],
)
def test_the_second_of_two_is_lengths_if_the_longest_fills_the_batch(
    second: object, lengths: list[int], labels: list[int]
) -> None:
    found = read_batch((WAVEFORMS, second), takes_lengths=True)
    assert (found.lengths.tolist(), found.labels.tolist()) == (lengths, labels)


@pytest.mark.parametrize(
    ("second", "are_lengths"), [([900, 400], True), ([900, 399], False), ([1001, 900], False), ([7, 1], False)]
)
def test_numbers_that_no_label_has_are_lengths_where_every_utterance_is_padded(
    second: list[int], are_lengths: bool
) -> None:
    found = read_batch((torch.zeros(2, 1000), torch.tensor(second)), takes_lengths=True)
    assert (found.lengths if are_lengths else found.labels).tolist() == second


@pytest.mark.parametrize("more", [{}, {"lengths": [4, 3], "labels": [1, 0]}, {"attention_mask": [[1] * 4] * 2}])
def test_lengths_and_labels_are_on_the_device_of_the_waveforms(more: dict) -> None:
    found = read_batch({"waveforms": WAVEFORMS.to("meta"), **more}, takes_lengths=True)
    assert {found.lengths.device.type, found.labels.device.type} == {"meta"}


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ([[0, 1, 1, 1], [1, 1, 1, 1]], "has zeros before ones; .* pad them at the end"),
        ([[1, 0, 1, 1], [1, 1, 1, 1]], "has zeros before ones"),
        ([[1, 1], [1, 0]], r"is \(2, 2\); expected \(2, 4\) as the waveforms"),
        ([[1, 1, 1, 1], [0, 0, 0, 0]], r"lengths of a batch are \[4, 0\]"),
    ],
)
def test_a_mask_that_does_not_pad_at_the_end_is_refused(mask: list, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_batch({"input_values": WAVEFORMS, "attention_mask": torch.tensor(mask)}, takes_lengths=True)


@pytest.mark.parametrize("ids", [["a", "a"], ["a"], "ab"])
def test_ids_that_do_not_tell_utterances_apart_are_refused(ids: object) -> None:
    with pytest.raises(UserError, match=r"the ids of a batch are .*; expected 2 different names"):
        read_batch({"waveforms": WAVEFORMS, "ids": ids}, takes_lengths=False)
    with pytest.raises(UserError, match="expected 2 different names"):
        read_batch(Batch(WAVEFORMS, LENGTHS, LABELS, ids, ["", ""], ["", ""]), takes_lengths=False)  # type: ignore[arg-type]
