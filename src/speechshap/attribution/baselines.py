"""Reference distributions: what an utterance is compared with."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from speechshap.attribution.errors import NonFiniteReferenceError
from speechshap.attribution.settings import OWN_MEAN, PathSettings, ReferenceSettings
from speechshap.errors import UserError

Baseline = Callable[[Tensor, torch.Generator], Tensor]
"""Draws one reference ``(time,)`` for an utterance ``(time,)`` with the numbers of a generator (both on the CPU)."""


def gaussian_noise(snr_db: float = 0.0) -> Baseline:
    """Gaussian noise with the utterance's mean, and a standard deviation ``snr_db`` decibels below its own.

    Example:
        >>> draw = gaussian_noise(snr_db=20.0)
        >>> waveform = torch.tensor([3.0, -3.0]).repeat(5000)
        >>> draw(waveform, torch.Generator().manual_seed(0)).std()
        tensor(0.3006)
    """
    scale = 10 ** (-snr_db / 20)

    def draw(waveform: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.randn(waveform.shape, generator=generator, dtype=waveform.dtype)
        return noise.mul_(scale * waveform.std(correction=0)).add_(waveform.mean())  # in place: it may be hours long

    return draw


def silence(waveform: Tensor, generator: torch.Generator) -> Tensor:
    """Zeros.

    A model that normalises its input receives the same sound at every point of the path but its very start: the
    attributions are then incomplete, which the completeness gap shows.
    """
    return torch.zeros_like(waveform)


def from_references(references: Tensor) -> Baseline:
    """Draw from given references ``(references, time)``, each with the same probability.

    A reference longer than the utterance is cropped at a random offset; a shorter one is repeated from its start.

    Example:
        >>> draw = from_references(torch.tensor([[1.0, 2.0, 3.0]]))
        >>> draw(torch.zeros(5), torch.Generator().manual_seed(0))
        tensor([1., 2., 3., 1., 2.])
    """
    references = references.detach().to("cpu", torch.float32)
    available = references.shape[1]

    def draw(waveform: Tensor, generator: torch.Generator) -> Tensor:
        index = int(torch.randint(len(references), (), generator=generator))
        spare = max(0, available - len(waveform))
        offset = int(torch.randint(spare + 1, (), generator=generator))
        reference = references[index, offset : offset + len(waveform)]
        return reference.repeat(math.ceil(len(waveform) / len(reference)))[: len(waveform)].to(waveform.dtype)

    return draw


class MeanReference:
    """The mean feature of references, over time and over these: one fixed reference in a space of features.

    Args:
        baseline: What the mean is of; None: of the utterance itself.
        clips: ``(references, time)``, where these are all that it draws from: the mean is then that of all of them, the
            same for every utterance.

    Attributes:
        of_clips: Once it is known, the mean feature of the first clip, and that of all.
    """

    def __init__(self, baseline: Baseline | None, clips: Tensor | None = None) -> None:
        self.baseline = baseline
        self.clips = clips
        self.of_clips: tuple[Tensor, Tensor] | None = None

    def __call__(self, waveform: Tensor, generator: torch.Generator) -> Tensor:
        """Raise a UserError: there is no such waveform."""
        raise UserError("`baselines` are a mean feature, and no waveform; choose a `space` of features")


def as_baseline(baselines: str | Baseline | Tensor) -> Baseline:
    """The distribution that a name, a callable or a tensor of references ``(references, time)`` stands for.

    Raises:
        ValueError: It is none of these.

    Example:
        >>> as_baseline("silence")(torch.ones(3), torch.Generator())
        tensor([0., 0., 0.])
        >>> as_baseline("music")
        Traceback (most recent call last):
        speechshap.errors.UserError: `baselines` is 'music'; expected noise, silence, dataset, or dataset:<class>
    """
    if isinstance(baselines, str):
        # Which check the name; whether there are features to take a mean of shows when one is drawn.
        return baseline_from_settings(PathSettings(baselines=baselines, space="features"))
    if isinstance(baselines, Tensor):
        if baselines.ndim != 2 or baselines.numel() == 0:
            raise ValueError(f"`baselines` have shape {tuple(baselines.shape)}; expected (references, time)")
        if not bool(baselines.isfinite().all()):
            raise ValueError("`baselines` are not finite")
        return from_references(baselines)
    if not callable(baselines):
        raise ValueError(f"`baselines` are a {type(baselines).__name__}; expected a name, a callable or a tensor")
    return baselines


def baseline_from_settings(settings: ReferenceSettings, references: Tensor | None = None) -> Baseline:
    """The distribution that settings ask for.

    Args:
        settings: Their ``baselines`` and ``snr_db``.
        references: ``(references, time)`` clips, which ``baselines="dataset"`` (or ``"dataset:<class>"``) draws from.

    Raises:
        UserError: There are no references, and the settings ask for them.
        ValueError: The references are no clips, or not finite.

    Example:
        >>> draw = baseline_from_settings(ReferenceSettings(baselines="dataset"), references=torch.ones(1, 2))
        >>> draw(torch.zeros(3), torch.Generator())
        tensor([1., 1., 1.])
    """
    if settings.baselines == OWN_MEAN:
        return MeanReference(None)
    drawn = _drawn(settings, references)
    return MeanReference(drawn, references if settings.from_dataset else None) if settings.is_mean else drawn


def _drawn(settings: ReferenceSettings, references: Tensor | None) -> Baseline:
    if settings.distribution == "noise":
        return gaussian_noise(settings.snr_db)
    if settings.distribution == "silence":
        return silence
    if references is None:
        raise UserError(
            f'`baselines="{settings.baselines}"` draws from clips of the training split; expected the data of these'
        )
    return as_baseline(references)


def draw_reference(baseline: Baseline, waveform: Tensor, utterance_id: str, generator: torch.Generator) -> Tensor:
    """Draw a reference for an utterance ``(time,)`` on the CPU.

    Raises:
        ValueError: It has another shape than the utterance.
        NonFiniteReferenceError: It is not finite.
    """
    reference = baseline(waveform.clone(), generator)  # a copy, since the callable may work in place
    if reference.shape != waveform.shape:
        raise ValueError(
            f"the reference of utterance {utterance_id} has shape {tuple(reference.shape)}; "
            f"expected {tuple(waveform.shape)}"
        )
    if not bool(reference.isfinite().all()):
        raise NonFiniteReferenceError(utterance_id)
    return reference
