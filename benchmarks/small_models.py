"""Small models for the sampling schemes, with random weights that are always the same, and the clips they hear."""

from collections.abc import Callable, Iterator

import torch
from harness import Clip
from torch import Tensor, nn

from speechshap.attribution import as_baseline
from speechshap.frames import FrameGrid
from speechshap.models import EmotionClassifier, build_backbone

_GRID = FrameGrid(hop=320, receptive_field=400)
_SAMPLES = 8000
_WAVLM = {
    "model_type": "wavlm", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 128, "conv_dim": [32] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
}  # fmt: skip


class Linear(nn.Module):
    """Logits that are linear in the waveform."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(_SAMPLES, 3)

    def forward(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Logits."""
        return self.head(waveforms)


class Network(nn.Module):
    """Two convolutions and a head; with ``normalize`` each waveform is divided by its standard deviation first."""

    def __init__(self, normalize: bool) -> None:
        super().__init__()
        self.normalize = normalize
        self.layers = nn.Sequential(nn.Conv1d(1, 16, 20, 10), nn.GELU(), nn.Conv1d(16, 16, 8, 4), nn.GELU())
        self.head = nn.Linear(16, 3)

    def forward(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Logits."""
        scale = waveforms.std(1, keepdim=True) + 1e-4 if self.normalize else 0.1
        return self.head(self.layers((waveforms / scale)[:, None]).mean(2))


def _wavlm(norm: str) -> nn.Module:
    backbone = build_backbone({**_WAVLM, "feat_extract_norm": norm, "do_normalize": norm == "layer"})
    return EmotionClassifier(backbone, nn.Linear(backbone.hidden_size, 3))


def _sound(seed: int, gap: bool) -> Tensor:
    """Noise with the level of syllables, ``(time,)``; with a gap its third quarter is digital silence."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.linspace(0, 1, _SAMPLES)
    sound = 0.1 * torch.randn(_SAMPLES, generator=generator) * (1.1 + (12 * time + seed).sin())
    if gap:
        sound[_SAMPLES // 2 : 3 * _SAMPLES // 4] = 0
    return sound


_MODELS: dict[str, Callable[[], nn.Module]] = {
    "linear": Linear,
    "CNN": lambda: Network(normalize=False),
    "level-normalising CNN": lambda: Network(normalize=True),
    "WavLM, group norm": lambda: _wavlm("group"),
    "WavLM, layer norm": lambda: _wavlm("layer"),
}


def small_clips(count: int) -> Iterator[tuple[str, list[Clip]]]:
    """Names of models and references, and clips with these; every second clip has a gap."""
    sounds = torch.stack([_sound(seed, seed % 2 == 1) for seed in range(100, 132)])
    for name, make in _MODELS.items():
        torch.manual_seed(0)
        model = make().eval().requires_grad_(False)
        # Without a floor under its levels a model that normalises them has no finite attribution against silence.
        for kind in ("noise", "dataset") if "WavLM" in name else ("noise", "silence", "dataset"):
            baseline = as_baseline(sounds if kind == "dataset" else kind)
            clips = [Clip(model, _GRID, _sound(seed, seed % 2 == 1), baseline, f"{seed}") for seed in range(count)]
            yield f"{name}, {kind}", clips
