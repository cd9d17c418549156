"""Small things to test with."""

from pathlib import Path
from typing import Any

import numpy as np
import soundfile

TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "mask_time_prob": 0.0,
    "layerdrop": 0.0,
}


def tiny_config(family: str = "wavlm", norm: str = "layer", **fields: Any) -> dict[str, Any]:
    """Configuration of a tiny backbone."""
    return {"model_type": family, "feat_extract_norm": norm, **TINY, **fields}


def write_sound(path: Path, seconds: float = 0.2, rate: int = 16000, seed: int = 0, **options: Any) -> Path:
    """Write half-loud noise, which every decoder can be asked for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sound = np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * rate))
    soundfile.write(path, sound, rate, **options)
    return path
