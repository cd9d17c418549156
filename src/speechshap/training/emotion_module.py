"""LightningModule that trains an emotion classifier."""

import warnings
from functools import partial
from typing import Any, cast

from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassConfusionMatrix

from speechshap.data.batches import read_batch
from speechshap.data.dataset import Batch
from speechshap.data.splits import draw_subset
from speechshap.errors import UserError
from speechshap.frames import SAMPLE_RATE
from speechshap.models import (
    EmotionClassifier,
    Features,
    Padding,
    Pooling,
    PoolingName,
    build_backbone,
    load_backbone,
    mlp_head,
)
from speechshap.models.heads import require_fit
from speechshap.models.spec_augment import SpecAugment, set_spec_augment
from speechshap.training.classifier_module import predict
from speechshap.training.divergence import refuse_loss, refuse_weights
from speechshap.training.emotion_options import (
    DROPOUT,
    HIDDEN_UNITS,
    ClassWeights,
    Freeze,
    check_finetuning,
    check_options,
)
from speechshap.training.feature_batches import FeatureBatch
from speechshap.training.finetuning_module import FinetuningModule, choose_trained
from speechshap.training.loaders import is_repeated
from speechshap.training.losses import balanced_weights, classification_loss
from speechshap.training.mel_prediction import MelPrediction
from speechshap.training.metrics import classification_metrics
from speechshap.training.mixup import draw_mixing, mixed_loss
from speechshap.training.pooled_moments import pooled_moments
from speechshap.training.precision import refuse_half_precision

STAGES = ("val", "test")


class EmotionModule(FinetuningModule):
    """LightningModule that trains an emotion classifier on a speech transformer.

    It is a :class:`speechshap.models.SpeechClassifier` and can be explained as it is. A checkpoint holds the
    architecture and all weights: it loads without the hub and without the backbone's folder.

    Args:
        classes: Names of the emotions, in the order of the class indices.
        backbone: Pretrained WavLM, wav2vec2, HuBERT, UniSpeech-SAT, data2vec-audio or Whisper: a name on the Hugging
            Face hub or a local folder.
        backbone_config: Fields of a Hugging Face configuration (``model_type`` and what differs from its defaults).
            Where it is given, the backbone is made from it with random weights, and ``backbone`` is not loaded.
        hidden_layer: Hidden state that the head takes (0 is the stem's output); left out, the softmax-weighted sum
            of all of them.
        head: Pooled features ``(batch, pooled size)`` to logits ``(batch, classes)``; left out,
            ``Linear(pooled size, hidden units) - ReLU - Dropout - Linear(hidden units, classes)``. A checkpoint
            remembers a head that came from a configuration; one given in Python has to be given to
            ``load_from_checkpoint`` again.
        window_seconds: A longer recording goes through the backbone in overlapping windows of this length, so that
            memory stays bounded; see :class:`speechshap.models.EmotionClassifier`. Whisper's are of 30 s at most.
        padding: ``masked`` keeps every result what it is for the utterance alone; ``published`` pads as the authors of
            the backbone did; see :class:`speechshap.models.Wav2Vec2Backbone` and
            :class:`speechshap.models.WhisperBackbone`, which then refuses recordings over 30 s.
        gradient_checkpointing: Compute activations again in the backward pass instead of keeping them: less memory
            for a third more time.
        freeze: What is not trained: the whole ``backbone``, its convolutional ``stem``, or ``none`` of it.
        learning_rate: Highest learning rate of AdamW.
        weight_decay: Weight decay of AdamW.
        warmup_fraction: Share of the training steps during which the learning rate rises from 0; it falls linearly
            to 0 over the rest.
        standardize: Bring each feature of each hidden state to mean 0 and variance 1 over the training utterances: its
            mean (or deviation) over time, or its frames where pooling is attentive or there are convolutions. A pass
            over the utterances before the first step of a module finds the numbers, which checkpoints keep and no later
            training changes: they are those of the backbone as it was loaded.
        dropout: Share of the hidden units of the default head, and of the channels of convolutions, that are dropped in
            training.
        label_smoothing: Share of the training loss that asks for all classes alike.
        pooling: What is taken of the frames of an utterance: their ``mean``; ``mean_std``, which adds the standard
            deviation; or ``attentive``, mean and standard deviation weighted by learnt attention. After ``attentive``
            and after convolutions, a batch norm comes before the head.
        num_queries: Attentions of ``attentive`` pooling, each with a mean and a standard deviation of its own.
        convolutions: Number of pointwise convolutions (256 channels, ReLU, dropout) before the pooling.
        hidden_units: Hidden units of the default head; 0 makes it a single linear layer.
        class_weights: ``balanced`` lets each class count alike in the training loss, however many utterances it has;
            ``none`` lets each utterance count alike.
        focal_gamma: Exponent of the focal loss, which discounts utterances that are classified well already; 2 is
            customary, 0 is cross-entropy.
        mixup: Parameter of the Beta distribution from which the share is drawn with which the utterances of a training
            batch are mixed with each other (Zhang et al. 2018); the loss is mixed from those for both labels in the
            same shares. 0.2 is customary, 0 mixes nothing.
        mel_weight: Weight in the training loss of a second task, which teaches a stem with random weights to hear: the
            log-mel spectrogram of the sound is predicted from each of its frames, see
            :class:`speechshap.training.mel_prediction.MelPrediction`. 1 is a good choice, 0 leaves it out.
        spec_augment: What of its features a backbone that is trained masks in training (``time``, ``time_length``,
            ``features``, ``feature_length``; see :class:`speechshap.models.spec_augment.SpecAugment`); left out, as
            its configuration says.
        trained_layers: Transformer layers that are trained, the last ones that the head hears, with ``freeze`` at
            ``stem``: all below is frozen, too. With ``lora_rank`` the layers that have adapters. Left out, all.
        backbone_learning_rate: Highest learning rate of what is trained in the backbone; left out, ``learning_rate``.
        layer_decay: Each layer is trained with the learning rate of the next one times this factor, the last one with
            that of the backbone; see :func:`speechshap.training.optimizing.parameter_groups`.
        unfreeze_at_epoch: The head is trained alone before this epoch, counted from 0, and with the backbone from it
            on (Kumar et al. 2022), whose learning rate rises from 0 then.
        lora_rank: Rank of adapters that are trained in the layers of a frozen backbone; see
            :func:`speechshap.models.lora.add_adapters`. Left out, there are none.
        lora_alpha: What adapters give is multiplied by this and divided by the rank; left out, the rank itself.
        lora_dropout: Share of the input of each adapter that is dropped in training.
        lora_targets: Linear maps of a layer that have adapters; left out, ``q_proj`` and ``v_proj``.

    Attributes:
        trained_steps: Optimiser steps of the checkpoint that was loaded; 0 without one.

    Raises:
        UserError: An option is out of range or does not go with another, or the backbone cannot be loaded or built.

    Example:
        >>> import torch
        >>> module = EmotionModule(["calm", "angry"], backbone_config={"model_type": "wavlm", "hidden_size": 32,
        ...     "num_hidden_layers": 1, "num_attention_heads": 2, "conv_dim": [8] * 7})
        >>> module(torch.zeros(2, 1200), torch.tensor([1200, 800])).shape
        torch.Size([2, 2])
    """

    def __init__(
        self,
        classes: list[str],
        backbone: str = "microsoft/wavlm-base-plus",
        backbone_config: dict[str, Any] | None = None,
        hidden_layer: int | None = None,
        head: nn.Module | None = None,
        window_seconds: float = 20.0,
        padding: Padding = "masked",
        gradient_checkpointing: bool = False,
        freeze: Freeze = "backbone",
        learning_rate: float = 1e-3,
        weight_decay: float = 0.01,
        warmup_fraction: float = 0.1,
        standardize: bool = False,
        dropout: float = DROPOUT,
        label_smoothing: float = 0.0,
        pooling: PoolingName = "mean",
        num_queries: int = 1,
        convolutions: int = 0,
        hidden_units: int = HIDDEN_UNITS,
        class_weights: ClassWeights = "none",
        focal_gamma: float = 0.0,
        mixup: float = 0.0,
        mel_weight: float = 0.0,
        spec_augment: SpecAugment | None = None,
        trained_layers: int | None = None,
        backbone_learning_rate: float | None = None,
        layer_decay: float = 1.0,
        unfreeze_at_epoch: int = 0,
        lora_rank: int | None = None,
        lora_alpha: float | None = None,
        lora_dropout: float = 0.0,
        lora_targets: list[str] | None = None,
    ) -> None:
        super().__init__()
        check_options(
            classes=classes, has_head=head is not None, learning_rate=learning_rate, weight_decay=weight_decay,
            warmup_fraction=warmup_fraction, dropout=dropout, label_smoothing=label_smoothing,
            convolutions=convolutions, hidden_units=hidden_units, class_weights=class_weights, focal_gamma=focal_gamma,
            mixup=mixup, mel_weight=mel_weight,
        )  # fmt: skip
        check_finetuning(
            freeze=freeze, mel_weight=mel_weight, trained_layers=trained_layers,
            backbone_learning_rate=backbone_learning_rate, layer_decay=layer_decay, unfreeze_at_epoch=unfreeze_at_epoch,
            lora_rank=lora_rank, lora_alpha=lora_alpha, lora_dropout=lora_dropout, lora_targets=lora_targets,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*'head' is an instance of `nn.Module`.*")  # it is removed below
            self.save_hyperparameters()
        if isinstance(head, nn.Module) and self.hparams.get("head") is head:
            self.hparams["head"] = None  # given in Python; from a configuration it is a class path, which is kept
        speech_backbone = (
            load_backbone(backbone, padding) if backbone_config is None else build_backbone(backbone_config, padding)
        )
        speech_backbone.gradient_checkpointing = gradient_checkpointing
        if spec_augment is not None:
            if freeze == "backbone" or trained_layers is not None:
                raise UserError(
                    "`spec_augment` masks what a backbone hears that is trained, but layers of it are frozen; take "
                    "`freeze` stem or none without `trained_layers`, or leave it out"
                )
            set_spec_augment(speech_backbone, spec_augment)
        # The command line may not have given these two, and a checkpoint cannot be loaded without them.
        self.hparams["classes"] = list(classes)
        self.hparams["backbone_config"] = speech_backbone.export_config()
        self.classes = list(classes)
        self.trained_steps = 0
        self.learning_rate = learning_rate
        self.backbone_learning_rate = backbone_learning_rate
        self.layer_decay = layer_decay
        self.unfreeze_at_epoch = unfreeze_at_epoch
        self.weight_decay = weight_decay
        self.warmup_fraction = warmup_fraction
        self.label_smoothing = label_smoothing
        self.class_weights = class_weights
        self.focal_gamma = focal_gamma
        self.mixup = mixup
        self.mel_weight = mel_weight
        self._loss_weights: Tensor | None = None
        pooled = Pooling(pooling, speech_backbone.hidden_size, num_queries, convolutions, dropout)
        if head is None:
            head = mlp_head(pooled.size, len(classes), dropout, hidden_units)
        else:
            require_fit(head, pooled.size, len(classes))
        self.classifier = EmotionClassifier(
            speech_backbone, head, hidden_layer, window_seconds, classes, standardize=standardize, pooling=pooled
        )
        # After the model, so that its first weights are the same with and without.
        self.mel_prediction = MelPrediction(speech_backbone) if mel_weight else None
        choose_trained(self.classifier, freeze, trained_layers, lora_rank, lora_alpha, lora_dropout, lora_targets)
        self.train()  # transformers loads models in eval mode, in which there would be no dropout and no SpecAugment
        self.metrics = nn.ModuleDict(
            {f"{stage}_metrics": classification_metrics(len(classes), stage) for stage in STAGES}
        )
        self.losses = nn.ModuleDict({f"{stage}_loss": MeanMetric() for stage in STAGES})
        self.confusion = nn.ModuleDict(
            {f"{stage}_confusion": MulticlassConfusionMatrix(len(classes)) for stage in STAGES}
        )

    @property
    def logged(self) -> dict[str, list[str]]:
        """Names of the metrics that training (``train``) and validation (``val``) log."""
        metrics = cast(MetricCollection, self.metrics["val_metrics"])
        train = ["train/loss", "train/padding_fraction", *["train/mel_loss"] * (self.mel_prediction is not None)]
        return {"train": train, "val": ["val/loss", *map(str, metrics.keys())]}

    def features_of(self, batch: Batch | FeatureBatch) -> Features:
        """What the head hears of a batch, which may have been computed before."""
        if isinstance(batch, FeatureBatch):
            return batch.features
        return self.classifier.features(batch.waveforms, batch.lengths)

    def logits(self, batch: Batch | FeatureBatch) -> Tensor:
        """Logits ``(batch, classes)`` of a batch of waveforms or of features."""
        if isinstance(batch, FeatureBatch):
            return self.classifier.classify(batch.features)
        logits: Tensor = self(batch.waveforms, batch.lengths)
        return logits

    def setup(self, stage: str) -> None:
        """Refuse a precision that the model does not bear, and data of other classes or too long for it."""
        refuse_half_precision(self.backbone, self.trainer.precision, trains=stage == "fit")
        super().setup(stage)
        data: Any = getattr(self.trainer, "datamodule", None)
        if data is not None and data.classes and list(data.classes) != self.classes:
            raise UserError(
                f"the model was made for the classes {', '.join(self.classes)}, but the data have "
                f"{', '.join(data.classes)}; take a checkpoint for these, or set `classes` of the data"
            )
        if self.longest is not None and hasattr(data, "refuse_longer_than") and stage != "predict":
            data.refuse_longer_than(self.longest / SAMPLE_RATE)
        if self.class_weights == "balanced" and stage == "fit":
            self._loss_weights = self._balanced_weights(data)

    def _balanced_weights(self, data: Any) -> Tensor:
        """Weights of the classes by the training utterances, all of which each process knows."""
        splits = getattr(data, "splits", None)
        if splits is None:
            raise UserError(
                "`class_weights` is balanced, which counts the training utterances of an AudioDataModule; give the "
                "trainer one as `datamodule`, or take none"
            )
        utterances = draw_subset(splits.train, data.max_utterances, data.split_seed)
        return balanced_weights([utterance.label for utterance in utterances], self.classes)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint whose classes are not those of the model, and note how far it was trained."""
        self.trained_steps = int(checkpoint.get("global_step", 0))
        saved = checkpoint.get("hyper_parameters", {}).get("classes")
        if saved is not None and list(saved) != self.classes:
            raise UserError(
                f"the checkpoint was made for the classes {', '.join(saved)}, not for {', '.join(self.classes)}"
            )

    def on_train_start(self) -> None:
        """Find what the features are standardised by, where this was asked for and has not been done."""
        super().on_train_start()
        standardization = self.classifier.standardization
        if standardization is not None and not standardization.is_fitted:
            standardization.fit(pooled_moments(self.trainer, self.classifier, self.features_of))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to save weights that are NaN or infinite, so that the checkpoints before them are kept.

        Raises:
            UserError: There are such weights.
        """
        refuse_weights(checkpoint["state_dict"], checkpoint["global_step"])

    def training_step(self, batch: Batch | FeatureBatch, batch_idx: int) -> Tensor:
        """Loss of a batch.

        Raises:
            UserError: It is NaN or infinite.
        """
        if self.mel_prediction is None:
            loss = self._loss_of_classes(batch)
        else:
            with self.mel_prediction.listening(self.backbone) as calls:
                loss = self._loss_of_classes(batch)
            mel_loss = self.mel_prediction(calls)
            self.log("train/mel_loss", mel_loss, batch_size=len(batch.ids))
            loss = loss + self.mel_weight * mel_loss
        refuse_loss(loss, self.global_step, self.current_epoch)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch.ids))
        self.log("train/padding_fraction", batch.padding_fraction, batch_size=len(batch.ids))
        return loss

    def _loss_of_classes(self, batch: Batch | FeatureBatch) -> Tensor:
        loss_of = partial(
            classification_loss, class_weights=self._loss_weights, focal_gamma=self.focal_gamma,
            label_smoothing=self.label_smoothing,
        )  # fmt: skip
        if self.mixup:  # with which features are not cached
            mixing = draw_mixing(cast(Batch, batch), self.mixup, self.current_epoch)
            return mixed_loss(cast(Batch, batch), mixing, self.logits, loss_of)
        return loss_of(self.logits(batch), batch.labels)

    def validation_step(self, batch: Batch | FeatureBatch, batch_idx: int) -> Tensor:
        """Loss and metrics of a validation batch; returns its logits ``(batch, classes)``."""
        return self._evaluate(batch, "val", batch_idx)

    def test_step(self, batch: Batch | FeatureBatch, batch_idx: int) -> Tensor:
        """Loss and metrics of a test batch; returns its logits ``(batch, classes)``."""
        return self._evaluate(batch, "test", batch_idx)

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor | None:
        """Logits ``(batch, classes)`` of a batch of any form that :func:`speechshap.data.batches.read_batch` reads.

        None where an utterance is longer than ``longest``.
        """
        return predict(self, read_batch(batch, takes_lengths=True))

    def _evaluate(self, batch: Batch | FeatureBatch, stage: str, batch_idx: int) -> Tensor:
        logits = self.logits(batch)
        loss = functional.cross_entropy(logits, batch.labels)
        metrics = cast(MetricCollection, self.metrics[f"{stage}_metrics"])
        mean_loss = cast(MeanMetric, self.losses[f"{stage}_loss"])
        if not is_repeated(self.trainer, batch_idx):
            metrics.update(logits, batch.labels)
            self.confusion_matrix(stage).update(logits, batch.labels)
            mean_loss.update(loss, weight=len(batch.ids))
        size = len(batch.ids)
        # A metric, as Lightning's own mean is wrong where processes have unequal numbers of utterances.
        self.log(f"{stage}/loss", mean_loss, on_step=False, on_epoch=True, batch_size=size)
        self.log_dict(dict(metrics.items()), prog_bar=True, on_step=False, on_epoch=True, batch_size=size)
        return logits

    def confusion_matrix(self, stage: str) -> MulticlassConfusionMatrix:
        """Confusion counts ``(true, predicted)`` of the running epoch of ``val`` or ``test``."""
        return cast(MulticlassConfusionMatrix, self.confusion[f"{stage}_confusion"])

    def on_validation_epoch_start(self) -> None:
        """Reset the confusion counts."""
        self.confusion_matrix("val").reset()

    def on_test_epoch_start(self) -> None:
        """Reset the confusion counts."""
        self.confusion_matrix("test").reset()
