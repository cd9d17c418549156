"""A model as it is explained: frozen, in eval mode, and in the precision of a run."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import cast

import torch
from torch import Tensor, nn

from speechshap.attribution import WAVEFORM
from speechshap.attribution.gradients import refuse_autocast
from speechshap.data import Batch
from speechshap.errors import UserError
from speechshap.explaining.options import Arithmetic
from speechshap.explaining.own_model import OwnModel
from speechshap.explaining.targets import choose_layers, choose_space
from speechshap.fingerprint import fingerprint
from speechshap.frames import SAMPLE_RATE
from speechshap.models import SpeechClassifier
from speechshap.models.modes import evaluation_mode


class ExplainedModel:
    """What an explanation asks of a model, in the precision of the run.

    Args:
        classifier: On its device.
        arithmetic: Precision.
        layers: Layers whose neurons are explained, as :func:`speechshap.explaining.targets.choose_layers` reads them.
        gradient_checkpointing: Compute activations again in the backward pass, where the classifier can.
        along_path: Whether layers are differentiated along the path: these slopes are gone when activations are
            computed again, so that a classifier that checkpoints goes without.
        space: Where paths run, as :func:`speechshap.explaining.targets.choose_space` reads it.

    Attributes:
        module: The model as a module; of the user's own model that module.
        layers: The layers by name.
        spaces: The space by its name; empty where paths run between waveforms.

    Raises:
        UserError: There is no such layer or space, checkpointing is not possible, a weight is not finite, or layers
            are differentiated along the path in a precision of autocast.
    """

    def __init__(
        self,
        classifier: SpeechClassifier,
        arithmetic: Arithmetic,
        layers: str = "none",
        gradient_checkpointing: bool = False,
        along_path: bool = False,
        space: str = WAVEFORM,
    ) -> None:
        if gradient_checkpointing and classifier.gradient_checkpointing is None:
            raise UserError("`gradient_checkpointing` is for the backbones of speechshap; leave it out for this model")
        if gradient_checkpointing and along_path:
            raise UserError('`gradient_checkpointing` does not go with `layer_method="path"`; leave one out')
        if gradient_checkpointing and space not in (WAVEFORM, "stem", "projection", *classifier.layers):
            raise UserError(
                f"`gradient_checkpointing` does not go with `space` {space!r}, within what is computed again; leave one"
                " out, or take the stem, the projection or a whole layer"
            )
        self.classifier = classifier
        self.arithmetic = arithmetic
        self._module = cast(nn.Module, classifier)
        # Of the user's own model the part that classifies, without what reads its batches.
        self.module = classifier.module if isinstance(classifier, OwnModel) else self._module
        _require_finite(self._module)
        self._checkpoints = gradient_checkpointing
        self._along_path = along_path
        if along_path:
            with arithmetic.context():
                refuse_autocast(self.device)
        self.spaces = choose_space(space, classifier.spaces, classifier.layers, self.module)
        self.layers = choose_layers(layers, classifier.layers, self.module, self.spaces)

    @cached_property
    def fingerprint(self) -> str:
        """Of the weights, and of all else that decides the outputs of the model and its frames."""
        return fingerprint(self._module.state_dict(), self.classifier.identity)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next((parameter.device for parameter in self._module.parameters()), torch.device("cpu"))

    def class_names(self, count: int) -> list[str]:
        """Names of the classes of a model with this number of outputs; numbers where it has no names.

        Raises:
            UserError: It has another number of names.
        """
        names = self.classifier.classes
        if names is None:
            return [str(number) for number in range(count)]
        if len(names) != count:
            raise UserError(f"`classes` are {len(names)}, but the model has {count} outputs")
        return list(names)

    def obstacle(self, num_samples: int) -> str | None:
        """Why a waveform of this length cannot be explained; None where it can."""
        if num_samples < self.classifier.shortest:
            return f"it has {num_samples} samples, and the model needs {self.classifier.shortest}"
        longest = self.classifier.longest
        if longest is not None and num_samples > longest:
            return (
                f"it lasts {num_samples / SAMPLE_RATE:.6g} s, and the model hears {longest / SAMPLE_RATE:g} s at most"
            )
        window = self.classifier.window if self.layers or self.spaces else None
        if window is not None and num_samples > window:
            what, way = ("neurons are explained", "leave `layers` out") if self.layers else (
                "paths between features lie", "take `space` waveform"
            )  # fmt: skip
            return f"{what} within a window of {window / SAMPLE_RATE:g} s; {way}"
        return None

    def groups(self, batch: Batch) -> list[list[int]]:
        """Utterances of a batch that may go through the model together."""
        rows = list(range(len(batch.ids)))
        if self.classifier.one_by_one and len(set(batch.lengths.tolist())) > 1:
            return [[row] for row in rows]
        return [rows]

    @contextmanager
    def ready(self) -> Iterator[None]:
        """The model in eval mode, frozen, with checkpointing as asked for; it is left as it was found."""
        kept = self.classifier.gradient_checkpointing
        with evaluation_mode(self._module):
            if kept is None:
                yield
                return
            self.classifier.gradient_checkpointing = (kept or self._checkpoints) and not self._along_path
            try:
                yield
            finally:
                self.classifier.gradient_checkpointing = kept

    def forward(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Outputs ``(batch, classes)``, in single precision, of waveforms ``(batch, time)``."""
        with self.arithmetic.context():
            return self.classifier(self.arithmetic.convert(waveforms), lengths).float()

    def embed(self, batch: Batch) -> Sequence[Tensor | None]:
        """Input of the classifier's head for each utterance, ``(features,)`` on the CPU; None where unknown."""
        with torch.no_grad(), self.arithmetic.context():
            embeddings = self.classifier.embed(self.arithmetic.convert(batch.waveforms), batch.lengths)
        return [None] * len(batch.ids) if embeddings is None else list(embeddings.float().cpu())


def _require_finite(module: nn.Module) -> None:
    """Raise a UserError where a weight is not finite."""
    broken = [name for name, weight in module.named_parameters() if not _is_finite(weight)]
    if broken:
        more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        raise UserError(
            f"the weights of the model are not finite ({broken[0]}{more}); its training went astray: explain a "
            "checkpoint from before, or train with a lower learning rate"
        )


def _is_finite(weight: Tensor) -> bool:
    # Smallest and largest tell in one pass, without a copy.
    return not weight.numel() or bool(torch.stack(weight.detach().aminmax()).isfinite().all())
