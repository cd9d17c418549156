import copy
from typing import Any

import pytest
import torch
from families import FAMILIES, family_config, make_model, of_each_kind
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from speechshap.errors import UserError
from speechshap.models import Backbone, build_backbone, gated_attention, wrap_backbone
from speechshap.models.lora import add_adapters, merge_adapters

RANK, ALPHA = 4, 6.0
ATTENTION = ["q_proj", "k_proj", "v_proj", "out_proj"]
LENGTHS = torch.tensor([2000, 1500])


def linear_maps(family: str) -> list[str]:
    """All of a layer, that of WavLM's gate, too."""
    feed_forward = ["fc1", "fc2"] if family == "whisper" else ["intermediate_dense", "output_dense"]
    return [*ATTENTION, *feed_forward, *(["gru_rel_pos_linear"] if family == "wavlm" else [])]


def adapted(family: str, targets: list[str] | None = None, **options: Any) -> Backbone:
    """A backbone whose adapters have learnt something."""
    torch.manual_seed(0)
    backbone = build_backbone(family_config(family)).eval()
    add_adapters(backbone, RANK, ALPHA, targets=targets or linear_maps(family), **options)
    with torch.no_grad():
        for name, parameter in backbone.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.3)
    return backbone


def merged_weights(backbone: Backbone) -> dict[str, Tensor]:
    """The state dict of the model of transformers that computes the same, in double precision and by the formula."""
    saved, found = backbone.model.state_dict(), {}
    for name, value in saved.items():
        if "lora_" in name:
            continue
        base, is_adapted = name.replace(".base_layer", ""), ".base_layer.weight" in name
        down, up = (saved.get(name.replace("base_layer", f"lora_{part}.default")) for part in "AB")
        learnt = ALPHA / RANK * up.double() @ down.double() if is_adapted else 0.0  # type: ignore[union-attr]
        found[base] = (value.double() + learnt).float()
    return found


def states_and_gradients(backbone: Backbone, waveforms: Tensor, lengths: Tensor) -> list[Tensor]:
    values = waveforms.clone().requires_grad_()
    states, frames = backbone(values, lengths)
    inside = (torch.arange(states[0].shape[1]) < frames[:, None])[..., None]
    shown = [state.masked_fill(~inside, 0) for state in states]
    weights = torch.randn(shown[-1].shape, generator=torch.Generator().manual_seed(2))
    return [*shown, torch.autograd.grad((shown[-1] * weights).sum(), values)[0]]


def sound() -> Tensor:
    waveforms = torch.randn(2, 2000, generator=torch.Generator().manual_seed(1))
    return waveforms * (torch.arange(2000) < LENGTHS[:, None])


@pytest.mark.parametrize("alignment", [None, 8], ids=["explicit attention", "fused attention"])
@pytest.mark.parametrize("family", FAMILIES)
def test_adapters_are_heard_wherever_their_maps_are(
    family: str, alignment: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """States, gradients and attention of a padded batch are those of a plain model with the merged weights."""
    monkeypatch.setattr(gated_attention, "_fused_alignment", lambda device: alignment)
    backbone = adapted(family)
    plain = build_backbone(family_config(family)).eval()
    plain.model.load_state_dict(merged_weights(backbone))
    untrained = build_backbone(family_config(family)).eval()
    untrained.model.load_state_dict(_base_weights(backbone))
    found = states_and_gradients(backbone, sound(), LENGTHS)
    for value, expected in zip(found, states_and_gradients(plain, sound(), LENGTHS), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=2e-5)
    before = states_and_gradients(untrained, sound(), LENGTHS)
    assert float((found[-2] - before[-2]).norm() / before[-2].norm()) > 0.1
    of_adapted, of_plain = (one.attention_weights(sound(), LENGTHS) for one in (backbone, plain))
    for layer, weights in of_plain.items():
        torch.testing.assert_close(of_adapted[layer][0], weights[0], rtol=1e-4, atol=1e-5)


def _base_weights(backbone: Backbone) -> dict[str, Tensor]:
    saved = backbone.model.state_dict()
    return {name.replace(".base_layer", ""): value for name, value in saved.items() if "lora_" not in name}


@pytest.mark.parametrize("family", FAMILIES[:-1])
def test_a_whole_utterance_is_what_transformers_makes_of_the_merged_weights(family: str) -> None:
    """WavLM's own attention reads the weights past an adapter, so that it is asked with the merged ones."""
    backbone, fields = adapted(family), family_config(family)
    model = AutoModel.from_config(AutoConfig.for_model(fields.pop("model_type"), **fields)).eval()
    model.load_state_dict(merged_weights(backbone))
    states, _ = backbone(sound()[:1], LENGTHS[:1])
    expected = model(sound()[:1], output_hidden_states=True)
    for state, reference in zip(states[1:-1], expected.hidden_states[1:-1], strict=True):
        torch.testing.assert_close(state, reference, rtol=1e-4, atol=2e-5)
    torch.testing.assert_close(states[-1], expected.last_hidden_state, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize(
    ("family", "targets"),
    [("wavlm", ["intermediate_dense", "output_dense"]), ("hubert", ["q_proj", "v_proj"]), ("wav2vec2", ["out_proj"])],
)
def test_a_model_of_peft_gives_the_same(family: str, targets: list[str]) -> None:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    fields = family_config(family)
    model = AutoModel.from_config(AutoConfig.for_model(fields.pop("model_type"), **fields)).eval()
    backbone = wrap_backbone(copy.deepcopy(model), normalize=False).eval()
    add_adapters(backbone, RANK, ALPHA, targets=targets)
    theirs: Any = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=targets))  # type: ignore[arg-type]
    own = dict(theirs.base_model.model.named_parameters())
    with torch.no_grad():
        for name, parameter in backbone.model.named_parameters():
            if "lora_" in name:
                parameter.copy_(own[name].normal_(0, 0.3))
    assert {name for name, one in own.items() if one.requires_grad} == {
        name for name, one in backbone.model.named_parameters() if one.requires_grad
    }
    states, _ = backbone(sound()[:1], LENGTHS[:1])
    torch.testing.assert_close(states[-1], theirs.eval()(sound()[:1]).last_hidden_state, rtol=1e-4, atol=1e-5)
    merge_adapters(backbone)
    of_peft = theirs.merge_and_unload().state_dict()
    for name, value in backbone.model.state_dict().items():
        torch.testing.assert_close(value, of_peft[name], rtol=1e-5, atol=1e-6)


@of_each_kind
def test_a_merged_backbone_is_a_plain_one(family: str) -> None:
    backbone, plain = adapted(family), build_backbone(family_config(family))
    expected = states_and_gradients(backbone, sound(), LENGTHS)
    assert backbone.adapters is not None
    merge_adapters(backbone)
    assert backbone.adapters is None
    assert list(backbone.state_dict()) == list(plain.state_dict())
    assert [type(part).__name__ for part in backbone.modules()] == [type(part).__name__ for part in plain.modules()]
    for value, reference in zip(states_and_gradients(backbone, sound(), LENGTHS), expected, strict=True):
        torch.testing.assert_close(value, reference, rtol=1e-4, atol=2e-5)
    states = states_and_gradients(backbone, sound(), LENGTHS)
    merge_adapters(backbone)
    assert torch.equal(states_and_gradients(backbone, sound(), LENGTHS)[-1], states[-1])


def test_adapters_alone_are_trained_in_the_layers_that_were_asked_for() -> None:
    backbone = build_backbone(family_config("wavlm", hidden_dropout=0.1, num_hidden_layers=3))
    add_adapters(backbone, RANK, ALPHA, dropout=0.2, targets=["q_proj", "output_dense"], layers=range(2, 4))
    backbone.train()
    trained = {name for name, parameter in backbone.model.named_parameters() if parameter.requires_grad}
    assert trained == {
        f"encoder.layers.{layer}.{target}.lora_{part}.default.weight"
        for layer in (1, 2) for target in ("attention.q_proj", "feed_forward.output_dense") for part in "AB"
    }  # fmt: skip
    modes = [{part.training for part in layer.modules()} for layer in backbone.transformer]
    assert modes == [{False}, {True}, {True}]
    assert {part.training for part in backbone.model.feature_projection.modules()} == {False}
    assert backbone.adapters == {
        "scale": ALPHA / RANK,
        "maps": [
            f"{layer}.{target}" for layer in (1, 2) for target in ("attention.q_proj", "feed_forward.output_dense")
        ],
    }
    rates = {
        part.p for name, part in backbone.named_modules() if "lora_dropout" in name and isinstance(part, nn.Dropout)
    }
    assert rates == {0.2}


@of_each_kind
def test_recomputed_activations_give_the_same_gradients_to_adapters(family: str) -> None:
    backbone = adapted(family).train()
    assert not any(isinstance(part, nn.Dropout) and part.p > 0.5 for part in backbone.modules())
    gradients = []
    for recomputes in (False, True):
        backbone.gradient_checkpointing = recomputes
        torch.manual_seed(3)
        states, _ = backbone(sound(), LENGTHS)
        trained = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
        gradients.append(torch.autograd.grad(states[-1][0].square().sum(), trained))
    for kept, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(recomputed, kept)
        assert bool(kept.any())


def test_a_map_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(
        UserError, match="`lora_targets`: the layers of this backbone have no query; expected fc1, fc2, k_"
    ):
        add_adapters(build_backbone(family_config("whisper")), 4, 4, targets=["q_proj", "query"])


def test_a_missing_peft_is_told_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speechshap.models.lora.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"`lora_rank` needs peft; pip install 'speechshap\[lora\]'"):
        add_adapters(build_backbone(family_config("wavlm")), 4, 4)


def test_a_model_without_adapters_is_the_one_that_it_was() -> None:
    backbone = wrap_backbone(make_model("wavlm"), normalize=False)
    before = copy.deepcopy(backbone.state_dict())
    merge_adapters(backbone)
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
