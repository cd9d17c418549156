"""What is asked of a method: everything that decides the numbers of an explanation beside model and sound."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from speechshap.attribution.layers import LAYER_METHODS, LayerMethod
from speechshap.attribution.spectrum import SpectralGrid
from speechshap.attribution.targets import OUTPUTS, Output
from speechshap.errors import UserError, is_integer, require_at_least, require_choice

BASELINES = ("noise", "silence", "dataset")
"""Names of the reference distributions, which :func:`speechshap.attribution.baseline_from_settings` makes."""

WAVEFORM = "waveform"
"""The space of the waveforms themselves."""

OWN_MEAN = "mean:utterance"
"""Name of the reference that is an utterance's own mean feature."""

_MEAN = "mean:"
_OF_CLASS = "dataset:"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a run that every method has.

    A method adds fields of its own in a subclass. The command line has an option for each field; all of them together
    are fingerprinted and stored with each explanation.

    Attributes:
        targets: What is explained: the ``predicted`` class, the ``runner-up``, ``all`` classes, class names, or
            contrasts of two (``happy - neutral``, ``predicted - runner-up``, ``predicted - neutral``), as a list or
            with commas between them.
        output: Explain the ``logit``, the ``log_odds`` or the ``probability``.
        seed: Of the random draws.
        segments: Stretches that people read, whose attributions get standard errors of their own: tiers of the
            alignment that lies beside the sound, ``all`` or by their names (``words,phones``), and ``voiced`` for what
            is voiced, unvoiced, or a pause; ``none`` for none.
        segment_seconds: Length of stretches side by side that are such segments, too.

    Raises:
        UserError: A value is not legal.

    Example:
        >>> Settings(targets=["happy", "sad - neutral"]).targets
        'happy,sad - neutral'
        >>> Settings(output="loss")
        Traceback (most recent call last):
        speechshap.errors.UserError: `output` is 'loss'; expected logit, log_odds, probability
    """

    targets: str = "predicted"
    output: Output = "logit"
    seed: int = 0
    segments: str = "all"
    segment_seconds: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", _listed("targets", self.targets))
        object.__setattr__(self, "segments", _listed("segments", self.segments))
        require_choice("output", self.output, OUTPUTS)
        if self.segment_seconds is not None and not 0 < self.segment_seconds < float("inf"):
            raise UserError(f"`segment_seconds` is {self.segment_seconds}; expected seconds, above 0")

    @property
    def spectrum(self) -> SpectralGrid | None:
        """Transform of the time-frequency attributions; None where the method makes none."""
        return None

    def as_dict(self) -> dict[str, Any]:
        """All fields as plain values that JSON can hold."""
        return {name: int(value) if is_integer(value) else value for name, value in asdict(self).items()}


@dataclass(frozen=True, kw_only=True)
class ReferenceSettings(Settings):
    """Settings of the methods that compare an utterance with references.

    Attributes:
        baselines: What an utterance is compared with: Gaussian ``noise`` of its own mean and level, ``silence``, clips
            of the training split (``dataset``), or those of one class alone (``dataset:neutral``: why this emotion and
            not a neutral voice?). Where a method has another ``space`` than the waveform, also the mean feature of one
            of these (``mean:noise``, ``mean:dataset``, ``mean:dataset:neutral``) or of the utterance itself
            (``mean:utterance``), a single reference without chance.
        snr_db: How far below the utterance's level the ``noise`` is, in decibels.
        n_references: Training clips to draw from, where ``baselines`` are of the ``dataset``.

    Raises:
        UserError: A value is not legal.

    Example:
        >>> ReferenceSettings(baselines="dataset:neutral").reference_label
        'neutral'
        >>> ReferenceSettings(baselines="music")
        Traceback (most recent call last):
        speechshap.errors.UserError: `baselines` is 'music'; expected noise, silence, dataset, or dataset:<class>
    """

    baselines: str = "noise"
    snr_db: float = 0.0
    n_references: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.baselines != OWN_MEAN and self.distribution not in BASELINES and not self.reference_label:
            raise UserError(f"`baselines` is {self.baselines!r}; expected {', '.join(BASELINES)}, or dataset:<class>")
        if self.is_mean and self.is_of_waveforms:
            raise UserError(
                f"`baselines` is {self.baselines!r}, and a mean of waveforms sounds like none of them; expected another"
                " reference, or a `space` of features"
            )
        require_at_least(1, n_references=self.n_references)

    @property
    def is_of_waveforms(self) -> bool:
        """Whether references are waveforms, and no features of these."""
        return True

    @property
    def is_mean(self) -> bool:
        """Whether the reference is a mean feature."""
        return isinstance(self.baselines, str) and self.baselines.startswith(_MEAN)

    @property
    def distribution(self) -> str:
        """What is drawn, or what the mean is of."""
        return self.baselines.removeprefix(_MEAN) if self.is_mean else self.baselines

    @property
    def from_dataset(self) -> bool:
        """Whether the references are training clips."""
        return self.distribution == "dataset" or self.reference_label is not None

    @property
    def reference_label(self) -> str | None:
        """The class whose training clips alone are drawn; None for those of all classes, and for no clips."""
        is_of_class = isinstance(self.baselines, str) and self.distribution.startswith(_OF_CLASS)
        return self.distribution.removeprefix(_OF_CLASS) if is_of_class else None


@dataclass(frozen=True, kw_only=True)
class PathSettings(ReferenceSettings):
    """Settings of the methods that take gradients along paths from references to an utterance.

    Attributes:
        space: Where paths run: between ``waveform``s, between the features of the convolutional ``stem`` or of what
            follows it (``projection``), between log-mel bins (``log_mel``, of Whisper), or between the outputs of any
            module by its name. Frames and neurons can be explained from any of them, samples and frequencies from
            waveforms, mel bins from the bins.
        layers: Layers whose neurons are explained: ``none``, ``all``, or numbers (the first being 1) or names, as a
            list or with commas between them.
        layer_method: Multiply a layer's gradient by the difference of its outputs for utterance and reference
            (``endpoint``), or by its slope along the path (``path``, which sums to the input attribution).
        spectrum: Time-frequency transform to carry the attributions to as well.

    Raises:
        UserError: A value is not legal.
    """

    space: str = WAVEFORM
    layers: str = "none"
    layer_method: LayerMethod = "endpoint"
    spectrum: SpectralGrid | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.spectrum is not None and not self.is_of_waveforms:
            raise UserError(
                f"`spectrum` is for paths between waveforms; those of `space` {self.space!r} pass through no "
                "frequencies of the sound (log_mel has its bins by itself)"
            )
        object.__setattr__(self, "layers", _listed("layers", self.layers))
        require_choice("layer_method", self.layer_method, LAYER_METHODS)

    @property
    def is_of_waveforms(self) -> bool:
        """Whether paths run between waveforms."""
        return self.space == WAVEFORM


def _listed(name: str, value: object) -> str:
    """Names with commas and no spaces between them, from such a text or from a list, so that equal ones are equal."""
    parts = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    if not all(isinstance(part, str) or is_integer(part) for part in parts):
        raise UserError(f"`{name}` is {value!r}; expected names, as a list or with commas between them")
    return ",".join(piece.strip() for part in parts for piece in str(part).split(","))
