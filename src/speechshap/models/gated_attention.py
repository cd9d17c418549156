"""WavLM's attention with its gated relative position bias.

Notation: B utterances, F frames, H heads, D hidden size, d size of a head.
"""

import torch
from torch import Tensor
from torch.nn import functional
from transformers import WavLMConfig
from transformers.models.wavlm.modeling_wavlm import WavLMAttention

from speechshap.models.derived import Derived


class GatedAttention(WavLMAttention):
    """Attention of WavLM (Chen et al. 2022, section 3.2) as one fused call.

    The same numbers, parameters and hooks as transformers' module, which :meth:`adopt` turns into this one. Query, key
    and value come from one projection, the position bias is computed once for a length and never repeated for the
    batch, and the attention weights are each head's own.
    """

    @classmethod
    def adopt(cls, attention: WavLMAttention, config: WavLMConfig) -> None:
        """Turn a module of a model with this configuration into this one; references to it and hooks stay valid."""
        attention.__class__ = cls
        attention.config = config
        attention._projection_weight = Derived()
        attention._projection_bias = Derived()
        attention._position_bias = Derived()

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
            position_bias: ``(1, H, F, F)`` of an earlier layer; the first layer computes it.
            index: Of the layer; not used.
            output_attentions: Return the attention weights too.

        Returns:
            ``(B, F, D)``, attention weights ``(B, H, F, F)`` or None, and the position bias.
        """
        if position_bias is None:
            position_bias = self.compute_bias(hidden_states.shape[1], hidden_states.shape[1])[None]
        query, key, value = self.project(hidden_states)  # (B, H, F, d) each
        bias = self.gate(hidden_states).to(query.dtype) * position_bias.to(query.dtype)
        if attention_mask is not None:
            bias = bias.masked_fill(~attention_mask[:, None, None].bool(), -torch.inf)
        dropout = self.dropout if self.training else 0.0
        weights = None
        if output_attentions or self.config.output_attentions or query.device.type == "cpu":
            # As quick as PyTorch's fused call with a bias that needs a gradient, which is not fused on a CPU.
            scores = torch.baddbmm(bias.flatten(0, 1), query.flatten(0, 1), key.flatten(0, 1).transpose(1, 2))
            weights = scores.softmax(-1).unflatten(0, bias.shape[:2])
            attended = functional.dropout(weights, dropout) @ value
        else:
            attended = functional.scaled_dot_product_attention(query, key, value, bias, dropout, scale=1.0)
        return self.out_proj(attended.transpose(1, 2).flatten(2)), weights, position_bias

    def project(self, hidden_states: Tensor) -> tuple[Tensor, ...]:
        """Scaled query, key and value, ``(B, H, F, d)`` each."""
        projections = (self.q_proj, self.k_proj, self.v_proj)
        weights, biases = [p.weight for p in projections], [p.bias for p in projections]
        projected = functional.linear(
            hidden_states,
            self._projection_weight(weights, lambda: torch.cat([self.scaling * weights[0], *weights[1:]])),
            self._projection_bias(biases, lambda: torch.cat([self.scaling * biases[0], *biases[1:]])),
        )  # (B, F, 3 D)
        return projected.unflatten(2, (3, self.num_heads, self.head_dim)).permute(2, 0, 3, 1, 4).unbind()

    def gate(self, hidden_states: Tensor) -> Tensor:
        """Gate of the position bias, ``(B, H, F, 1)``: the same for all keys of a query."""
        # The eight outputs are only ever used as the sums of two groups of four.
        weight = self.gru_rel_pos_linear.weight.unflatten(0, (2, 4)).sum(1)
        bias = self.gru_rel_pos_linear.bias.unflatten(0, (2, 4)).sum(1)
        heads = hidden_states.unflatten(2, (self.num_heads, self.head_dim))
        first, second = functional.linear(heads, weight, bias).sigmoid().permute(3, 0, 2, 1)[..., None]  # (B, H, F, 1)
        return first * (second * self.gru_rel_pos_const - 1.0) + 2.0

    def compute_bias(self, query_length: int, key_length: int) -> Tensor:
        """Position bias, ``(H, query_length, key_length)``: what each head adds for a distance of two frames."""

        def toeplitz() -> Tensor:
            distances = torch.arange(1 - query_length, key_length, device=self.rel_attn_embed.weight.device)
            values = self.rel_attn_embed(self._relative_positions_bucket(distances))  # (distances, H)
            # Row q of the bias starts at the distance -q.
            return values.T.unfold(1, key_length, 1).flip(1)

        return self._position_bias([self.rel_attn_embed.weight], toeplitz, query_length, key_length)
