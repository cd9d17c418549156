"""Audio classifiers of transformers that run as they are."""

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from speechshap.data.audio import normalize_waveforms
from speechshap.errors import UserError
from speechshap.frames import STRETCHES, FrameGrid
from speechshap.models.backbone import architecture
from speechshap.spaces import Space


class PlainClassifier(nn.Module):
    """A classifier of transformers on raw waveforms, run by its own forward pass, one utterance at a time.

    Nothing is masked, so that padding would change the results: rows of unequal length are run one after the other.

    Args:
        model: Takes ``input_values`` ``(batch, time)`` and gives ``logits`` ``(batch, outputs)``.
        normalize: Whether the feature extractor brings each waveform to mean 0 and variance 1.

    Raises:
        UserError: The model gives several labels at once.

    Attributes:
        one_by_one: True: utterances must not share a batch.
        window: None: recordings are never split.
        longest: None: they may be of any length.
        gradient_checkpointing: None: activations are always kept.

    Example:
        >>> from transformers import SEWConfig, SEWForSequenceClassification
        >>> model = SEWForSequenceClassification(SEWConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        ...     intermediate_size=32, conv_dim=[8] * 13, num_labels=3)).eval()
        >>> classifier = PlainClassifier(model, normalize=True)
        >>> classifier(torch.randn(2, 2000), torch.tensor([2000, 1500])).shape, classifier.classes
        (torch.Size([2, 3]), ('LABEL_0', 'LABEL_1', 'LABEL_2'))
    """

    one_by_one = True
    window = None
    longest = None
    gradient_checkpointing: bool | None = None

    def __init__(self, model: nn.Module, normalize: bool) -> None:
        super().__init__()
        self.model: Any = model
        self.normalize = normalize
        self.classes, self.is_regression = outputs_of(self.model.config)

    def forward(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Outputs ``(batch, outputs)`` for waveforms ``(batch, time)`` of ``lengths`` ``(batch,)`` samples.

        Raises:
            UserError: The model gives something else.
        """
        if (lengths < waveforms.shape[1]).any():
            rows = zip(waveforms, lengths.tolist(), strict=True)
            return torch.cat([self._run(row[None, :length]) for row, length in rows])
        return self._run(waveforms)

    def _run(self, waveforms: Tensor) -> Tensor:
        if self.normalize:
            lengths = torch.full((len(waveforms),), waveforms.shape[1], device=waveforms.device)
            waveforms = normalize_waveforms(waveforms, lengths)
        logits = getattr(self.model(waveforms), "logits", None)
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            found = "no `logits`" if logits is None else f"logits of shape {tuple(logits.shape)}"
            raise UserError(f"`model`: a {type(self.model).__name__} gives {found}; expected logits (batch, classes)")
        return logits

    def embed(self, waveforms: Tensor, lengths: Tensor) -> None:
        """There is no vector of an utterance that all of these models have."""

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the outputs beside the weights; see :class:`speechshap.models.SpeechClassifier`."""
        return {
            "model": type(self.model).__qualname__,
            "config": architecture(self.model.config),
            "normalize": self.normalize,
            "grid": asdict(self.grid),
            "classes": list(self.classes),
            "is_regression": self.is_regression,
        }

    @property
    def grid(self) -> FrameGrid:
        """Where the frames lie on the waveform: those of the convolutional stem, or else plain stretches of 20 ms."""
        config = self.model.config
        if not hasattr(config, "conv_kernel"):
            return STRETCHES
        return FrameGrid.from_convolutions(tuple(config.conv_kernel), tuple(config.conv_stride))

    @property
    def shortest(self) -> int:
        """Samples that the shortest utterance must have."""
        return self.grid.shortest + (self._frames_of_a_state - 1) * self.grid.hop

    @property
    def layers(self) -> dict[str, nn.Module]:
        """Transformer layers by name, ``layer_1`` and on; none where the model does not show them frame by frame."""
        found = getattr(getattr(self.model.base_model, "encoder", None), "layers", None)
        if found is None or self._frames_of_a_state != 1:
            return {}
        return {f"layer_{number}": layer for number, layer in enumerate(found, start=1)}

    @property
    def spaces(self) -> dict[str, Space]:
        """``stem``, where the model has the convolutions of wav2vec2."""
        stem = getattr(self.model.base_model, "feature_extractor", None)
        if not hasattr(self.model.config, "conv_kernel") or not isinstance(stem, nn.Module):
            return {}
        return {"stem": Space(module=stem, time_dim=2, skipped=(stem,))}

    @property
    def _frames_of_a_state(self) -> int:
        """Frames that SEW and SEW-D bring together before their layers."""
        return getattr(self.model.config, "squeeze_factor", 1)


def outputs_of(config: Any) -> tuple[tuple[str, ...], bool]:
    """Names of the outputs in the configuration of a classifier, and whether it is a regression.

    Raises:
        UserError: Each output is a yes or no of its own, and not one of several classes.
    """
    if config.problem_type == "multi_label_classification":
        raise UserError(
            "`model` gives several labels at once (problem_type is multi_label_classification), each with a sigmoid of "
            "its own; expected a classifier of one label or a regression"
        )
    names = tuple(str(config.id2label[index]) for index in range(config.num_labels))
    # As for transformers, a single output is a regression.
    return names, config.problem_type == "regression" or config.num_labels == 1
