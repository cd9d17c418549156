import pytest
import torch
from families import FAMILIES, family_config

from speechshap.models import build_backbone
from speechshap.models.attention_kernels import without_cudnn_attention


@pytest.mark.parametrize("gradient_checkpointing", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_no_layer_of_a_backbone_runs_on_cudnn(family: str, gradient_checkpointing: bool) -> None:
    backbone = build_backbone(family_config(family)).eval()
    backbone.gradient_checkpointing = gradient_checkpointing
    seen: list[bool] = []

    def look(*_: object) -> None:
        seen.append(torch.backends.cuda.cudnn_sdp_enabled())

    for layer in backbone.layers.values():
        layer.register_forward_pre_hook(look)
    waveforms = torch.randn(2, 4000, requires_grad=True)
    states, _ = backbone(waveforms, torch.tensor([4000, 2500]))
    assert torch.backends.cuda.cudnn_sdp_enabled()
    torch.autograd.grad(states[-1].square().mean(), waveforms)
    assert seen == [False] * len(backbone.layers) * (2 if gradient_checkpointing else 1)


@pytest.mark.parametrize("is_enabled", [True, False])
def test_the_choice_of_the_caller_is_put_back_after_an_error(is_enabled: bool) -> None:
    torch.backends.cuda.enable_cudnn_sdp(is_enabled)
    try:
        with pytest.raises(ZeroDivisionError), without_cudnn_attention():
            1 / 0  # noqa: B018
        assert torch.backends.cuda.cudnn_sdp_enabled() is is_enabled
    finally:
        torch.backends.cuda.enable_cudnn_sdp(True)


def test_other_kernels_are_left_as_they_are() -> None:
    kernels = torch.nn.attention.SDPBackend
    with torch.nn.attention.sdpa_kernel(kernels.MATH), without_cudnn_attention():
        assert torch.backends.cuda.math_sdp_enabled()
        assert not torch.backends.cuda.flash_sdp_enabled()
        assert not torch.backends.cuda.mem_efficient_sdp_enabled()
