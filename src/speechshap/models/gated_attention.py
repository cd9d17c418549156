"""WavLM's attention with its gated relative position bias.

Notation: B utterances, F frames, H heads, D hidden size, d size of a head.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import WavLMConfig
from transformers.models.wavlm.modeling_wavlm import WavLMAttention

from speechshap.models.hooks import is_plain


class GatedAttention(WavLMAttention):
    """Attention of WavLM (Chen et al. 2022, section 3.2) as one fused call.

    The same numbers, parameters and hooks as transformers' module, which :meth:`adopt` turns into this one. The
    position bias is never repeated for the batch, the attention weights are each head's own, and hooks of the
    projections, which transformers passes by, are called.
    """

    @classmethod
    def adopt(cls, attention: WavLMAttention, config: WavLMConfig) -> None:
        """Turn a module of a model with this configuration into this one; references to it and hooks stay valid."""
        attention.__class__ = cls
        attention.config = config

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        position_bias: Tensor | None = None,
        index: int = 0,
        output_attentions: bool = False,
        **_: object,
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Attend.

        Args:
            hidden_states: ``(B, F, D)``.
            attention_mask: ``(B, F)``, true or 1 for the frames of the utterance; None for all.
            position_bias: Of :meth:`position_bias`, from an earlier layer; the first layer computes it.
            index: Of the layer; not used.
            output_attentions: Return the attention weights too.

        Returns:
            ``(B, F, D)``, attention weights ``(B, H, F, F)`` or None, and the position bias.
        """
        if position_bias is None:
            position_bias = self.position_bias(hidden_states)
        query, key, value = self.project(hidden_states)  # (B, H, F, d) each
        bias = position_bias.to(query.dtype) * self.gate(hidden_states).to(query.dtype)  # laid out as the first factor
        frames, width = hidden_states.shape[1], position_bias.shape[3]
        if attention_mask is not None:
            mask = functional.pad(attention_mask.bool(), (0, width - frames))
            bias = bias.masked_fill(~mask[:, None, None], -torch.inf)
        bias = bias[..., :frames]
        dropout = self.dropout if self.training else 0.0
        weights = None
        if output_attentions or self.config.output_attentions or _fused_alignment(query.device) is None:
            scores = torch.baddbmm(bias.flatten(0, 1), query.flatten(0, 1), key.flatten(0, 1).transpose(1, 2))
            weights = scores.softmax(-1).unflatten(0, bias.shape[:2])
            attended = functional.dropout(weights, dropout) @ value
        else:
            attended = functional.scaled_dot_product_attention(query, key, value, bias, dropout, scale=1.0)
        return self.out_proj(attended.transpose(1, 2).flatten(2)), weights, position_bias

    def project(self, hidden_states: Tensor) -> tuple[Tensor, ...]:
        """Scaled query, key and value, ``(B, H, F, d)`` each."""
        query, key, value = (
            self.scaling * self.q_proj(hidden_states),
            self.k_proj(hidden_states),
            self.v_proj(hidden_states),
        )
        heads = (self.num_heads, self.head_dim)
        return tuple(states.unflatten(2, heads).transpose(1, 2) for states in (query, key, value))

    def gate(self, hidden_states: Tensor) -> Tensor:
        """Gate of the position bias, ``(B, H, F, 1)``: the same for all keys of a query."""
        heads = hidden_states.unflatten(2, (self.num_heads, self.head_dim))
        projection = self.gru_rel_pos_linear
        if is_plain(projection, nn.Linear):
            # The eight outputs are only ever used as the sums of two groups of four.
            weight, bias = projection.weight.unflatten(0, (2, 4)).sum(1), projection.bias.unflatten(0, (2, 4)).sum(1)
            projected = functional.linear(heads, weight, bias).transpose(1, 2)
        else:
            projected = projection(heads.transpose(1, 2)).unflatten(3, (2, 4)).sum(4)
        first, second = projected.sigmoid().split(1, dim=3)  # (B, H, F, 1)
        return first * (second * self.gru_rel_pos_const - 1.0) + 2.0

    def position_bias(self, hidden_states: Tensor) -> Tensor:
        """Position bias of ``(B, F, D)``, ``(1, H, F, width)`` of which the first F columns count."""
        frames, step = hidden_states.shape[1], _fused_alignment(hidden_states.device) or 1
        return self.compute_bias(frames, -(-frames // step) * step)[None]

    def compute_bias(self, query_length: int, key_length: int) -> Tensor:
        """Position bias, ``(H, query_length, key_length)``: what each head adds for a distance of two frames."""
        if not is_plain(self.rel_attn_embed, nn.Embedding):
            bias: Tensor = super().compute_bias(query_length, key_length)
            return bias
        distances = torch.arange(1 - query_length, key_length, device=self.rel_attn_embed.weight.device)
        values = self.rel_attn_embed(self._relative_positions_bucket(distances))  # (distances, H)
        # Row q of the bias starts at the distance -q.
        return values.T.unfold(1, key_length, 1).flip(1).contiguous()


def _fused_alignment(device: torch.device) -> int | None:
    """What the rows of a bias are stored in multiples of, lest the fused attention copies it in every layer.

    None on a CPU, where a bias that needs a gradient is not fused, and explicit products are as quick.
    """
    return {"cpu": None, "cuda": 8}.get(device.type, 1)
