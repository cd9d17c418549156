"""What the feature extractor beside a checkpoint says, and whether it fits the model."""

from typing import Any

from speechshap.errors import UserError
from speechshap.frames import SAMPLE_RATE
from speechshap.models.log_mel import HOP, WINDOW


def normalizes_waveforms(extractor: Any, parameter: str) -> bool:
    """Whether a feature extractor for raw waveforms brings each one to mean 0 and variance 1.

    Args:
        extractor: Of transformers, or a processor that has one; None: waveforms are not normalised.
        parameter: Whose value the checkpoint is, for messages.

    Raises:
        UserError: It is not for raw waveforms at 16 kHz.
    """
    from transformers import Wav2Vec2FeatureExtractor

    extractor = _own(extractor)
    if extractor is None:
        return False
    _require(extractor, Wav2Vec2FeatureExtractor, parameter)
    return bool(extractor.do_normalize)


def require_log_mel(extractor: Any, num_bins: int, parameter: str) -> None:
    """Raise a UserError where a feature extractor does not make the log-mel spectrogram that a Whisper model hears.

    Args:
        extractor: Of transformers, or a processor that has one; None is taken to make the right one.
        num_bins: Mel bins of the model.
        parameter: Whose value the checkpoint is, for messages.
    """
    from transformers import WhisperFeatureExtractor

    extractor = _own(extractor)
    if extractor is None:
        return
    _require(extractor, WhisperFeatureExtractor, parameter)
    if extractor.feature_size != num_bins:
        raise UserError(
            f"`{parameter}`: a Whisper model of {num_bins} mel bins whose feature extractor makes "
            f"{extractor.feature_size} (feature_size in preprocessor_config.json); expected equal numbers"
        )
    if (extractor.n_fft, extractor.hop_length) != (WINDOW, HOP):
        raise UserError(
            f"`{parameter}`: a feature extractor with windows of {extractor.n_fft} samples every "
            f"{extractor.hop_length}; expected those of Whisper, {WINDOW} every {HOP}"
        )


def _own(extractor: Any) -> Any:
    """A feature extractor itself, or that of a processor."""
    return getattr(extractor, "feature_extractor", extractor)


def _require(extractor: Any, kind: Any, parameter: str) -> None:
    if not isinstance(extractor, kind):
        raise UserError(
            f"`{parameter}`: the checkpoint has a {type(extractor).__name__}; expected a {kind.__name__} beside this "
            "model"
        )
    if extractor.sampling_rate != SAMPLE_RATE:
        raise UserError(
            f"`{parameter}` expects waveforms at {extractor.sampling_rate} Hz; expected one for {SAMPLE_RATE} Hz, the "
            "rate that recordings are read at"
        )
