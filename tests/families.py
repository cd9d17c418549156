"""Tiny configurations of all families of backbones."""

from typing import Any

from helpers import tiny_config

FAMILIES = ["wavlm", "wav2vec2", "hubert", "unispeech-sat", "data2vec-audio"]

SHAPES = [
    *((family, "group", False) for family in FAMILIES[:-1]),
    *((family, "layer", False) for family in FAMILIES),
    *((family, "layer", True) for family in FAMILIES[:-1]),
]
"""Family, first normalisation, and whether layers normalise before attention: base, neither, and large."""


def family_config(family: str, norm: str = "layer", is_stable: bool = False, **fields: Any) -> dict[str, Any]:
    """Configuration of a tiny model; data2vec-audio has layer norms alone, and two positional convolutions."""
    if family != "data2vec-audio":
        return tiny_config(family, norm, do_stable_layer_norm=is_stable, **fields)
    config = tiny_config(family, num_conv_pos_embeddings=2, conv_pos_kernel_size=7, **fields)
    del config["feat_extract_norm"]
    return config
