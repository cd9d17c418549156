import pytest
import torch

from speechshap.fingerprint import fingerprint

TENSOR = torch.arange(6.0)


@pytest.mark.parametrize(
    "other", [TENSOR + 1, TENSOR.double(), TENSOR.view(2, 3), {"a": TENSOR}, "tensor([0., 1., 2., 3., 4., 5.])", None]
)
def test_other_parts_have_another_fingerprint(other: object) -> None:
    assert fingerprint(other) != fingerprint(TENSOR)


def test_equal_parts_have_the_same_fingerprint_whatever_the_memory_layout_or_order_of_names() -> None:
    strided = torch.stack([TENSOR, TENSOR], 1)[:, 0]
    assert fingerprint(strided, "x") == fingerprint(TENSOR, "x")
    assert fingerprint({"a": 1, "b": TENSOR}) == fingerprint({"b": TENSOR, "a": 1})
