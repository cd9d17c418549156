"""What must hold on a GPU, on small models with random weights.

The tests run on a CPU as well, where they can. They need PyTorch, transformers and pytest alone
(``pytest --noconftest``), since machines with a GPU often have no more.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoConfig, AutoModel

from speechshap.attribution import Attribution, gradient_shap
from speechshap.models import EmotionClassifier, wrap_backbone

# cuBLAS repeats its results bit by bit with such a workspace alone; it looks when it is first called.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

ROOT = Path(__file__).parent.parent
GPU = pytest.param("cuda", marks=pytest.mark.gpu)
LENGTHS = [8000, 5000, 6640]  # 24, 15 and 20 frames: the longest alone is a multiple of 8

FIELDS = {
    "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 96, "conv_dim": [32] * 7,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip
WHISPER = {
    "d_model": 64, "num_mel_bins": 20, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 96,
    "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 16, "vocab_size": 20, "pad_token_id": 1,
    "bos_token_id": 1, "eos_token_id": 1, "decoder_start_token_id": 1, "begin_suppress_tokens": None,
}  # fmt: skip

of_each_family = pytest.mark.parametrize("family", ["wavlm", "wav2vec2", "hubert", "whisper"])
on_both = pytest.mark.parametrize("device", ["cpu", GPU])


@pytest.fixture(autouse=True)
def single_precision() -> Iterator[None]:
    """No convolution rounds to TF32, as PyTorch has it on a GPU unless it is told otherwise."""
    kept = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = kept


def classifier(family: str, device: str) -> EmotionClassifier:
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **(WHISPER if family == "whisper" else FIELDS))
    model = AutoModel.from_config(config)
    if family == "whisper":
        model = model.encoder
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or "bias" in name or "gru" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    backbone = wrap_backbone(model, normalize=False)
    head = nn.Linear(backbone.hidden_size, 3)
    return EmotionClassifier(backbone, head, backbone.num_layers).eval().requires_grad_(False).to(device)


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def explain(family: str, device: str, **options: Any) -> Attribution:
    """Three utterances of unequal length; the draws are the same on all devices."""
    waveforms = noise(3, max(LENGTHS)).to(device)
    return gradient_shap(classifier(family, device), waveforms, "noise", 0, LENGTHS, n_samples=8, **options)


def relative(value: Tensor, reference: Tensor) -> float:
    value, reference = value.cpu().double(), reference.cpu().double()
    return float((value - reference).norm() / reference.norm())


@of_each_family
@on_both
def test_an_attribution_is_that_of_the_cpu(family: str, device: str) -> None:
    """On a CPU single precision is within 1e-6 of double precision here."""
    found, expected = explain(family, device), explain(family, "cpu", chunk_size=3)
    for name in ("logits", "frames", "values"):
        assert relative(getattr(found, name), getattr(expected, name)) < 1e-4
    assert found.frames.device.type == device


@of_each_family
@on_both
def test_an_attribution_does_not_depend_on_padding(family: str, device: str) -> None:
    model = classifier(family, device)
    waveforms = noise(3, max(LENGTHS)).to(device)
    ids = ["a", "b", "c"]
    together = gradient_shap(model, waveforms, "noise", 0, LENGTHS, ids, n_samples=8)
    for row, length in enumerate(LENGTHS):
        alone = gradient_shap(model, waveforms[row : row + 1, :length], "noise", 0, ids=ids[row : row + 1], n_samples=8)
        frames = alone.frames.shape[2]
        assert relative(together.logits[row], alone.logits[0]) < 1e-4
        assert relative(together.frames[row, :, :frames], alone.frames[0]) < 1e-4
        assert together.frames[row, :, frames:].abs().sum() == 0


@of_each_family
@on_both
def test_bfloat16_is_within_three_per_cent(family: str, device: str) -> None:
    """By autocast, as ``precision: bf16-mixed`` runs a model; on a CPU it is within 1.3 %."""
    full = explain(family, device)
    with torch.autocast(device, torch.bfloat16):
        half = explain(family, device)
    assert 1e-4 < relative(half.frames, full.frames) < 0.03


@of_each_family
@on_both
def test_a_run_that_is_repeated_is_equal_to_the_last_bit(family: str, device: str) -> None:
    if family == "whisper" and device == "cuda":
        pytest.skip("PyTorch has no deterministic gradient of the reflection at the ends of a clip on a GPU")
    torch.use_deterministic_algorithms(True)
    try:
        one, other = explain(family, device), explain(family, device)
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(one.values, other.values)
    assert torch.equal(one.frames_standard_error, other.frames_standard_error)


@pytest.mark.gpu
def test_chunks_are_halved_until_they_fit() -> None:
    """A row keeps 33 MB; two gigabytes are given to 256 of them."""
    weight = torch.randn(512, 1, device="cuda")
    done: list[int] = []

    def forward(waveforms: Tensor, lengths: Tensor) -> Tensor:
        hidden = (waveforms[:, None] * weight).tanh()  # (rows, 512, time)
        return hidden.mean(2)[:, :3]

    waveforms, options = noise(1, 16000).to("cuda"), {"n_samples": 256, "scheme": "uniform"}
    expected = gradient_shap(forward, waveforms, "noise", 0, chunk_size=8, **options)
    torch.cuda.empty_cache()
    held, total = torch.cuda.memory_reserved(), torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((held + 2 * 2**30) / total)
    try:
        found = gradient_shap(forward, waveforms, "noise", 0, chunk_size=256, progress=done.append, **options)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert sum(done) == 256
    assert 1 < max(done) <= 64
    assert relative(found.frames, expected.frames) < 1e-4


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("family", ["wavlm", "wav2vec2"])
def test_attention_runs_fused_and_not_on_cudnn(family: str, precision: str) -> None:
    called: list[tuple[str, tuple[int, ...]]] = []

    class Listener(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            called.append((str(func), tuple(args[0].shape) if args and isinstance(args[0], Tensor) else ()))
            return func(*args, **(kwargs or {}))

    model = classifier(family, "cuda")
    waveforms = noise(2, 7040).to("cuda").requires_grad_()  # 21 frames
    with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16"), Listener():
        logits = model(waveforms, torch.tensor([7040, 5000], device="cuda"))
        torch.autograd.grad(logits.float().square().sum(), waveforms)
    names = {name for name, _ in called}
    assert any("_scaled_dot_product_efficient_attention_backward" in name for name in names)
    assert not any("cudnn_attention" in name for name in names)
    if family == "wavlm":  # the kernel takes the position bias as it lies
        assert not any("constant_pad_nd" in name and len(shape) == 4 for name, shape in called)


@pytest.mark.gpu
@pytest.mark.parametrize("frames", [64, 192])
def test_gradients_at_lengths_that_cudnn_gets_wrong_are_finite(frames: int) -> None:
    model = classifier("wav2vec2", "cuda")
    samples = model.backbone.grid.hop * (frames - 1) + model.backbone.grid.shortest
    waveforms = 5 * noise(2, samples).to("cuda").requires_grad_()
    with torch.autocast("cuda", torch.bfloat16):
        logits = model(waveforms, torch.tensor([samples, samples - 2000], device="cuda"))
    (gradient,) = torch.autograd.grad(logits.float().square().sum(), waveforms)
    assert gradient.isfinite().all()


def benchmark(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


@pytest.mark.slow
def test_the_benchmark_runs_whole_on_a_cpu(tmp_path: Path) -> None:
    run = benchmark("--device", "cpu", "--tiny", "--output", str(tmp_path / "gpu.md"))
    assert run.returncode == 0, run.stdout + run.stderr
    text = (tmp_path / "gpu.md").read_text(encoding="utf-8")
    assert text.count("\n## ") == 5
    assert "Failed" not in text
    assert "Left out" not in text
    for words in ("| torch | ", "| 2 | bf16 | ", "| fp32 | ", "gradient_shap space=stem"):
        assert words in text


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_machine_without_a_gpu_is_told_at_once() -> None:
    run = benchmark()
    assert run.returncode == 1
    assert run.stderr.startswith("error: PyTorch ")
    assert "sees no GPU here" in run.stderr
    assert run.stderr.count("\n") == 1
