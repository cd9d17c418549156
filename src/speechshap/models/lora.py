"""Low-rank adapters (LoRA) in the layers of a backbone."""

from collections.abc import Sequence
from importlib.util import find_spec

import torch
from torch import nn

from speechshap.errors import UserError
from speechshap.models.backbone import Backbone

TARGETS = ("q_proj", "v_proj")
"""What has adapters unless asked otherwise: query and value of each attention, which all families call alike."""


def add_adapters(
    backbone: Backbone,
    rank: int,
    alpha: float,
    dropout: float = 0.0,
    targets: Sequence[str] = TARGETS,
    layers: range | None = None,
) -> None:
    r"""Freeze a backbone, and give linear maps in its layers adapters that are trained (Hu et al. 2021).

    A map :math:`W x` becomes :math:`W x + \alpha / r \; B A x`, where :math:`A` (r, in) starts at random and
    :math:`B` (out, r) at 0. The modules are those of peft, and change nothing else: hooks on layers, masks of padding
    and fast attention are as before. In transformers itself, WavLM's attention reads the weights past the adapters.

    Args:
        backbone: Changed in place.
        rank: r.
        alpha: What the adapters' part is scaled by, times the rank.
        dropout: Share of the input of each adapter that is dropped in training.
        targets: Last names of the linear maps: ``q_proj``, ``k_proj``, ``v_proj``, ``out_proj`` of attention;
            ``intermediate_dense``, ``output_dense``, and of Whisper ``fc1``, ``fc2`` of the feed-forward part.
        layers: Numbers of the layers, the first being 1; None: all.

    Raises:
        UserError: peft is missing, or there is no such map.

    Example:
        >>> from speechshap.models import build_backbone
        >>> backbone = build_backbone({"model_type": "wavlm", "hidden_size": 32, "num_hidden_layers": 2,
        ...                            "num_attention_heads": 2, "conv_dim": [8] * 7})
        >>> add_adapters(backbone, rank=4, alpha=4, layers=range(2, 3))
        >>> sum(parameter.numel() for parameter in backbone.parameters() if parameter.requires_grad)
        512
    """
    if find_spec("peft") is None:
        raise UserError("`lora_rank` needs peft; pip install 'speechshap[lora]'")
    from peft import LoraConfig, inject_adapter_in_model

    chosen = range(1, backbone.num_layers + 1) if layers is None else layers
    maps = [name for name, part in backbone.transformer.named_modules() if isinstance(part, nn.Linear)]
    known = sorted({name.split(".")[-1] for name in maps})
    if unknown := [name for name in targets if name not in known]:
        raise UserError(
            f"`lora_targets`: the layers of this backbone have no {unknown[0]}; expected {', '.join(known)}"
        )
    names = [name for name in maps if int(name.split(".")[0]) + 1 in chosen and name.split(".")[-1] in targets]
    backbone.freeze_outside(chosen)
    backbone.requires_grad_(False)
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=names)  # type: ignore[arg-type]
    inject_adapter_in_model(config, backbone.transformer)
    backbone.train(backbone.training)
    backbone.adapters = {"scale": alpha / rank, "maps": names}


def merge_adapters(backbone: Backbone) -> None:
    """Add what the adapters of a backbone learnt to its weights, and take them out: the same function, but faster.

    The sums are the same to the last bit on any machine, so that fingerprints of the weights are, too.

    Args:
        backbone: Changed in place; without adapters it stays as it is.
    """
    if backbone.adapters is None:
        return
    for name in backbone.adapters["maps"]:
        adapted = backbone.transformer.get_submodule(name)
        plain: nn.Linear = adapted.get_base_layer()  # type: ignore[operator]
        down, up = (getattr(adapted, part)["default"].weight for part in ("lora_A", "lora_B"))
        with torch.no_grad():
            scaled, product = backbone.adapters["scale"] * up, torch.empty_like(plain.weight)
            # One rank after the other: matrix products add up in an order of the machine's own.
            for row, column in zip(down, scaled.T, strict=True):
                plain.weight += torch.mul(column[:, None], row, out=product)
        backbone.transformer.set_submodule(name, plain)
    backbone.adapters = None
