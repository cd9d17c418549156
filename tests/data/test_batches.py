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
        (WAVEFORMS[:, None], r"are \(2, 1, 4\); expected floats"),
        ({"waveforms": WAVEFORMS, "lengths": torch.tensor([5, 1])}, "expected 2 numbers of samples, from 1 to 4"),
        ({"waveforms": WAVEFORMS, "lengths": torch.tensor([True, True])}, "expected 2 numbers of samples"),
    ],
)
def test_a_batch_that_cannot_be_read_is_told_with_the_way_out(batch: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_batch(batch, False, "")


def test_selected_utterances_have_no_needless_padding() -> None:
    batch = Batch(WAVEFORMS, LENGTHS, LABELS, ["a", "b"], ["x", "y"])
    chosen = select_utterances(batch, [1])
    assert chosen.waveforms.tolist() == [[4.0, 5.0, 6.0]]
    assert (chosen.ids, chosen.paths, chosen.labels.tolist()) == (["b"], ["y"], [0])


def test_labels_are_not_taken_for_lengths() -> None:
    with pytest.raises(
        UserError, match=r"the second tensor of a batch is \[1, 7\].*if these are labels, give `inputs`"
    ):
        read_batch((torch.zeros(2, 1000), torch.tensor([1, 7])), True, "")
