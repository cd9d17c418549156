import subprocess
import sys

import pytest
import torch

CODE = """
import torch
from speechshap.models.precision import full_precision, rounded_matmul
{choice}
print(rounded_matmul())
with full_precision():
    print(rounded_matmul())
print(rounded_matmul())
"""


@pytest.mark.parametrize(
    ("choice", "precision"),
    [
        ("", "None"),
        ("torch.set_float32_matmul_precision('high')", "high"),
        ("torch.set_float32_matmul_precision('medium')", "medium"),
        ("torch.backends.cuda.matmul.fp32_precision = 'tf32'", "high"),
        ("torch.backends.fp32_precision = 'tf32'", "high"),
        ("torch.backends.mkldnn.matmul.fp32_precision = 'bf16'", "medium"),
    ],
)
def test_products_are_exact_within_the_block_however_they_were_chosen(choice: str, precision: str) -> None:
    if "fp32_precision" in choice and not hasattr(torch.backends.cuda.matmul, "fp32_precision"):
        pytest.skip("this PyTorch has the former functions only")
    # A process of its own: PyTorch cannot take back that one of its two ways was used.
    run = subprocess.run([sys.executable, "-c", CODE.format(choice=choice)], capture_output=True, text=True, check=True)
    assert run.stdout.split() == [precision, "None", precision]
