"""LightningModule that trains a part of a backbone with a head."""

from collections.abc import Sequence

from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import nn

from speechshap.errors import UserError
from speechshap.models import EmotionClassifier
from speechshap.models.lora import TARGETS, add_adapters, merge_adapters
from speechshap.training.delegating_module import DelegatingModule
from speechshap.training.emotion_options import Freeze
from speechshap.training.optimizing import adamw, parameter_groups
from speechshap.training.unfreezing import first_step_of, refuse_unfreezing


class FinetuningModule(DelegatingModule):
    """LightningModule that trains a head and what is chosen of the backbone.

    Attributes are arguments of :class:`speechshap.training.EmotionModule`.
    """

    learning_rate: float
    backbone_learning_rate: float | None
    layer_decay: float
    unfreeze_at_epoch: int
    weight_decay: float
    warmup_fraction: float
    _held_back: Sequence[nn.Parameter] = ()  # parameters of the backbone that have not joined the training yet
    _configured_rate: float | None = None

    @property
    def trains_head_only(self) -> bool:
        """Whether nothing is trained before the features that the head hears, so that they stay the same."""
        trained = [*self.backbone.parameters(), *self._held_back]
        return not any(parameter.requires_grad for parameter in trained)

    def train(self, mode: bool = True) -> "FinetuningModule":
        """Set the mode; what is frozen stays in eval mode, and so does a backbone that has not joined the training."""
        super().train(mode)
        if self._held_back:
            self.backbone.eval()
        return self

    def merge_adapters(self) -> None:
        """Make adapters a part of the weights: a model on a frozen backbone, the same function, and faster."""
        if self.backbone.adapters is None:
            return
        merge_adapters(self.backbone)
        self.unfreeze_at_epoch = 0
        self.hparams.update(
            lora_rank=None, lora_alpha=None, lora_dropout=0.0, lora_targets=None, trained_layers=None,
            backbone_learning_rate=None, layer_decay=1.0, unfreeze_at_epoch=0,
        )  # fmt: skip

    def setup(self, stage: str) -> None:
        """Refuse a training that the backbone cannot join later."""
        if stage == "fit":
            refuse_unfreezing(self.trainer, self.unfreeze_at_epoch)
            self._hold_back(False)  # processes share the gradients of what is not frozen at this point

    def on_fit_start(self) -> None:
        """Take a learning rate that a finder has just found, of which the optimiser knows nothing."""
        if self.learning_rate != self._configured_rate:
            self._hold_back(False)  # the finder may have left it so
            self.trainer.strategy.setup_optimizers(self.trainer)

    def on_train_start(self) -> None:
        """Hold the backbone back: a resumed epoch has no start of its own."""
        self._hold_back(self.current_epoch < self.unfreeze_at_epoch)

    def on_train_epoch_start(self) -> None:
        """Let the backbone join the training when it is time."""
        self._hold_back(self.current_epoch < self.unfreeze_at_epoch)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW with linear warm-up and linear decay over the run."""
        self._configured_rate = self.learning_rate
        total = int(self.trainer.estimated_stepping_batches)
        groups = parameter_groups(
            [parameter for parameter in self.parameters() if parameter.requires_grad],
            self.backbone.depths,
            self.learning_rate,
            self.backbone_learning_rate,
            self.layer_decay,
            first_step_of(self.trainer, self.unfreeze_at_epoch),
        )
        return adamw(groups, self.weight_decay, self.warmup_fraction, total)

    def _hold_back(self, is_held: bool) -> None:
        """Train the head alone, or with it what is to be trained of the backbone."""
        if is_held == bool(self._held_back):
            return
        if is_held:
            self._held_back = [parameter for parameter in self.backbone.parameters() if parameter.requires_grad]
        for parameter in self._held_back:
            parameter.requires_grad_(not is_held)
        if not is_held:
            self._held_back = ()
        self.backbone.train(not is_held)


def choose_trained(
    classifier: EmotionClassifier,
    freeze: Freeze,
    trained_layers: int | None = None,
    lora_rank: int | None = None,
    lora_alpha: float | None = None,
    lora_dropout: float = 0.0,
    lora_targets: Sequence[str] | None = None,
) -> None:
    """Take what is not to be trained out of training; arguments as for :class:`speechshap.training.EmotionModule`.

    Layers behind the one that the head hears are never trained.

    Raises:
        UserError: There are not so many layers, or adapters are not possible.

    Example:
        >>> from speechshap.models import build_backbone, mlp_head
        >>> backbone = build_backbone({"model_type": "wavlm", "hidden_size": 32, "num_hidden_layers": 3,
        ...                            "num_attention_heads": 2, "conv_dim": [8] * 7})
        >>> choose_trained(EmotionClassifier(backbone, mlp_head(32, 2), hidden_layer=2), "stem", trained_layers=1)
        >>> {depth for parameter, depth in backbone.depths.items() if parameter.requires_grad}
        {2}
    """
    backbone, last = classifier.backbone, len(classifier.layers)
    if trained_layers is not None and trained_layers > last:
        raise UserError(f"`trained_layers` is {trained_layers}; the head hears {last} layers")
    layers = range(1 if trained_layers is None else last - trained_layers + 1, last + 1)
    if lora_rank is not None and not layers:
        raise UserError(f"`lora_rank` is {lora_rank}, but the head hears no layer; take another `hidden_layer`")
    if lora_rank is not None:
        alpha = lora_rank if lora_alpha is None else lora_alpha
        targets = TARGETS if lora_targets is None else lora_targets
        add_adapters(backbone, lora_rank, alpha, lora_dropout, targets, layers)
    elif freeze == "backbone":
        backbone.freeze()
    elif trained_layers is not None:
        backbone.freeze_outside(layers)
    else:
        backbone.freeze_after(last)
        if freeze == "stem":
            backbone.freeze_stem()
        if not any(parameter.requires_grad for parameter in backbone.parameters()):
            backbone.freeze()  # of Whisper's input of the first layer nothing is left to train
